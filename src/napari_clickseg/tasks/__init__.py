"""What a click means: one module for each kind of answer."""

from __future__ import annotations

from napari_clickseg.errors import SessionError
from napari_clickseg.tasks.segmentation import Segmentation
from napari_clickseg.tasks.task import Task

__all__ = ["TASKS", "Segmentation", "Task", "get_task"]

#: All task names; those without a class are not there yet.
TASKS: dict[str, type[Task] | None] = {
    "segmentation": Segmentation,
    "semantic": None,
    "matting": None,
    "depth": None,
}


def get_task(name: str) -> Task:
    """Return the task of that name.

    Raises
    ------
    SessionError
        If the name is unknown, or known but not available yet.
    """
    if name not in TASKS:
        raise SessionError(
            f"There is no task {name!r}. Choose one of {', '.join(map(repr, TASKS))}."
        )
    if (task := TASKS[name]) is None:
        there = ", ".join(repr(n) for n, kind in TASKS.items() if kind is not None)
        raise SessionError(
            f"The task {name!r} is not available yet in this version. Use {there}."
        )
    return task()
