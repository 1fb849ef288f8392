"""Folded sections of the docks of classes, alpha and depth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog, QLabel, QVBoxLayout, QWidget

from napari_clickseg.exporting.kinds import get_kind
from napari_clickseg.refinement.settings import SENTENCES
from napari_clickseg.widgets.parts import Choice, button, form, number
from napari_clickseg.widgets.refinement import NAMES

__all__ = ["ExportSection", "MapRefinementSection"]

METHODS = (
    "none",
    "rgb-brs",
    "g-brs-sb",
    "g-brs-bmsb",
    "g-brs-bmsb-m",
    "g-brs-bmconv",
)


class MapRefinementSection(QWidget):
    """How a map is made to obey clicks, how far and how long."""

    def __init__(self, clicks: Any) -> None:
        super().__init__()
        self._clicks = clicks
        self.method = Choice(
            lambda method: clicks.set_settings(method=method),
            "How the network is made to follow the clicks",
        )
        self.sentence = QLabel()
        self.sentence.setWordWrap(True)
        self.sentence.setMinimumHeight(2 * self.sentence.fontMetrics().height())
        self.sentence.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.radius = number(
            "How far around a click the map is free to change. For one click: drag out "
            "from it, or press [ and ].",
            (0.0, 10000.0),
            5.0,
            lambda value: clicks.set_settings(radius=value or None),
            unit="px",
            at_lowest="a tenth of the image",
        )
        self.time = number(
            "After this time the best map so far is shown; it goes on getting better "
            "while nothing else is to do",
            (0.0, 600.0),
            0.5,
            lambda value: clicks.set_settings(time_budget=value or None),
            unit="s",
            at_lowest="no limit",
        )
        rows = form(
            ("Attention radius", self.radius.native),
            ("Time for a click", self.time.native),
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        for widget in (self.method, self.sentence, rows):
            layout.addWidget(widget)

    def refresh(self) -> None:
        """Show how things are."""
        settings = self._clicks.settings
        self.method.offer([(NAMES[m], m) for m in METHODS], settings.method)
        self.sentence.setText(SENTENCES[settings.method])
        for field, value in (
            (self.radius, settings.radius),
            (self.time, settings.time_budget),
        ):
            with field.changed.blocked():
                field.value = value or 0
        self.radius.enabled = self._clicks.uses_radius


class ExportSection(QWidget):
    """Write what was made into files that other programs read."""

    def __init__(self, clicks: Any) -> None:
        super().__init__()
        self._clicks = clicks
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 4)
        self.layer = Choice(self._chosen, "The layer to write")
        self._layer: Any = None
        self.save = button(
            "Save as\N{HORIZONTAL ELLIPSIS}",
            "With what belongs to it: legend, 16 bit, unit",
            self._ask,
        )
        layout.addWidget(self.layer)
        layout.addWidget(self.save)

    def refresh(self) -> None:
        """Show how things are."""
        layers = self._clicks.exportable()
        if self._layer not in layers:
            self._layer = layers[0] if layers else None
        self.layer.offer([(layer.name, layer) for layer in layers], self._layer)
        self.save.setEnabled(self._layer is not None)

    def _chosen(self, layer: Any) -> None:
        self._layer = layer

    def _ask(self) -> None:
        layer = self._layer
        kind = get_kind(layer.metadata["napari-clickseg"])
        name = "".join(c if c.isalnum() else "-" for c in layer.name).strip("-")
        path, _ = QFileDialog.getSaveFileName(
            self, f"Save {layer.name}", name + kind.suffixes[0], kind.filter
        )
        if path:
            self._clicks.export(layer, Path(path))
