"""What is known of prepared images, and the lamp that shows it for the view."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from psygnal import Signal

from napari_clickseg.binding.hooks import camera_of
from napari_clickseg.binding.planes import (
    Plane,
    plane_image,
    shown_colors,
    shown_gamma,
    shown_range,
    visible_box,
)

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_clickseg.binding.jobs import Jobs
    from napari_clickseg.binding.shelf import ModelFacts
    from napari_clickseg.encoding.preparing import Preparation
    from napari_clickseg.image_colors import Table
    from napari_clickseg.worker import Job

__all__ = ["Lamp", "Light", "Progress", "Shown", "duration"]

ANEW = (
    "This model looks at every window anew: preparing brings little. Choose one that "
    "encodes once, such as an InterFormer."
)
NO_ENCODER = (
    "This model has no encoder: it answers on images that the whole model has "
    "prepared, here or elsewhere."
)
READY = "What is on screen is prepared."
NO_IMAGE = "There is no image on screen."
NOT_KNOWN = "Known when the model is loaded: at the first click, or when preparing."
NOT_PREPARED = "What is on screen is not prepared."
OTHER_CONTRAST = (
    "Prepared with another contrast: the model would see another image. Set it back, "
    "or prepare the image again."
)
OTHER_MODEL = "Prepared for another model: each has an encoder of its own."

#: Work for the worker, and what is done with its outcome.
Work = tuple[Callable[[], Any], Callable[["Job"], None]]


class Light(NamedTuple):
    """What the lamp shows: whether what is on screen is prepared, and why not."""

    state: Literal["none", "off", "half", "on"]
    text: str


@dataclass(frozen=True)
class Progress:
    """How far preparing is.

    Attributes
    ----------
    text : str
        Which image, and the time left.
    part : float or None
        Of this image, from 0 to 1; None where nobody knows.
    """

    text: str
    part: float | None


class Shown(NamedTuple):
    """What the features of a plane depend on, as it is shown now."""

    plane: Plane
    model: str
    layers: tuple[int, ...]
    contrast: tuple[tuple[float, float, float], ...]
    colors: tuple[Table, ...] | None = None


class Lamp:
    """Knows which planes of a viewer's images are prepared, as shown now.

    Parameters
    ----------
    clicks : Jobs
        Held weakly.
    """

    #: The lamp may show something else now.
    changed = Signal()
    #: The camera moves.
    moved = Signal()

    def __init__(self, clicks: Jobs) -> None:
        self._clicks = weakref.ref(clicks)
        self._known: weakref.WeakKeyDictionary[Image, dict[Shown, Preparation]] = (
            weakref.WeakKeyDictionary()
        )
        #: What could not be looked at: not again and again.
        self._hopeless: set[Shown] = set()
        self._told = False
        #: How often everything was forgotten: what was found before counts no more.
        self._age = 0
        camera = camera_of(clicks.viewer).events
        # Bound methods are held weakly.
        camera.zoom.connect(self._camera_moved)
        camera.center.connect(self._camera_moved)

    @property
    def facts(self) -> ModelFacts | None:
        """What is known of the model."""
        clicks = self._clicks()
        return None if clicks is None else clicks.model_facts

    @property
    def sentence(self) -> str:
        """Why the model cannot prepare images; empty where it can or may."""
        facts = self.facts
        if facts is not None and not facts.encodes_once:
            return ANEW
        if facts is not None and not facts.encodes:
            return NO_ENCODER
        return ""

    def light(self) -> Light:
        """Return whether what is on screen is prepared; nothing is read for it."""
        clicks, facts = self._clicks(), self.facts
        if clicks is None or clicks.image_layer is None or clicks.plane is None:
            return Light("none", NO_IMAGE)
        if facts is None:
            return Light("off", NOT_KNOWN)
        if not facts.encodes_once:
            return Light("none", ANEW)
        image, shown = clicks.image_layer, self.shown(clicks.image_layer, clicks.plane)
        known = self._known.get(image, {})
        found, field = known.get(shown), visible_box(image, clicks.plane, clicks.viewer)
        share = 0.0 if found is None else found.share(field)
        if share == 1.0:
            return Light("on", READY)
        if share > 0.0:
            return Light("half", f"{share:.0%} of what is on screen is prepared.")
        others = [
            other
            for other, each in known.items()
            if other != shown and other.plane == shown.plane and each.share(field) > 0
        ]
        if any(other.model == shown.model for other in others):
            return Light("off", OTHER_CONTRAST)
        return Light("off", OTHER_MODEL if others else NOT_PREPARED)

    def shown(self, image: Image, plane: Plane) -> Shown:
        """Return how a plane is shown now."""
        clicks = self._clicks()
        layers = [image] if clicks is None else clicks.channel_layers(image)
        model = "" if clicks is None else clicks.model_choice.name
        ranges = tuple((*shown_range(each), shown_gamma(each)) for each in layers)
        ids = tuple(map(id, layers))
        return Shown(plane, model, ids, ranges, shown_colors(layers))

    def known(self, image: Image, shown: Shown) -> Preparation | None:
        """Return what is known of a plane."""
        return self._known.get(image, {}).get(shown)

    def remember(self, image: Image, shown: Shown, found: Preparation) -> None:
        """Know something of a plane from now on."""
        if image not in self._known:
            image.events.data.connect(self._data_changed)
            image.events.contrast_limits.connect(self._contrast_changed)
            image.events.gamma.connect(self._contrast_changed)
            image.events.colormap.connect(self._contrast_changed)
        self._known.setdefault(image, {})[shown] = found

    def forget(self) -> None:
        """Look anew what is prepared."""
        self._known.clear()
        self._hopeless.clear()
        self._age += 1
        self.changed.emit()

    def looking(self) -> Work | None:
        """Return how to look whether the view was prepared before; None: it is known.

        Perhaps it was in an earlier run, or by another program.
        """
        clicks, facts = self._clicks(), self.facts
        if clicks is None or facts is None or not facts.encodes_once:
            return None
        image, plane = clicks.image_layer, clicks.plane
        if image is None or plane is None or not clicks.in_view:
            return None
        if clicks.prepared_store.empty:
            return None
        shown, field = (
            self.shown(image, plane),
            visible_box(image, plane, clicks.viewer),
        )
        known = self.known(image, shown)
        if shown in self._hopeless or (known is not None and known.checked(field)):
            return None
        source = plane_image(clicks.channel_layers(), plane)
        open_plane, age = clicks.opener(image), self._age

        def work() -> Preparation:
            found = known or open_plane(plane, source)
            found.look(field)
            return found

        def done(job: Job) -> None:
            if age != self._age:
                return
            if job.error is None:
                self.remember(image, shown, job.value)
                self.changed.emit()
            else:
                self._hopeless.add(shown)
                clicks.failed(job.error)

        return work, done

    def _data_changed(self, event: Any) -> None:
        self._known.pop(event.source, None)
        self.changed.emit()

    def _contrast_changed(self, event: Any) -> None:
        clicks = self._clicks()
        if clicks is None or event.source is not clicks.image_layer:
            return
        other = self.light().text == OTHER_CONTRAST
        if other and not self._told:
            clicks.say(OTHER_CONTRAST)
        self._told = other
        self.changed.emit()

    def _camera_moved(self, _event: Any = None) -> None:
        self.moved.emit()


def duration(seconds: float) -> str:
    """Return a time in words."""
    if seconds < 1:
        return "under a second"
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
