"""What a model learns from, and how: the upper half of the dock "Finetune"."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from napari_clickseg.binding.annotated import labels_for
from napari_clickseg.binding.own_layers import image_layers
from napari_clickseg.training.finetuning.naming import (
    choose_name,
    free_name,
    is_taken,
    plain_name,
)
from napari_clickseg.widgets.frame import described
from napari_clickseg.widgets.parts import BLUE, RED, Choice, Halves, button, form

if TYPE_CHECKING:
    from napari_clickseg.binding.finetuning import Finetuning

__all__ = ["ChoicesSection", "PairsSection"]

LAYERS, FOLDER, FILE = "Layers of this viewer", "Folder", "COCO file"
DEVICES = ("auto", "cpu", "cuda", "mps")
DOTS = "\N{HORIZONTAL ELLIPSIS}"
TASKS = {"semantic": "classes", "matting": "alpha", "depth": "depth"}


class PairsSection(QWidget):
    """Rows of an image and its labels."""

    def __init__(self, finetuning: Finetuning) -> None:
        super().__init__()
        self._finetuning = finetuning
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(3)
        self.rows: list[tuple[Choice, Choice, QWidget]] = []
        self.add = button("Add a pair", "Another image with its labels", self._add)
        self._layout.addWidget(self.add)

    def refresh(self) -> None:
        """Show the layers that there are, and the chosen ones."""
        finetuning = self._finetuning
        pairs = finetuning.wishes.pairs
        while len(self.rows) < len(pairs):
            self._new_row(len(self.rows))
        while len(self.rows) > len(pairs):
            _image, _labels, row = self.rows.pop()
            self._layout.removeWidget(row)
            row.hide()
            row.deleteLater()
        viewer = finetuning.viewer
        images: list[tuple[str, Any]] = [(i.name, i) for i in image_layers(viewer)]
        labels: list[tuple[str, Any]] = [
            (layer.name, layer) for layer in labels_for(viewer, finetuning.task)
        ]
        for (image, marks, _row), (first, second) in zip(self.rows, pairs, strict=True):
            image.offer(images, first)
            marks.offer(labels, second)

    def _new_row(self, number: int) -> None:
        row = QWidget()
        inside = QHBoxLayout(row)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.setSpacing(3)
        image = Choice(partial(self._chosen, number, 0), "An image that is annotated")
        marks = Choice(
            partial(self._chosen, number, 1),
            "What is annotated on it. Of a stack, the planes that have labels are used",
        )
        away = button("\N{MULTIPLICATION SIGN}", "Leave this pair out", self._remove)
        away.clicked.disconnect()
        away.clicked.connect(lambda _checked=False: self._remove(number))
        away.setFixedWidth(24)
        for each in (image, marks):
            inside.addWidget(each, 1)
        inside.addWidget(away)
        self._layout.insertWidget(number, row)
        self.rows.append((image, marks, row))

    def _chosen(self, number: int, side: int, layer: Any) -> None:
        pairs = [list(pair) for pair in self._finetuning.wishes.pairs]
        pairs[number][side] = layer
        self._finetuning.choose(pairs=pairs)

    def _add(self) -> None:
        pairs = [list(pair) for pair in self._finetuning.wishes.pairs]
        self._finetuning.choose(pairs=[*pairs, [None, None]])

    def _remove(self, number: int = 0) -> None:
        pairs = [list(pair) for pair in self._finetuning.wishes.pairs]
        del pairs[number]
        self._finetuning.choose(pairs=pairs or [[None, None]])


class ChoicesSection(QWidget):
    """Data, model, name, effort and device."""

    def __init__(self, finetuning: Finetuning) -> None:
        super().__init__()
        self._finetuning = finetuning
        self.source = Choice(
            self._choose_source,
            "Layers of this viewer; or a folder with images/ and masks/, a COCO file, "
            "OME-Zarr",
        )
        self.pairs = PairsSection(finetuning)
        self.model = Choice(
            lambda name: finetuning.choose(model=name), "The model that learns"
        )
        self.name = QLineEdit()
        self.name.setToolTip("What the new model will be called in the list of models")
        self.name.editingFinished.connect(self._choose_name)
        self.name.textEdited.connect(lambda _text: self._judge_name())
        self.judged = QLabel()
        self.judged.setWordWrap(True)
        self.judged.setStyleSheet(f"color: {RED};")
        self.free = button("", "Take this name", self._take_free)
        self.effort = Halves(
            (("quick", "Quick", BLUE), ("thorough", "Thorough", BLUE)),
            lambda effort: finetuning.choose(effort=effort),
            "A few minutes, or about six times as long, on an ordinary processor",
        )
        self.device = Choice(
            lambda device: finetuning.choose(device=device), "Where it learns"
        )
        rows = form(
            ("Learn from", self.source),
            ("", self.pairs),
            ("Model", self.model),
            ("New name", self.name),
            ("", self.judged),
            ("", self.free),
            ("Effort", self.effort),
            ("Device", self.device),
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(rows)

    def refresh(self) -> None:
        """Show what is chosen."""
        finetuning, wishes = self._finetuning, self._finetuning.wishes
        sources = [(LAYERS, "")]
        if wishes.folder:
            sources.append((Path(wishes.folder).name, wishes.folder))
        more = [(f"{FOLDER}{DOTS}", FOLDER), (f"{FILE}{DOTS}", FILE)]
        self.source.offer([*sources, *more], wishes.folder)
        if wishes.folder:
            self.source.setToolTip(wishes.folder)
        self.pairs.setVisible(not wishes.folder)
        self.pairs.refresh()
        models = [
            (
                described(info)
                + (f"  ({TASKS[info.task]})" if info.task in TASKS else ""),
                info.name,
            )
            for info in finetuning.models()
        ]
        self.model.offer(models, wishes.model)
        if not self.name.hasFocus():
            self.name.setText(wishes.name)
        self.name.setPlaceholderText(choose_name(wishes.model))
        self._judge_name()
        self.effort.show_value(wishes.effort)
        devices = [*DEVICES, *({wishes.device} - set(DEVICES))]
        self.device.offer([(name, name) for name in devices], wishes.device)
        self.setEnabled(not finetuning.working or finetuning.state == "checking")

    def _judge_name(self) -> None:
        """Say at once where a name cannot be had, and which one can."""
        text = self.name.text()
        name, why = plain_name(text), ""
        made = self._finetuning.result
        if text.strip() and not name:
            why = "A name needs letters or digits."
        elif name and is_taken(name) and not (made is not None and made.name == name):
            why = f"A model named {name} is there already; it is not overwritten."
            self.free.setText(f"Call it {free_name(name)}")
        self.judged.setText(why)
        self.judged.setVisible(bool(why))
        self.free.setVisible(bool(why and name))

    def _choose_name(self) -> None:
        text = self.name.text().strip()
        if text != self._finetuning.wishes.name:
            finetuning = self._finetuning
            finetuning.try_to(lambda: finetuning.choose(name=text))

    def _take_free(self) -> None:
        self.name.setText(free_name(plain_name(self.name.text())))
        self._choose_name()

    def _choose_source(self, source: str) -> None:
        if source == FOLDER:
            source = QFileDialog.getExistingDirectory(self, "Images with labels")
        elif source == FILE:
            source, _ = QFileDialog.getOpenFileName(
                self, "Annotations in COCO's format", "", "COCO (*.json)"
            )
        elif not source:
            self._finetuning.choose(folder="")
            return
        if source:
            self._finetuning.choose(folder=source)
        else:
            self.refresh()
