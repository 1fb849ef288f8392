"""Objects of any Labels layer taken up, corrected by clicks and put back there."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clickseg.binding import own_layers
from napari_clickseg.binding.controller import OBJECTS
from napari_clickseg.binding.drawing import Drawing
from napari_clickseg.binding.planes import Plane
from napari_clickseg.binding.writing import box_reader, layer_plane
from napari_clickseg.errors import MaskError, SessionError

if TYPE_CHECKING:
    from napari.layers import Image, Labels

    from napari_clickseg.worker import Job

__all__ = ["TakingUp", "check_takes_up"]

#: Layers may lie beside the image by so much of a pixel.
TOLERANCE = 0.25


class TakingUp(Drawing):
    """A first click inside an object takes it up, if a layer is chosen for that."""

    @property
    def take_up_layer(self) -> Labels | None:
        """The layer whose objects a click takes up."""
        return self.objects_layer if self.takes_up else None

    def take_up_choices(self) -> list[Labels]:
        """Return the Labels layers to choose from, whether they fit or not."""
        from napari.layers import Labels

        return [
            layer
            for layer in self.viewer.layers
            if isinstance(layer, Labels) and own_layers.takes_objects(layer)
        ]

    def choose_take_up(self, layer: Labels | None) -> None:
        """Let clicks take up the objects of a layer; None: of none."""
        self._guarded(lambda: self._choose_take_up(layer))

    def _choose_take_up(self, layer: Labels | None) -> Job | None:
        """Read the layer in the worker; if its labels can be used, work on them."""
        image = self.image_layer
        if layer is None or layer is self.objects_layer:
            self.takes_up = layer is not None
            if self.takes_up:
                self.say(HINT)
            self.changed.emit()
            return None
        if image is None:
            self.plane_source()  # says what is wrong
            return None
        check_takes_up(layer, image)
        context, _ = self._open(None)
        report = context.latest
        if report is not None and any(r.drafted for r in context.reports.values()):
            raise SessionError(
                "An object is in work. Commit it (N) or discard it (Q) before you take "
                "up objects of another layer."
            )
        engine = context.engine
        planes = list(context.opened)
        readers = {each: box_reader(layer, each) for each in planes}

        def take(job: Job) -> None:
            if job.error is not None:
                self.failed(job.error)
            elif context is self.context and layer in self.viewer.layers:
                self.takes_up = True
                self.set_objects_layer(layer, tell=False)
                context.keep(OBJECTS, layer)
                self._begin_with(job.value)
                self._put_on_top()
                self.activate()
                self.say(HINT)

        return self.background(lambda: engine.check_labels(readers, layer.data), take)

    def _begin_with(self, labels: dict[Plane, Any]) -> None:
        for plane, found in labels.items():
            self._edit_quietly(partial(_begin, found), plane=plane, answer=False)
        self.changed.emit()

    def _put_on_top(self) -> None:
        """Let the layer taken up from hide neither clicks nor mask."""
        layers, points = self.viewer.layers, self.points
        ours = (self.mask_layer, None if points is None else points.layer)
        for layer in ours:
            if layer is not None and layer in layers:
                layers.move(layers.index(layer), len(layers))

    def _plane_changed(self) -> None:
        super()._plane_changed()
        context, layer, plane = self.context, self.objects_layer, self.plane
        if context is None or layer is None or plane is None:
            return
        if plane not in context.opened:
            return
        if layer.ndim < plane.ndim:
            # Other planes have the same objects.
            self._send_objects(plane, replaced=True)

    def _forget_layers(self) -> None:
        self.takes_up = False
        super()._forget_layers()


def _begin(found: Any, engine: Any, plane: Plane, options: Any) -> Any:
    return engine.begin_with(plane, options, found)


HINT = "Click inside an object to take it up. N puts it back under its number."


def check_takes_up(layer: Labels, image: Image) -> None:
    """Refuse a layer whose objects cannot be corrected in place.

    Raises
    ------
    MaskError
        With what to do.
    """
    name = layer.name
    if layer.multiscale:
        raise MaskError(
            f"'{name}' has several resolutions, which would no longer agree. Take its "
            f"finest level: viewer.add_labels(viewer.layers[{name!r}].data[0])."
        )
    own_layers.check_objects(layer, image)
    data = layer.data
    lazy = type(data).__module__.startswith("dask.")
    if lazy or (isinstance(data, np.ndarray) and not data.flags.writeable):
        raise MaskError(
            f"'{name}' cannot be written to (it is {'lazy' if lazy else 'read-only'}). "
            "Make a copy in memory: right-click it in the layer list, Duplicate; or "
            f"viewer.add_labels(numpy.array(viewer.layers[{name!r}].data))."
        )
    if not _on_the_same_grid(layer, image):
        raise MaskError(
            f"'{name}' does not lie pixel on pixel on '{image.name}': scale, place or "
            "rotation differ. Give both the same transform."
        )


def _on_the_same_grid(layer: Labels, image: Image) -> bool:
    plane = Plane((image.ndim - 2, image.ndim - 1), (0,) * (image.ndim - 2) + (-1, -1))
    theirs = layer_plane(layer, plane)
    height, width = plane.shape_in(image.data.shape)
    pixel = np.abs(np.asarray(image.scale)[-2:])
    for corner in ((0, 0), (height - 1, 0), (0, width - 1)):
        mine = np.asarray(image.data_to_world(plane.to_data(corner)))[-2:]
        other = np.asarray(layer.data_to_world(theirs.to_data(corner)))[-2:]
        if (np.abs(mine - other) > TOLERANCE * pixel).any():
            return False
    return True
