"""ClickSession for semantic classes, alpha and depth: maps in the place of masks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.boxes import Box
from napari_clickseg.errors import MaskError, SessionError
from napari_clickseg.session import dense_export, dense_file
from napari_clickseg.session.changes import Change
from napari_clickseg.session.clicking import begun
from napari_clickseg.session.dense_answering import DenseAnswering, without_budget
from napari_clickseg.session.dense_base import DenseBase
from napari_clickseg.session.dense_draft import (
    Committed,
    DenseDraft,
    DenseMoment,
    DenseStep,
)
from napari_clickseg.session.file import SessionRecord
from napari_clickseg.session.objects import check_label
from napari_clickseg.tasks.semantic import check_painted
from napari_clickseg.tasks.trimap import as_trimap, from_mask, painted_over


class DenseSession(DenseBase):
    """Correct the classes, alpha or depth of one image by clicks or strokes.

    Made by ``ClickSession(model, task="semantic" | "matting" | "depth")``.

    Parameters
    ----------
    model, device, precision
        As for :class:`napari_clickseg.ClickSession`; one for this task.
    task : str
        ``"semantic"``, ``"matting"`` or ``"depth"``.
    mode : str
        ``"click"``; ``"push"`` (alpha and depth): a click moves the value of its pixel
        up or down, once; ``"stroke"`` (classes): :meth:`paint` in the place of clicks.
    classes : Classes or sequence of str, optional
        Names of the network's classes; default: as the model says.
    refinement : str or RefinementSettings, optional
        Default: what the settings say, which is ``"g-brs-bmconv"``.
    settings : DenseSettings, optional
    **task_options
        Further options of the task, such as ``push``, ``tolerance``, ``unit``.

    Raises
    ------
    ClickSegError
        For unknown names and modes; the text says which there are.

    Notes
    -----
    Everything that ``ClickSession`` says of undo, moved clicks and threads holds here.
    """

    # -- what is given besides clicks --------------------------------------------

    def start_from_model(
        self, *, predict: bool = True, settle: bool | None = None
    ) -> Change:
        """Start from what the network answers by itself; clicks correct that.

        Raises
        ------
        SessionError
            If something is in work, or a trimap is missing.
        """
        draft = self.state.draft
        if draft.clicks or draft.steps:
            raise SessionError(
                "There is a map in work already. Keep it with commit(), or drop it "
                "with discard(), before you start from the model's own answer."
            )
        return self._given(
            "automatic", replace(draft, steps=(DenseStep(0),)), predict, settle
        )

    def set_trimap(self, trimap: Any, *, predict: bool = True) -> Change:
        """Tell matting what is surely background and object, and answer anew.

        Parameters
        ----------
        trimap : array-like, shape (H, W)
            0 background, 128 unknown, 255 object; see
            :func:`napari_clickseg.tasks.trimap.as_trimap`.
        predict : bool
            Answer now; otherwise :meth:`update` does it.

        Raises
        ------
        MaskError
            If it is no trimap of the image.
        SessionError
            If the task is not matting.
        """
        self._only("matting", "set_trimap")
        known = as_trimap(trimap)
        if known.shape != self.shape:
            raise MaskError(
                f"The trimap has shape {known.shape}, the image {self.shape}. Pass one "
                "of that shape, in rows and columns."
            )
        known.flags.writeable = False
        return self._given("trimap", self.state.draft.with_trimap(known), predict)

    def trimap_from_mask(
        self, mask: Any, band: float | None = None, *, predict: bool = True
    ) -> Change:
        """Make the trimap of a mask, for example of one made by clicks.

        Parameters
        ----------
        mask : array-like of bool, shape (H, W)
        band : float, optional
            How far the unknown band reaches to both sides of the edge, in pixels; by
            default 4 % of the object's longer side, 5 pixels at least.
        predict : bool
            As for :meth:`set_trimap`.
        """
        self._only("matting", "trimap_from_mask")
        return self.set_trimap(from_mask(mask, band, band), predict=predict)

    def paint(
        self, labels: Any, box: Box | None = None, *, predict: bool = True
    ) -> Change:
        """Add strokes, and answer.

        Parameters
        ----------
        labels : array-like of int, of the shape of the image or of ``box``
            0 where nothing is painted. In stroke mode labels of classes. For matting
            the trimap is painted: 1 background, 2 unknown, 3 object.
        box : Box, optional
            Where ``labels`` lies.
        predict : bool
            As for :meth:`set_trimap`.

        Raises
        ------
        MaskError, ClickError
            If the shape or the labels do not fit.
        SessionError
            If the session takes no strokes.
        """
        plane = self._placed(np.asarray(labels), box)
        draft = self.state.draft
        if self._options.name == "matting":
            if draft.trimap is None:
                raise SessionError(
                    "There is no trimap to paint on. Give one with set_trimap(trimap) "
                    "or trimap_from_mask(mask)."
                )
            return self.set_trimap(painted_over(draft.trimap, plane), predict=predict)
        if self.mode != "stroke":
            self._no("paint", "Strokes need task='semantic', mode='stroke'.")
        strokes = check_painted(plane, self.task.classes)
        if draft.painted is not None:
            strokes = np.where(strokes > 0, strokes, draft.painted)
        # Labels of some classes only: a byte or two for each pixel.
        strokes = strokes.astype(np.min_scalar_type(int(strokes.max(initial=0))))
        strokes.flags.writeable = False
        return self._given("paint", draft.with_strokes(strokes), predict)

    # -- keeping ---------------------------------------------------------------

    def commit(
        self, label: int | None = None, *, overlap: Any = None, group: str = ""
    ) -> int:
        """Keep the result under a number; what comes next starts anew.

        Parameters
        ----------
        label : int, optional
            The number; default: the one it had before it was opened again, else the
            next. What was kept under it is replaced.

        Returns
        -------
        int
            The number.

        Raises
        ------
        MaskError
            If there is nothing to keep.
        """
        if overlap is not None:
            self._no("overlap", "Maps are kept each for itself.")
        if group:
            self._no("group", "Maps are not carried to other planes.")
        chosen = None if label is None else check_label(label)
        state, draft = self.state, self.state.draft
        asking = self.asking() if draft.pending else None
        if asking is not None:
            draft = draft.answered(asking, True, self.visible)
        if draft.answer.box.empty:
            raise MaskError(
                "There is nothing to keep. Click, or call start_from_model(), first."
            )
        before = None if draft.taken is None else draft.taken.number
        number = chosen or before or state.next_number
        now = time.time()
        began = now if draft.started is None else draft.started
        seconds = draft.spent + max(0.0, now - began)
        kept = Committed(number, draft.answer, replace(draft, taken=None), seconds, now)
        self._moments.record(
            "commit", state.with_result(kept), label=number, asking=asking
        )
        return number

    def reopen(self, label: int) -> Change:
        """Take what was kept under a number back into work, with its clicks."""
        state = self.state
        if not state.draft.blank:
            raise SessionError(
                "Another map is in work. Keep it with commit(), or drop it with "
                "discard(), before you open one that was kept."
            )
        found = self._kept(label)
        left = replace(state.without(found.number), draft=found.reopened())
        return self._moments.record("reopen", left, label=found.number)

    def delete(self, label: int | Iterable[int]) -> Change:
        """Remove what was kept under a number."""
        gone = self._kept(check_label(label)).number
        return self._moments.record("delete", self.state.without(gone), label=gone)

    # -- file ------------------------------------------------------------------

    def save(self, path: str | Path, *, image: bool | None = None) -> Path:
        """Write the session to a file; see :meth:`ClickSession.save`."""
        return dense_file.write(self.to_record(image), Path(path))

    def export(
        self,
        path: str | Path,
        number: int | None = None,
        *,
        kind: str | None = None,
        **options: Any,
    ) -> list[Path]:
        """Write the map in work, or one that was kept, for other programs.

        Parameters
        ----------
        path : path
            Class maps, alpha and cut-outs: ``.png``, ``.tif``; depth: ``.tif``.
        number : int, optional
            What was kept under it; default: :attr:`result`.
        kind : str, optional
            For matting ``"alpha"`` (default) or ``"cutout"``.
        **options
            For :func:`~napari_clickseg.exporting.save_class_map`, ``save_alpha``,
            ``save_cutout`` or ``save_depth``, such as ``spacing``.

        Returns
        -------
        list of Path
            What was written: of classes also the legend.

        Raises
        ------
        ExportError
            If there is no such map, or it cannot be written there.
        """
        return dense_export.export(self, path, number, kind, **options)

    @classmethod
    def of_record(
        cls, record: SessionRecord, model: Any, device: str, precision: str
    ) -> DenseSession:
        """Return a session with the model and the options of a file."""
        options = dict(record.options)
        settings: Any = record.settings
        answering = DenseAnswering(
            record.model["source"] if model is None else model,
            device,
            precision,
            task=options["task"],
            settings=settings,
            check=model is not None,
        )
        del options["refinement"]  # the settings say more
        return DenseSession(answering, **options)

    def replay(
        self,
        model: Any = None,
        *,
        device: str = "auto",
        precision: str = "auto",
        cancelled: Callable[[], bool] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> DenseSession:
        """Make all clicks again; see :meth:`napari_clickseg.ClickSession.replay`."""
        answering = self._answering.another(model, device, precision)
        settings = answering.settings
        answering.settings = without_budget(settings)
        options = {k: v for k, v in self.options.items() if k != "refinement"}
        again = DenseSession(answering, **options)
        again.set_image(self.image)
        again.visible = self.visible
        ask, results = again.asking(cancelled), {}
        kept = self.state.results
        for done, (number, each) in enumerate(kept.items()):
            if progress is not None:
                progress(done, len(kept))
            draft = each.draft.recipe().answered(ask, None, None)
            results[number] = replace(each, values=draft.answer, draft=draft)
        if progress is not None:
            progress(len(kept), len(kept))
        draft = self.state.draft.recipe().answered(ask, None, None)
        answering.settings = settings
        again.resume(DenseMoment(draft, results=results), ask.notices)
        return again

    # -- parts -----------------------------------------------------------------

    def _given(
        self, kind: str, draft: DenseDraft, predict: bool, settle: bool | None = None
    ) -> Change:
        state, asking = self.state, self.asking()
        draft = begun(draft)  # type: ignore[assignment]
        if predict:
            draft = draft.answered(asking, settle is not False, self.visible)
        return self._moments.record(kind, replace(state, draft=draft), asking=asking)

    def _placed(self, labels: NDArray[Any], box: Box | None) -> NDArray[Any]:
        where = Box.of_shape(self.shape) if box is None else Box(*box)
        if where.clip(self.shape) != where or labels.shape != where.shape:
            raise MaskError(
                f"The strokes have shape {labels.shape}, and lie at {tuple(where)} in "
                f"an image of shape {self.shape}. Pass strokes of the shape of the "
                "image, or of a box inside it."
            )
        if labels.dtype.kind not in "bui":
            raise MaskError(
                f"Strokes are whole numbers, not {labels.dtype}. Pass "
                "labels.astype(int)."
            )
        plane = np.zeros(self.shape, labels.dtype)
        plane[where.slices] = labels
        return plane

    def _kept(self, label: int) -> Committed:
        results = self.state.results
        if check_label(label) not in results:
            there = ", ".join(map(str, list(results)[:10])) or "none yet"
            raise SessionError(f"Nothing was kept as {label}. There are: {there}.")
        found: Committed = results[label]
        return found
