"""A study: how many clicks and seconds each object takes, against a reference."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clickseg.boxes import Box
from napari_clickseg.errors import ExportError, MaskError, SessionError
from napari_clickseg.session.effort import IDLE, Activity, effort_of
from napari_clickseg.session.patches import Patch

if TYPE_CHECKING:
    from napari_clickseg.session.moments import Moments

__all__ = ["GOALS", "Study"]

#: IoU to reach, as in the published click benchmarks.
GOALS = (0.85, 0.9)
#: Rows of the reference that are read at once.
ROWS = 1024


class Study:
    """Writes one line for each commit, at once, so that a crash loses none.

    Columns: ``time``, ``plane``, ``label``, ``class``, ``clicks`` (that stand),
    ``clicks_made``, ``seconds`` and ``search_seconds`` (active, see
    :class:`napari_clickseg.session.effort.ObjectEffort`), ``area``, ``reference`` (the
    object of the reference with the largest IoU; 0: none), ``iou`` at the commit,
    ``noc@85`` and ``noc@90`` (clicks after which that IoU was reached first; empty: it
    was not), ``ious`` (after each number of clicks, from 0 for a starting mask).

    Parameters
    ----------
    reference : array-like of int, shape (H, W)
        Read in parts; 0 is background.
    path : path
        ``.csv``. Lines are added to a file of a study that is there.
    shape : (int, int)
        Of the image.
    goals : sequence of float
        IoU to reach, above 0 and up to 1.
    idle_limit : float
        Pauses longer than this (seconds) do not count.
    plane : str
        Of a stack: which plane.

    Raises
    ------
    MaskError
        If the reference is no label image of that shape.
    ExportError
        If the file cannot be written, or is something else.
    """

    def __init__(
        self,
        reference: Any,
        path: str | Path,
        shape: tuple[int, int],
        *,
        goals: Sequence[float] = GOALS,
        idle_limit: float = IDLE,
        plane: str = "",
    ) -> None:
        if not goals or not all(0 < goal <= 1 for goal in goals):
            raise SessionError(f"Goals are IoUs above 0 and up to 1, not {goals!r}.")
        if not hasattr(reference, "dtype"):
            reference = np.asarray(reference)
        dtype = np.dtype(reference.dtype)
        if tuple(np.shape(reference)) != shape or dtype.kind not in "bui":
            raise MaskError(
                f"The reference is {dtype} of shape {tuple(np.shape(reference))}. Give "
                f"a label image of the image's shape {shape}, in whole numbers."
            )
        self.path = Path(path).expanduser()
        self.goals, self.idle_limit = tuple(goals), idle_limit
        #: Why the newest line is not on disk; "" where it is.
        self.trouble = ""
        self._reference, self._plane = reference, plane
        self._areas = _areas(reference, shape)
        self._curve: dict[int, dict[int, float]] = {}
        self._seen = -1
        self._waiting: list[str] = []
        self._begin()

    def begin_at(self, number: int) -> None:
        """Heed what comes after a moment of a history: what was before is no news."""
        self._seen, self._curve = number, {}

    @property
    def head(self) -> list[str]:
        """Names of the columns."""
        noc = [f"noc@{goal * 100:g}" for goal in self.goals]
        first = ["time", "plane", "label", "class", "clicks", "clicks_made", "seconds"]
        return [*first, "search_seconds", "area", "reference", "iou", *noc, "ious"]

    def __call__(self, moments: Moments) -> None:
        """Look at where a session stands now."""
        now = moments.history.now
        fresh, self._seen = now.number > self._seen, max(self._seen, now.number)
        draft = now.state.draft
        if fresh and now.kind == "commit" and now.edit is not None:
            self._committed(moments, now.edit.label)
        if draft.blank:
            self._curve = {}
        elif not draft.pending:
            mask = moments.mask_of(draft)
            count = len(draft.clicks)  # what was taken back does not count
            self._curve = {n: ious for n, ious in self._curve.items() if n < count}
            self._curve[count] = self._ious(mask)

    # ----------------------------------------------------------------------- parts

    def _committed(self, moments: Moments, label: int) -> None:
        objects = moments.state.objects
        each = objects[label]
        at_commit = self._ious(each.mask)
        match = max(at_commit, key=lambda n: at_commit[n], default=0)
        curve = {n: ious.get(match, 0.0) for n, ious in sorted(self._curve.items())}
        activity: Sequence[Activity] = moments.activity
        row = effort_of(activity, {label: each}, self.idle_limit).objects[0]
        noc = [
            next((n for n, iou in curve.items() if n and iou >= goal), "")
            for goal in self.goals
        ]
        self._write(
            [
                f"{time.time():.3f}",
                self._plane,
                label,
                each.category,
                row.clicks,
                row.clicks_made,
                f"{row.seconds:.3f}",
                f"{row.search_seconds:.3f}",
                each.area,
                match,
                f"{at_commit.get(match, 0.0):.4f}",
                *noc,
                " ".join(f"{n}:{iou:.4f}" for n, iou in curve.items()),
            ]
        )

    def _ious(self, mask: Patch) -> dict[int, float]:
        """Return the IoU with each object of the reference that is touched."""
        if mask.box.empty:
            return {}
        under = np.asarray(self._reference[mask.box.slices])[mask.values]
        area = int(np.count_nonzero(mask.values))
        labels, counts = np.unique(under, return_counts=True)
        return {
            int(n): float(c / (area + self._areas[int(n)] - c))
            for n, c in zip(labels.tolist(), counts.tolist(), strict=True)
            if n
        }

    def _begin(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+", encoding="utf-8", newline="") as file:
                file.seek(0)
                first = file.readline().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ExportError(
                f"The study cannot be written to {self.path} ({error}). Choose another "
                "file."
            ) from error
        head = _line(self.head)
        if not first:
            self._write(self.head)
            if self.trouble:
                raise ExportError(self.trouble)
        elif first != head.rstrip("\n"):
            raise ExportError(
                f"{self.path} is there, and no study with these goals. Choose another "
                "file."
            )

    def _write(self, cells: Sequence[Any]) -> None:
        """Add a line, and have it on disk; what fails is tried again with the next."""
        self._waiting.append(_line(cells))
        try:
            with self.path.open("a", encoding="utf-8", newline="") as file:
                file.write("".join(self._waiting))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            self.trouble = (
                f"The study's newest lines are not on disk: {self.path} cannot be "
                f"written ({error.strerror}). Make room; they follow with the next."
            )
        else:
            self._waiting, self.trouble = [], ""


def _line(cells: Sequence[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def _areas(reference: Any, shape: tuple[int, int]) -> dict[int, int]:
    found: dict[int, int] = {}
    for box in _bands(shape):
        labels, counts = np.unique(
            np.asarray(reference[box.slices]), return_counts=True
        )
        for label, count in zip(labels.tolist(), counts.tolist(), strict=True):
            found[int(label)] = found.get(int(label), 0) + count
    return found


def _bands(shape: tuple[int, int]) -> Iterator[Box]:
    for top in range(0, shape[0], ROWS):
        yield Box(top, 0, min(top + ROWS, shape[0]), shape[1])
