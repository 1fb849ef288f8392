"""What the numbers of a class map mean: names and colours, in a file beside it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari_clickseg.errors import ExportError, SettingsError
from napari_clickseg.limits import damage
from napari_clickseg.tasks.class_lists import (
    Classes,
    Colour,
    SemanticClass,
    colours_for,
)

FORMAT, VERSION = "napari-clickseg legend", 1
#: Endings of legends, by what users call them.
SUFFIXES = {"json": ".legend.json", "csv": ".legend.csv"}
_COLUMNS = ("label", "name", "colour", "shown", "pixels")


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """What one label means.

    Parameters
    ----------
    label : int
        From 1.
    name : str
    colour : (int, int, int)
        Red, green and blue, 0 to 255.
    shown : bool
        False: drawn transparent, as a background is.
    pixels : int or None
        How many pixels of the map have it, where that was counted.
    """

    label: int
    name: str
    colour: Colour
    shown: bool = True
    pixels: int | None = None

    @property
    def hexadecimal(self) -> str:
        """The colour as ``#rrggbb``."""
        return "#{:02x}{:02x}{:02x}".format(*self.colour)


class Legend:
    """All labels that mean something, in order.

    Parameters
    ----------
    entries : iterable of LegendEntry
        Of different labels.
    """

    def __init__(self, entries: Iterable[LegendEntry]) -> None:
        found = {entry.label: entry for entry in entries}
        self.entries = tuple(found[label] for label in sorted(found))

    def __iter__(self) -> Any:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Legend) and self.entries == other.entries

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Legend({list(self.entries)!r})"

    @classmethod
    def of(cls, classes: Legend | Classes | Sequence[str] | None) -> Legend:
        """Return a legend of classes, of names (label 1 first), or of nothing yet."""
        if isinstance(classes, Legend):
            return classes
        if classes is None:
            return cls(())
        if not isinstance(classes, Classes):
            names = list(classes)
            colours = colours_for(len(names))
            rows = zip(names, colours, strict=True)
            return cls(
                LegendEntry(label, name, colour)
                for label, (name, colour) in enumerate(rows, 1)
            )
        return cls(
            LegendEntry(label, each.name, each.colour, each.shown)
            for label, each in enumerate(classes, 1)
        )

    def counted(self, counts: Mapping[int, int]) -> Legend:
        """Return the legend of a map: with numbers of pixels, and no label missing.

        Parameters
        ----------
        counts : mapping
            Label to number of pixels; that of 0 is nobody's.
        """
        known = {entry.label: entry for entry in self.entries}
        missing = [label for label in counts if label > 0 and label not in known]
        taken = {entry.colour for entry in self.entries}
        free = [c for c in colours_for(len(missing) + len(taken)) if c not in taken]
        for label, colour in zip(missing, free, strict=False):
            known[label] = LegendEntry(label, f"label {label}", colour)
        return Legend(
            replace(entry, pixels=int(counts.get(label, 0)))
            for label, entry in known.items()
        )

    def to_classes(self) -> Classes:
        """Return the list of classes.

        Raises
        ------
        SettingsError
            If the labels do not count 1, 2, 3, ..., or there are fewer than two.
        """
        if [entry.label for entry in self.entries] != list(range(1, len(self) + 1)):
            raise SettingsError(
                "This legend is no list of classes: their labels count 1, 2, 3, ..."
            )
        return Classes(
            tuple(SemanticClass(each.name, each.colour, each.shown) for each in self)
        )

    def to_json(self, facts: Mapping[str, Any]) -> str:
        """Return the text of a legend file, with further facts at its head."""
        text = {
            "format": FORMAT,
            "version": VERSION,
            **facts,
            "classes": [
                {
                    "label": each.label,
                    "name": each.name,
                    "colour": each.hexadecimal,
                    "shown": each.shown,
                    "pixels": each.pixels,
                }
                for each in self
            ],
        }
        return json.dumps(text, indent=1, ensure_ascii=False) + "\n"

    def to_csv(self) -> str:
        """Return the text of a table, for spreadsheets."""
        file = io.StringIO()
        table = csv.writer(file, lineterminator="\n")
        table.writerow(_COLUMNS)
        for each in self:
            shown, pixels = int(each.shown), "" if each.pixels is None else each.pixels
            table.writerow((each.label, each.name, each.hexadecimal, shown, pixels))
        return file.getvalue()


def legend_path(path: Path, kind: str = "json") -> Path:
    """Return where the legend of a map lies: ``map.png`` to ``map.legend.json``."""
    return path.with_name(path.stem + SUFFIXES[kind])


def read_legend(path: str | Path) -> Legend:
    """Read a legend file, or that of a map, which lies beside it.

    Raises
    ------
    ExportError
        If there is none, or it is no legend.
    """
    path = Path(path).expanduser()
    if not path.name.lower().endswith(tuple(SUFFIXES.values())):
        beside = [legend_path(path, kind) for kind in SUFFIXES]
        path = next((each for each in beside if each.is_file()), beside[0])
    if not path.is_file():
        raise ExportError(f"There is no legend {path}. Check the path.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".csv":
            rows = list(csv.DictReader(io.StringIO(text)))
        else:
            rows = json.loads(text)["classes"]
        return Legend(_entry(row) for row in rows)
    except damage(csv.Error) as error:
        raise ExportError(
            f"{path} is no legend of a class map ({type(error).__name__}: {error}). "
            "It needs label, name and colour (#rrggbb) of each class."
        ) from error


def _entry(row: Mapping[str, Any]) -> LegendEntry:
    text = str(row["colour"]).strip().removeprefix("#")
    if len(text) != 6:
        raise ValueError(f"{row['colour']!r} is no colour")
    red, green, blue = (int(text[at : at + 2], 16) for at in (0, 2, 4))
    pixels = row.get("pixels")
    return LegendEntry(
        int(row["label"]),
        str(row["name"]),
        (red, green, blue),
        str(row.get("shown", "1")).strip().lower() not in {"0", "false"},
        None if pixels in (None, "") else int(pixels),
    )
