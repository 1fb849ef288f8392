"""What the docks of classes, alpha and depth share."""

from __future__ import annotations

from functools import partial
from typing import Any

from qtpy.compat import isalive
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QHBoxLayout, QLabel, QWidget

from napari_clickseg.binding.keys import MAP_KEYS, with_key
from napari_clickseg.binding.own_models import MODELS
from napari_clickseg.models.registry import list_models
from napari_clickseg.napari_layers import attach
from napari_clickseg.preferences import preferences
from napari_clickseg.widgets.frame import described, lay_out
from napari_clickseg.widgets.keys import KeysSection
from napari_clickseg.widgets.map_sections import ExportSection, MapRefinementSection
from napari_clickseg.widgets.parts import BLUE, Badge, Choice, button, form
from napari_clickseg.widgets.status import Fold, StatusLine

__all__ = ["MapWidget"]

#: Milliseconds after a dock opened until its model is loaded in the background.
SOON = 600


class MapWidget(QWidget):
    """A thin face of a viewer's session for one task.

    Parameters
    ----------
    viewer : napari.Viewer
    task : str
        ``"semantic"``, ``"matting"`` or ``"depth"``.
    begin : (str, str)
        Text and tip of the button that asks for the model's own answer.
    """

    def __init__(self, viewer: Any, task: str, begin: tuple[str, str]) -> None:
        super().__init__()
        self.clicks: Any = attach(viewer, task=task)
        clicks = self.clicks
        self._listed: Any = None
        self.image = Choice(clicks.choose, "The image to click on")
        self.model = Choice(self._choose_model, "The model that answers")
        self.badge = Badge()
        model = _row(self.model, self.badge)
        self.status = StatusLine(clicks.stop)
        self.begin = button(*begin, self._begin)
        self.resume = button("", "Clicks and maps of last time", clicks.resume)
        self.undo = button("Undo", "Ctrl+Z", partial(clicks.act, "undo"))
        self.redo = button("Redo", "Ctrl+Shift+Z", partial(clicks.act, "redo"))
        self.discard = button(
            "Discard",
            with_key("Drop what is in work", "discard", MAP_KEYS),
            partial(clicks.act, "discard"),
        )
        self.keep = button(
            with_key(f"Keep this {clicks.singular}", "commit", MAP_KEYS),
            "Keep it in a layer of its own, and start anew",
            partial(clicks.act, "commit"),
        )
        self.under = QLabel()
        self.under.setAlignment(Qt.AlignmentFlag.AlignRight)
        for each in (self.begin, self.keep):
            each.setMinimumHeight(30)
            each.setStyleSheet(
                f"QPushButton:enabled {{ background: {BLUE}; color: white;"
                " font-weight: bold; }"
            )
        self.export = ExportSection(clicks)
        self.sections: dict[str, tuple[str, Any]] = {
            **self.own_sections(),
            "refinement": ("Refinement", MapRefinementSection(clicks)),
            "export": ("Export", self.export),
            "keys": ("Keys", KeysSection(clicks.keys, self.mouse_rows())),
        }
        opened = self.open_sections()
        self.folds = {
            name: Fold(title, content, name in opened, lambda: None)
            for name, (title, content) in self.sections.items()
        }
        top = form(("Image", self.image), ("Model", model))
        back = _row(self.undo, self.redo, self.discard)
        asked = [self.resume, *self.own_rows(), self.begin]
        rows = [top, self.status, *asked, back, self.keep]
        lay_out(self, [*rows, self.under, *self.folds.values()], self.sections)
        clicks.changed.connect(self.refresh)
        clicks.message.connect(self._refresh_status)
        clicks.changed_under_cursor.connect(self._refresh_under)
        MODELS.changed.connect(self._list_anew)
        self.refresh()
        QTimer.singleShot(SOON, self._warm)

    # ------------------------------------------------------------ of the task's own

    def own_rows(self) -> list[QWidget]:
        """Return the rows by which this task is told wishes."""
        raise NotImplementedError

    def own_sections(self) -> dict[str, tuple[str, Any]]:
        """Return sections that only this task has."""
        return {}

    def open_sections(self) -> set[str]:
        """Return the names of sections that are open at first."""
        return set()

    def mouse_rows(self) -> list[tuple[str, str]]:
        """Return what the mouse does, for the list of keys."""
        raise NotImplementedError

    def refresh_own(self, report: Any) -> None:
        """Show how things are, in the rows of the task's own."""
        raise NotImplementedError

    def described_under(self, value: Any) -> str:
        """Return what the map says under the mouse, in words."""
        raise NotImplementedError

    # ----------------------------------------------------------------------- parts

    def refresh(self) -> None:
        """Show how things are."""
        clicks = self.clicks
        if not isalive(self):  # closed; the session goes on
            clicks.changed.disconnect(self.refresh)
            return
        images: list[tuple[str, Any]] = [(i.name, i) for i in clicks.images()]
        self.image.offer(images, clicks.image_layer)
        self._refresh_models()
        report = clicks.report
        drafted = report is not None and report.drafted
        self.undo.setEnabled(report is not None and report.can_undo)
        self.redo.setEnabled(report is not None and report.can_redo)
        self.discard.setEnabled(drafted)
        self.keep.setEnabled(drafted)
        self.begin.setEnabled(clicks.image_layer is not None)
        self.resume.setText(clicks.resume_text.replace(": ", ":\n", 1))
        self.resume.setVisible(bool(clicks.resume_text))
        self.refresh_own(report)
        for _title, section in self.sections.values():
            if hasattr(section, "refresh"):
                section.refresh()
        self._refresh_status()
        self._refresh_under()

    def _refresh_status(self, *_: Any) -> None:
        if isalive(self):
            self.status.show_hint(*self.clicks.hint, *self.clicks.busy)
        else:
            self.clicks.message.disconnect(self._refresh_status)

    def _refresh_under(self) -> None:
        if not isalive(self):
            self.clicks.changed_under_cursor.disconnect(self._refresh_under)
            return
        value = self.clicks.value_under_cursor()
        self.under.setText("" if value is None else self.described_under(value))

    def _refresh_models(self) -> None:
        clicks = self.clicks
        name, facts = clicks.model_choice.name, clicks.model_facts
        if self._listed == (name, facts):
            return
        self._listed = name, facts
        choices = [(described(info), info.name) for info in list_models(clicks.task)]
        if name not in {value for _, value in choices}:
            choices.append((name.replace("\\", "/").rsplit("/", 1)[-1], name))
        self.model.offer(choices, name)
        self.badge.setText(
            "\N{HORIZONTAL ELLIPSIS}" if facts is None else facts.device.upper()
        )
        self.badge.setToolTip(
            "Loaded in a moment"
            if facts is None
            else f"{facts.name} on {facts.device} in {facts.precision}"
        )

    def _list_anew(self) -> None:
        """Show models that have come, and no longer those that have gone."""
        if isalive(self) and not self.clicks.gone:
            self._listed = None
            self.refresh()
        else:
            MODELS.changed.disconnect(self._list_anew)

    def _choose_model(self, name: str) -> None:
        self.clicks.set_model(name)
        preferences().set(f"maps.{self.clicks.task}_model", name)

    def _begin(self) -> None:
        self.clicks.act("start_from_model")

    def _warm(self) -> None:
        """Load the model in the background, once the dock is on screen."""
        if isalive(self) and self.isVisible():
            self.clicks.warm()


def _row(*widgets: QWidget) -> QWidget:
    """Return widgets side by side; the first one takes the room."""
    holder = QWidget()
    row = QHBoxLayout(holder)
    row.setContentsMargins(0, 0, 0, 0)
    for number, each in enumerate(widgets):
        row.addWidget(each, 1 if number == 0 else 0)
    return holder
