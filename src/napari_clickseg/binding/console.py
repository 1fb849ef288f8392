"""The session of a viewer with the names of ClickSession, for scripts.

Each method starts a job in the thread that owns the layers, waits until its result is
on screen, and raises what went wrong.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_clickseg.binding.reading import Reading
from napari_clickseg.binding.reports import Report
from napari_clickseg.clicks import Click, as_position
from napari_clickseg.errors import Cancelled
from napari_clickseg.session import Carried, Change, Overlap

if TYPE_CHECKING:
    from napari_clickseg.models.model import Model
    from napari_clickseg.worker import Job

__all__ = ["Console"]

#: Edits that are answered by a job of their own.
CLICK_EDITS = {
    *("add_click", "move_click", "remove_click", "set_radius", "set_clicks"),
    "start_from_model",
}


class Console(Reading):
    """Clicks by script on the plane that is on screen.

    Positions are ``(row, col)`` in data coordinates of that plane. The methods may
    be called from any thread.
    """

    # --------------------------------------------------------------------- clicks

    def add_click(
        self,
        position: Sequence[float] | Click,
        positive: bool = True,
        *,
        predict: bool = True,
        settle: bool | None = None,
        **wishes: Any,
    ) -> Change:
        """Add a click, and answer it (see :meth:`ClickSession.add_click`)."""
        if not isinstance(position, Click):
            position = as_position(position)
        arguments = (position, positive)
        return self._edit("add_click", arguments, wishes, predict, settle)

    def move_click(
        self,
        index: int,
        position: Sequence[float],
        *,
        predict: bool = True,
        settle: bool | None = None,
    ) -> Change:
        """Move a click (negative ``index``: from the end), and answer anew."""
        return self._edit("move_click", (index, position), {}, predict, settle)

    def remove_click(
        self, index: int, *, predict: bool = True, settle: bool | None = None
    ) -> Change:
        """Remove a click (negative ``index``: from the end), and answer anew."""
        return self._edit("remove_click", (index,), {}, predict, settle)

    def set_radius(
        self,
        index: int,
        radius: float | None,
        *,
        predict: bool = True,
        settle: bool | None = None,
    ) -> Change:
        """Change how far a click reaches (image pixels), and answer anew."""
        return self._edit("set_radius", (index, radius), {}, predict, settle)

    def set_clicks(
        self, clicks: Any, *, predict: bool = True, settle: bool | None = None
    ) -> Change:
        """Replace all clicks of the object in work."""
        return self._edit("set_clicks", (list(clicks),), {}, predict, settle)

    def update(self, *, settle: bool = False) -> Change:
        """Answer the clicks as they stand, if they are not answered yet."""
        return self._change(lambda: self.ask(settle=settle))

    def settle(self) -> Change | None:
        """Replace a quick answer by the settled one; None where it is settled."""
        if self.session.settled:
            return None
        return self._change(lambda: self.ask(settle=True))

    def start_from_model(
        self, *, predict: bool = True, settle: bool | None = None
    ) -> Change:
        """Start from what the model answers by itself, before any click."""
        return self._edit("start_from_model", (), {}, predict, settle)

    def set_mask(self, mask: Any, **where: Any) -> Change:
        """Start from a mask (H, W), or correct the answer by one."""
        return self._edit("set_mask", (mask,), where)

    # -------------------------------------------------------------------- objects

    def commit(
        self, label: int | None = None, *, overlap: Overlap | None = None
    ) -> int:
        """Make the mask an object; returns its id.

        ``overlap`` says whose pixels are those that older objects have, for this one:
        ``"keep"``, ``"overwrite"`` or ``"probability"``.
        """
        change = self._change(lambda: self.commit_job(label, overlap))
        assert change.label is not None
        return change.label

    def reopen(self, label: int) -> Change:
        """Take a committed object back into work, with its clicks."""
        return self._edit("reopen", (label,), {})

    def delete(self, label: int | Iterable[int]) -> Change:
        """Remove committed objects, several in one step."""
        ids = list(label) if isinstance(label, Iterable) else label
        return self._edit("delete", (ids,), {})

    def discard(self) -> Change:
        """Drop the object in work; an opened one goes back as it was."""
        return self._edit("discard", (), {})

    def propose_objects(self, **wishes: Any) -> Change:
        """Add objects that a model finds without a click, on the plane on screen.

        ``wishes`` are those of :meth:`ClickSession.propose_objects`, but for a model
        that is loaded already: its name, ``diameter``, ``within``, ``seed``.
        """
        proposing = self.proposing
        self._in_owner(lambda: proposing.start(**wishes))
        while proposing.running:
            self._wait_a_little(proposing.job)
        if proposing.error is not None:
            raise proposing.error
        if proposing.outcome is None:
            raise Cancelled("Stopped looking for objects.")
        report: Report = self._wait(proposing.outcome)
        return self.session.change if report.change is None else report.change

    def propagate(self, label: int | None = None, **wishes: Any) -> Carried:
        """Carry an object through the planes, from the one on screen.

        All of it is one step: :meth:`undo` takes it back on all planes.

        Parameters
        ----------
        label : int, optional
            A committed object of the plane; default: the one in work.
        **wishes
            ``axis``, the data axis to follow (default: the first of those that are not
            on screen), and fields of
            :class:`napari_clickseg.session.PropagationOptions`, such as
            ``direction="forward"`` or ``planes=5``.

        Returns
        -------
        Carried
            Where it was carried to, and where and why it went no further.

        Raises
        ------
        ClickSegError
            If there is no such object, or the image is a single plane.
        """
        propagating = self.propagating
        self._in_owner(lambda: propagating.start(label, **wishes))
        while propagating.running:
            self._wait_a_little(propagating.job)
        if propagating.error is not None:
            raise propagating.error
        assert propagating.carried is not None
        return propagating.carried

    def set_labels(self, labels: Any, **where: Any) -> Change:
        """Take over a label image (H, W) as the objects of the plane."""
        return self._edit("set_labels", (labels,), where)

    # -------------------------------------------------------------------- history

    def undo(self) -> Change | None:
        """Take back the newest edit, mask or commit; None where there is none.

        A propagation is one step, which is taken back on all planes.
        """
        return self._edit("undo", (), {}) if self.can_undo else None

    def redo(self) -> Change | None:
        """Bring back what undo took; None where there is nothing."""
        return self._edit("redo", (), {}) if self.can_redo else None

    # ---------------------------------------------------------------- image, model

    def set_model(
        self,
        model: str | Path | Model | None = None,
        device: str | None = None,
        precision: str | None = None,
    ) -> None:
        """Answer with another model, or elsewhere, from the next click on."""
        old = self.model_choice
        if model is not None and not isinstance(model, str | Path):
            choice = self._shelf.keep(model)
        else:
            choice = old._replace(
                name=str(model or old.name),
                device=device or old.device,
                precision=precision or old.precision,
            )

        def choose() -> None:
            self.model_choice = choice
            self.changed.emit()

        self._in_owner(choose)

    def prepare(self, *, all_images: bool = False) -> None:
        """Encode the image now, or all images, so that no click waits for it.

        With ``preparing.all_planes`` all planes of stacks, too.
        """
        preparing = self.preparing
        self._in_owner(preparing.prepare_all if all_images else preparing.prepare_image)
        while preparing.running:
            self._wait_a_little(preparing.job)
        if preparing.error is not None:
            raise preparing.error

    def stop(self) -> None:
        """Stop a download, proposals, and answers that nobody needs."""
        self.proposing.cancel()
        self.propagating.cancel()
        super().stop()

    # ----------------------------------------------------------------------- parts

    def _edit(
        self,
        name: str,
        arguments: tuple[Any, ...],
        named: dict[str, Any],
        predict: bool = True,
        settle: bool | None = None,
    ) -> Change:
        if name in {
            "add_click",
            "move_click",
            "remove_click",
            "set_radius",
            "set_clicks",
        }:
            named = {**named, "predict": False}
        return self._change(
            lambda: self.edit(
                lambda engine, plane, o: engine.call(
                    plane, o, name, *arguments, **named
                ),
                answer=predict,
                settle=settle is not False,
            )
        )

    def _wait_a_little(self, job: Job | None) -> None:
        """Wait for a job of many, or for what goes before it."""
        if job is None or job.applied.is_set():
            if self._channel.owned:
                self._channel.flush()
            time.sleep(0.002)
        else:
            self._channel.wait(job)
