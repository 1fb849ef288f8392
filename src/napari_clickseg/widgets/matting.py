"""The dock "Matting": click the object, matte it, correct alpha."""

from __future__ import annotations

from functools import partial
from typing import Any

from qtpy.QtWidgets import QWidget

from napari_clickseg.widgets.maps import MapWidget
from napari_clickseg.widgets.parts import (
    BLUE,
    Choice,
    Halves,
    SignSwitch,
    button,
    form,
    number,
)

__all__ = ["MattingWidget"]


class MattingWidget(MapWidget):
    """Cut objects with hair, glass or blur out of photos.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(
            napari_viewer,
            "matting",
            ("Matte it", "Make the trimap of the object, and ask for its alpha"),
        )

    def own_rows(self) -> list[QWidget]:
        """Return what clicks mean before, and after, there is a trimap."""
        clicks = self.clicks
        self.sign = SignSwitch(self._sign)
        self.mode = Halves(
            (("click", "Set alpha", BLUE), ("push", "Push up / down", BLUE)),
            clicks.set_mode,
            "A click says which alpha is right, or pushes it a little",
        )
        self.value = number(
            "Alpha where you click: 1 object, 0 background. Shift+click: 0. "
            "I takes what is under the mouse.",
            (0.0, 1.0),
            0.05,
            clicks.choose_value,
        )
        self.value_row = form(("Alpha is", self.value.native))
        return [self.sign, self.mode, self.value_row]

    def own_sections(self) -> dict[str, tuple[str, Any]]:
        """Return the sections Trimap and View."""
        self.trimap = TrimapSection(self.clicks)
        self.view = MatteViewSection(self.clicks)
        return {"trimap": ("Trimap", self.trimap), "view": ("View", self.view)}

    def mouse_rows(self) -> list[tuple[str, str]]:
        """Return what the mouse does."""
        return [
            ("Click", "Object; then: alpha as chosen, or up"),
            ("Shift+Click", "Background; then: alpha 0, or down"),
        ]

    def refresh_own(self, report: Any) -> None:
        """Show what clicks mean now."""
        clicks, outlining = self.clicks, self.clicks.outlining
        self.sign.setVisible(outlining or clicks.mode == "push")
        self.sign.show_sign(clicks.positive)
        self.mode.setVisible(not outlining)
        self.mode.show_value(clicks.mode)
        self.value_row.setVisible(not outlining and clicks.mode == "click")
        with self.value.changed.blocked():
            self.value.value = clicks.wished
        self.begin.setVisible(outlining)
        self.begin.setEnabled(report is not None and report.drafted)
        self.keep.setEnabled(report is not None and report.drafted and not outlining)

    def described_under(self, value: Any) -> str:
        """Return alpha under the mouse, and the one that is wished for."""
        if self.clicks.outlining:
            return ""
        wish = (
            f"\N{PLUS-MINUS SIGN}{self.clicks.push:g}"
            if self.clicks.mode == "push"
            else f"{self.clicks.wished:.2f}"
        )
        return f"alpha {float(value):.2f} \N{RIGHTWARDS ARROW} {wish}"

    def _sign(self, positive: bool) -> None:
        self.clicks.set_sign(positive)
        self.clicks.activate()

    def _begin(self) -> None:
        self.clicks.act("matte")


class TrimapSection(QWidget):
    """Where the trimap comes from."""

    def __init__(self, clicks: Any) -> None:
        super().__init__()
        self._clicks = clicks
        self._layer: Any = None
        self.layer = Choice(
            self._chosen,
            "A trimap (0, 128, 255), or a mask whose edge becomes the unknown band",
        )
        self.take = button("Use it", "Instead of clicks on the object", self._take)
        self.band = number(
            "Half the width of the band around the object where alpha is asked for",
            (0.0, 1000.0),
            1.0,
            clicks.set_band,
            unit="px",
            at_lowest="by its size",
        )
        paint = button(
            "Paint the trimap",
            "With napari's brush: 1 background, 2 unknown, 3 object",
            partial(clicks.act, "paint_trimap"),
        )
        inside = form(
            ("From layer", self.layer),
            ("", self.take),
            ("Band", self.band.native),
            ("", paint),
        )
        self.setLayout(inside.layout())

    def refresh(self) -> None:
        """Show how things are."""
        layers = self._clicks.trimap_choices()
        if self._layer not in layers:
            self._layer = layers[-1] if layers else None
        self.layer.offer([(layer.name, layer) for layer in layers], self._layer)
        self.take.setEnabled(self._layer is not None)
        with self.band.changed.blocked():
            self.band.value = self._clicks.band or 0

    def _chosen(self, layer: Any) -> None:
        self._layer = layer

    def _take(self) -> None:
        self._clicks.take_layer(self._layer)


class MatteViewSection(QWidget):
    """How alpha is shown, and the object over another background."""

    def __init__(self, clicks: Any) -> None:
        super().__init__()
        self._clicks = clicks
        self.view = Halves(
            (("dim", "Over the image", BLUE), ("alpha", "Alpha alone", BLUE)),
            clicks.set_view,
            "How alpha is drawn",
        )
        self.cut = button(
            "Cut out",
            "The object by itself, with its own colours at the edge; it follows the "
            "clicks from now on",
            partial(clicks.act, "cut_out"),
        )
        self.background = Choice(
            clicks.show_over, "Hide the image and show the object over another one"
        )
        inside = form(("", self.view), ("", self.cut), ("Show over", self.background))
        self.setLayout(inside.layout())

    def refresh(self) -> None:
        """Show how things are."""
        clicks = self._clicks
        self.view.show_value(clicks.view)
        self.cut.setEnabled(not clicks.outlining)
        choices: list[tuple[str, Any]] = [("nothing", None)]
        choices += [(layer.name, layer) for layer in clicks.backgrounds()]
        self.background.offer(choices, object())
        self.background.setEnabled(not clicks.outlining)
