"""The dock "Click segmentation": a thin face of the viewer's click session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QHBoxLayout, QLabel, QWidget

from napari_clickseg.binding.keys import with_key
from napari_clickseg.binding.own_models import MODELS
from napari_clickseg.models import in_process
from napari_clickseg.models.registry import list_models
from napari_clickseg.napari_layers import attach
from napari_clickseg.preferences import preferences
from napari_clickseg.widgets.frame import described, lay_out
from napari_clickseg.widgets.keys import KeysSection
from napari_clickseg.widgets.parts import (
    BLUE,
    Badge,
    Choice,
    Halves,
    SignSwitch,
    button,
    form,
)
from napari_clickseg.widgets.prepare import PrepareSection
from napari_clickseg.widgets.propagate import PropagateSection
from napari_clickseg.widgets.refinement import RefinementSection
from napari_clickseg.widgets.sections import (
    ModelSection,
    ObjectsSection,
    ViewSection,
)
from napari_clickseg.widgets.status import Fold, StatusLine

if TYPE_CHECKING:
    import napari

__all__ = ["SegmentWidget"]

TOOLS = [
    ("click", "Click", BLUE),
    ("scribble", "Scribble", BLUE),
    ("box", "Box", BLUE),
    ("polygon", "Polygon", BLUE),
]
TOOLS_TIP = (
    "How you say where the object is: click it, draw over it, drag a box around it, or "
    "draw around it. What you draw adds or takes away, as chosen above"
)


class SegmentWidget(QWidget):
    """Click objects of an image.

    Parameters
    ----------
    viewer : napari.Viewer
        All docks of a viewer, and the console, share one session.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.clicks = clicks = attach(viewer)
        self._listed: Any = None
        self.image = Choice(clicks.choose, "The image to click on")
        self.model = Choice(self._choose_model, "The model that answers")
        self.badge = Badge()
        prepare = PrepareSection(clicks)
        model = QWidget()
        row = QHBoxLayout(model)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.model, 1)
        row.addWidget(prepare.small)
        row.addWidget(self.badge)
        self.sign = SignSwitch(self._choose_sign)
        self.tools = Halves(TOOLS, clicks.choose_tool, TOOLS_TIP)
        self.status = StatusLine(clicks.stop)
        self.resume = button("", "Clicks and objects of last time", clicks.resume)
        self.automatic = button(
            "Start from the model's own answer",
            "This model answers without clicks; clicks then correct it",
            lambda: clicks.act("start_from_model"),
        )
        self.undo = button("Undo", "Ctrl+Z", lambda: clicks.act("undo"))
        self.redo = button("Redo", "Ctrl+Shift+Z", lambda: clicks.act("redo"))
        self.discard = button(
            "Discard",
            with_key("Drop the unfinished object", "discard"),
            lambda: clicks.act("discard"),
        )
        self.commit = button(
            with_key("Commit object", "commit"),
            "Keep the object with the next label, and start another",
            lambda: clicks.act("commit"),
        )
        self.commit.setMinimumHeight(32)
        self.commit.setStyleSheet(
            f"QPushButton:enabled {{ background: {BLUE}; color: white;"
            " font-weight: bold; }"
        )
        self.counter = QLabel()
        self.counter.setAlignment(Qt.AlignmentFlag.AlignRight)
        back = QWidget()
        row = QHBoxLayout(back)
        row.setContentsMargins(0, 0, 0, 0)
        for each in (self.undo, self.redo, self.discard):
            row.addWidget(each)
        self.sections = {
            "propagate": ("Propagate", PropagateSection(clicks)),
            "prepare": ("Prepare", prepare),
            "refinement": ("Refinement", RefinementSection(clicks)),
            "objects": ("Objects", ObjectsSection(clicks)),
            "view": ("View", ViewSection(clicks)),
            "model": ("Model and saving", ModelSection(clicks, self.refresh)),
            "keys": ("Keys", KeysSection()),
        }
        is_open = set(str(preferences().get("dock.open_sections")).split(","))
        self.folds = {
            name: Fold(title, content, name in is_open, self._remember_folds)
            for name, (title, content) in self.sections.items()
        }
        top = form(("Image", self.image), ("Model", model))
        buttons = (
            self.resume,
            self.automatic,
            self.sign,
            self.tools,
            back,
            self.commit,
        )
        rows = (top, self.status, *buttons, self.counter)
        lay_out(self, [*rows, *self.folds.values()], self.sections)
        clicks.changed.connect(self.refresh)
        clicks.message.connect(self._refresh_status)
        MODELS.changed.connect(self._list_anew)
        clicks.copied.connect(_to_clipboard)
        self.refresh()

    def refresh(self) -> None:
        """Show how things are."""
        clicks = self.clicks
        if not isalive(self):  # closed; the session goes on
            clicks.changed.disconnect(self.refresh)
            return
        images: list[tuple[str, Any]] = [(i.name, i) for i in clicks.images()]
        self.image.offer(images, clicks.image_layer)
        self._refresh_models()
        self.sign.show_sign(clicks.positive)
        self.tools.show_value(clicks.tool)
        report = clicks.report
        self.undo.setEnabled(report is not None and report.can_undo)
        self.redo.setEnabled(report is not None and report.can_redo)
        drafted = report is not None and report.drafted
        self.discard.setEnabled(drafted)
        self.commit.setEnabled(drafted)
        facts = clicks.model_facts
        self.automatic.setVisible(facts is not None and facts.automatic and not drafted)
        self.counter.setText(str(clicks.stats))
        self.resume.setText(clicks.resume_text.replace(": ", ":\n", 1))
        self.resume.setVisible(bool(clicks.resume_text))
        self.folds["propagate"].setVisible(bool(clicks.propagating.axes()))
        for _title, section in self.sections.values():
            if hasattr(section, "refresh"):
                section.refresh()
        self._refresh_status()

    def _refresh_status(self, *_: Any) -> None:
        if isalive(self):
            self.status.show_hint(*self.clicks.hint, *self.clicks.busy)
        else:
            self.clicks.message.disconnect(self._refresh_status)

    def _refresh_models(self) -> None:
        name, facts = self.clicks.model_choice.name, self.clicks.model_facts
        made = len(in_process.remembered())
        if self._listed == (name, facts, made):
            return
        self._listed = name, facts, made
        choices = [(described(info), info.name) for info in list_models("segmentation")]
        if name not in {value for _, value in choices}:
            choices.append((name.replace("\\", "/").rsplit("/", 1)[-1], name))
        self.model.offer(choices, name)
        self.badge.setText(
            "\N{HORIZONTAL ELLIPSIS}" if facts is None else facts.device.upper()
        )
        self.badge.setToolTip(
            "Loaded at the first click"
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
        preferences().set("model.name", name)

    def _choose_sign(self, positive: bool) -> None:
        self.clicks.set_sign(positive)
        self.clicks.activate()

    def _remember_folds(self) -> None:
        opened = [name for name, fold in self.folds.items() if fold.isExpanded()]
        preferences().set("dock.open_sections", ",".join(opened))


def _to_clipboard(text: str) -> None:
    clipboard = QApplication.clipboard()
    if clipboard is not None:
        clipboard.setText(text)
