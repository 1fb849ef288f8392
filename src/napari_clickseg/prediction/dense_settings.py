"""Options, and the immutable records in and out, of tasks with a value per pixel.

Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.boxes import Box
from napari_clickseg.errors import SettingsError
from napari_clickseg.refinement.settings import (
    CONSISTENCY,
    RADIUS_PART,
    Method,
    RefinementSettings,
)

#: Longest side of a view that a network sees, in pixels, unless it is chosen.
MAX_SIDE = 2048


@dataclass(frozen=True)
class DenseSettings:
    """How a network's map is made to obey clicks.

    Parameters
    ----------
    method : str
        ``"none"``, ``"rgb-brs"`` or one of ``"g-brs-..."``: those that run with Adam.
    at : tuple of str or None
        Where the layers are put; None: where it suits the network.
    iterations : int or None
        Most iterations for one click; None: the task's (20, and 1 for a push).
    learning_rate : float or None
        Of Adam; None: a usual one.
    consistency : float or None
        Weight of the consistency loss; None: the task's, 0: none.
    radius : float or None
        Attention radius in image pixels for clicks that carry none; None: a tenth of
        the view's longer side.
    top_k : int or None
        Only so many channels are refined; None: the task's.
    max_side : int or None
        Longest side of what the network sees, in pixels; None: all there is.
    early_stop : bool
        False makes all iterations, as the paper does for these tasks.
    exact_push : bool
        The one step of a push is made as long as it takes for the pixel to move by
        what was asked for; False: as long as the learning rate makes it, as published.
    time_budget : float or None
        Seconds after which the best answer so far is returned, unsettled.
    correct : bool
        Where a click is not obeyed after all, change the result in a small
        neighbourhood of it. The published figures are without.

    Raises
    ------
    SettingsError
        Where a value makes no sense; the text says which and what to give.
    """

    method: Method = "g-brs-bmconv"
    at: tuple[str, ...] | None = None
    iterations: int | None = None
    learning_rate: float | None = None
    consistency: float | None = None
    radius: float | None = None
    top_k: int | None = None
    max_side: int | None = MAX_SIDE
    early_stop: bool = True
    exact_push: bool = True
    time_budget: float | None = None
    correct: bool = True

    def __post_init__(self) -> None:
        checked = RefinementSettings(
            method=self.method,
            at=self.at,
            iterations=20 if self.iterations is None else self.iterations,
            learning_rate=self.learning_rate,
            consistency=0 if self.consistency is None else self.consistency,
            radius=self.radius,
            top_k=self.top_k,
            time_budget=self.time_budget,
        )
        object.__setattr__(self, "at", checked.at)
        if self.method not in ("none", "rgb-brs") and not checked.by_adam:
            raise SettingsError(
                f"{self.method} corrects masks only. Choose 'rgb-brs' or one of "
                "'g-brs-sb', 'g-brs-bmsb', 'g-brs-bmsb-m', 'g-brs-bmconv'."
            )
        if self.max_side is not None and self.max_side < 16:
            raise SettingsError(f"max_side is {self.max_side!r}: give 16 or more.")

    @classmethod
    def of(cls, given: RefinementSettings | str, **options: Any) -> DenseSettings:
        """Return the same refinement for these tasks.

        Parameters
        ----------
        given : RefinementSettings or str
            A consistency weight that is segmentation's usual one becomes the task's.
        **options
            Whatever else is to differ.
        """
        if isinstance(given, str):
            return cls(method=given, **options)  # type: ignore[arg-type]
        usual = given.consistency == CONSISTENCY
        settings = cls(
            method=given.method,
            at=given.at,
            iterations=given.iterations,
            learning_rate=given.learning_rate,
            consistency=None if usual else given.consistency,
            radius=given.radius,
            top_k=given.top_k,
            time_budget=given.time_budget,
            correct=given.correct,
        )
        return replace(settings, **options)

    @property
    def active(self) -> bool:
        """Whether anything is refined."""
        return self.method != "none"

    @property
    def kind(self) -> str:
        """The kind of layer that is put in."""
        return self.method.removeprefix("g-brs-") if self.active else "none"

    def reach(self, radius: float | None, shape: tuple[int, int]) -> float:
        """Return the attention radius of a click in pixels of the image.

        Parameters
        ----------
        radius : float or None
            The click's own.
        shape : (int, int)
            Height and width of what the network sees of the image.
        """
        return radius or self.radius or max(1.0, RADIUS_PART * max(shape))


@dataclass(frozen=True, eq=False)
class DenseState:
    """What the next click goes on from; undo takes an older one.

    Parameters
    ----------
    purpose : str
        Method, places and network; parameters of another are not used.
    box : Box
        Pixels of the image that the network saw.
    size : (int, int)
        Height and width at which it saw them.
    arrays : tuple of mapping
        Parameters of each layer, by name; read-only.
    """

    purpose: str
    box: Box
    size: tuple[int, int]
    arrays: tuple[Mapping[str, NDArray[Any]], ...]

    def __post_init__(self) -> None:
        arrays = []
        for layer in self.arrays:
            kept = {name: np.array(values) for name, values in layer.items()}
            for values in kept.values():
                values.flags.writeable = False
            arrays.append(MappingProxyType(kept))
        object.__setattr__(self, "arrays", tuple(arrays))


@dataclass(frozen=True, eq=False)
class DensePrediction:
    """An answer.

    Parameters
    ----------
    box : Box
        Pixels of the image that it covers.
    result : ndarray, shape of ``box``
        Labels of classes (uint8 or uint16), alpha (float32) or depths (float32).
    said : callable
        Gives ``values``.
    state : DenseState or None
        For the next click; None: nothing is refined yet.
    disobeyed : tuple of int
        Clicks that the network, refined or not, does not give what they ask for; those
        that lie outside the box, or were taken back by a newer one on the same pixel,
        do not count.
    corrected : tuple of int
        Those of them that have it in the result, since their surroundings were
        changed.
    evaluations : int
        How often the loss was computed.
    settled : bool
        False: time was up; the same question goes on where it stopped.
    trimap : ndarray, shape of ``box``, or None
        Matting: the trimap that was used, opened where clicks contradict it.
    notices : tuple of str
        What the user should know.

    Attributes
    ----------
    values : ndarray, shape (C, h, w), float32
        What the network says at the size at which it saw the box: probabilities of
        classes, alpha, depths. Made when it is first asked for.
    """

    box: Box
    result: NDArray[Any]
    said: Callable[[], NDArray[np.float32]]
    state: DenseState | None
    disobeyed: tuple[int, ...] = ()
    corrected: tuple[int, ...] = ()
    evaluations: int = 0
    settled: bool = True
    trimap: NDArray[np.uint8] | None = None
    notices: tuple[str, ...] = field(default=())

    @cached_property
    def values(self) -> NDArray[np.float32]:
        """What the network says: see above."""
        return self.said()
