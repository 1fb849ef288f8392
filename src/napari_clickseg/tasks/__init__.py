"""What a click means: one module for each kind of answer."""

from __future__ import annotations

from typing import Any

from napari_clickseg.errors import SessionError
from napari_clickseg.tasks.class_lists import Classes, SemanticClass
from napari_clickseg.tasks.depth import Depth
from napari_clickseg.tasks.matting import Matting
from napari_clickseg.tasks.segmentation import Segmentation
from napari_clickseg.tasks.semantic import Semantic
from napari_clickseg.tasks.task import Task

__all__ = [
    "TASKS",
    "Classes",
    "Depth",
    "Matting",
    "Segmentation",
    "Semantic",
    "SemanticClass",
    "Task",
    "get_task",
    "make_task",
]

#: All tasks by name.
TASKS: dict[str, type[Task]] = {
    "segmentation": Segmentation,
    "semantic": Semantic,
    "matting": Matting,
    "depth": Depth,
}


def get_task(name: str) -> Segmentation:
    """Return the task of that name, if sessions can do it.

    Raises
    ------
    SessionError
        If the name is unknown, or known but not available in sessions yet.
    """
    if name not in TASKS:
        raise _unknown(name)
    if name != Segmentation.name:
        raise SessionError(
            f"The task {name!r} is not available yet in this version. Use "
            f"{Segmentation.name!r}."
        )
    return Segmentation()


def make_task(name: str, **options: Any) -> Task:
    """Return the task of that name.

    Parameters
    ----------
    name : str
        One of :data:`TASKS`.
    **options
        As the class takes them; ``classes`` is what :class:`Semantic` must be given.

    Raises
    ------
    SessionError
        If the name, or an option, is unknown or missing.
    """
    if name not in TASKS:
        raise _unknown(name)
    try:
        return TASKS[name](**options)
    except TypeError as error:
        raise SessionError(f"The task {name!r} cannot be made so: {error}.") from error


def _unknown(name: str) -> SessionError:
    return SessionError(
        f"There is no task {name!r}. Choose one of {', '.join(map(repr, TASKS))}."
    )
