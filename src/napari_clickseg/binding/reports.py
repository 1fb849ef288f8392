"""What goes into a job for the worker, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from napari_clickseg.binding.marks import Mark
from napari_clickseg.binding.planes import Plane
from napari_clickseg.binding.shelf import ModelChoice, ModelFacts
from napari_clickseg.boxes import Box
from napari_clickseg.prediction.settings import PredictionSettings
from napari_clickseg.refinement.settings import RefinementSettings
from napari_clickseg.session import Change, SessionStats
from napari_clickseg.session.objects import Objects

if TYPE_CHECKING:
    from napari_clickseg.prediction.settings import FirstLook

__all__ = ["Options", "Report"]


@dataclass(frozen=True)
class Options:
    """What the dock says about how to answer; a snapshot for one job."""

    model: ModelChoice
    first_look: FirstLook = "search"
    overlap: str = "keep"
    visible: Box | None = None
    #: Refuses labels that the objects layer cannot hold.
    check_label: Callable[[int], None] | None = None
    #: But for ``first_look``.
    settings: PredictionSettings = field(default_factory=PredictionSettings)
    refinement: RefinementSettings = field(default_factory=RefinementSettings)
    #: Only windows that are prepared may be asked for.
    prepared: bool = False
    #: A first click inside an object takes it up, to correct it.
    takes_up: bool = False


@dataclass(frozen=True)
class Report:
    """What a job tells the thread that owns the layers.

    Attributes
    ----------
    plane : Plane
        Where it happened.
    change : Change or None
        What changed on the plane; None where nothing did.
    marks : tuple of Mark
        The clicks of the object in work.
    stats : SessionStats
        Of all planes together.
    objects : Objects
        The committed objects of the plane themselves.
    taken_up : (PredictionSettings, RefinementSettings) or None
        How a session from a file was answered, where one was just taken up.
    others : tuple of Report
        Of further planes that changed in the same step.
    """

    plane: Plane
    change: Change | None
    marks: tuple[Mark, ...]
    stats: SessionStats
    can_undo: bool
    can_redo: bool
    drafted: bool
    settled: bool
    model: ModelFacts | None = None
    objects: Objects = field(default_factory=Objects)
    taken_up: tuple[PredictionSettings, RefinementSettings] | None = None
    others: tuple[Report, ...] = ()

    @cached_property
    def boxes(self) -> dict[int, Box]:
        """The committed objects of the plane and where they lie, by label."""
        return {label: each.pixels.box for label, each in self.objects.items()}
