"""What came out of finetuning, and the models that the user has made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QMessageBox,
    QVBoxLayout,
    QWidget,
)

from napari_clickseg.binding.own_models import made_of, own_models, read_card
from napari_clickseg.widgets.parts import BLUE, Choice, button

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_clickseg.binding.finetuning import Finetuning
    from napari_clickseg.training.finetuning.report import FinetuneResult, Scores

__all__ = ["Facts", "OwnModelsSection", "ScoresView"]

NOTHING = "No model of your own yet."


class ScoresView(QWidget):
    """A small table: figures on what was held aside, before and after."""

    def __init__(self) -> None:
        super().__init__()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 2, 0, 2)
        self._grid.setVerticalSpacing(1)
        self._shown: Any = None

    def show_result(self, result: FinetuneResult | None) -> None:
        """Show a result, if there are figures."""
        known = result is not None and result.before is not None
        self.setVisible(known)
        if result is self._shown or result is None:
            return
        self._shown = result
        while self._grid.count():
            item = self._grid.takeAt(0)
            widget = None if item is None else item.widget()
            if widget is not None:
                widget.deleteLater()
        if result.before is None or result.after is None:
            return
        rows = _rows(result.before, result.after)
        what = f"{result.after.objects} held aside"
        for line, row in enumerate([(what, "before", "after"), *rows]):
            for column, text in enumerate(row):
                label = QLabel(text)
                if column:
                    label.setAlignment(Qt.AlignmentFlag.AlignRight)
                if line == 0 or column == 2:
                    label.setStyleSheet("font-weight: bold;")
                self._grid.addWidget(label, line, column)
        self._grid.setColumnStretch(0, 1)


def _rows(before: Scores, after: Scores) -> list[tuple[str, str, str]]:
    if before.noc85 is None or after.noc85 is None:
        return [(after.score_name, f"{before.score:.3f}", f"{after.score:.3f}")]
    return [
        (
            title,
            f"{getattr(before, name):.{digits}f}",
            f"{getattr(after, name):.{digits}f}",
        )
        for title, name, digits in (
            ("Clicks to an IoU of 0.85", "noc85", 2),
            ("Clicks to an IoU of 0.90", "noc90", 2),
            ("IoU after one click", "iou1", 3),
        )
    ]


class Facts(QWidget):
    """Where a model comes from, as rows of a name and a text."""

    def __init__(self) -> None:
        super().__init__()
        self._layout = QFormLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setVerticalSpacing(2)
        self._shown: Any = None

    def show_card(self, card: dict[str, Any]) -> None:
        """Show what a model's card says of its making."""
        rows = made_of(card)
        if rows == self._shown:
            return
        self._shown = rows
        while self._layout.rowCount():
            self._layout.removeRow(0)
        for name, text in rows:
            label = QLabel(text)
            label.setWordWrap(True)
            label.setMinimumWidth(60)
            label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            self._layout.addRow(name, label)
        self.setVisible(bool(rows))

    @property
    def text(self) -> str:
        """All of it."""
        return "\n".join(f"{name}: {text}" for name, text in self._shown or [])


class OwnModelsSection(QWidget):
    """Models that were finetuned or added: what they are made of; use, delete.

    Parameters
    ----------
    finetuning : Finetuning
    use : callable
        Given the name of a model to click with.
    """

    def __init__(self, finetuning: Finetuning, use: Callable[[str], None]) -> None:
        super().__init__()
        self._finetuning, self._use = finetuning, use
        self.chosen = ""
        self._names: list[str] = []
        self._listed: Any = None
        self.model = Choice(self._choose, "Models that you have finetuned or added")
        self.facts = Facts()
        self.nothing = QLabel(NOTHING)
        self.use = button(
            "Use", "Answer clicks with it", lambda: self._use(self.chosen)
        )
        self.delete = button(
            "Delete\N{HORIZONTAL ELLIPSIS}", "Delete its weights for good", self._ask
        )
        buttons = QWidget()
        row = QHBoxLayout(buttons)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.use)
        row.addWidget(self.delete)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for each in (self.nothing, self.model, self.facts, buttons):
            layout.addWidget(each)
        self.buttons = buttons

    def refresh(self) -> None:
        """Show the models that there are."""
        infos = own_models()
        names = [info.name for info in infos]
        new = [name for name in names if name not in self._names]
        if new or self.chosen not in names:  # the one that was just made
            self.chosen = (new or names or [""])[-1]
        self._names = names
        known = (names, self.chosen)
        if known == self._listed:
            return
        self._listed = known
        self.model.offer([(name, name) for name in names], self.chosen)
        for each in (self.model, self.facts, self.buttons):
            each.setVisible(bool(names))
        self.nothing.setVisible(not names)
        card = next((read_card(i.path) for i in infos if i.name == self.chosen), {})
        self.facts.show_card(card)

    def _choose(self, name: str) -> None:
        self.chosen = name
        self.refresh()

    def _ask(self) -> None:
        """Delete after a question: nobody can bring it back."""
        answer = QMessageBox.question(
            self,
            "Delete a model",
            f"Delete {self.chosen}? Its weights are removed from this machine, and "
            "nothing brings them back but finetuning again.",
            QMessageBox.StandardButton.Yes | QMessageBox.StandardButton.No,
            QMessageBox.StandardButton.No,
        )
        if answer == QMessageBox.StandardButton.Yes:
            self._finetuning.try_to(lambda: self._finetuning.remove(self.chosen))
            self.refresh()


def primary(made: Any) -> Any:
    """Paint a button so that it is seen as the next step."""
    made.setMinimumHeight(30)
    made.setStyleSheet(
        f"QPushButton:enabled {{ background: {BLUE}; color: white;"
        " font-weight: bold; }"
    )
    return made
