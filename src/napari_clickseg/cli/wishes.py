"""Clicks with a class or a value, as they are written on a command line."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from napari_clickseg.clicks import Click
from napari_clickseg.errors import ClickError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_clickseg.tasks import Classes

_NUMBER = r"(?:\d+\.?\d*|\.\d+)"
_WISH = re.compile(
    rf"\s*(?:(?P<name>[^:]*[^:\s])\s*:)?\s*(?P<sign>[+-]?)\s*"
    rf"(?P<row>{_NUMBER})\s*[,x]\s*(?P<col>{_NUMBER})\s*"
    rf"(?:=\s*(?P<value>{_NUMBER})\s*)?(?:@\s*(?P<radius>{_NUMBER})\s*)?"
)
#: How clicks are written, by task, or "push".
FORMS = {
    "semantic": "CLASS:ROW,COL[@RADIUS]",
    "matting": "[-]ROW,COL[=ALPHA][@RADIUS]",
    "depth": "ROW,COL=DEPTH[@RADIUS]",
    "push": "[-]ROW,COL[@RADIUS]",
}
_COLUMNS = {
    "row": ("row", "y", "axis-0"),
    "col": ("col", "column", "x", "axis-1"),
    "name": ("class", "label", "object"),
    "sign": ("positive", "sign"),
    "value": ("value", "alpha", "depth", "height"),
    "radius": ("radius",),
}
_SIGNS = {
    "": "",
    **dict.fromkeys(("1", "1.0", "+1", "+", "true", "up", "positive", "yes"), "+"),
    **dict.fromkeys(("0", "0.0", "-1", "-1.0", "-", "false", "down", "negative"), "-"),
    "no": "-",
}


@dataclass(frozen=True)
class Wish:
    """A click as it was written.

    Parameters
    ----------
    text : str
        For messages.
    row, col : float
    name : str
        Class, by name or label; empty: none.
    sign : str
        ``"+"``, ``"-"`` or empty.
    value, radius : float, optional
    """

    text: str
    row: float
    col: float
    name: str = ""
    sign: str = ""
    value: float | None = None
    radius: float | None = None

    def click(self, form: str, classes: Classes | None = None) -> Click:
        """Return the click.

        Parameters
        ----------
        form : str
            A key of :data:`FORMS`.
        classes : Classes, optional
            For classes.

        Raises
        ------
        ClickError
            If it says something that such clicks do not, or lacks something.
        """
        given = {
            "semantic": (bool(self.name), not self.sign, self.value is None),
            "matting": (not self.name, not (self.sign and self.value is not None)),
            "depth": (not self.name, not self.sign, self.value is not None),
            "push": (not self.name, self.value is None),
        }[form]
        if not all(given):
            raise ClickError(f"{self.text!r} is no such click: write {FORMS[form]}.")
        label = None
        if classes is not None:
            label = int(self.name) if self.name.isdecimal() else None
            label = classes.label(self.name) if label is None else label
            classes.of(label)
        return Click(
            self.row,
            self.col,
            self.sign != "-",
            label=label,
            value=self.value,
            radius=self.radius,
        )


def parse_wish(text: str) -> Wish:
    """Read ``[CLASS:][-]ROW,COL[=VALUE][@RADIUS]``."""
    found = _WISH.fullmatch(text)
    if found is None:
        raise typer.BadParameter(
            f"{text!r} is not a click. Write ROW,COLUMN such as 120,200; for classes "
            "cell:120,200, for alpha and depth 120,200=0.5; @30 at the end reaches 30 "
            "pixels far.",
            param_hint="--click",
        )
    return _wish(text, found.groupdict())


def read_wishes(path: Path) -> list[Wish]:
    """Read clicks from a CSV file with a heading.

    Parameters
    ----------
    path : Path
        Columns ``row`` and ``col`` (or ``axis-0``, ``axis-1``), and those that are
        needed of ``class``, ``value`` (``alpha``, ``depth``), ``positive``, ``radius``.

    Raises
    ------
    ClickError
        A column is missing, or a line is not a click.
    """
    if not path.is_file():
        raise ClickError(f"There is no file of clicks {path}. Check the path.")
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file, skipinitialspace=True))
    if not rows:
        raise ClickError(f"{path.name} holds no click below its heading.")
    heads = {(head or "").strip().lower(): head for head in rows[0]}
    held = {
        field: next((heads[name] for name in names if name in heads), None)
        for field, names in _COLUMNS.items()
    }
    if held["row"] is None or held["col"] is None:
        raise ClickError(
            f"{path.name} needs a heading with the columns row and col (and class, "
            f"value, positive or radius); it has {', '.join(heads)}."
        )
    wishes = []
    for number, line in enumerate(rows, start=2):
        fields = {
            field: str(line[head] or "").strip() if head is not None else ""
            for field, head in held.items()
        }
        try:
            fields["sign"] = _SIGNS[fields["sign"].lower()]
            wishes.append(_wish(f"line {number} of {path.name}", fields))
        except (ValueError, KeyError) as error:
            raise ClickError(
                f"Line {number} of {path.name} is not a click ({error})."
            ) from error
    return wishes


def _wish(text: str, fields: Mapping[str, str | None]) -> Wish:
    return Wish(
        text,
        float(fields["row"] or ""),
        float(fields["col"] or ""),
        (fields["name"] or "").removesuffix(".0"),
        fields["sign"] or "",
        _number(fields["value"]),
        _number(fields["radius"]),
    )


def _number(text: str | None) -> float | None:
    return float(text) if text and text.lower() != "nan" else None
