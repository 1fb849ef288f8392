"""What the status line says after committed objects were edited."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_clickseg.session import Change
    from napari_clickseg.session.objects import Objects

__all__ = ["after_edit"]


def after_edit(change: Change, objects: Objects) -> str:
    """Return a sentence; "" where the edit needs none.

    Parameters
    ----------
    change : Change
        The edit.
    objects : Objects
        What there is now.
    """
    label = change.label
    match change.kind:
        case "merge":
            return f"Made one object of them: {label}. Ctrl+Z takes it back."
        case "split":
            return f"Object {label} is split. Ctrl+Z takes it back."
        case "relabel":
            return f"The object is {label} now."
        case "class":
            each = None if label is None else objects.get(label)
            if each is None or not each.category:
                return "No class any more."
            return f"Class: {each.category}."
        case "accept" | "delete":
            left = sum(each.undecided for each in objects.values())
            word = "Kept" if change.kind == "accept" else "Deleted"
            if left:
                return f"{word}. {left} proposed are left: K keeps, D deletes, R opens."
            return f"{word}."
    return ""
