"""The columns of the list of objects, and which objects it can show."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_clickseg.session import SegmentedObject

#: Side of a thumbnail in pixels.
SIDE = 36
COLUMNS = ("", "Id", "Class", "Area", "Clicks", "Seconds", "")
PICTURE, LABEL, CATEGORY, AREA, CLICKS, SECONDS, STATE = range(len(COLUMNS))
TIPS = (
    "The object, as it is shown on screen",
    "Its number in the label image",
    "Its class",
    "Pixels",
    "Clicks that made it",
    "Time from its first click to its commit",
    "\N{CHECK MARK}: kept or corrected by you, ?: proposed and not decided on yet",
)

#: What a column is sorted by.
VALUES: dict[int, Callable[[SegmentedObject], Any]] = {
    LABEL: lambda o: o.label,
    CATEGORY: lambda o: o.category.casefold(),
    AREA: lambda o: o.area,
    CLICKS: lambda o: o.clicks,
    SECONDS: lambda o: o.seconds,
    STATE: lambda o: o.undecided,
}
#: Which objects are listed.
FILTERS: dict[str, Callable[[SegmentedObject], bool]] = {
    "All": lambda _: True,
    "Proposed, undecided": lambda o: o.undecided,
    "Decided": lambda o: not o.undecided,
    "Clicked": lambda o: bool(o.drafts),
    "Without a class": lambda o: not o.category,
}


def text_of(each: SegmentedObject, column: int) -> str:
    """Return what a cell says."""
    match column:
        case 1:
            return str(each.label)
        case 2:
            return each.category
        case 3:
            return f"{each.area:,}".replace(",", "\N{THIN SPACE}")
        case 4:
            return str(each.clicks) if each.drafts else ""
        case 5:
            return f"{each.seconds:.1f}" if each.drafts else ""
        case 6:
            decided = each.drafts or each.accepted
            return "?" if each.undecided else "\N{CHECK MARK}" if decided else ""
    return ""


def state_in_words(each: SegmentedObject) -> str:
    """Return what the last column means."""
    if each.undecided:
        return f"Proposed by {each.proposed_by}; K keeps it, D deletes it"
    if each.drafts:
        return "Made or corrected by clicks"
    return "Kept by you" if each.accepted else "Was there before"
