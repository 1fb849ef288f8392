"""The section that carries an object through the planes of a stack or a time series."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from html import escape
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_clickseg.binding.keys import with_key
from napari_clickseg.widgets.parts import BLUE, Choice, Halves, button, form, number

if TYPE_CHECKING:
    from napari_clickseg.napari_layers import ViewerClicks
    from napari_clickseg.session.propagation_rules import Direction

__all__ = ["PropagateSection"]

PROPAGATE, STOP = with_key("Propagate", "propagate"), with_key("Stop", "propagate")
TIP = (
    "Carry the object in work, or the one that is shown, through the planes before and "
    "behind. It stops where the object ends or its shape jumps; Ctrl+Z takes all of it "
    "back"
)
DIRECTIONS = (
    ("backward", "\N{LEFTWARDS ARROW}  Back", BLUE),
    ("both", "Both ways", BLUE),
    ("forward", "Forward  \N{RIGHTWARDS ARROW}", BLUE),
)


class PropagateSection(QWidget):
    """Which way, how far, when to stop, and what came of it."""

    def __init__(self, clicks: ViewerClicks) -> None:
        super().__init__()
        self._clicks = clicks
        self.axis = Choice(self._choose_axis, "The axis whose planes are followed")
        self.direction = Halves(
            DIRECTIONS, self._choose_direction, "Towards lower or higher planes"
        )
        self.planes = number(
            "How many planes each way",
            (0, 100_000),
            1,
            self._choose_planes,
            unit="planes",
            at_lowest="to the end",
        )
        self.growth = number(
            "Stops where the area grows by more than this factor from one plane to the "
            "next; planes far apart (by the scale of the layer) may differ more",
            (1.05, 20.0),
            0.1,
            self._choose_growth,
            unit="\N{MULTIPLICATION SIGN}",
        )
        self.go = button(PROPAGATE, TIP, partial(clicks.act, "propagate"))
        self.result = QLabel()
        self.result.setWordWrap(True)
        self.result.setTextInteractionFlags(
            Qt.TextInteractionFlag.LinksAccessibleByMouse
            | Qt.TextInteractionFlag.TextSelectableByMouse
        )
        self.result.linkActivated.connect(self._follow)
        self._rows = form(
            ("Along", self.axis),
            ("", self.direction),
            ("How far", self.planes.native),
            ("Area up to", self.growth.native),
            ("", self.go),
            ("", self.result),
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._rows)

    def refresh(self) -> None:
        """Show how things are."""
        propagating = self._clicks.propagating
        axes = propagating.axes()
        if not axes:
            return
        values = [axis for _, axis in axes]
        chosen = propagating.axis if propagating.axis in values else values[0]
        names = [(name, str(axis)) for name, axis in axes]
        self.axis.offer(names, str(chosen))
        rules = propagating.rules
        self.direction.show_value(rules.direction)
        with self.planes.changed.blocked(), self.growth.changed.blocked():
            self.planes.value = rules.planes or 0
            self.growth.value = rules.growth
        self.go.setText(STOP if propagating.running else PROPAGATE)
        self.result.setText(self._told())
        self.result.setVisible(bool(propagating.text) and not propagating.running)

    def _told(self) -> str:
        """Return the sentence, with a link for each plane to look at."""
        propagating = self._clicks.propagating
        text = escape(propagating.text)
        for end in propagating.ends:
            name = escape(propagating.name_of(end.index))
            link = f'<a href="{end.index}" style="color: {BLUE}">{name}</a>:'
            text = text.replace(f"{name}:", link, 1)
        return text

    def _follow(self, link: str) -> None:
        self._clicks._guarded(  # noqa: SLF001
            lambda: self._clicks.propagating.go_to(int(link))
        )

    def _choose_axis(self, axis: str) -> None:
        self._clicks.propagating.axis = int(axis)

    def _choose_direction(self, direction: Direction) -> None:
        propagating = self._clicks.propagating
        propagating.rules = replace(propagating.rules, direction=direction)
        self.refresh()

    def _choose_planes(self, planes: int) -> None:
        propagating = self._clicks.propagating
        propagating.rules = replace(propagating.rules, planes=planes or None)

    def _choose_growth(self, growth: float) -> None:
        propagating = self._clicks.propagating
        propagating.rules = replace(propagating.rules, growth=growth)
