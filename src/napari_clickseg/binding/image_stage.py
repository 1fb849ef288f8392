"""The image of a viewer that is clicked on, its plane on screen, and the clicks.

An :class:`ImageStage` follows the image, the plane and the layer of clicks; layers
for answers are added by those who build on it. It holds the viewer weakly, so that a
closed viewer can be freed.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from napari_clickseg.binding import own_layers
from napari_clickseg.binding.hooks import Hooks, camera_of, connected
from napari_clickseg.binding.keys import KEYS, Key, bind_keys
from napari_clickseg.binding.painting import watch_painting
from napari_clickseg.binding.planes import (
    Plane,
    PlaneImage,
    data_shape,
    displayed_plane,
    plane_image,
)
from napari_clickseg.binding.points import ClickPoints
from napari_clickseg.errors import ClickSegError, ImageError
from napari_clickseg.memory import DENSE_PIXELS

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Layer, Points

    from napari_clickseg.binding.click_styles import ClickStyle

__all__ = ["ImageStage"]

MAX_CHANNELS = 3


class ImageStage(Hooks):
    """Image, plane and clicks of one viewer.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer itself, not a proxy of it.
    """

    #: What keys do on the layers of this stage.
    keys: tuple[Key, ...] = KEYS

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer: Callable[[], ViewerModel | None] = weakref.ref(viewer)
        self.image_layer: Image | None = None
        self.points: ClickPoints | None = None
        self.plane: Plane | None = None
        self.use_channels = False
        self._quiet = 0
        self._image_stops: list[Callable[[], None]] = []
        self._points_stops: list[Callable[[], None]] = []
        layers, dims = viewer.layers.events, viewer.dims.events
        # After napari's own listeners, for which the layer must be settled first.
        layers.inserted.connect(self._layer_inserted, position="last")
        layers.removed.connect(self._layer_removed, position="last")
        for name in ("current_step", "order", "ndisplay"):
            getattr(dims, name).connect(self._plane_maybe_changed, position="last")
        camera_of(viewer).events.zoom.connect(self._zoomed)

    @property
    def viewer(self) -> ViewerModel:
        """The viewer.

        Raises
        ------
        ImageError
            If it is closed.
        """
        viewer = self._viewer()
        if viewer is None:
            raise ImageError("The viewer of these clicks is closed: open another.")
        return viewer

    @property
    def gone(self) -> bool:
        """Whether the viewer is closed."""
        return self._viewer() is None

    @property
    def in_view(self) -> bool:
        """Whether the image is still in the viewer (which may be closing)."""
        viewer = self._viewer()
        return viewer is not None and self.image_layer in viewer.layers

    @property
    def large(self) -> bool:
        """Whether the plane is too large for planes of labels and the like."""
        image, plane = self.image_layer, self.plane
        if image is None or plane is None:
            return False
        height, width = plane.shape_in(data_shape(image))
        return height * width > DENSE_PIXELS

    # -------------------------------------------------------------------- choosing

    def images(self) -> list[Image]:
        """Return the images to choose from, top first."""
        return own_layers.image_layers(self.viewer)

    def choose_image(self) -> Image | None:
        """Return the image that is selected, or else the topmost visible one."""
        images = self.images()
        active = self.viewer.layers.selection.active
        if active in images:
            return active
        visible = [image for image in images if image.visible]
        return (visible or images or [None])[0]

    def set_image_layer(self, image: Image | None) -> None:
        """Click on this image from now on; None: on none."""
        if image is self.image_layer:
            return
        self._leave_image()
        self.image_layer = image
        if image is not None:
            self._image_stops = [
                connected(image.events.data, self._image_data_changed),
                connected(image.events.name, self._tell_changed),
            ]
            self._follow_plane()
            self._enter_image(image)
            self.make_ready()
        self.changed.emit()

    # --------------------------------------------------------------------- layers

    def make_ready(self) -> None:
        """Add those of our layers that are missing, ready for the first click."""
        raise NotImplementedError

    def activate(self) -> None:
        """Select the click layer in the mode that adds clicks."""
        if self.points is not None:
            layer = self.points.layer
            self.viewer.layers.selection.active = layer
            layer.mode = "add"

    def plane_source(self) -> PlaneImage:
        """Return what the session reads of the plane on screen.

        Raises
        ------
        ImageError
            If there is no image, or no plane of it on screen.
        """
        viewer = self.viewer  # says so if it is closed
        if self.image_layer is None:
            raise ImageError("There is no image yet: open one in napari first.")
        if self.plane is None:
            displayed_plane(viewer, self.image_layer)  # says what is wrong
            raise ImageError("No plane of the image is on screen.")
        return plane_image(self.channel_layers(), self.plane)

    def channel_layers(self, image: Image | None = None) -> list[Image]:
        """Return the layers that the model sees: the image, or visible channels."""
        image = image or self.image_layer
        if image is None:
            return []
        if not self.use_channels or image.rgb:
            return [image]
        shape = data_shape(image)
        others = [
            layer
            for layer in self.images()
            if layer is not image
            and layer.visible
            and not layer.rgb
            and data_shape(layer) == shape
        ]
        return [image, *others][:MAX_CHANNELS]

    def close(self) -> None:
        """Let go of all layers and of the viewer; they stay as they are."""
        self._forget_layers()
        self._stop(self._image_stops)
        self.image_layer = None
        viewer = self._viewer()
        if viewer is not None:
            layers, dims = viewer.layers.events, viewer.dims.events
            layers.inserted.disconnect(self._layer_inserted)
            layers.removed.disconnect(self._layer_removed)
            for name in ("current_step", "order", "ndisplay"):
                getattr(dims, name).disconnect(self._plane_maybe_changed)
            camera_of(viewer).events.zoom.disconnect(self._zoomed)
        self._viewer = _no_viewer  # also where somebody holds it still

    def _take_points(self, layer: Points, style: ClickStyle | None = None) -> None:
        points = ClickPoints(
            layer, self._points_edited, self._point_elsewhere, self._hovered, style
        )
        self.points = points
        self._points_stops += [
            points.disconnect,
            *self._tie(layer, points=True),
        ]

    def _tie(self, layer: Layer, *, points: bool = False) -> list[Callable[[], None]]:
        """Keep a layer of ours on the image's grid, with our keys; returns how to stop.

        Parameters
        ----------
        layer : Layer
        points : bool
            Whether it is the layer of clicks.
        """
        assert self.image_layer is not None
        return [
            own_layers.follow_grid(self.image_layer, layer),
            bind_keys(layer, self._key_caller(), points=points, keys=self.keys),
        ]

    def _forget_layers(self) -> None:
        self._stop(self._points_stops)
        self.points = None
        self.plane = None

    def _passing_layers(self) -> list[Layer]:
        """Return the layers that go when another image is clicked on."""
        return [] if self.points is None else [self.points.layer]

    def _leave_image(self) -> None:
        """Take the passing layers away; what was made stays."""
        ours = self._passing_layers()
        self._forget_layers()
        self._stop(self._image_stops)
        viewer = self.viewer
        with self._quietly():
            for layer in ours:
                if layer in viewer.layers:
                    viewer.layers.remove(layer)

    @staticmethod
    def _stop(stops: list[Callable[[], None]]) -> None:
        while stops:
            stops.pop()()

    # --------------------------------------------------------------------- events

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """Do not take our own changes for the user's."""
        self._quiet += 1
        try:
            yield
        finally:
            self._quiet -= 1

    def _layer_inserted(self, event: Any) -> None:
        if self._quiet:
            return
        if self.image_layer is None and event.value in self.images():
            self._later(self._choose_if_none)
        self.changed.emit()

    def _choose_if_none(self) -> None:
        if self.image_layer is None:
            self.set_image_layer(self.choose_image())

    def _layer_removed(self, event: Any) -> None:
        if self._quiet:
            return
        layer = event.value
        if layer is self.image_layer:
            self._later(self._image_gone)
        elif self.points is not None and layer is self.points.layer:
            self._stop(self._points_stops)
            self.points = None
            self._while_image_stays(self._points_gone)
        else:
            self._answer_layer_gone(layer)
        self.changed.emit()

    def _while_image_stays(self, function: Callable[[], None]) -> None:
        """Call soon, if the image is still there then.

        Who closes a viewer or deletes all layers throws no work away: napari removes
        our layers before the image.
        """

        def call() -> None:
            if self.image_layer is not None and self.image_layer in self.viewer.layers:
                function()

        self._later(call)

    def _answer_layer_gone(self, layer: Layer) -> None:
        """React to a layer being deleted that may be one of ours."""

    def _image_gone(self) -> None:
        if self.image_layer is not None and self.image_layer not in self.viewer.layers:
            self.set_image_layer(None)
            self.set_image_layer(self.choose_image())

    def _image_data_changed(self, _event: Any = None) -> None:
        image = self.image_layer
        if image is not None:
            self._image_replaced(image)

    def _plane_maybe_changed(self, _event: Any = None) -> None:
        self._follow_plane()

    def _zoomed(self, _event: Any = None) -> None:
        if self.points is not None:
            self.points.fit_zoom(float(camera_of(self.viewer).zoom))

    def _follow_plane(self) -> None:
        image = self.image_layer
        if image is None:
            return
        plane, trouble = None, ""
        try:
            plane = displayed_plane(self.viewer, image)
        except ClickSegError as error:
            trouble = str(error)
        if plane != self.plane:
            self.plane = plane
            self._plane_changed()
        if trouble:
            self.say(trouble, "error")

    def _watch_painting(
        self, layer: Labels, painted: Callable[[], None]
    ) -> list[Callable[[], None]]:
        """Call ``painted`` after the user has painted; returns how to stop."""
        this = weakref.ref(self)

        def look() -> None:
            stage = this()
            if stage is not None and layer in stage.painted_layers():
                painted()

        return watch_painting(
            layer,
            look,
            later=self._later,
            defers=lambda: self._defers,
            quiet=lambda: bool(self._quiet),
        )

    def painted_layers(self) -> list[Labels | None]:
        """Return the layers in which painting means something now."""
        return []

    def _tell_changed(self, _event: Any = None) -> None:
        self.changed.emit()

    def _key_caller(self) -> Callable[[str], None]:
        """Return what a key calls; it does not keep this object alive."""
        this = weakref.ref(self)

        def call(action: str) -> None:
            stage = this()
            if stage is not None:
                stage.act(action)

        return call


def _no_viewer() -> None:
    return None
