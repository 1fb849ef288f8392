"""The layers of click segmentation: clicks, the live mask, committed objects.

A :class:`Stage` adds and removes them and notices what the user does to them. What
follows from that is for its subclass.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari_clickseg.binding import own_layers
from napari_clickseg.binding.effort import WorkingEngine
from napari_clickseg.binding.hooks import connected
from napari_clickseg.binding.planes import data_shape
from napari_clickseg.binding.saving import Saving

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels, Layer

    from napari_clickseg.binding.shelf import ModelShelf
    from napari_clickseg.worker import Channel

__all__ = ["Stage"]


class Stage(Saving[WorkingEngine]):
    """The layers of one viewer; parameters as of :class:`ImageJobs`."""

    def __init__(
        self, viewer: ViewerModel, channel: Channel, shelf: ModelShelf
    ) -> None:
        self.mask_layer: Labels | None = None
        self.objects_layer: Labels | None = None
        self._objects_touched = False
        self._mask_stops: list[Callable[[], None]] = []
        self._objects_stops: list[Callable[[], None]] = []
        super().__init__(viewer, channel, shelf)

    # -------------------------------------------------------------------- choosing

    def objects_choices(self) -> list[Labels]:
        """Return the Labels layers that can take the objects of the image."""
        from napari.layers import Labels

        image = self.image_layer
        return [
            layer
            for layer in self.viewer.layers
            if isinstance(layer, Labels)
            and image is not None
            and own_layers.takes_objects(layer)
            and tuple(layer.data.shape) == data_shape(image)
        ]

    def set_objects_layer(self, layer: Labels | None, *, tell: bool = True) -> None:
        """Put committed objects into this layer; None: into a new one of ours.

        Raises
        ------
        MaskError
            If the layer does not fit the image.
        """
        if layer is not None and self.image_layer is not None:
            own_layers.check_objects(layer, self.image_layer)
        self._stop(self._objects_stops)
        self.objects_layer = layer
        if layer is not None:
            self._objects_stops += [
                *self._watch_painting(layer, self._objects_painted),
                connected(layer.events.set_data, self._objects_maybe_touched),
                connected(layer.events.name, self._tell_changed),
            ]
            if own_layers.is_ours(layer) and self.image_layer is not None:
                self._objects_stops += self._tie(layer)
        if tell:
            self._objects_chosen()
        self.changed.emit()

    # --------------------------------------------------------------------- layers

    def make_ready(self) -> None:
        """Add those of our layers that are missing, ready for the first click."""
        image, viewer = self.image_layer, self.viewer
        if image is None or not self.in_view:
            return
        new_mask = self.mask_layer is None
        with self._quietly():
            if self.objects_layer is None:
                self.set_objects_layer(own_layers.add_objects(viewer, image))
            if self.mask_layer is None:
                self._take_mask(own_layers.add_mask(viewer, image))
            if self.points is None:
                self._take_points(own_layers.add_points(viewer, image))
        self._layers_ready(new_mask)
        self._zoomed()
        self.activate()

    def _take_mask(self, layer: Labels) -> None:
        self.mask_layer = layer
        self._mask_stops += [
            *self._watch_painting(layer, self._mask_painted),
            *self._tie(layer),
        ]

    def _forget_layers(self) -> None:
        for stops in (self._mask_stops, self._objects_stops):
            self._stop(stops)
        self.mask_layer = self.objects_layer = None
        super()._forget_layers()

    def _passing_layers(self) -> list[Layer]:
        ours = super()._passing_layers()
        return ours if self.mask_layer is None else [*ours, self.mask_layer]

    # --------------------------------------------------------------------- events

    def _answer_layer_gone(self, layer: Layer) -> None:
        if layer is self.mask_layer:
            self._stop(self._mask_stops)
            self.mask_layer = None
            self._while_image_stays(self._mask_gone)
        elif layer is self.objects_layer:
            self._stop(self._objects_stops)
            self.objects_layer = None
            self._while_image_stays(self._objects_gone)

    def painted_layers(self) -> list[Labels | None]:
        """Return the layers in which painting means something now."""
        return [self.mask_layer, self.objects_layer]

    def _objects_maybe_touched(self, _event: Any = None) -> None:
        if not self._quiet:
            self._objects_touched = True

    # ------------------------------------------------- what the subclass makes of it

    def _layers_ready(self, new_mask: bool) -> None:
        """React to our layers being complete; the mask may be new."""

    def _objects_chosen(self) -> None:
        """React to another layer for the objects."""

    def _mask_painted(self) -> None:
        """React to painting in the live mask."""

    def _objects_painted(self) -> None:
        """React to painting in the objects."""

    def _mask_gone(self) -> None:
        """React to the mask layer being deleted."""

    def _objects_gone(self) -> None:
        """React to the objects layer being deleted."""
