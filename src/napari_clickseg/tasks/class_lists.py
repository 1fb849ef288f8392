"""Lists of classes with names and colours.

A class has a *label* from 1, which is what Labels layers, clicks and results hold (0
is "nothing said"), and an *index* from 0, which is its channel in a network's output.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from napari_clickseg.errors import SettingsError

Colour = tuple[int, int, int]

#: Colours that people with any of the usual colour vision deficiencies tell apart:
#: seven of Okabe and Ito (2008), then Paul Tol's "muted" scheme (2021) as far as it is
#: not close to them.
PALETTE: tuple[Colour, ...] = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (213, 94, 0),
    (240, 228, 66),
    (51, 34, 136),
    (136, 34, 85),
    (153, 153, 51),
    (17, 119, 51),
    (170, 68, 153),
    (221, 221, 221),
)
#: The colour of a class that is background.
GREY: Colour = (102, 102, 102)


@dataclass(frozen=True, slots=True)
class SemanticClass:
    """A class.

    Parameters
    ----------
    name : str
        As users read it.
    colour : (int, int, int)
        Red, green and blue, 0 to 255.
    shown : bool
        False: the class is drawn transparent, as a background is.
    """

    name: str
    colour: Colour
    shown: bool = True

    def __post_init__(self) -> None:
        colour = tuple(int(value) for value in self.colour)
        if len(colour) != 3 or not all(0 <= value <= 255 for value in colour):
            raise SettingsError(
                f"The colour of {self.name!r} is {self.colour!r}. Give red, green and "
                "blue from 0 to 255."
            )
        object.__setattr__(self, "colour", colour)
        if not self.name.strip():
            raise SettingsError("A class needs a name.")


@dataclass(frozen=True)
class Classes:
    """All classes of a network, in the order of its channels.

    Parameters
    ----------
    entries : tuple of SemanticClass
        At least two, of different names.

    Raises
    ------
    SettingsError
        If there are fewer, or a name comes twice.
    """

    entries: tuple[SemanticClass, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "entries", tuple(self.entries))
        names = [entry.name for entry in self.entries]
        if len(names) < 2:
            raise SettingsError("A class list needs two classes at least.")
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise SettingsError(f"The class {twice[0]!r} comes twice. Rename one.")

    @classmethod
    def named(
        cls,
        names: Iterable[str],
        colours: Sequence[Colour] | None = None,
        *,
        background: str | None = None,
    ) -> Classes:
        """Return classes of these names.

        Parameters
        ----------
        names : iterable of str
        colours : sequence of (int, int, int), optional
            One for each; by default :func:`colours_for` as many.
        background : str, optional
            The name of a class that is grey and not drawn.
        """
        names = list(names)
        if colours is None:
            rest = iter(colours_for(len(names) - (background in names)))
            colours = [GREY if name == background else next(rest) for name in names]
        if len(colours) != len(names):
            raise SettingsError(
                f"There are {len(names)} classes but {len(colours)} colours."
            )
        pairs = zip(names, colours, strict=True)
        return cls(tuple(SemanticClass(n, c, n != background) for n, c in pairs))

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[SemanticClass]:
        return iter(self.entries)

    @property
    def names(self) -> tuple[str, ...]:
        """Names in order; the class of label 1 comes first."""
        return tuple(entry.name for entry in self.entries)

    def of(self, label: int) -> SemanticClass:
        """Return the class of a label.

        Raises
        ------
        SettingsError
            If no class has it.
        """
        if not 1 <= label <= len(self):
            raise SettingsError(f"There is no class {label}: {self.described()}.")
        return self.entries[label - 1]

    def label(self, name: str) -> int:
        """Return the label of a class.

        Raises
        ------
        SettingsError
            If there is none of that name.
        """
        if name not in self.names:
            raise SettingsError(f"There is no class {name!r}: {self.described()}.")
        return self.names.index(name) + 1

    def described(self) -> str:
        """Return the labels and names in one line; of many, the first and last."""
        each = [f"{label} {name}" for label, name in enumerate(self.names, 1)]
        if len(each) > 12:
            each = [*each[:8], "...", each[-1]]
        return "the classes are " + ", ".join(each)

    def colours(self) -> dict[int | None, tuple[float, float, float, float]]:
        """Return colours by label, red to alpha from 0 to 1, as napari takes them.

        0 and every other number (None) are transparent.
        """
        clear = (0.0, 0.0, 0.0, 0.0)
        found: dict[int | None, tuple[float, float, float, float]] = {
            None: clear,
            0: clear,
        }
        for label, entry in enumerate(self.entries, 1):
            red, green, blue = (value / 255 for value in entry.colour)
            found[label] = (red, green, blue, 1.0 if entry.shown else 0.0)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON: the legend of a class map."""
        return {
            "classes": [
                {
                    "label": label,
                    "name": entry.name,
                    "colour": list(entry.colour),
                    "shown": entry.shown,
                }
                for label, entry in enumerate(self.entries, 1)
            ]
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Classes:
        """Return the list that :meth:`to_dict` wrote.

        Raises
        ------
        SettingsError
            If it is no such list.
        """
        try:
            rows = sorted(values["classes"], key=lambda row: int(row["label"]))
            labels = [int(row["label"]) for row in rows]
            entries = tuple(
                SemanticClass(str(r["name"]), tuple(r["colour"]), bool(r["shown"]))
                for r in rows
            )
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError(
                "This is no list of classes: it needs 'classes' with label, name, "
                "colour and shown for each."
            ) from error
        if labels != list(range(1, len(labels) + 1)):
            raise SettingsError("The labels of classes count 1, 2, 3, ...")
        return cls(entries)


def colours_for(count: int) -> tuple[Colour, ...]:
    """Return so many different colours.

    The first thirteen are :data:`PALETTE`. No palette keeps more apart for everyone;
    what follows goes round the hues by the golden angle, in two shades.
    """
    colours = list(PALETTE[:count])
    step = 0
    while len(colours) < count:
        shade = (0.55, 0.85)[step % 2]
        rgb = colorsys.hsv_to_rgb((0.05 + step * 0.381966) % 1.0, 0.75, shade)
        colour = (round(rgb[0] * 255), round(rgb[1] * 255), round(rgb[2] * 255))
        if colour not in colours:
            colours.append(colour)
        step += 1
    return tuple(colours)


#: What the 19 channels of networks for Cityscapes are, with its usual colours.
CITYSCAPES = Classes.named(
    (
        "road",
        "sidewalk",
        "building",
        "wall",
        "fence",
        "pole",
        "traffic light",
        "traffic sign",
        "vegetation",
        "terrain",
        "sky",
        "person",
        "rider",
        "car",
        "truck",
        "bus",
        "train",
        "motorcycle",
        "bicycle",
    ),
    (
        (128, 64, 128),
        (244, 35, 232),
        (70, 70, 70),
        (102, 102, 156),
        (190, 153, 153),
        (153, 153, 153),
        (250, 170, 30),
        (220, 220, 0),
        (107, 142, 35),
        (152, 251, 152),
        (70, 130, 180),
        (220, 20, 60),
        (255, 0, 0),
        (0, 0, 142),
        (0, 0, 70),
        (0, 60, 100),
        (0, 80, 100),
        (0, 0, 230),
        (119, 11, 32),
    ),
)
#: The 11 classes that CamVid is evaluated on.
CAMVID = Classes.named(
    (
        "sky",
        "building",
        "pole",
        "road",
        "pavement",
        "tree",
        "sign symbol",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
    ),
    (
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ),
)
#: Cells, and the borders that keep touching ones apart.
CELLS = Classes.named(
    ("background", "cell interior", "cell border"), background="background"
)
