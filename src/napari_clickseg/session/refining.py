"""Which refinement a session asks for, and what is told of the clicks it failed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from napari_clickseg.clicks import Clicks
from napari_clickseg.errors import SettingsError
from napari_clickseg.prediction.settings import Prediction, PredictionSettings
from napari_clickseg.refinement.settings import RefinementSettings

__all__ = ["Disobeyed", "How", "Refinement", "as_plain", "as_refinement", "in_use"]

#: A refinement as scripts write it: a name, settings, or their fields.
Refinement = RefinementSettings | str | Mapping[str, Any] | None


@dataclass(frozen=True)
class How:
    """How an answer was asked for: where the model looked, how it was refined."""

    settings: PredictionSettings
    refinement: RefinementSettings


def as_refinement(given: Refinement) -> RefinementSettings:
    """Return settings from a name, from settings, or from what a file holds.

    Raises
    ------
    SettingsError
        If there is no such refinement; the text says which there are.
    """
    if not isinstance(given, Mapping):
        if given is not None and not isinstance(given, RefinementSettings | str):
            raise SettingsError(
                f"A refinement is a name or RefinementSettings, not {given!r}."
            )
        return RefinementSettings.of(given)
    known = {each.name for each in fields(RefinementSettings)}
    if unknown := sorted(map(str, set(given) - known)):
        raise SettingsError(
            f"A refinement has no {', '.join(unknown)}. It has {', '.join(known)}."
        )
    return RefinementSettings(**given)


def as_plain(settings: RefinementSettings) -> str | dict[str, Any]:
    """Return a name where it says everything, else all fields, ready for JSON."""
    if settings == RefinementSettings.of(settings.method):
        return settings.method
    return settings.to_dict()


def in_use(said: RefinementSettings, model: Any) -> RefinementSettings:
    """Return what answers are refined with.

    A model that was made interactive brings a refinement of its own, for without
    one it knows nothing of clicks: that one is used where the session asks for
    none, with whatever else the session says.

    Parameters
    ----------
    said : RefinementSettings
        What the session says.
    model : Model or None
        What answers, where it is loaded.
    """
    own: RefinementSettings | None = getattr(model, "refinement", None)
    if said.active or own is None:
        return said
    usual = RefinementSettings()
    changes = {
        each.name: getattr(said, each.name)
        for each in fields(said)
        if getattr(said, each.name) != getattr(usual, each.name)
    }
    return own.updated(changes)


class Disobeyed(NamedTuple):
    """Clicks that the model itself did not follow, by their numbers from 0.

    Parameters
    ----------
    unsatisfied : tuple of int
        All of them, ascending.
    corrected : tuple of int
        Those of them that a local correction honours.
    contradicted : tuple of int
        Those of them that a later click on the same pixel takes back.
    """

    unsatisfied: tuple[int, ...] = ()
    corrected: tuple[int, ...] = ()
    contradicted: tuple[int, ...] = ()

    @classmethod
    def of(cls, prediction: Prediction | None) -> Disobeyed:
        """Return those of an answer."""
        if prediction is None:
            return cls()
        corrected = tuple(sorted(prediction.corrected))
        contradicted = tuple(sorted(prediction.contradicted))
        all_of_them = {*prediction.unsatisfied, *corrected, *contradicted}
        return cls(tuple(sorted(all_of_them)), corrected, contradicted)

    def notice(self, clicks: Clicks) -> str:
        """Return what to tell of them; "" where there is nothing to tell."""
        left = set(self.unsatisfied) - {*self.corrected, *self.contradicted}
        if left:
            return (
                f"The model cannot be brought to follow {_named(clicks, left)}. Click "
                "beside it, take back a click that says the opposite, or paint there."
            )
        if self.corrected:
            return (
                f"The model does not follow {_named(clicks, self.corrected)}: only a "
                "small spot there was set as you said. More clicks nearby help."
            )
        return ""


def _named(clicks: Clicks, indices: Collection[int]) -> str:
    first = sorted(indices)[:3]
    shown = [f"({clicks[i].row:.0f}, {clicks[i].col:.0f})" for i in first]
    more = ", ..." if len(indices) > 3 else ""
    noun = "the click at" if len(indices) == 1 else "the clicks at"
    return f"{noun} {', '.join(shown)}{more}"
