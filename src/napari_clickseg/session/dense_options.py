"""Which task a session of classes, alpha or depth has, before its model is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from napari_clickseg.errors import SessionError
from napari_clickseg.tasks import Classes, Task, make_task


class TaskOptions:
    """What was said of the task; the model says the rest.

    Parameters
    ----------
    name : str
        ``"semantic"``, ``"matting"`` or ``"depth"``.
    mode : str
        ``"click"``, ``"push"`` or ``"stroke"``.
    classes : Classes, sequence of str or dict, optional
        For semantic classes; a dict is what ``Classes.to_dict`` wrote.
    others : mapping
        Further options of the task.

    Raises
    ------
    SessionError, SettingsError
        If there is no such option, or its value makes no sense.
    """

    def __init__(
        self, name: str, mode: str, classes: Any, others: Mapping[str, Any]
    ) -> None:
        self.name, self.mode, self.others = name, mode, dict(others)
        self.classes: Classes | None = None
        if classes is not None:
            if name != "semantic":
                raise SessionError(
                    f"Only task='semantic' has classes, not {name!r}. Leave them out."
                )
            if isinstance(classes, Mapping):
                classes = Classes.from_dict(classes)
            elif not isinstance(classes, Classes):
                classes = Classes.named(classes)
            self.classes = classes
        given = {}
        if name == "semantic":
            given = {"classes": self.classes or Classes.named(("a", "b"))}
        make_task(name, mode=mode, **given, **self.others)

    def in_mode(self, mode: str) -> TaskOptions:
        """Return the same in another mode."""
        if mode == self.mode:
            return self
        return TaskOptions(self.name, mode, self.classes, self.others)

    def with_push(self, push: float) -> TaskOptions:
        """Return the same with another length of a push."""
        others = {**self.others, "push": push}
        return TaskOptions(self.name, self.mode, self.classes, others)

    def task(self, model: Any) -> Task:
        """Return the task for a loaded model."""
        given = {} if self.classes is None else {"classes": self.classes}
        task: Task = model.make_task(self.mode, **given, **self.others)
        return task

    def to_dict(self) -> dict[str, Any]:
        """Return the options as the session takes them, ready for JSON."""
        classes = None if self.classes is None else self.classes.to_dict()
        return {
            "task": self.name,
            "mode": self.mode,
            "classes": classes,
            **self.others,
        }
