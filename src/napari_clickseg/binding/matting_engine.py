"""Matting in one flow: click the object, matte it, correct alpha; in the worker.

While there is no trimap, clicks are on the object and a model for click segmentation
answers them; the trimap that its mask would give is shown all the while.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from napari_clickseg.binding.dense_engine import DenseEngine
from napari_clickseg.binding.dense_reports import DenseOptions, DenseReport
from napari_clickseg.binding.marking import apply_edits, mark_of
from napari_clickseg.binding.marks import MarkEdit
from napari_clickseg.binding.plane_engine import CancelCheck
from napari_clickseg.binding.planes import Plane, PlaneImage
from napari_clickseg.binding.shelf import ModelShelf, Tell
from napari_clickseg.errors import SessionError
from napari_clickseg.session import Change, ClickSession
from napari_clickseg.tasks.trimap import from_mask

__all__ = ["MattingEngine"]


class MattingEngine(DenseEngine):
    """One image's sessions: of alpha, and of the objects before that."""

    def __init__(self, shelf: ModelShelf, tell: Tell) -> None:
        super().__init__(shelf, tell, "matting")
        self._outlines: dict[Plane, ClickSession] = {}
        self._outline_models: dict[Plane, Any] = {}
        #: Of which clicks a trimap was made; by the array's identity.
        self._origins: dict[int, tuple[Any, ClickSession]] = {}

    def open(
        self, plane: Plane, image: PlaneImage, options: DenseOptions
    ) -> DenseReport:
        """Begin with a plane, unless it is open already."""
        if plane not in self._outlines:
            self._new_outline(plane, self.source(plane, image))
        return super().open(plane, image, options)

    def show(self, plane: Plane, image: PlaneImage, options: DenseOptions) -> Any:
        """Look at the plane with the contrast that it has now on screen."""
        report = super().show(plane, image, options)
        outline = self._outlines[plane]
        if outline.image is not self._session(plane).image:
            outline.set_contrast(
                image.contrast, gamma=image.gamma, colormaps=image.colormaps
            )
        return report

    def close(self) -> None:
        """Forget everything."""
        super().close()
        self._outlines.clear()
        self._outline_models.clear()

    # --------------------------------------------------------------------- edits

    def edit_marks(
        self, plane: Plane, edits: list[MarkEdit], options: DenseOptions
    ) -> DenseReport:
        """Do to the clicks what was done to the points; nothing is answered yet."""
        if not self._outlining(plane):
            return super().edit_marks(plane, edits, options)
        signs = [_signed(edit) for edit in edits]
        change = apply_edits(self._outlines[plane], signs)
        return self._report(plane, change, options)

    def answer(
        self,
        plane: Plane,
        options: DenseOptions,
        settle: bool,
        cancelled: CancelCheck,
        *,
        again: bool = False,
    ) -> DenseReport:
        """Answer what is asked for: the object, or its alpha."""
        if not self._outlining(plane):
            return super().answer(plane, options, settle, cancelled, again=again)
        outline = self._outlines[plane]
        if not outline.pending and (outline.settled or not settle):
            return self._report(plane, None, options)
        model = self._model(options.object_model)
        known = outline, model
        if self._outline_models.get(plane) != known:
            outline.set_model(model)
            self._outline_models[plane] = known
        change = (
            outline.update(settle=settle, visible=options.visible, cancelled=cancelled)
            if outline.pending
            else outline.settle(cancelled)
        )
        return self._report(plane, change, options)

    def matte(self, plane: Plane, options: DenseOptions) -> DenseReport:
        """Make the trimap of the object that was clicked; alpha is asked for next.

        Raises
        ------
        SessionError
            If no object was clicked.
        """
        outline = self._outlines[plane]
        if not self._outlining(plane) or not outline.mask.any():
            raise SessionError(
                "There is no object to matte yet: click inside one, or choose a mask "
                "or a trimap."
            )
        report = self.call(
            plane,
            options,
            "trimap_from_mask",
            outline.mask,
            options.band,
            predict=False,
        )
        trimap = self._session(plane).trimap
        self._origins[id(trimap)] = trimap, outline
        return report

    def preview(self, plane: Plane, options: DenseOptions) -> DenseReport:
        """Report the trimap anew, for example with a wider band."""
        return self._report(plane, None, options)

    def call(
        self,
        plane: Plane,
        options: DenseOptions,
        name: str,
        *args: Any,
        **keywords: Any,
    ) -> DenseReport:
        """Call an edit by its name; undo goes back into the clicks on the object."""
        outline = self._outlines[plane]
        if name == "undo" and self._outlining(plane) and outline.can_undo:
            return self._report(plane, outline.undo(), options)
        if name == "redo" and self._outlining(plane) and outline.can_redo:
            return self._report(plane, outline.redo(), options)
        if name == "discard" and self._outlining(plane):
            return self._report(plane, outline.discard(), options)
        before = self._session(plane).trimap
        report = super().call(plane, options, name, *args, **keywords)
        if before is None or self._session(plane).trimap is not None:
            return report
        # Alpha is done: the next object. Or undone: the one that it was made of.
        if name == "undo":
            _, outline = self._origins.get(id(before), (None, outline))
            self._outlines[plane] = outline
        else:
            self._new_outline(plane, self._session(plane).image)
        return replace(self._report(plane, report.change, options), kept=report.kept)

    # ---------------------------------------------------------------------- parts

    def _take_up(
        self, plane: Plane, session: Any, options: DenseOptions
    ) -> DenseReport:
        self._new_outline(plane, session.image)
        return super()._take_up(plane, session, options)

    def _new_outline(self, plane: Plane, image: Any) -> None:
        outline = ClickSession()  # its model is chosen when it is asked
        outline.set_image(image)
        self._outlines[plane] = outline
        self._outline_models.pop(plane, None)

    def _outlining(self, plane: Plane) -> bool:
        """Whether there is no trimap yet."""
        session = self._session(plane)
        needs = bool(getattr(session.model, "needs_trimap", False))
        return needs and session.trimap is None

    def _report(
        self, plane: Plane, change: Change | None, options: DenseOptions
    ) -> DenseReport:
        outline = self._outlines[plane]
        if not self._outlining(plane):
            own = change if change is None or hasattr(change, "result") else None
            return super()._report(plane, own, options)
        if change is not None and not hasattr(change, "result"):
            # Of the object: no pixel of alpha is different.
            told = replace(change, bbox=None, mask=None, labels=None)
        else:
            told = change  # type: ignore[assignment]
        report = super()._report(plane, told, options)
        mask = outline.mask
        return replace(
            report,
            marks=tuple(map(mark_of, outline.clicks)),
            can_undo=outline.can_undo or report.can_undo,
            can_redo=outline.can_redo or report.can_redo,
            drafted=outline.in_work,
            settled=outline.settled,
            outlining=True,
            trimap=from_mask(mask, options.band, options.band) if mask.any() else None,
        )


def _signed(edit: MarkEdit) -> MarkEdit:
    """Return an edit of a click on the object: a sign, whatever value it carries."""
    marks = {name: _sign(getattr(edit, name)) for name in edit._fields}
    return type(edit)(**marks)


def _sign(mark: Any) -> Any:
    positive = mark.positive and (mark.value is None or mark.value >= 0.5)
    return mark._replace(positive=positive, value=None, label=None)
