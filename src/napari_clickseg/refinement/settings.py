"""Which refinement, with which parameters; nothing here needs torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from napari_clickseg.errors import SettingsError

Method = Literal[
    "none",
    "f-brs-a",
    "f-brs-b",
    "f-brs-c",
    "rgb-brs",
    "distmap-brs",
    "g-brs-sb",
    "g-brs-bmsb",
    "g-brs-bmsb-m",
    "g-brs-bmconv",
]
#: Every refinement by name.
METHODS: tuple[Method, ...] = get_args(Method)

#: What each of them is, in a sentence for users.
SENTENCES: dict[Method, str] = {
    "none": "The network's own answer; it may ignore a click.",
    "f-brs-a": "Scale and shift early features; strong, and the slowest of the three.",
    "f-brs-b": "Scale and shift the features before the decoder; the usual f-BRS.",
    "f-brs-c": "Scale and shift the last features; quickest, and least able to change.",
    "rgb-brs": "Change the image that the network sees; thorough, and slow.",
    "distmap-brs": "Change the click maps that the network sees; slow.",
    "g-brs-sb": "Scale and shift each feature channel; acts on the whole view.",
    "g-brs-bmsb": "First a map of local changes, then scale and shift.",
    "g-brs-bmsb-m": "Local changes and scale and shift side by side, mixed.",
    "g-brs-bmconv": "Local changes, then mix all channels; the strongest of the four.",
}

Optimiser = Literal["adam", "l-bfgs"]
OPTIMISERS: tuple[Optimiser, ...] = get_args(Optimiser)

#: Step size of Adam where nothing better was found for a model (see
#: ``napari-clickseg tune-refinement``).
LEARNING_RATE = 0.0125
#: Weight of the consistency loss for segmentation, lambda_is of G-BRS (2.4.1).
CONSISTENCY = 100.0
#: An attention radius for clicks that carry none: part of the view's longer side.
RADIUS_PART = 0.1


@dataclass(frozen=True)
class RefinementSettings:
    """How answers are made to obey the clicks.

    Parameters
    ----------
    method : str
        One of :data:`METHODS`.
    at : tuple of str or None
        Where the layer is put (see
        :func:`napari_clickseg.refinement.insertion.interactive_points`); None:
        where it suits the model.
    iterations : int
        Most iterations of Adam, or calls of the loss by L-BFGS-B, for one click.
    optimiser : {"adam", "l-bfgs"} or None
        None: as published, which is L-BFGS-B for f-BRS, RGB-BRS and DistMap-BRS and
        Adam with the consistency loss for G-BRS. RGB-BRS and DistMap-BRS also run
        with Adam (G-BRS, table 1).
    learning_rate : float or None
        Of Adam; None: the one found for the model.
    consistency : float
        Weight of the consistency loss (G-BRS, equation 7), with Adam only; 0 turns
        it off.
    radius : float or None
        Attention radius in image pixels for clicks that carry none; None: a tenth
        of the view's longer side.
    top_k : int or None
        Only so many channels, those of the largest mean activation, are refined.
    net_clicks_limit : int or None
        Only so many first clicks are given to the network, the others act through
        the loss alone; None: as published (8 for f-BRS, 5 for RGB-BRS and
        DistMap-BRS, no limit for G-BRS).
    time_budget : float or None
        Seconds after which the best answer so far is returned, unsettled; asking
        again goes on from there. None: no limit.
    carry : bool or None
        With Adam: whether the parameters found for a click are where the next one
        starts, as G-BRS has it, or every click starts from the network as it is. None:
        carried, except by networks that are given the previous mask: that mask carries
        what was corrected already, and parameters that stay would distort answers to
        clicks which the network obeys by itself.
    correct : bool
        Where a click is not obeyed after all, change the answer in a small
        neighbourhood of it.

    Raises
    ------
    SettingsError
        Where a value makes no sense; the text says which and what to give.
    """

    method: Method = "none"
    at: tuple[str, ...] | None = None
    iterations: int = 20
    optimiser: Optimiser | None = None
    learning_rate: float | None = None
    consistency: float = CONSISTENCY
    radius: float | None = None
    top_k: int | None = None
    net_clicks_limit: int | None = None
    time_budget: float | None = None
    carry: bool | None = None
    correct: bool = True

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise SettingsError(
                f"There is no refinement {self.method!r}. Choose one of "
                f"{', '.join(map(repr, METHODS))}."
            )
        if self.optimiser not in (None, *OPTIMISERS):
            raise SettingsError(
                f"There is no optimiser {self.optimiser!r}. Choose 'adam' or 'l-bfgs'."
            )
        if self.optimiser == "l-bfgs" and self.method.startswith("g-brs"):
            raise SettingsError(
                f"{self.method} runs with Adam. Leave optimiser out, or choose f-brs-b."
            )
        if self.optimiser == "adam" and self.method.startswith("f-brs"):
            raise SettingsError(
                f"{self.method} runs with L-BFGS-B. Leave optimiser out, or choose "
                "g-brs-sb, which is the same layer with Adam."
            )
        at: Any = self.at
        if at is not None:
            at = (at,) if isinstance(at, str) else tuple(at)
            if not at or not all(isinstance(name, str) and name for name in at):
                raise SettingsError("at must name at least one place; or leave it out.")
            object.__setattr__(self, "at", at)
        for name in ("iterations", "top_k", "net_clicks_limit"):
            value = getattr(self, name)
            if value is not None and (int(value) != value or value < 1):
                raise SettingsError(f"{name} is {value!r}: give a whole number from 1.")
        for name in ("learning_rate", "radius", "time_budget"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise SettingsError(f"{name} is {value!r}: give a number above 0.")
        if not (self.consistency >= 0 and math.isfinite(self.consistency)):
            raise SettingsError(
                f"consistency is {self.consistency!r}: give 0 or a number above."
            )

    @classmethod
    def of(cls, given: RefinementSettings | str | None) -> RefinementSettings:
        """Return settings as they are, or those of a method's name."""
        if isinstance(given, RefinementSettings):
            return given
        return cls(method=given or "none")  # type: ignore[arg-type]

    @property
    def active(self) -> bool:
        """Whether anything is refined."""
        return self.method != "none"

    @property
    def by_adam(self) -> bool:
        """Whether Adam optimises, with the consistency loss."""
        if self.optimiser is not None:
            return self.optimiser == "adam"
        return self.method.startswith("g-brs")

    @property
    def network_clicks(self) -> int | None:
        """How many first clicks the network is given; None: all."""
        if self.net_clicks_limit is not None or self.method.startswith("g-brs"):
            return self.net_clicks_limit
        return {"f-brs": 8, "rgb-brs": 5, "distmap-brs": 5}.get(
            "f-brs" if self.method.startswith("f-brs") else self.method
        )

    def updated(self, changes: Mapping[str, Any]) -> RefinementSettings:
        """Return the same settings with some changed."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return asdict(self)
