"""How a session answers: where it looks, and how answers are refined."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from napari_clickseg.prediction.settings import FirstLook, PredictionSettings
from napari_clickseg.refinement.settings import RefinementSettings
from napari_clickseg.session.answering import Answering
from napari_clickseg.session.objects import Overlap
from napari_clickseg.session.refining import Refinement, as_plain
from napari_clickseg.tasks import Segmentation


class SessionOptions:
    """Options that may change at any time; they count from the next answer."""

    task: Segmentation
    overlap: Overlap
    _answering: Answering

    @property
    def settings(self) -> PredictionSettings:
        """Where the model looks; set it to change that from the next answer on."""
        return self._answering.settings

    @settings.setter
    def settings(self, settings: PredictionSettings) -> None:
        self._answering.settings = settings

    @property
    def first_look(self) -> FirstLook:
        """What the first click of an object sees."""
        return self.settings.first_look

    @first_look.setter
    def first_look(self, policy: FirstLook) -> None:
        self.settings = replace(self.settings, first_look=policy)

    @property
    def refinement(self) -> RefinementSettings:
        """How answers are made to obey the clicks.

        Set it to a name or to settings: it counts from the next answer, and what
        undo brings back stays as it was.
        """
        return self._answering.refinement

    @refinement.setter
    def refinement(self, refinement: Refinement) -> None:
        self._answering.refinement = refinement

    @property
    def refinement_in_use(self) -> RefinementSettings:
        """The same, or the model's own where it brings one and none is asked for.

        Known once the model is loaded.
        """
        return self._answering.refinement_in_use

    @property
    def options(self) -> dict[str, Any]:
        """``task``, ``refinement`` and ``overlap``, as the constructor takes them."""
        return {
            "task": self.task.name,
            "refinement": as_plain(self.refinement),
            "overlap": self.overlap,
        }
