"""What a script reads of the clicks of a viewer, from whatever thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.binding.engine import Engine
from napari_clickseg.binding.planes import Plane
from napari_clickseg.binding.taking_up import TakingUp
from napari_clickseg.refinement.settings import RefinementSettings
from napari_clickseg.session import SegmentedObject
from napari_clickseg.session.refining import Refinement, as_refinement

if TYPE_CHECKING:
    from napari_clickseg.models.model import Model
    from napari_clickseg.prediction.settings import PredictionSettings

__all__ = ["Reading"]


class Reading(TakingUp):
    """State and options of the plane on screen, as they are when all is done."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The pixels of the object in work: boolean (H, W)."""
        return self.session.mask

    @property
    def probability(self) -> NDArray[np.float32]:
        """How sure the model is of each pixel: float32 (H, W) in [0, 1]."""
        return self.session.probability

    @property
    def labels(self) -> NDArray[np.int32]:
        """The committed objects of the plane: int32 (H, W)."""
        return self.session.labels

    @property
    def objects(self) -> Mapping[int, SegmentedObject]:
        """The committed objects of the plane by label."""
        return self.session.objects

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the plane."""
        return self.session.shape

    @property
    def model(self) -> Model:
        """The model, loaded if it was not yet."""
        options = self._in_owner(self.current_options)
        loaded: Model = self._ask_engine(
            lambda engine, _plane: engine.load_model(options)
        )
        return loaded

    @property
    def settings(self) -> PredictionSettings:
        """Where the model looks; set it to change that from the next answer on."""
        return self.session.settings

    @settings.setter
    def settings(self, settings: PredictionSettings) -> None:
        def use(engine: Engine, plane: Plane) -> None:
            engine.use_settings(plane, settings)

        self._ask_engine(use)

        def show() -> None:
            self.first_look = settings.first_look
            choices = replace(self.choices, settings=settings)
            self.use_choices(choices, ask=False)

        self._in_owner(show)

    @property
    def refinement(self) -> RefinementSettings:
        """How answers are made to obey the clicks; counts from the next answer.

        Set to a name, the rest stays as the dock says, the time for a click above
        all.
        """
        return self.choices.refinement

    @refinement.setter
    def refinement(self, refinement: Refinement) -> None:
        if isinstance(refinement, str):
            new = self.choices.refinement.updated({"method": refinement})
        else:
            new = as_refinement(refinement)
        choices = replace(self.choices, refinement=new)
        self._in_owner(lambda: self.use_choices(choices, ask=False))

    def as_python(self) -> str:
        """Return a script that does again what was done on the plane on screen."""
        image = self._in_owner(self.image_in_python)
        script: str = self.session.as_python(image)
        return script

    @property
    def usual_radius(self) -> float:
        """How far a click reaches that has no radius of its own, in image pixels."""
        return self.session.usual_radius

    @property
    def can_undo(self) -> bool:
        """Whether undo would do something."""
        return self.session.can_undo or self._together("to_undo")

    @property
    def can_redo(self) -> bool:
        """Whether redo would do something."""
        return self.session.can_redo or self._together("to_redo")

    def _together(self, name: str) -> bool:
        """Whether there is a step over several planes to take back or bring back."""
        return bool(
            self._ask_engine(lambda engine, p: getattr(engine.together, name)(p))
        )
