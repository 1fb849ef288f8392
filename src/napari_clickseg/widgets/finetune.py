"""The dock "Finetune": a thin face of the viewer's finetuning."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_info
from qtpy.compat import isalive
from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QWidget

from napari_clickseg.binding.own_models import MODELS
from napari_clickseg.napari_layers import attach
from napari_clickseg.widgets.curve import CurveView
from napari_clickseg.widgets.examples import ExamplesView
from napari_clickseg.widgets.finetune_data import ChoicesSection
from napari_clickseg.widgets.finetune_result import (
    Facts,
    OwnModelsSection,
    ScoresView,
    primary,
)
from napari_clickseg.widgets.frame import lay_out
from napari_clickseg.widgets.parts import RED, button
from napari_clickseg.widgets.status import Fold

if TYPE_CHECKING:
    import napari

    from napari_clickseg.binding.finetuning import Finetuning

__all__ = ["FinetuneWidget"]

#: So many problems with images are told one by one; all are in the tooltip.
TOLD = 4
#: Milliseconds between two looks at how learning goes.
SOON = 150
LEARNING = ("running", "stopping", "finishing")
DOCKS = {
    "segmentation": "Click segmentation",
    "semantic": "Semantic classes",
    "matting": "Matting",
    "depth": "Depth",
}


class FinetuneWidget(QWidget):
    """Let a model learn from what was annotated.

    Parameters
    ----------
    viewer : napari.Viewer
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.finetuning: Finetuning = attach(viewer, task="finetuning")
        finetuning = self.finetuning
        self._shown_state = ""
        # napari keeps the inside of a dock that is closed, until Python forgets it.
        self._leaving = _Leaving(finetuning)
        self.choices = ChoicesSection(finetuning)
        self.status, self.found, self.forecast = _text(), _text(), _text()
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(6)
        self.check = button(
            "Check data",
            "See what is there and what cannot be used, and how long it will take",
            finetuning.check,
        )
        self.start = button("", "Learn from it", partial(self._try, finetuning.start))
        self.anew = button(
            "Begin anew",
            "Forget the steps of the run that was stopped",
            finetuning.begin_anew,
        )
        self.stop = button(
            "Stop", "What was learned is kept; 'Go on' continues", finetuning.stop
        )
        self.finish = button(
            "Finish now",
            "Learn no more, and make a model of what was learned",
            finetuning.finish,
        )
        self.curve, self.examples = CurveView(), ExamplesView()
        self.scores, self.facts = ScoresView(), Facts()
        self.use = primary(button("Use this model", "Click with it", self._use))
        self.own = OwnModelsSection(finetuning, self._use)
        self.sections = {
            "made": ("What it is made of", self.facts),
            "own": ("Models of your own", self.own),
        }
        self.folds = {
            name: Fold(title, content, False, lambda: None)
            for name, (title, content) in self.sections.items()
        }
        begin = _row(self.check, self.start, self.anew)
        self.ending = _row(self.stop, self.finish)
        rows = [self.choices, self.status, self.bar, self.found, self.forecast, begin]
        shown = [self.ending, self.curve, self.examples, self.scores, self.use]
        lay_out(self, [*rows, *shown, *self.folds.values()], self.sections)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(SOON)
        self._soon.timeout.connect(self.refresh)
        finetuning.changed.connect(self._changed)
        MODELS.changed.connect(self._models_changed)
        self.destroyed.connect(self._leaving.leave)
        self.refresh()

    def _changed(self) -> None:
        """Show another state at once, and how learning goes now and then."""
        if not isalive(self):  # closed
            self.finetuning.changed.disconnect(self._changed)
        elif self.finetuning.state in LEARNING and self._shown_state in LEARNING:
            if not self._soon.isActive():
                self._soon.start()
        else:
            self.refresh()

    def refresh(self) -> None:
        """Show how things are."""
        finetuning = self.finetuning
        state, learning = finetuning.state, finetuning.state in LEARNING
        if not learning or state != self._shown_state:
            self.choices.refresh()
            self.own.refresh()
        self._shown_state = state
        self._refresh_status(learning)
        self._refresh_found(learning)
        ready = state in ("ready", "stopped")
        again = state == "stopped" or (state == "ready" and bool(finetuning.earlier))
        self.check.setText("Check data" if finetuning.job is None else "Check again")
        self.check.setVisible(not learning)
        self.check.setEnabled(state != "checking")
        self.start.setVisible(not learning and state != "done")
        self.start.setEnabled(ready)
        self.start.setText("Go on" if again else "Start")
        for each, next_step in (
            (self.start, ready),
            (self.check, state in ("idle", "checking")),
        ):
            primary(each) if next_step else each.setStyleSheet("")
        self.anew.setVisible(again)
        self.ending.setVisible(learning)
        self.stop.setEnabled(state in ("running", "finishing"))
        self.finish.setEnabled(state == "running")
        drawn = bool(finetuning.curve.losses)
        self.curve.setVisible(drawn)
        if drawn:
            self.curve.show_curve(finetuning.curve)
        self.examples.setVisible(bool(finetuning.examples))
        self.examples.show_examples(finetuning.examples)
        result = finetuning.result
        self.scores.show_result(result)
        self.use.setVisible(result is not None)
        self.folds["made"].setVisible(result is not None)
        if result is not None:
            self.use.setText(f"Use {result.name}")
            self.facts.show_card(result.card)

    def event(self, event: QEvent | None) -> bool:
        """Notice that the dock around this is closed: hidden ones go on."""
        done: bool = super().event(event)
        if event is not None and event.type() == QEvent.Type.ParentChange:
            if self.parent() is not None:
                self._leaving.docked, self._leaving.left = True, False
            elif self._leaving.docked:
                self._leaving.leave()
        return done

    def _refresh_status(self, learning: bool) -> None:
        finetuning = self.finetuning
        text, kind = finetuning.hint
        busy, part = finetuning.busy
        progress = finetuning.progress
        if finetuning.state == "checking" and busy:
            text = f"{busy} \N{HORIZONTAL ELLIPSIS}"
        elif learning and progress is not None:
            part = progress.fraction
            if finetuning.state == "running":
                text = finetuning.how_far
        self.status.setText(text)
        self.status.setStyleSheet(f"color: {RED};" if kind == "error" else "")
        # No bar that moves by itself: each move draws the whole window again.
        self.bar.setVisible(finetuning.working and part is not None)
        self.bar.setValue(int(1000 * (part or 0)))

    def _refresh_found(self, learning: bool) -> None:
        finetuning = self.finetuning
        data, forecast = finetuning.data, finetuning.forecast
        self.found.setVisible(data is not None and finetuning.result is None)
        if data is not None:
            lines = [f"Found: {data.text}"]
            lines += [f"\N{BULLET} {problem}" for problem in data.problems[:TOLD]]
            if len(data.problems) > TOLD:
                lines.append(f"\N{BULLET} and {len(data.problems) - TOLD} more")
            lines.append(finetuning.what_learns)
            self.found.setText("\n".join(lines))
            self.found.setToolTip("\n".join(map(str, data.problems[:50])))
        waiting = finetuning.state == "ready" and bool(finetuning.busy[0])
        self.forecast.setVisible(
            not learning
            and finetuning.result is None
            and (waiting or forecast is not None)
        )
        if forecast is not None:
            self.forecast.setText(f"It will take: {forecast.text}")
            lacking = not forecast.enough_memory
            self.forecast.setStyleSheet(f"color: {RED};" if lacking else "")
        elif waiting:
            self.forecast.setText(f"{finetuning.busy[0]} \N{HORIZONTAL ELLIPSIS}")
            self.forecast.setStyleSheet("")

    def _models_changed(self) -> None:
        if isalive(self):
            self.choices.refresh()
            self.own.refresh()
        else:
            MODELS.changed.disconnect(self._models_changed)

    def _try(self, action: Any) -> None:
        self.finetuning.try_to(action)

    def _use(self, name: str | None = None) -> None:
        """Click with a model, in its dock, which is opened if it is not."""

        def use() -> None:
            info = self.finetuning.use(name)
            window = getattr(self.finetuning.viewer, "window", None)
            if window is not None:
                window.add_plugin_dock_widget("napari-clickseg", DOCKS[info.task])

        self._try(use)


class _Leaving:
    """Stops when a dock is closed, once, and says how to go on."""

    def __init__(self, finetuning: Finetuning) -> None:
        self.finetuning, self.docked, self.left = finetuning, False, False

    def leave(self, *_: Any) -> None:
        """Stop, as the dock is closed, or the window."""
        text = "" if self.left else self.finetuning.leave()
        self.left = True
        if text:
            show_info(text)


def _text() -> QLabel:
    label = QLabel()
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label


def _row(*widgets: QWidget) -> QWidget:
    holder = QWidget()
    row = QHBoxLayout(holder)
    row.setContentsMargins(0, 0, 0, 0)
    for each in widgets:
        row.addWidget(each, 1)
    return holder
