"""The jobs of click segmentation, and what the dock says of how they are done."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from napari_clickseg.binding.choices import CHOICES
from napari_clickseg.binding.choosing import Choosing
from napari_clickseg.binding.context import Context
from napari_clickseg.binding.effort import WorkingEngine
from napari_clickseg.binding.other_planes import OtherPlanes
from napari_clickseg.binding.planes import (
    Plane,
    PlaneImage,
    plane_image,
    visible_box,
)
from napari_clickseg.binding.preparing import Preparing
from napari_clickseg.binding.propagating import Propagating
from napari_clickseg.binding.proposing import Proposing
from napari_clickseg.binding.reports import Options, Report
from napari_clickseg.binding.shelf import ModelChoice, ModelShelf, Tell
from napari_clickseg.binding.writing import box_reader, label_check
from napari_clickseg.preferences import Preferences, preferences

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_clickseg.boxes import Box
    from napari_clickseg.encoding.prepared_store import PreparedStore
    from napari_clickseg.encoding.preparing import Preparation
    from napari_clickseg.prediction.proposing import Proposals
    from napari_clickseg.prediction.settings import FirstLook
    from napari_clickseg.worker import Channel, Job

__all__ = ["Jobs"]

#: The view counts as zoomed in when it shows less of the image than this.
ZOOMED_IN = 0.6

#: Preferences, and where their values are held.
ATTRIBUTES = {
    "clicks.first_look": "first_look",
    "clicks.overlap": "overlap",
    "clicks.settle": "settles",
    "saving.autosave": "autosaves",
}


class Jobs(Choosing):
    """Clicks of one viewer; parameters as of :class:`ImageJobs`."""

    def __init__(
        self, viewer: ViewerModel, channel: Channel, shelf: ModelShelf
    ) -> None:
        self.shown_object: int | None = None
        #: Whether a first click inside an object takes it up.
        self.takes_up = False
        chosen = preferences()
        chosen.apply_cache_folder()
        self.model_choice = ModelChoice(
            chosen.get("model.name"),
            chosen.get("model.device"),
            chosen.get("model.precision"),
        )
        self.first_look: str = chosen.get("clicks.first_look")
        self.overlap: str = chosen.get("clicks.overlap")
        self.settles: bool = chosen.get("clicks.settle")
        self.autosaves: bool = chosen.get("saving.autosave")
        super().__init__(viewer, channel, shelf)
        self._preference_stops = self._follow_preferences(chosen)
        #: Images encoded ahead of time, when nothing else is to do.
        self.preparing = Preparing(self)
        #: Objects that are looked for, when no click waits.
        self.proposing = Proposing(self)
        #: An object that is carried through the planes.
        self.propagating = Propagating(self)
        #: The other planes of what was carried, after a crash.
        self.other_planes = OtherPlanes(self)
        channel.idle = self._when_idle

    @property
    def prepared_store(self) -> PreparedStore:
        """Where prepared images are kept, for all viewers."""
        return self._shelf.store

    def close(self) -> None:
        """Let go of the viewer and of all work."""
        if self._channel.closed:
            return  # with the window; the viewer went later
        self.preparing.close()
        self.proposing.close()
        self.propagating.close()
        self._stop(self._preference_stops)
        super().close()

    def _follow_preferences(self, kept: Preferences) -> list[Callable[[], None]]:
        """Heed changes in napari's Preferences; returns how to stop."""
        this = weakref.ref(self)

        def heed(key: str) -> None:
            controller = this()
            if controller is None:
                return
            value = kept.get(key)
            if key in CHOICES:
                controller.heed_choice(key, value)
                return
            section, _, name = key.partition(".")
            if section == "model":
                controller.model_choice = controller.model_choice._replace(
                    **{name: value}
                )
            else:
                setattr(controller, ATTRIBUTES[key], value)
            controller.changed.emit()

        keys = ("model.name", "model.device", "model.precision", *ATTRIBUTES, *CHOICES)
        return [kept.connect(key, partial(heed, key)) for key in keys]

    def _when_idle(self) -> None:
        self.other_planes.advance()
        self.propagating.advance()
        self.proposing.advance()
        self.preparing.advance()

    def current_options(self) -> Options:
        """Return what the dock says now."""
        visible: Box | None = None
        look = self.first_look
        if self.image_layer is not None and self.plane is not None:
            visible = visible_box(self.image_layer, self.plane, self.viewer)
            height, width = self.plane_source().shape
            part = 1.0 if visible is None else visible.area / (height * width)
            if look == "auto":
                look = "visible" if part < ZOOMED_IN else "search"
        first: FirstLook = "search" if look == "auto" else look  # type: ignore[assignment]
        check = None if self.objects_layer is None else label_check(self.objects_layer)
        return Options(
            self.model_choice,
            first,
            self.overlap,
            visible,
            check,
            self.choices.settings,
            self.choices.refinement,
            self.preparing.suffices,
            self.takes_up,
        )

    def opener(self, image: Image) -> Callable[[Plane, PlaneImage], Preparation]:
        """Return what lists the windows of a plane, in the worker."""
        engine, options = self.context_of(image).engine, self.current_options()
        return lambda plane, source: engine.preparation(plane, source, options)

    def opened(self) -> tuple[Context[WorkingEngine], Plane]:
        """Return what belongs to the image in work, and the plane on screen, open.

        Raises
        ------
        ClickSegError
            If there is no image to work on.
        """
        return self._open(None)

    def take_proposals(
        self, context: Context[WorkingEngine], plane: Plane, found: Proposals
    ) -> Job:
        """Add objects that were found, to whichever image is in work by now."""
        engine, options = context.engine, self.current_options()
        return self._channel.edit(
            lambda _: engine.add_proposals(plane, options, found),
            partial(self._job_done, context),
        )

    def resume(self) -> None:
        """Take up the session of last time, and the planes that belong to it."""
        plane, there = self.plane, bool(self.resume_text)
        super().resume()
        if there and plane is not None:
            self.other_planes.start(plane)

    def set_out(
        self,
        context: Context[WorkingEngine],
        work: Callable[[], Report],
        then: Callable[[Job], None],
    ) -> Job:
        """Begin with a propagation: an edit, and what follows once it is shown."""

        def done(job: Job) -> None:
            self._job_done(context, job)
            then(job)

        return self._channel.edit(lambda _: work(), done)

    def new_engine(self, tell: Tell) -> WorkingEngine:
        """Return what works in the worker, for one image."""
        return WorkingEngine(self._shelf, tell)

    def opening(self, engine: WorkingEngine, plane: Plane) -> Callable[[], Report]:
        """Return the job that begins with a plane and the objects on it."""
        source, layer = plane_image(self.channel_layers(), plane), self.objects_layer
        labels = None if layer is None else box_reader(layer, plane)
        others = None if layer is None or len(plane.fixed) == 2 else layer.data
        options = self.current_options()
        return lambda: engine.open(plane, source, options, labels, others)

    @property
    def goes_on(self) -> bool:
        """Whether an answer that is not settled is improved when nothing waits."""
        return self.settles or self.refinement_in_use.active
