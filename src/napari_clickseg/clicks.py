"""A click is a wish about one pixel; a list of clicks changes by reversible edits."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from napari_clickseg.errors import ClickError

__all__ = [
    "AddClick",
    "Click",
    "ClickEdit",
    "Clicks",
    "MoveClick",
    "RemoveClick",
    "ReplaceClicks",
    "as_clicks",
    "check_inside",
]


@dataclass(frozen=True, slots=True)
class Click:
    """What one click asks for.

    Parameters
    ----------
    row, col : float
        Position in data coordinates of the plane; the centre of the first
        pixel is ``(0, 0)``, as in napari.
    positive : bool
        Whether the pixel belongs to the object.
    label : int, optional
        Class that the pixel should have (semantic tasks); at least 1.
    value : float, optional
        Value that the pixel should have (matting, depth).
    radius : float, optional
        How far the wish reaches, in pixels; greater than 0.
    time : float, optional
        When it was made, in seconds since 1970-01-01 UTC.

    Raises
    ------
    ClickError
        If a number is missing, not finite or out of its range.
    """

    row: float
    col: float
    positive: bool = True
    label: int | None = None
    value: float | None = None
    radius: float | None = None
    time: float | None = None

    def __post_init__(self) -> None:
        for name in ("row", "col"):
            object.__setattr__(self, name, _number(getattr(self, name), name))
        for name in ("value", "radius", "time"):
            if (given := getattr(self, name)) is not None:
                object.__setattr__(self, name, _number(given, name))
        if self.positive not in (True, False):
            raise ClickError(
                "A click is positive (True) or negative (False), not "
                f"{self.positive!r}."
            )
        object.__setattr__(self, "positive", bool(self.positive))
        if self.label is not None:
            object.__setattr__(self, "label", int(self.label))
            if self.label < 1:
                raise ClickError(
                    f"The label of a click is a whole number from 1, not {self.label}."
                )
        if self.radius is not None and self.radius <= 0:
            raise ClickError(
                f"The radius of a click is greater than 0 pixels, not {self.radius}. "
                "Leave it out for the model's own reach."
            )

    @property
    def position(self) -> tuple[float, float]:
        """``(row, col)``."""
        return self.row, self.col

    def moved(self, position: Sequence[float]) -> Click:
        """Return the same wish at another ``(row, col)``."""
        row, col = as_position(position)
        return replace(self, row=row, col=col)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that are set, ready for JSON."""
        return {name: v for name, v in asdict(self).items() if v is not None}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Click:
        """Return the click that :meth:`to_dict` wrote."""
        return cls(**fields)


Clicks = tuple[Click, ...]


class ClickEdit(Protocol):
    """One reversible change of a click list.

    ``edit.inverse().apply(edit.apply(clicks)) == clicks`` for every list that
    the edit fits.
    """

    def apply(self, clicks: Clicks) -> Clicks:
        """Return the changed list; the given one stays as it is."""
        ...  # pragma: no cover

    def inverse(self) -> ClickEdit:
        """Return the edit that takes this one back."""
        ...  # pragma: no cover


@dataclass(frozen=True, slots=True)
class AddClick:
    """Put ``click`` in at ``index`` (0 to the number of clicks)."""

    index: int
    click: Click

    def apply(self, clicks: Clicks) -> Clicks:
        """Return the list with the click in it."""
        if not 0 <= self.index <= len(clicks):
            raise ClickError(
                f"A click cannot be put in at {self.index}: there are {len(clicks)}."
            )
        return (*clicks[: self.index], self.click, *clicks[self.index :])

    def inverse(self) -> RemoveClick:
        """Return the removal of that click."""
        return RemoveClick(self.index, self.click)


@dataclass(frozen=True, slots=True)
class RemoveClick:
    """Take out ``click``, which lies at ``index``."""

    index: int
    click: Click

    @classmethod
    def at(cls, clicks: Clicks, index: int) -> RemoveClick:
        """Return the removal of the click at ``index`` (negative: from the end)."""
        index = check_index(clicks, index)
        return cls(index, clicks[index])

    def apply(self, clicks: Clicks) -> Clicks:
        """Return the list without the click."""
        _expect(clicks, self.index, self.click)
        return (*clicks[: self.index], *clicks[self.index + 1 :])

    def inverse(self) -> AddClick:
        """Return the edit that puts the click back."""
        return AddClick(self.index, self.click)


@dataclass(frozen=True, slots=True)
class MoveClick:
    """Change the click at ``index`` from ``old`` into ``new``."""

    index: int
    old: Click
    new: Click

    @classmethod
    def to(cls, clicks: Clicks, index: int, position: Sequence[float]) -> MoveClick:
        """Return the move of the click at ``index`` to ``(row, col)``."""
        index = check_index(clicks, index)
        return cls(index, clicks[index], clicks[index].moved(position))

    def apply(self, clicks: Clicks) -> Clicks:
        """Return the list with the click changed."""
        _expect(clicks, self.index, self.old)
        return (*clicks[: self.index], self.new, *clicks[self.index + 1 :])

    def inverse(self) -> MoveClick:
        """Return the move back."""
        return MoveClick(self.index, self.new, self.old)


@dataclass(frozen=True, slots=True)
class ReplaceClicks:
    """Put the whole list ``new`` in the place of ``old``.

    ``together``: the model is asked once about those that are new, not click by click.
    """

    old: Clicks
    new: Clicks
    together: bool = False

    def apply(self, clicks: Clicks) -> Clicks:
        """Return the new list."""
        if clicks != self.old:
            raise ClickError("The clicks have changed since this edit was made.")
        return self.new

    def inverse(self) -> ReplaceClicks:
        """Return the edit that brings the old list back."""
        return ReplaceClicks(self.new, self.old, self.together)


def as_clicks(clicks: Iterable[Any]) -> Clicks:
    """Return clicks from what scripts write.

    Parameters
    ----------
    clicks : iterable
        Each a :class:`Click`, ``(row, col)`` or ``(row, col, positive)``.

    Raises
    ------
    ClickError
        If an entry is something else.
    """
    return tuple(_as_click(click) for click in clicks)


def keep_times(old: Clicks, new: Clicks, now: float) -> Clicks:
    """Return ``new`` with a time for each click that came without one.

    It is that of the old click at the same place in the list where they are
    otherwise equal, else ``now``.
    """
    timed = []
    for i, click in enumerate(new):
        if click.time is None:
            before = old[i] if i < len(old) else click
            same = replace(before, time=None) == click
            click = replace(click, time=before.time if same and before.time else now)
        timed.append(click)
    return tuple(timed)


def as_position(position: Sequence[float]) -> tuple[float, float]:
    """Return ``(row, col)`` as two finite floats.

    Raises
    ------
    ClickError
        If there are not two numbers.
    """
    try:
        row, col = position
    except (TypeError, ValueError):
        raise ClickError(
            f"A position is (row, col) in the plane of the image, not {position!r}."
        ) from None
    return _number(row, "row"), _number(col, "col")


def check_inside(click: Click, shape: tuple[int, int]) -> None:
    """Refuse a click that lies on no pixel of an image of shape ``(H, W)``.

    Raises
    ------
    ClickError
        With the range that is allowed.
    """
    height, width = shape
    if not (-0.5 <= click.row < height - 0.5 and -0.5 <= click.col < width - 0.5):
        raise ClickError(
            f"The click at row {click.row:g}, column {click.col:g} lies outside the "
            f"image of {height} rows and {width} columns. Positions are (row, col): "
            f"rows 0 to {height - 1}, columns 0 to {width - 1}."
        )


def check_index(clicks: Clicks, index: int) -> int:
    """Return ``index`` counted from the start.

    Raises
    ------
    ClickError
        If there is no such click.
    """
    count = len(clicks)
    try:
        index = operator.index(index)
    except TypeError as error:
        raise ClickError(
            f"The index of a click is a whole number, not {index!r}."
        ) from error
    if not -count <= index < count:
        there = f"clicks 0 to {count - 1}" if count else "no clicks yet"
        raise ClickError(f"There is no click {index}: the object has {there}.")
    return index % count


def _as_click(click: Any) -> Click:
    if isinstance(click, Click):
        return click
    try:
        row, col, *sign = click
    except (TypeError, ValueError):
        row, col, sign = None, None, [None, None]
    if len(sign) > 1:
        raise ClickError(
            f"A click is (row, col) or (row, col, positive), not {click!r}."
        )
    return Click(row, col, *sign)


def _expect(clicks: Clicks, index: int, click: Click) -> None:
    if not 0 <= index < len(clicks) or clicks[index] != click:
        raise ClickError(f"Click {index} has changed since this edit was made.")


def _number(value: Any, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ClickError(f"The {name} of a click is a finite number, not {value!r}.")
    return number
