"""Clicks and seconds, and studies: the foot of the dock "Objects"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QInputDialog, QWidget

from napari_clickseg.widgets.parts import button

if TYPE_CHECKING:
    from napari_clickseg.napari_layers import ViewerClicks

__all__ = ["EffortRow"]

STUDY, END = "Study\N{HORIZONTAL ELLIPSIS}", "End study"
STUDY_TIP = (
    "Write a line for each commit from now on: clicks, seconds, and how well the "
    "object agrees with one of a reference layer"
)


class EffortRow(QWidget):
    """Two buttons: save what work the objects were; begin or end a study."""

    def __init__(self, clicks: ViewerClicks) -> None:
        super().__init__()
        self._clicks = clicks
        self.save = button(
            "Clicks and seconds\N{HORIZONTAL ELLIPSIS}",
            "Save how many clicks and active seconds each object took (.csv, .json)",
            self._save,
        )
        self.study = button(STUDY, STUDY_TIP, self._study)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.save, 1)
        row.addWidget(self.study, 1)

    def refresh(self) -> None:
        """Show whether a study runs."""
        path = self._clicks.study_path
        self.study.setText(STUDY if path is None else END)
        self.study.setToolTip(STUDY_TIP if path is None else f"Written to {path}")
        there = self._clicks.image_layer is not None
        self.save.setEnabled(there)
        self.study.setEnabled(there)

    def _save(self) -> None:
        path, _ = QFileDialog.getSaveFileName(
            self, "Clicks and seconds", "", "Tables (*.csv);;With sums (*.json)"
        )
        if path:
            self._clicks.save_effort_to(path)

    def _study(self) -> None:
        clicks = self._clicks
        if clicks.study_path is not None:
            clicks.end_study()
            return
        layers = {each.name: each for each in clicks.reference_choices()}
        if not layers:
            clicks.say(
                "A study needs a reference: a Labels layer of the image's shape."
            )
            return
        name, done = QInputDialog.getItem(
            self, "Study", "Reference that objects are compared with:", list(layers)
        )
        if not done:
            return
        path, _ = QFileDialog.getSaveFileName(
            self, "Lines of the study", "study.csv", "Tables (*.csv)"
        )
        if path:
            clicks.begin_study(layers[name], path)
