"""The dock "Depth"."""

from __future__ import annotations

from functools import partial
from typing import Any

from qtpy.QtWidgets import QWidget

from napari_clickseg.widgets.maps import MapWidget
from napari_clickseg.widgets.parts import (
    BLUE,
    Halves,
    SignSwitch,
    button,
    form,
    number,
    switch,
)

__all__ = ["DepthWidget"]


class DepthWidget(MapWidget):
    """Correct depth, or height, by clicks that carry a distance.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__(
            napari_viewer,
            "depth",
            ("Estimate", "Ask the model for the depth of the whole image"),
        )

    def own_rows(self) -> list[QWidget]:
        """Return what clicks mean: a distance, or a push."""
        clicks = self.clicks
        self.mode = Halves(
            (("click", "Set distance", BLUE), ("push", "Push away / near", BLUE)),
            clicks.set_mode,
            "A click says which distance is right, or pushes it a little",
        )
        self.value = number(
            "The distance where you click. I takes the one under the mouse.",
            (0.001, 100000.0),
            0.1,
            clicks.choose_value,
            unit=clicks.unit,
        )
        self.value_row = form(("Distance is", self.value.native))
        self.sign = SignSwitch(self._sign, "+  Farther", "\N{MINUS SIGN}  Nearer")
        return [self.mode, self.value_row, self.sign]

    def own_sections(self) -> dict[str, tuple[str, Any]]:
        """Return the section View."""
        self.view = DepthViewSection(self.clicks)
        return {"view": ("View", self.view)}

    def open_sections(self) -> set[str]:
        """Return the names of sections that are open at first."""
        return {"view"}

    def mouse_rows(self) -> list[tuple[str, str]]:
        """Return what the mouse does."""
        return [
            ("Click", "The chosen distance; or farther"),
            ("Shift+Click", "Nearer, where clicks push"),
        ]

    def refresh_own(self, report: Any) -> None:
        """Show what clicks mean now."""
        clicks = self.clicks
        pushes = clicks.mode == "push"
        self.mode.show_value(clicks.mode)
        self.value_row.setVisible(not pushes)
        self.sign.setVisible(pushes)
        self.sign.show_sign(clicks.positive)
        with self.value.changed.blocked():
            self.value.value = clicks.wished
        self.value.native.setSuffix(f" {clicks.unit}")
        # In 3-D no plane is on screen, and nothing can be clicked.
        flat = clicks.image_layer is None or clicks.plane is not None
        self.begin.setVisible(flat and (report is None or not report.drafted))

    def described_under(self, value: Any) -> str:
        """Return the depth under the mouse, and the one that is wished for."""
        clicks = self.clicks
        if not float(value) > 0:
            return ""
        wish = (
            f"\N{PLUS-MINUS SIGN}{clicks.push:g}"
            if clicks.mode == "push"
            else f"{clicks.wished:.2f}"
        )
        return f"{float(value):.2f} \N{RIGHTWARDS ARROW} {wish} {clicks.unit}"

    def _sign(self, positive: bool) -> None:
        self.clicks.set_sign(positive)
        self.clicks.activate()


class DepthViewSection(QWidget):
    """Colours, and the surface in 3-D."""

    def __init__(self, clicks: Any) -> None:
        super().__init__()
        self._clicks = clicks
        self.fits = switch(
            "Colours follow the depths",
            "Stretch the colours over the depths that there are, after every answer",
            self._fit,
        )
        self.surface = button(
            "Show as a surface in 3-D",
            "In the colours of the image; press again after more clicks",
            partial(clicks.act, "surface"),
        )
        inside = form(("", self.fits.native), ("", self.surface))
        self.setLayout(inside.layout())

    def refresh(self) -> None:
        """Show how things are."""
        report = self._clicks.report
        with self.fits.changed.blocked():
            self.fits.value = self._clicks.fits_contrast
        self.surface.setEnabled(report is not None and report.drafted)

    def _fit(self, on: bool) -> None:
        self._clicks.fits_contrast = on
        if on:
            self._clicks.fit_contrast()
