"""A map of a viewer with the names of ClickSession, for scripts.

Each method starts a job in the thread that owns the layers, waits until its result is
on screen, and raises what went wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.binding.dense_controller import DenseController
from napari_clickseg.clicks import Click, as_position
from napari_clickseg.session import Change

if TYPE_CHECKING:
    pass

__all__ = ["DenseConsole"]


class DenseConsole(DenseController):
    """Clicks by script on the plane that is on screen.

    Positions are ``(row, col)`` in data coordinates of that plane. The methods may
    be called from any thread.
    """

    # -------------------------------------------------------------------- reading

    @property
    def trimap(self) -> NDArray[np.uint8] | None:
        """What matting was told: 0 background, 128 unknown, 255 object."""
        return self.session.trimap

    @property
    def committed(self) -> Mapping[int, NDArray[Any]]:
        """What was kept: arrays ``(H, W)`` by number."""
        return self.session.committed

    # --------------------------------------------------------------------- clicks

    def add_click(
        self,
        position: Sequence[float] | Click,
        positive: bool = True,
        *,
        predict: bool = True,
        **wishes: Any,
    ) -> Change:
        """Add a click, and answer it (see :meth:`ClickSession.add_click`)."""
        if not isinstance(position, Click):
            position = as_position(position)
        return self._edit("add_click", position, positive, answer=predict, **wishes)

    def move_click(
        self, index: int, position: Sequence[float], *, predict: bool = True
    ) -> Change:
        """Move a click (negative ``index``: from the end), and answer anew."""
        return self._edit("move_click", index, position, answer=predict)

    def remove_click(self, index: int, *, predict: bool = True) -> Change:
        """Remove a click (negative ``index``: from the end), and answer anew."""
        return self._edit("remove_click", index, answer=predict)

    def set_radius(
        self, index: int, radius: float | None, *, predict: bool = True
    ) -> Change:
        """Change how far a click reaches (image pixels), and answer anew."""
        return self._edit("set_radius", index, radius, answer=predict)

    def set_clicks(self, clicks: Any, *, predict: bool = True) -> Change:
        """Replace all clicks in work."""
        return self._edit("set_clicks", list(clicks), answer=predict)

    def start_from_model(self, *, predict: bool = True) -> Change:
        """Start from what the network answers by itself; clicks correct that."""
        return self._edit("start_from_model", answer=predict)

    def set_trimap(self, trimap: Any, *, predict: bool = True) -> Change:
        """Tell matting what is surely background and object, and answer anew."""
        return self._edit("set_trimap", trimap, answer=predict)

    def trimap_from_mask(
        self, mask: Any, band: float | None = None, *, predict: bool = True
    ) -> Change:
        """Make the trimap of a mask, for example of one made by clicks."""
        return self._edit("trimap_from_mask", mask, band, answer=predict)

    def paint(self, labels: Any, box: Any = None, *, predict: bool = True) -> Change:
        """Add strokes (classes: as in stroke mode), or paint the trimap; answer."""
        return self._edit("paint", labels, box, answer=predict)

    def update(self, *, settle: bool = False) -> Change:
        """Answer what is asked for as it stands, if it is not answered yet."""
        return self._change(lambda: self.ask(settle=settle))

    # --------------------------------------------------------------------- keeping

    def commit(self, label: int | None = None) -> int:
        """Keep the map under a number; returns it."""
        change = self._change(lambda: self.commit_job(label))
        assert change.label is not None
        return change.label

    def reopen(self, label: int) -> Change:
        """Take a map that was kept back into work, with its clicks."""
        return self._edit("reopen", label, answer=False)

    def delete(self, label: int) -> Change:
        """Remove a map that was kept."""
        return self._edit("delete", label, answer=False)

    def discard(self) -> Change:
        """Drop what is in work; an opened map goes back as it was."""
        return self._edit("discard", answer=False)

    def undo(self) -> Change:
        """Take back the newest edit; nothing happens where there is none."""
        return self._edit("undo")

    def redo(self) -> Change:
        """Bring back what undo took; nothing happens where there is nothing."""
        return self._edit("redo")

    # ----------------------------------------------------------------------- parts

    def _edit(
        self, name: str, *arguments: Any, answer: bool = True, **named: Any
    ) -> Change:
        if name not in {"undo", "redo", "reopen", "delete", "discard"}:
            named = {**named, "predict": False}
        return self._change(
            lambda: self._call(name, *arguments, answer=answer, **named)
        )
