"""Clicks as they are written on a command line or in a CSV file."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING

import typer

from napari_clickseg.clicks import Click
from napari_clickseg.errors import ClickError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

ObjectClicks = dict[int, list[Click]]

_NUMBER = r"(?:\d+\.?\d*|\.\d+)"
_CLICK = re.compile(
    rf"\s*(?:(?P<object>\d+)\s*:)?\s*(?P<sign>[+-]?)\s*"
    rf"(?P<row>{_NUMBER})\s*[,x]\s*(?P<col>{_NUMBER})\s*(?:@\s*(?P<radius>{_NUMBER})\s*)?"
)
_ROW = ("row", "y", "axis-0")
_COL = ("col", "column", "x", "axis-1")
_SIGN = ("positive", "sign")
_OBJECT = ("object", "label", "id")
_RADIUS = ("radius",)


def parse_click(text: str) -> tuple[int, Click]:
    """Read ``[ID:][-]ROW,COLUMN[@RADIUS]``.

    Parameters
    ----------
    text : str
        ``120,200`` is a positive click at row 120, column 200, ``-120,200`` a
        negative one at the same place, ``2:120,200`` belongs to object 2, and
        ``120,200@30`` has an attention radius of 30 image pixels.

    Returns
    -------
    (int, Click)
        The object (1 by default) and the click.
    """
    found = _CLICK.fullmatch(text)
    if found is None:
        raise typer.BadParameter(
            f"{text!r} is not a click. Write ROW,COLUMN such as 120,200; a leading "
            "minus makes it negative (-120,200), 2:120,200 is a click on object 2, and "
            "120,200@30 reaches 30 pixels far.",
            param_hint="--click",
        )
    label = int(found["object"] or 1)
    if label < 1:
        raise typer.BadParameter(
            "Objects are counted from 1; 0 is background.", param_hint="--click"
        )
    radius = None if found["radius"] is None else float(found["radius"])
    if radius == 0:
        raise typer.BadParameter(
            f"The radius of {text!r} is 0. Give more, or leave @0 out.",
            param_hint="--click",
        )
    positive = found["sign"] != "-"
    where = float(found["row"]), float(found["col"])
    return label, Click(*where, positive, radius=radius)


def read_clicks(path: Path) -> list[tuple[int, Click]]:
    """Read clicks from a CSV file with a heading.

    Parameters
    ----------
    path : Path
        Columns ``row`` and ``col`` (or ``axis-0``, ``axis-1``, as napari saves
        points), and optionally ``positive`` (1 or 0), ``object`` and ``radius``
        (image pixels; empty for none).

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
    names = {(name or "").strip().lower(): name for name in rows[0]}
    keys = {
        kind: next((names[name] for name in known if name in names), None)
        for kind, known in (
            ("r", _ROW),
            ("c", _COL),
            ("s", _SIGN),
            ("o", _OBJECT),
            ("far", _RADIUS),
        )
    }
    if keys["r"] is None or keys["c"] is None:
        raise ClickError(
            f"{path.name} needs a heading with the columns row and col (and, if you "
            f"like, positive, object and radius); it has {', '.join(names)}."
        )
    clicks = []
    for number, line in enumerate(rows, start=2):
        try:
            sign = (line[keys["s"]] or "1").strip() if keys["s"] else "1"
            label = int(float(line[keys["o"]] or 1)) if keys["o"] else 1
            far = (line[keys["far"]] or "").strip() if keys["far"] else ""
            radius = float(far) if far and far.lower() != "nan" else None
            where = float(line[keys["r"]]), float(line[keys["c"]])
            click = Click(*where, _sign(sign), radius=radius)
        except (ValueError, TypeError, ClickError) as error:
            raise ClickError(
                f"Line {number} of {path.name} is not a click ({error})."
            ) from error
        if label < 1:
            raise ClickError(
                f"Line {number} of {path.name}: objects are counted from 1."
            )
        clicks.append((label, click))
    return clicks


def by_object(clicks: Iterable[tuple[int, Click]]) -> ObjectClicks:
    """Sort clicks into objects; both keep the order in which they came."""
    objects: ObjectClicks = {}
    for label, click in clicks:
        objects.setdefault(label, []).append(click)
    return objects


def _sign(text: str) -> bool:
    word = text.lower()
    if word in {"1", "1.0", "+1", "+", "true", "positive", "pos", "yes"}:
        return True
    if word in {"0", "0.0", "-1", "-1.0", "-", "false", "negative", "neg", "no"}:
        return False
    raise ValueError(f"{text!r} is neither positive nor negative")
