"""What the section "Refinement" of the dock says, and where each choice is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from napari_clickseg.errors import ClickSegError
from napari_clickseg.prediction.settings import PredictionSettings
from napari_clickseg.preferences import declared
from napari_clickseg.refinement.settings import RefinementSettings

__all__ = ["CHOICES", "Choices", "Shown"]


@dataclass(frozen=True)
class Shown:
    """How things are drawn; no answer depends on it.

    Parameters
    ----------
    mask_opacity : float
        Of the live mask, from 0 to 1.
    click_size : float
        Diameter of a click in pixels of the screen.
    """

    mask_opacity: float = 0.5
    click_size: float = 11.0


class _Place(NamedTuple):
    """Where a choice is held.

    Parameters
    ----------
    part, name : str
        Attribute of :class:`Choices`, and field of that.
    none : bool
        Whether 0 stands for None, "by itself".
    """

    part: str
    name: str
    none: bool = False


#: Choices by the names of their preferences.
CHOICES: dict[str, _Place] = {
    "refinement.method": _Place("refinement", "method"),
    "refinement.radius": _Place("refinement", "radius", none=True),
    "refinement.correct": _Place("refinement", "correct"),
    "refinement.time_budget": _Place("refinement", "time_budget", none=True),
    "refinement.iterations": _Place("refinement", "iterations"),
    "refinement.network_clicks": _Place("refinement", "net_clicks_limit", none=True),
    "looking.zoom_in": _Place("settings", "zoom_in"),
    "looking.skip_clicks": _Place("settings", "skip_clicks"),
    "looking.target_size": _Place("settings", "target_size"),
    "looking.expansion_ratio": _Place("settings", "expansion_ratio"),
    "looking.threshold": _Place("settings", "threshold"),
    "display.mask_opacity": _Place("shown", "mask_opacity"),
    "display.click_size": _Place("shown", "click_size"),
}


@dataclass(frozen=True)
class Choices:
    """All choices of one viewer.

    Parameters
    ----------
    refinement : RefinementSettings
        How answers are made to obey the clicks.
    settings : PredictionSettings
        Where the model looks; but for the first look, which the dock holds itself.
    shown : Shown
        How things are drawn.
    """

    refinement: RefinementSettings = field(default_factory=RefinementSettings)
    settings: PredictionSettings = field(default_factory=PredictionSettings)
    shown: Shown = field(default_factory=Shown)

    @classmethod
    def by(cls, value_of: Callable[[str], Any]) -> Choices:
        """Return the choices that preferences give; what makes no sense is left out.

        Parameters
        ----------
        value_of : callable
            Returns the value of a preference, as ``Preferences.get``.
        """
        made = cls()
        for key in CHOICES:
            try:
                made = made.changed(key, value_of(key))
            except (ClickSegError, TypeError, ValueError):  # of another version
                continue
        return made

    @classmethod
    def usual(cls) -> Choices:
        """Return the choices of a new user: the defaults in the manifest."""

        def default(key: str) -> Any:
            section, _, name = key.partition(".")
            return declared()[section][name]

        return cls.by(default)

    def value(self, key: str) -> Any:
        """Return a choice as its preference holds it."""
        place = CHOICES[key]
        value = getattr(getattr(self, place.part), place.name)
        if place.none and value is None:
            return 0
        return max(value) if isinstance(value, tuple) else value

    def changed(self, key: str, value: Any) -> Choices:
        """Return the choices with one changed.

        Raises
        ------
        SettingsError
            If the value makes no sense.
        """
        place = CHOICES[key]
        if place.none and not value:
            value = None
        part = replace(getattr(self, place.part), **{place.name: value})
        return replace(self, **{place.part: part})
