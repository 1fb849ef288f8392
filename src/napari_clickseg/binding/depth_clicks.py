"""Depth in a viewer: clicks carry a distance, the map can be seen as a surface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from napari_clickseg.binding.click_styles import ClickStyle, SignStyle, ValueStyle
from napari_clickseg.binding.dense_console import DenseConsole
from napari_clickseg.binding.dense_layers import DEPTH, add_values
from napari_clickseg.binding.dense_reports import DenseReport
from napari_clickseg.binding.depth_surface import add_surface
from napari_clickseg.binding.hooks import camera_of
from napari_clickseg.boxes import Box
from napari_clickseg.errors import SessionError

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image
    from numpy.typing import NDArray

    from napari_clickseg.binding.shelf import ModelShelf
    from napari_clickseg.worker import Channel, Job

__all__ = ["ViewerDepth"]

#: Equal steps look equal, also without full colour vision: near is dark.
COLORMAP = "viridis"
SURFACE = "surface"
#: How far the first view of a surface is turned, as napari's camera has it.
TILT = (0.0, 18.0, -12.0)


class ViewerDepth(DenseConsole):
    """The depth of one viewer: layers, jobs, and the names for scripts.

    Made by ``napari_clickseg.attach(viewer, task="depth")``. ``result_layer`` holds the
    depths, float32, in :attr:`unit`.
    """

    task: ClassVar[str] = "depth"
    noun: ClassVar[str] = "depth"
    first_hint = "Press 'Estimate', then click where you know better. Or just click."

    def __init__(
        self, viewer: ViewerModel, channel: Channel, shelf: ModelShelf
    ) -> None:
        #: Depth that the next click wishes for; None: nobody chose one yet.
        self._wished: float | None = None
        #: Whether there are depths to be seen.
        self._drafted = False
        #: Whether the contrast follows the depths.
        self.fits_contrast = True
        super().__init__(viewer, channel, shelf)

    # -------------------------------------------------------------------- choosing

    @property
    def unit(self) -> str:
        """Of the depths."""
        report = self.report
        return "m" if report is None or not report.unit else str(report.unit)

    @property
    def wished(self) -> float:
        """Depth that the next click wishes for; first the middle of what there is."""
        if self._wished is not None:
            return self._wished
        report = self.report
        if report is None or not report.drafted:
            return 1.0
        return round(sum(report.span) / 2, 2)

    def choose_value(self, value: float) -> None:
        """Wish for this depth from now on; above 0."""
        if not (value > 0 and np.isfinite(value)):
            self.say(f"A depth is a number above 0 {self.unit}, not {value}.", "error")
            return
        self._wished = float(value)
        self.changed.emit()

    def pick(self, value: Any) -> None:
        """Wish for the depth under the mouse."""
        if not float(value) > 0:
            raise SessionError("There is no depth under the mouse yet.")
        self.choose_value(round(float(value), 3))

    def fit_contrast(self) -> None:
        """Stretch the colours over the depths that there are."""
        report, layer = self.report, self.result_layer
        if report is None or layer is None or not report.drafted:
            return
        low, high = report.span
        with self._quietly():
            layer.contrast_limits_range = (0.0, max(high, 1e-6) * 1.2)
            layer.contrast_limits = (low, max(high, low + 1e-6))

    # --------------------------------------------------------------------- layers

    def add_result(self) -> Image:
        """Add the empty map of depths, with a colour bar where napari has one."""
        assert self.image_layer is not None
        layer = add_values(
            self.viewer,
            self.image_layer,
            self.new_name(self.noun),
            DEPTH,
            colormap=COLORMAP,
            limits=(0.0, 10.0),
            unit=self.unit,
        )
        bar = getattr(layer, "colorbar", None)
        if bar is not None:
            bar.visible = True
        layer.visible = False  # until there is something to see
        return layer

    def click_style(self) -> ClickStyle:
        """Return how clicks look: values, or signs where they push."""
        if self.mode == "push":
            return SignStyle(values=True)
        return ValueStyle(lambda: self.wished, lambda: self.wished, self.unit)

    def _show_change(self, report: DenseReport) -> None:
        super()._show_change(report)
        if self.result_layer is None:
            return
        first = report.drafted and not self._drafted
        if report.drafted != self._drafted:
            # Once, when it comes or goes: afterwards it is the user's to hide.
            self._drafted = report.drafted
            self.result_layer.visible = report.drafted
        if self.fits_contrast and report.drafted and (first or report.settled):
            self.fit_contrast()

    def _result_gone(self) -> None:
        self._drafted = False

    def _forget_layers(self) -> None:
        self._drafted = False
        super()._forget_layers()

    # --------------------------------------------------------------------- actions

    def _act_surface(self) -> None:
        """Show the depths as a surface in 3-D, in the colours of the image."""
        context, plane, report = self.context, self.plane, self.report
        if context is None or plane is None or report is None or not report.drafted:
            raise SessionError("There are no depths yet: press 'Estimate' first.")
        engine, source = context.engine, self.plane_source()

        def work() -> tuple[NDArray[Any], NDArray[Any]]:
            session = engine.session(plane)
            assert session is not None
            image = engine.source(plane, source)
            return image.window(Box.of_shape(session.shape)), session.result

        self.background(work, self._surface_done)

    def _surface_done(self, job: Job) -> None:
        if job.error is not None:
            self.failed(job.error)
            return
        image, context = self.image_layer, self.context
        if image is None or context is None or job.value is None:
            return
        old = self._found(SURFACE)
        with self._quietly():
            if old is not None:
                self.viewer.layers.remove(old)
            layer = add_surface(
                self.viewer, image, self.new_name("surface"), *job.value
            )
            context.keep(SURFACE, layer)
        self._go_3d(layer)
        self.say("In 3-D: drag to turn. The cube button (or Ctrl+Y) leads back.")

    def _go_3d(self, surface: Any) -> None:
        """Turn the view so that depth shows; what is flat comes back with 2-D."""
        viewer = self.viewer
        flat = [
            layer for layer in viewer.layers if layer is not surface and layer.visible
        ]
        for layer in flat:
            layer.visible = False
        viewer.dims.ndisplay = 3
        camera = camera_of(viewer)
        # What is straight ahead is another angle in other versions of napari.
        ahead = type(camera)().angles
        camera.angles = tuple(a + b for a, b in zip(ahead, TILT, strict=True))

        def back(_event: Any = None) -> None:
            if viewer.dims.ndisplay == 2:
                viewer.dims.events.ndisplay.disconnect(back)
                surface.visible = False
                for layer in flat:
                    layer.visible = True

        viewer.dims.events.ndisplay.connect(back)

    def _hint(self, report: DenseReport | None) -> str:
        if report is None or not report.drafted:
            return self.first_hint
        if self.mode == "push":
            return "Left click: farther away. Right or Shift+click: nearer."
        return (
            "Set a distance and click where it holds. I takes the one under the mouse."
        )
