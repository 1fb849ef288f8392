"""Edits of committed objects, and what is drawn, by script."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from napari_clickseg.binding.console import Console
from napari_clickseg.binding.planes import Plane
from napari_clickseg.boxes import Box
from napari_clickseg.session import Change
from napari_clickseg.session.unlabelled import Region

__all__ = ["ObjectConsole"]


class ObjectConsole(Console):
    """The methods of ClickSession for objects, on the plane that is on screen."""

    # --------------------------------------------------------------------- objects

    def merge(self, labels: Iterable[int]) -> int:
        """Make one object of several; returns its id, that of the first."""
        ids = list(labels)
        self._edit("merge", (ids,), {})
        return ids[0]

    def split(self, label: int, line: Any) -> tuple[int, ...]:
        """Cut an object along a line (N, 2); returns the ids of the pieces."""
        before = set(self.objects)
        self._change(
            lambda: self.edit(
                lambda engine, plane, o: engine.split(plane, o, label, line),
                answer=False,
            )
        )
        return (label, *sorted(set(self.objects) - before))

    def relabel(self, label: int, new: int) -> Change:
        """Give an object another id, which nobody has."""
        return self._change(
            lambda: self.edit(
                lambda engine, plane, o: engine.relabel(plane, o, label, new),
                answer=False,
            )
        )

    def set_class(
        self, labels: int | Iterable[int], category: str | int | None
    ) -> Change:
        """Say of which class objects are; empty or None: of none."""
        return self._edit("set_class", (labels, category), {})

    def accept(self, labels: int | Iterable[int]) -> Change:
        """Keep proposals as they are."""
        return self._edit("accept", (labels,), {})

    def reopen_at(self, position: Sequence[float]) -> Change:
        """Take the object at ``(row, col)`` back into work."""
        return self._edit("reopen_at", (position,), {})

    def label_at(self, position: Sequence[float]) -> int:
        """Return the id of the object at ``(row, col)``; 0: none."""
        return int(self.session.label_at(position))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that objects of the plane have."""
        found: tuple[str, ...] = self.session.classes
        return found

    def next_unlabelled(self, near: tuple[float, float] | None = None) -> Region | None:
        """Return a region without objects that looks as if something were there."""
        options = self._in_owner(self.current_options)

        def look(engine: Any, plane: Plane) -> Any:
            return engine.unlabelled(plane, options, near, lambda: False)

        found: Region | None = self._ask_engine(look)
        return found

    def take_up_from(self, layer: Any) -> None:
        """Let first clicks take up the objects of a Labels layer; None: of none.

        Parameters
        ----------
        layer : Labels layer, its name, or None
            New objects go there, too.

        Raises
        ------
        MaskError, SessionError
            If its objects cannot be corrected in place.
        """

        def choose() -> Any:
            chosen = self.viewer.layers[layer] if isinstance(layer, str) else layer
            return self._choose_take_up(chosen)

        job = self._in_owner(choose)
        if job is not None:
            self._wait(job)
            self._ask_engine(lambda engine, plane: engine.session(plane))

    # ----------------------------------------------------------------- what is drawn

    def add_scribble(
        self,
        path: Any,
        positive: bool = True,
        *,
        predict: bool = True,
        settle: bool | None = None,
        **options: Any,
    ) -> Change:
        """Add clicks along a line (N, 2), and answer them in one go."""
        named = {**options, "predict": False}
        return self._edit("add_scribble", (path, positive), named, predict, settle)

    def add_box(
        self,
        box: Box | Sequence[float],
        *,
        predict: bool = True,
        settle: bool | None = None,
    ) -> Change:
        """Say in which box (top, left, bottom, right) the object lies."""
        return self._edit("add_box", (box,), {"predict": False}, predict, settle)

    def add_polygon(self, vertices: Any, positive: bool = True) -> Change:
        """Start from a polygon (N, 2), or add it to the mask or take it away."""
        return self._edit("add_polygon", (vertices, positive), {})
