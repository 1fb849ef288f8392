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


def get_task(name: str, **options: Any) -> Segmentation:
    """Return the task of sessions whose clicks make objects.

    Raises
    ------
    SessionError
        If the name is another, or there are options, of which this task has none.
    """
    if name not in TASKS:
        raise _unknown(name)
    if name != Segmentation.name:
        raise SessionError(
            f"This session makes objects. For {name!r} make one with "
            f"ClickSession(model, task={name!r})."
        )
    if options:
        raise SessionError(
            f"A session for {name!r} takes no {', '.join(options)}. Name another task "
            "(task='semantic', 'matting' or 'depth'), or leave it out."
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
