"""Matting in a viewer: click the object, matte it, correct alpha."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from napari_clickseg.binding.click_styles import ClickStyle, SignStyle, ValueStyle
from napari_clickseg.binding.dense_console import DenseConsole
from napari_clickseg.binding.dense_engine import DenseEngine
from napari_clickseg.binding.dense_layers import (
    ALPHA,
    CUTOUT,
    TRIMAP,
    add_cutout,
    add_trimap,
    add_values,
    alpha_colormap,
    trimap_of,
    trimap_strokes,
    write_values,
)
from napari_clickseg.binding.dense_reports import DenseReport
from napari_clickseg.binding.hooks import connected
from napari_clickseg.binding.matting_engine import MattingEngine
from napari_clickseg.binding.planes import Plane, data_shape
from napari_clickseg.binding.writing import read_box, write_box
from napari_clickseg.boxes import Box
from napari_clickseg.errors import MaskError, SessionError
from napari_clickseg.preferences import preferences

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Layer
    from numpy.typing import NDArray

    from napari_clickseg.binding.shelf import ModelShelf, Tell
    from napari_clickseg.worker import Channel, Job

__all__ = ["ViewerMatting"]

#: What a Labels layer may give: a trimap if it holds nothing else, else objects.
TRIMAP_NUMBERS = ({0, 128, 255}, {0, 1, 2, 3})


class ViewerMatting(DenseConsole):
    """The alpha of one viewer: layers, jobs, and the names for scripts.

    Made by ``napari_clickseg.attach(viewer, task="matting")``. ``result_layer`` holds
    alpha, ``trimap_layer`` what is known: paint in it with 1 background, 2 unknown,
    3 object.
    """

    task: ClassVar[str] = "matting"
    noun: ClassVar[str] = "alpha"
    singular: ClassVar[str] = "alpha"
    first_hint = "Click inside the object that is to be cut out."

    def __init__(
        self, viewer: ViewerModel, channel: Channel, shelf: ModelShelf
    ) -> None:
        self.trimap_layer: Labels | None = None
        self._trimap_stops: list[Callable[[], None]] = []
        self._trimap_shown: dict[Plane, Any] = {}
        #: Alpha that the next click wishes for, 0 to 1; with Shift it is 0.
        self.wished = 1.0
        #: How alpha is drawn: "dim" or "alpha".
        self.view = "dim"
        #: Whether a cut-out follows what is in work.
        self.cutting = False
        #: Whether there is alpha to be seen.
        self._matted = False
        super().__init__(viewer, channel, shelf)

    # -------------------------------------------------------------------- choosing

    def choose_value(self, value: float) -> None:
        """Wish for this alpha from now on."""
        self.wished = float(np.clip(value, 0, 1))
        self.changed.emit()

    def pick(self, value: Any) -> None:
        """Wish for the alpha under the mouse."""
        self.choose_value(round(float(value), 2))

    def set_view(self, view: str) -> None:
        """Draw alpha over the image ("dim"), or by itself ("alpha")."""
        self.view = view
        if self.result_layer is not None:
            self.result_layer.colormap = alpha_colormap(view)
        self.changed.emit()

    def set_band(self, band: float | None) -> None:
        """Make the unknown band around the object so wide; None: by its size."""
        self.band = band or None
        preferences().set("maps.band", self.band or 0)
        if self.outlining:
            self._edit_quietly(_preview, answer=False)
        self.changed.emit()

    @property
    def outlining(self) -> bool:
        """Whether clicks are on the object, since there is no trimap yet."""
        report = self.report
        return report is None or bool(report.outlining)

    def trimap_choices(self) -> list[Labels]:
        """Return the Labels layers that a trimap can be made of."""
        from napari.layers import Labels

        image = self.image_layer
        return [
            layer
            for layer in self.viewer.layers
            if isinstance(layer, Labels)
            and image is not None
            and layer is not self.trimap_layer
            and tuple(layer.data.shape) == data_shape(image)
        ]

    def take_layer(self, layer: Labels, label: int | None = None) -> None:
        """Use a Labels layer: a trimap, or a mask whose edge becomes unknown.

        Parameters
        ----------
        layer : Labels
            Of the image's shape. What holds only 0, 128 and 255 is a trimap.
        label : int, optional
            The object to take of several; by default the selected label where it is
            there, else all of them.
        """

        def take() -> None:
            if self.plane is None:
                raise SessionError("No plane of the image is on screen.")
            values = read_box(layer, self.plane)
            numbers = set(np.unique(values).tolist())
            if not numbers - {0}:
                raise MaskError(f"'{layer.name}' is empty on this plane.")
            if numbers <= TRIMAP_NUMBERS[0] and 128 in numbers:
                self._call("set_trimap", values, predict=False)
                return
            chosen = label if label is not None else int(layer.selected_label)
            mask = values == chosen if chosen in numbers - {0} else values != 0
            self._call("trimap_from_mask", mask, self.band, predict=False)

        self._guarded(take)

    # --------------------------------------------------------------------- layers

    def new_engine(self, tell: Tell) -> DenseEngine:
        """Return what works in the worker, for one image."""
        return MattingEngine(self._shelf, tell)

    def add_result(self) -> Image:
        """Add the empty alpha."""
        assert self.image_layer is not None
        return add_values(
            self.viewer,
            self.image_layer,
            self.new_name(self.noun),
            ALPHA,
            colormap=alpha_colormap(self.view),
            limits=(0.0, 1.0),
        )

    def make_ready(self) -> None:
        """Add those of our layers that are missing, ready for the first click."""
        super().make_ready()
        image = self.image_layer
        if image is None or not self.in_view:
            return
        if self.result_layer is not None and not self._matted:
            # Nothing is known yet: the image shows as it is.
            self.result_layer.visible = False
        if self.trimap_layer is None:
            with self._quietly():
                layer = self._found(TRIMAP) or add_trimap(
                    self.viewer, image, self.new_name("trimap")
                )
                self._take_trimap(layer)
            self.activate()

    def click_style(self) -> ClickStyle:
        """Return how clicks look: signs on the object and for pushes, else values."""
        if self.mode == "push" or self.outlining:
            return SignStyle(values=True)
        return ValueStyle(lambda: self.wished, lambda: 0.0)

    def _take_trimap(self, layer: Labels) -> None:
        assert self.context is not None
        self.trimap_layer = layer
        self.context.keep(TRIMAP, layer)
        layers = self.viewer.layers
        if self.points is not None and self.points.layer in layers:
            layers.move(layers.index(layer), layers.index(self.points.layer))
        self._trimap_stops += [
            *self._watch_painting(layer, self._painted),
            *self._tie(layer),
            connected(layer.events.name, self._tell_changed),
        ]

    def painted_layers(self) -> list[Labels | None]:
        """Return the layers in which painting means something now."""
        return [self.trimap_layer]

    def _painted(self) -> None:
        plane, layer = self.plane, self.trimap_layer
        if plane is None or layer is None:
            return
        trimap = trimap_of(read_box(layer, plane))
        shown = self._trimap_shown.get(plane)
        if shown is not None and np.array_equal(shown, trimap):
            return
        self._trimap_shown[plane] = trimap
        self._edit_quietly(
            lambda engine, plane, o: engine.call(
                plane, o, "set_trimap", trimap, predict=False
            )
        )

    def _result_gone(self) -> None:
        self._matted = False

    def _forget_layers(self) -> None:
        self._stop(self._trimap_stops)
        self.trimap_layer = None
        self._trimap_shown.clear()
        self.cutting = self._matted = False
        super()._forget_layers()

    def _answer_layer_gone(self, layer: Layer) -> None:
        if layer is self.trimap_layer:
            self._stop(self._trimap_stops)
            self.trimap_layer = None
            self._trimap_shown.clear()
        super()._answer_layer_gone(layer)

    # --------------------------------------------------------------------- showing

    def _show_change(self, report: DenseReport) -> None:
        super()._show_change(report)
        layer, plane = self.trimap_layer, report.plane
        if layer is not None and self._trimap_shown.get(plane) is not report.trimap:
            known = report.trimap
            shape = plane.shape_in(layer.data.shape)
            drawn: NDArray[Any] = np.zeros(shape, np.uint8)
            if known is not None:
                drawn = trimap_strokes(known)
            self._trimap_shown[plane] = known
            changed = Box.around(read_box(layer, plane) != drawn)
            write_box(layer, plane, changed, drawn[changed.slices])
        matted = not report.outlining and report.drafted
        if self.result_layer is not None and matted != self._matted:
            # Once, when it comes or goes: afterwards it is the user's to hide.
            self._matted = matted
            self.result_layer.visible = matted
            if layer is not None:
                layer.visible = not matted
        if self.cutting and report.settled and not report.outlining:
            self._later(lambda: self.act("cut_out"))

    # --------------------------------------------------------------------- actions

    def _act_matte(self) -> None:
        """Make a trimap of the object that was clicked, and ask for alpha."""
        self.edit(_matte)

    def matte(self) -> Any:
        """Make a trimap of the object that was clicked, and answer alpha."""
        return self._change(lambda: self.edit(_matte))

    def _act_paint_trimap(self) -> None:
        """Take the brush for the trimap."""
        layer = self.trimap_layer
        if layer is None:
            raise SessionError("There is no trimap layer: choose the image again.")
        layer.visible = True
        self.viewer.layers.selection.active = layer
        layer.mode = "paint"
        self.say("Paint 2 where alpha is asked for, 3 the object, 1 the background.")

    def _act_cut_out(self) -> None:
        """Show the object by itself, over whatever layers lie below."""
        context, plane = self.context, self.plane
        report = self.report
        if context is None or plane is None or report is None or report.outlining:
            raise SessionError("There is no alpha yet: click an object and matte it.")
        engine, source = context.engine, self.plane_source()

        def work() -> tuple[Plane, NDArray[Any]]:
            from napari_clickseg.exporting.cutouts import cut_out
            from napari_clickseg.image import ImageSource

            session = engine.session(plane)
            assert session is not None
            image: ImageSource = engine.source(plane, source)
            rgb = image.window(Box.of_shape(session.shape))
            return plane, cut_out(rgb, session.result, bits=8)

        self.background(work, self._cut_done)

    def _cut_done(self, job: Job) -> None:
        if job.error is not None:
            self.failed(job.error)
            return
        image, context = self.image_layer, self.context
        if image is None or context is None or job.value is None:
            return
        plane, pixels = job.value
        with self._quietly():
            layer = self._found(CUTOUT)
            if layer is None:
                layer = add_cutout(
                    self.viewer, image, self.new_name("cut-out"), data_shape(image)
                )
                context.keep(CUTOUT, layer)
                self.activate()
            height, width = pixels.shape[:2]
            write_values(layer, plane, Box(0, 0, height, width), pixels)
        self.cutting = True
        self.changed.emit()

    def show_over(self, background: Image | None) -> None:
        """Show the cut-out over another image, or nothing, in the place of its own."""
        cut, image = self._found(CUTOUT), self.image_layer
        if cut is None or image is None:
            self.act("cut_out")
            return
        layers = self.viewer.layers
        for layer in layers:
            if isinstance(layer, type(image)):
                layer.visible = layer is background or layer is cut
        if background is not None:
            layers.move(layers.index(background), 0)
        if self.trimap_layer is not None:
            self.trimap_layer.visible = False

    def backgrounds(self) -> list[Image]:
        """Return the images that a cut-out can be shown over."""
        return [layer for layer in self.images() if layer is not self.image_layer]

    @property
    def cutout_layer(self) -> Image | None:
        """The cut-out of the image in work, where it was made."""
        layer: Image | None = self._found(CUTOUT)
        return layer

    def _hint(self, report: DenseReport | None) -> str:
        if report is None or (report.outlining and not report.drafted):
            return self.first_hint
        if report.outlining:
            return (
                "Click until the blue part is inside the object, then press 'Matte'. "
                "Grey is where alpha will be asked for."
            )
        if self.mode == "push":
            return "Left click: more of the object. Right or Shift+click: less."
        return "Click where alpha is wrong; Shift+click means background."


def _matte(engine: Any, plane: Plane, options: Any) -> Any:
    return engine.matte(plane, options)


def _preview(engine: Any, plane: Plane, options: Any) -> Any:
    return engine.preview(plane, options)
