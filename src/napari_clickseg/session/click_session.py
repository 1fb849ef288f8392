"""ClickSession: clicks in, masks and labels out, every step reversible."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_clickseg.boxes import Box
from napari_clickseg.errors import SessionError
from napari_clickseg.session import file as session_file
from napari_clickseg.session.answering import Answering
from napari_clickseg.session.changes import Change
from napari_clickseg.session.clicking import begun
from napari_clickseg.session.masks import as_mask
from napari_clickseg.session.patches import Patch
from napari_clickseg.session.proposing import ProposingSession
from napari_clickseg.session.replaying import replayed

if TYPE_CHECKING:
    from napari_clickseg.encoding.preparing import Prepared
    from napari_clickseg.models.model import Model

__all__ = ["ClickSession"]


class ClickSession(ProposingSession):
    """Segment the objects of one image by clicks.

    Parameters
    ----------
    model : str, Path or Model
        A name of :func:`napari_clickseg.list_models`, a weight file, or what
        :func:`napari_clickseg.load_model` returned. It is loaded at the first
        click.
    device, precision : str
        As for :func:`napari_clickseg.load_model`.
    task : str
        What clicks mean: ``"segmentation"``; or ``"semantic"``, ``"matting"`` or
        ``"depth"``, for which this makes a
        :class:`napari_clickseg.session.dense_session.DenseSession`.
    refinement : str or RefinementSettings, optional
        What happens where the model disobeys a click: a name of
        :data:`napari_clickseg.refinement.settings.METHODS`, or settings. Default:
        ``"none"``, or what a model that was made interactive brings.
    settings : PredictionSettings, optional
        Where the model looks; default: the published settings, but with
        ``first_look="search"``.
    overlap : {"keep", "overwrite", "probability"}
        Whose pixels are those that a commit shares with older objects: the
        older one's, the newer one's, or the surer one's.
    predictor : Predictor, optional
        In the place of a model: whatever answers like a ``Predictor``.

    Raises
    ------
    ClickSegError
        For unknown names; the text says which there are.

    Notes
    -----
    Every edit is a moment of a history of immutable states, so undo takes no
    time and asks no model. A click that is moved or removed is answered again
    with all later clicks, from the answer before it: the result is always that
    of the clicks as they stand, made one after the other. See
    :class:`napari_clickseg.session.draft.Draft`.

    Call the methods from one thread at a time. Properties may be read from any
    thread: they return immutable values or read-only arrays of one moment.
    """

    if not TYPE_CHECKING:  # who makes one is told of the arguments of __init__

        def __new__(cls, *args: Any, **options: Any) -> ClickSession:  # noqa: ARG004
            """Return a session that is right for the task."""
            others = ("semantic", "matting", "depth")
            if cls is ClickSession and options.get("task") in others:
                from napari_clickseg.session.dense_session import DenseSession

                return super().__new__(DenseSession)
            return super().__new__(cls)

    # -- masks -----------------------------------------------------------------

    def set_mask(self, mask: Any, *, box: Box | None = None) -> Change:
        """Start from a mask, or correct the answer by hand.

        The mask is the answer from now on and the previous mask of the next
        click. Clicks made before are kept and still shown to the model.

        Parameters
        ----------
        mask : array-like
            Boolean, or 0 and one other value; of the shape of the image, or of
            ``box`` where only that part changes. Empty: start afresh.
        box : Box, optional
            Where ``mask`` lies.

        Raises
        ------
        MaskError
            If its shape is another, or it holds several objects.
        """
        state = self.state
        patch = as_mask(mask, self.shape, box)
        if box is not None:
            old = self.mask_of(state.draft)
            whole = old.box.union(box)
            values = old.within(whole)
            values[box.relative_to(whole).slices] = patch.values
            patch = Patch(whole, values)
        draft = begun(state.draft.with_mask(patch))
        return self._moments.record("mask", replace(state, draft=draft))

    def start_from_model(
        self, *, predict: bool = True, settle: bool | None = None
    ) -> Change:
        """Start from what the model answers by itself, before any click.

        For models that need no clicks, such as those of
        :func:`napari_clickseg.make_interactive`; clicks then correct the answer.

        Parameters
        ----------
        predict, settle
            As for :meth:`add_click`.

        Raises
        ------
        SessionError
            If the model answers to clicks only, or an object is in work.
        """
        if not getattr(self.model, "automatic", False):
            raise SessionError(
                f"{self.model_name} answers to clicks only. Click inside an object, or "
                "choose a model that needs no clicks (see make_interactive)."
            )
        state = self.state
        if not state.draft.blank:
            raise SessionError(
                "There is an object in work already. Commit it with commit(), or drop "
                "it with discard(), before you start from the model's own answer."
            )
        draft, asking = begun(state.draft.without_clicks()), self.asking()
        if predict:
            draft = draft.answered(asking, settle is not False, self.visible)
        return self._moments.record(
            "automatic", replace(state, draft=draft), asking=asking
        )

    # -- encoding ahead of time --------------------------------------------------

    def prepare(
        self,
        store: Any = None,
        *,
        within: Box | None = None,
        progress: Callable[[int, int], object] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Prepared:
        """Encode the image now, so that no click waits for the encoder.

        For models that encode once, such as an InterFormer; what is encoded already
        is skipped. Enlarged windows, by which models that encode quickly see small
        objects, are encoded when they are clicked; ``magnify=1`` in the settings does
        without.

        Parameters
        ----------
        store : FeatureStore or path-like, optional
            Keeps it on disk. By default it is kept in memory, as long as the session
            has this model.
        within : Box, optional
            Only what clicks in this part of the image need.
        progress : callable, optional
            Called with the windows that are done, and all.
        cancelled : callable, optional
            Asked before each window; True stops, and what is done stays.

        Returns
        -------
        Prepared
            Windows done and in total, how many were encoded now, and seconds.

        Raises
        ------
        ModelError, EncoderMissingError
            If the model cannot prepare images.
        Cancelled
            If ``cancelled`` said so.
        StoreError, OSError
            If it cannot be kept.
        """
        from napari_clickseg.encoding.preparing import prepare, with_features
        from napari_clickseg.encoding.store import FeatureStore

        if isinstance(store, str | Path):
            store = FeatureStore(store)
        model, image, settings = self.model, self.image, self.settings
        stored = with_features(model, store)
        done = prepare(
            stored,
            None,
            image,
            within=within,
            flip=settings.flip is True,
            progress=progress,
            cancelled=cancelled,
        )
        if stored is not model:
            self.set_model(stored)  # type: ignore[arg-type]
        # Clicks ask for what was prepared, not for a larger whole.
        side = stored.tile_side if settings.first_look == "published" else None
        self.settings = replace(settings, max_size=settings.max_size or side)
        return done

    # -- history ---------------------------------------------------------------

    def undo(self) -> Change | None:
        """Take back the newest edit, commit or mask; None where there is none."""
        undone = self._moments.history.undo()
        return self._moments.tell("undo") if undone else None

    def redo(self, branch: int | None = None) -> Change | None:
        """Bring back what undo took; None where there is nothing.

        Parameters
        ----------
        branch : int, optional
            Where edits were made after an undo, several futures lead on from
            here; default: the one last left.
        """
        redone = self._moments.history.redo(branch)
        return self._moments.tell("redo") if redone else None

    # -- file ------------------------------------------------------------------

    def save(self, path: str | Path, *, image: bool | None = None) -> Path:
        """Write the session to a file that :meth:`load` reads.

        Clicks, masks, objects and which model answered; not the history.

        Parameters
        ----------
        path : str or Path
            By custom ``*.clickseg``. A file that is there is replaced only when
            the new one is complete.
        image : bool, optional
            Put the image in; default: if it lies in memory and is not large
            (:data:`napari_clickseg.session.file.IMAGE_LIMIT`).

        Returns
        -------
        Path
            The file.
        """
        return session_file.write(self.to_record(image), Path(path))

    @classmethod
    def load(
        cls,
        path: str | Path,
        image: Any = None,
        *,
        model: str | Path | Model | None = None,
        device: str = "auto",
        precision: str = "auto",
    ) -> ClickSession:
        """Read a session from a file; its history begins here.

        Parameters
        ----------
        path : str or Path
            A file that :meth:`save` wrote.
        image : array-like, optional
            The image it was made with; default: the one in the file, if there
            is one. Without an image, masks and labels can be read but not
            changed by clicks.
        model : str, Path or Model, optional
            What answers from now on; default: the model of the session.
        device, precision : str
            As for :func:`napari_clickseg.load_model`.

        Raises
        ------
        SessionError
            If it is no such file, or of another image, or from a newer version.
        """
        from napari_clickseg.session import dense_file

        if dense_file.holds(Path(path)):
            from napari_clickseg.session.dense_session import DenseSession

            return DenseSession.load(
                path, image, model=model, device=device, precision=precision
            )
        record = session_file.read(Path(path))
        answering = Answering(
            record.model["source"] if model is None else model,
            device,
            precision,
            settings=record.settings,
            # A model that is not on this machine is no reason not to look.
            check=model is not None,
        )
        session = cls(answering, **record.options)
        session.resume_record(record, image)
        return session

    def replay(
        self,
        model: str | Path | Model | None = None,
        *,
        device: str = "auto",
        precision: str = "auto",
        cancelled: Callable[[], bool] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> ClickSession:
        """Make all clicks again, with this or another model, in a new session.

        With the same model, device, precision and refinement each object gets the
        same mask, unless a time budget cut its refinement short.
        Pixels that several objects claim are shared out anew, in the order of
        the last commits: they may fall to another object than before where one
        was opened again, deleted or painted on in between.

        Parameters
        ----------
        model : str, Path or Model, optional
            What answers; default: the session's own.
        device, precision : str
            As for :func:`napari_clickseg.load_model`.
        cancelled : callable, optional
            Asked between passes of the model; True stops.
        progress : callable, optional
            Called with the number of objects done and of all.

        Returns
        -------
        ClickSession
            With the same image, clicks and masks set by hand; objects that
            nobody clicked are taken over, others committed in the same order.
        """
        answering = self._answering.another(model, device, precision)
        again = type(self)(answering, **self.options)
        again.set_image(self.image)
        again.visible = self.visible
        ask = again.asking(cancelled)
        # Nobody waits here: each answer is refined to its end.
        again.refinement = replace(self.refinement, time_budget=None)
        state, notices = replayed(self.state, ask, again.mask_of, progress)
        again.refinement = self.refinement
        again.resume(state, (*ask.notices, *notices))
        return again
