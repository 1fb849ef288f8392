"""What keys, buttons and the command palette do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

from napari_clickseg.binding import own_layers
from napari_clickseg.binding.controller import Controller
from napari_clickseg.binding.hooks import camera_of, canvas_size_of
from napari_clickseg.binding.labels_plane import LabelsPlane
from napari_clickseg.binding.planes import full_data
from napari_clickseg.binding.writing import layer_plane, read_box
from napari_clickseg.boxes import Box
from napari_clickseg.errors import SessionError
from napari_clickseg.exporting import load_objects, save_objects
from napari_clickseg.refinement.settings import Method
from napari_clickseg.session import Overlap

if TYPE_CHECKING:
    from napari.layers import Image, Labels

    from napari_clickseg.worker import Job

__all__ = ["Navigation"]

#: One press of a key makes an attention radius larger by this.
RADIUS_STEP = 1.25
#: Objects that are shorter on screen (pixels) are enlarged to this when they are shown.
TOO_SMALL, CLOSER = 24.0, 60.0


class Navigation(Controller):
    """Actions without arguments; none of them waits or raises."""

    #: Emitted with a text that belongs into the clipboard.
    copied = Signal(str)
    _last_method: Method = "g-brs-bmconv"

    def act(self, action: str) -> None:
        """Do what a key or button asks for, and say what went wrong."""
        self._guarded(getattr(self, f"_act_{action}"))

    # ---------------------------------------------------------------------- choices

    def choose(self, image: Image) -> None:
        """Click on this image from now on."""
        self._guarded(lambda: self.set_image_layer(image))

    def choose_objects(self, layer: Labels | None) -> None:
        """Put objects into this layer; None: into a new one."""

        def take() -> None:
            if layer is None and self.image_layer is not None:
                with self._quietly():
                    new = own_layers.add_objects(self.viewer, self.image_layer)
                self.set_objects_layer(new)
                self.activate()
            else:
                self.set_objects_layer(layer)

        self._guarded(take)

    def set_use_channels(self, on: bool) -> None:
        """Show the model all visible images of one shape together, or one."""
        if on != self.use_channels and self.image_layer is not None:
            self.use_channels = on
            self._guarded(self.plane_source)
            self._image_replaced(self.image_layer)

    # ---------------------------------------------------------------------- actions

    def set_sign(self, positive: bool) -> None:
        """Let plain clicks add (True) or take away (False)."""
        self.make_ready()
        if self.points is not None:
            self.points.positive = positive
        self.changed.emit()

    def commit_job(
        self, label: int | None = None, overlap: Overlap | None = None
    ) -> Job:
        """Commit the object in work."""
        if self._objects_touched and self.plane is not None:
            context = self.context
            if context is not None and self.plane in context.opened:
                self._send_objects(self.plane)
        return self.edit(
            lambda engine, plane, o: engine.commit(plane, o, label, overlap),
            answer=False,
        )

    def _act_prepare_image(self) -> None:
        self.preparing.prepare_image()

    def _act_prepare_all(self) -> None:
        self.preparing.prepare_all()

    def _act_prepare_view(self) -> None:
        self.preparing.prepare_view()

    def _act_toggle_sign(self) -> None:
        self.set_sign(not self.positive)

    def _act_propagate(self) -> None:
        """Carry an object through the planes; a second time: stop."""
        if self.propagating.running:
            self.propagating.cancel()
            return
        report = self.report
        label = None
        if report is None or not report.drafted:
            label = self._object_under_mouse() or self.shown_object
            layer = self.objects_layer
            if label is None and layer is not None and report is not None:
                selected = int(layer.selected_label)
                label = selected if selected in report.boxes else None
        self.propagating.start(label)

    def _act_to_stop(self) -> None:
        self.propagating.go_to_stop()

    def _act_undo(self) -> None:
        self.propagating.cancel(quietly=True)
        self.edit(lambda engine, plane, o: engine.call(plane, o, "undo"))

    def _act_redo(self) -> None:
        self.edit(lambda engine, plane, o: engine.call(plane, o, "redo"))

    def _act_commit(self) -> None:
        self.commit_job()

    def _act_discard(self) -> None:
        self.edit(
            lambda engine, plane, o: engine.call(plane, o, "discard"), answer=False
        )

    def _act_copy_as_python(self) -> None:
        """Put a script of what was done on this plane where it can be pasted from."""
        image = self.image_in_python()

        def done(job: Job) -> None:
            if job.error is not None:
                self.failed(job.error)
            else:
                self.copied.emit(job.value)
                self.say("Copied: paste it into an editor or napari's console.")

        context, plane = self._open(None)
        engine = context.engine

        def write() -> str:
            session = engine.session(plane)
            if session is None:
                raise SessionError("There is nothing here yet: click an object first.")
            return session.as_python(image)

        self.background(write, done)

    def export_objects_to(self, path: str) -> None:
        """Write the objects of the plane as the ending of the name says."""
        layer, plane = self.objects_layer, self.plane
        report = self.report
        objects = {} if report is None else report.objects
        classes = {label: each.category for label, each in objects.items()}

        def write() -> str:
            if layer is None or plane is None:
                raise SessionError("There is no object yet: click one, then press N.")
            written = save_objects(path, labels, classes=classes)
            return f"Objects written to {', '.join(str(each) for each in written)}."

        def done(job: Job) -> None:
            if job.error is not None:
                self.failed(job.error)
            else:
                self.say(job.value)

        labels = None if layer is None or plane is None else read_box(layer, plane)
        if isinstance(labels, LabelsPlane):  # takes a while
            self.background(write, done)
        else:
            self._guarded(lambda: self.say(write()))

    def import_objects_from(self, path: str) -> None:
        """Take objects of the plane from a file, in the place of what is there."""

        def read() -> None:
            _, plane = self._open(None)
            self.make_ready()
            shape = self.plane_source().shape
            labels = load_objects(path, shape)
            if labels.shape != shape:
                raise SessionError(
                    f"{path} is of {labels.shape} pixels, the image of {shape}. Choose "
                    "the file of this image."
                )
            self.edit(
                lambda engine, at, o: engine.set_labels(at, o, labels),
                plane=plane,
                answer=False,
            )

        self._guarded(read)

    def image_in_python(self) -> str:
        """Return Python for the plane on screen, in napari's console."""
        layer, plane = self.image_layer, self.plane
        if layer is None or plane is None or self.use_channels:
            return "image"
        level = "[0]" if layer.multiscale else ""
        if plane.ndim == 2:
            return f"viewer.layers[{layer.name!r}].data{level}"
        at = (":" if a in plane.axes else str(i) for a, i in enumerate(plane.fixed))
        return f"viewer.layers[{layer.name!r}].data{level}[{', '.join(at)}]"

    def _act_next_object(self) -> None:
        self._step_object(1)

    def _act_previous_object(self) -> None:
        self._step_object(-1)

    def _act_reopen(self) -> None:
        label = self._object_under_mouse() or self.shown_object
        if label is None:
            raise SessionError(
                "Which object? Put the mouse on it, or show it with G and H, then "
                "press R."
            )
        self.shown_object = None
        self.edit(lambda engine, plane, o: engine.call(plane, o, "reopen", label))

    def _act_start_from_model(self) -> None:
        self.edit(
            lambda engine, plane, o: engine.call(
                plane, o, "start_from_model", predict=False
            )
        )

    def _act_propose(self) -> None:
        """Look for objects; a second time: stop."""
        if self.proposing.running:
            self.proposing.cancel()
        else:
            self.proposing.start()

    def _act_toggle_refinement(self) -> None:
        """Refine by the method used last, or take the network's own answers."""
        method = self.choices.refinement.method
        if method != "none":
            self._last_method = method
        self.choose_option(
            "refinement.method", self._last_method if method == "none" else "none"
        )

    def _act_grow_radius(self) -> None:
        self._scale_radius(RADIUS_STEP)

    def _act_shrink_radius(self) -> None:
        self._scale_radius(1.0 / RADIUS_STEP)

    def _act_delete(self) -> None:
        label = self.shown_object
        if label is None:
            raise SessionError("Which object? Show it with G and H first.")
        self.shown_object = None
        self.edit(
            lambda engine, plane, o: engine.call(plane, o, "delete", label),
            answer=False,
        )

    # ------------------------------------------------------------------------ parts

    def _scale_radius(self, factor: float) -> None:
        if not self.uses_radius:
            raise SessionError(
                "How far a click reaches means something only to the G-BRS "
                "refinements: choose one in the section Refinement."
            )
        self.edit(lambda engine, plane, o: engine.scale_radius(plane, o, factor))

    def _step_object(self, step: int) -> None:
        """Show the next object of this plane."""
        self._open(None)
        report = self.report
        labels = sorted(report.boxes) if report is not None else []
        if not labels:
            raise SessionError("There is no object yet: click one, then press N.")
        if self.shown_object in labels:
            position = labels.index(self.shown_object) + step
        else:
            position = 0 if step > 0 else -1
        self.show_object(labels[position % len(labels)])

    def show_object(self, label: int) -> None:
        """Bring an object into the middle of the view."""
        report, plane, objects = self.report, self.plane, self.objects_layer
        if report is None or plane is None or label not in report.boxes:
            raise SessionError(f"There is no object {label} on this plane.")
        self.shown_object = label
        self.look_at(report.boxes[label])
        if objects is not None:
            objects.selected_label = label
        number, count = sorted(report.boxes).index(label) + 1, len(report.boxes)
        self.say(f"Object {label} ({number} of {count}). R: reopen and correct it.")
        self.changed.emit()

    def look_at(self, box: Box) -> None:
        """Bring a box of the plane into the middle of the view."""
        viewer, image, plane = self.viewer, self.image_layer, self.plane
        if image is not None and plane is not None:
            middle = ((box.top + box.bottom - 1) / 2, (box.left + box.right - 1) / 2)
            world = image.data_to_world(plane.to_data(middle))
            before = viewer.dims.ndim - image.ndim  # axes that the image lacks
            centre = [world[axis - before] for axis in viewer.dims.displayed]
            camera = camera_of(viewer)
            shown = [axis - before for axis in viewer.dims.displayed[-2:]]
            size = max(box.shape) * abs(float(min(image.scale[shown], key=abs)))
            if size * camera.zoom < TOO_SMALL:
                camera.zoom = CLOSER / size
            ends = image.extent.world[:, shown]
            # Without a window the size is but a guess.
            known = canvas_size_of(viewer) if hasattr(viewer, "window") else None
            canvas = (np.inf, np.inf) if known is None else known
            half = np.array(canvas) / (2 * camera.zoom)
            # No farther than the image goes; in the middle where all of it is seen.
            near, far = ends[0] + half, ends[1] - half
            whole = np.where(np.isfinite(half), ends.mean(axis=0), centre[-2:])
            inside = np.where(near < far, np.clip(centre[-2:], near, far), whole)
            camera.center = (*camera.center[:-2], *(float(v) for v in inside))

    def _object_under_mouse(self) -> int | None:
        plane, image, objects = self.plane, self.image_layer, self.objects_layer
        if plane is None or image is None or objects is None:
            return None
        place = image.world_to_data(self.viewer.cursor.position)
        row, col = (int(np.round(value)) for value in plane.to_plane(place))
        data, theirs = full_data(objects), layer_plane(objects, plane)
        height, width = theirs.shape_in(data.shape)
        if not (0 <= row < height and 0 <= col < width):
            return None
        whole = theirs.to_data((row, col))
        label = int(np.asarray(data[tuple(int(v) for v in whole)]))
        report = self.report
        known = report is not None and label in report.boxes
        return label if known or (label and report is None) else None
