"""How clicks look in a Points layer, and what its table of features says of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.binding.marks import Mark
from napari_clickseg.tasks.class_lists import Classes

__all__ = [
    "NEGATIVE",
    "POSITIVE",
    "SCREEN_SIZE",
    "ClassStyle",
    "ClickStyle",
    "SignStyle",
    "ValueStyle",
]

SIGN, RADIUS, CLASS, VALUE, WISH = "sign", "radius", "class", "value", "wish"
POSITIVE, NEGATIVE = "positive", "negative"
COLORS = {POSITIVE: "#1baf5c", NEGATIVE: "#f0442e"}
SYMBOLS = {POSITIVE: "disc", NEGATIVE: "x"}
#: Of clicks with a value, and of the value beside them: seen on dark and on bright.
VALUE_COLOR, TEXT_COLOR = "#1e90ff", "#ff5fae"
#: Points keep this size on screen, in pixels, at any zoom.
SCREEN_SIZE = 11

Features = dict[str, NDArray[Any]]


class ClickStyle(Protocol):
    """What a Points layer shows of clicks."""

    def keywords(self) -> dict[str, Any]:
        """Return further arguments for ``viewer.add_points``."""
        ...  # pragma: no cover

    def features(self, marks: Sequence[Mark]) -> Features:
        """Return the table that napari shows beside the clicks."""
        ...  # pragma: no cover

    def mark(self, row: float, col: float, cells: dict[str, Any]) -> Mark:
        """Return the click at a place, by its line of the table."""
        ...  # pragma: no cover

    def next_mark(self, positive: bool, radius: float | None) -> Mark:
        """Return what a click put down now asks for; where does not count."""
        ...  # pragma: no cover

    def symbol(self, mark: Mark) -> str:
        """Return napari's name of the symbol of a click."""
        ...  # pragma: no cover

    def colour(self, mark: Mark) -> str:
        """Return the colour of a click, for what is drawn around it."""
        ...  # pragma: no cover


def _base() -> dict[str, Any]:
    return {
        "border_color": "white",
        "border_width": 0.12,
        "size": SCREEN_SIZE,
        "symbol": "disc",
        "opacity": 1.0,
    }


def _radii(marks: Sequence[Mark]) -> NDArray[Any]:
    return np.array([np.nan if m.radius is None else m.radius for m in marks], float)


def _signs(marks: Sequence[Mark]) -> NDArray[Any]:
    signs = [POSITIVE if mark.positive else NEGATIVE for mark in marks]
    return np.array(signs, dtype=object)


def _values(marks: Sequence[Mark]) -> NDArray[Any]:
    return np.array([np.nan if m.value is None else m.value for m in marks], float)


def _number(value: Any) -> float | None:
    """Return a number of the table; None where there is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def _radius(cells: dict[str, Any]) -> float | None:
    radius = _number(cells.get(RADIUS))
    return radius if radius is not None and radius > 0 else None


class SignStyle:
    """Clicks that add are green discs, those that take away red crosses.

    Parameters
    ----------
    values : bool
        There may be clicks with values among them, which keep these.
    """

    def __init__(self, values: bool = False) -> None:
        self._values = values

    def keywords(self) -> dict[str, Any]:
        """Return further arguments for ``viewer.add_points``."""
        usual = {SIGN: POSITIVE, RADIUS: np.nan}
        return {
            **_base(),
            "features": self.features(()),
            "feature_defaults": usual | ({VALUE: np.nan} if self._values else {}),
            "face_color": SIGN,
            "face_color_cycle": COLORS,
        }

    def features(self, marks: Sequence[Mark]) -> Features:
        """Return sign and radius of each."""
        table = {SIGN: _signs(marks), RADIUS: _radii(marks)}
        return table | ({VALUE: _values(marks)} if self._values else {})

    def mark(self, row: float, col: float, cells: dict[str, Any]) -> Mark:
        """Return the click of a line of the table."""
        positive = cells.get(SIGN, POSITIVE) != NEGATIVE
        value = _number(cells.get(VALUE)) if self._values else None
        return Mark(row, col, positive, _radius(cells), None, value)

    def next_mark(self, positive: bool, radius: float | None) -> Mark:
        """Return what a click put down now asks for."""
        return Mark(0, 0, positive, radius)

    def symbol(self, mark: Mark) -> str:
        """Return the symbol of a click."""
        return SYMBOLS[POSITIVE if mark.positive else NEGATIVE]

    def colour(self, mark: Mark) -> str:
        """Return the colour of a click."""
        return COLORS[POSITIVE if mark.positive else NEGATIVE]


class ClassStyle:
    """Clicks have the colours of their classes.

    Parameters
    ----------
    classes : Classes
    chosen : callable
        Returns the label that a plain click has.
    """

    def __init__(self, classes: Classes, chosen: Callable[[], int]) -> None:
        self.classes, self._chosen = classes, chosen

    def keywords(self) -> dict[str, Any]:
        """Return further arguments for ``viewer.add_points``."""
        names = self.classes.names
        cycle = {
            name: _hex(self.classes.of(i).colour) for i, name in enumerate(names, 1)
        }
        return {
            **_base(),
            "features": self.features(()),
            "feature_defaults": {CLASS: names[0], RADIUS: np.nan},
            "face_color": CLASS,
            "face_color_cycle": cycle,
        }

    def features(self, marks: Sequence[Mark]) -> Features:
        """Return name of the class and radius of each."""
        names = [self.classes.of(mark.label or 1).name for mark in marks]
        return {CLASS: np.array(names, dtype=object), RADIUS: _radii(marks)}

    def mark(self, row: float, col: float, cells: dict[str, Any]) -> Mark:
        """Return the click of a line of the table."""
        name = cells.get(CLASS)
        known = self.classes.names
        label = known.index(name) + 1 if name in known else self._chosen()
        return Mark(row, col, True, _radius(cells), label)

    def next_mark(self, positive: bool, radius: float | None) -> Mark:  # noqa: ARG002
        """Return what a click put down now asks for; it has no sign."""
        return Mark(0, 0, True, radius, self._chosen())

    def symbol(self, mark: Mark) -> str:  # noqa: ARG002
        """Return the symbol of a click."""
        return "disc"

    def colour(self, mark: Mark) -> str:
        """Return the colour of a click."""
        return _hex(self.classes.of(mark.label or 1).colour)


class ValueStyle:
    """Clicks carry the value that they ask for, written beside them.

    Parameters
    ----------
    chosen : callable
        Returns the value that a plain click asks for.
    turned : callable
        Returns the value that a click with Shift or the right button asks for.
    unit : str
        Written behind the value.
    """

    def __init__(
        self,
        chosen: Callable[[], float],
        turned: Callable[[], float],
        unit: str = "",
    ) -> None:
        self._chosen, self._turned, self.unit = chosen, turned, unit

    def keywords(self) -> dict[str, Any]:
        """Return further arguments for ``viewer.add_points``."""
        return {
            **_base(),
            "features": self.features(()),
            "feature_defaults": {
                SIGN: POSITIVE,
                RADIUS: np.nan,
                VALUE: 0.0,
                WISH: "",
            },
            "face_color": VALUE_COLOR,
            "text": {
                "string": WISH,
                "size": 9,
                "color": TEXT_COLOR,
                "anchor": "lower_left",
            },
        }

    def features(self, marks: Sequence[Mark]) -> Features:
        """Return sign, radius and value of each, and what is written beside it."""
        wishes = [self._written(mark) for mark in marks]
        return {
            SIGN: _signs(marks),
            RADIUS: _radii(marks),
            VALUE: _values(marks),
            WISH: np.array(wishes, dtype=object),
        }

    def mark(self, row: float, col: float, cells: dict[str, Any]) -> Mark:
        """Return the click of a line of the table; without a value it is a push."""
        positive, value = cells.get(SIGN) != NEGATIVE, _number(cells.get(VALUE))
        return Mark(row, col, positive, _radius(cells), None, value)

    def _written(self, mark: Mark) -> str:
        if mark.value is None:
            return "+" if mark.positive else "\N{MINUS SIGN}"
        return f"{mark.value:.2f} {self.unit}".strip()

    def next_mark(self, positive: bool, radius: float | None) -> Mark:
        """Return what a click put down now asks for."""
        value = self._chosen() if positive else self._turned()
        return Mark(0, 0, True, radius, None, value)

    def symbol(self, mark: Mark) -> str:  # noqa: ARG002
        """Return the symbol of a click."""
        return "disc"

    def colour(self, mark: Mark) -> str:  # noqa: ARG002
        """Return the colour of a click."""
        return VALUE_COLOR


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
