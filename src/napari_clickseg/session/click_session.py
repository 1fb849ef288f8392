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
from napari_clickseg.session.edits import Edit
from napari_clickseg.session.frames import is_frame_file
from napari_clickseg.session.in_blocks import check_small
from napari_clickseg.session.keeping import KeptSession
from napari_clickseg.session.masks import as_mask
from napari_clickseg.session.objects import check_extent
from napari_clickseg.session.patches import Patch
from napari_clickseg.session.recovering import read_journal
from napari_clickseg.session.replaying import redone, replayed

if TYPE_CHECKING:
    from napari_clickseg.encoding.preparing import Prepared
    from napari_clickseg.models.model import Model
    from napari_clickseg.session.file import SessionRecord

__all__ = ["ClickSession"]


class ClickSession(KeptSession):
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
        if box is None:
            check_small(Box.of_shape(self.shape), "A mask")
        patch = as_mask(mask, self.shape, box)
        edit = Edit("mask", patch=patch, whole=box is None)
        if box is not None:
            old = self.mask_of(state.draft)
            whole = old.box.union(box)
            check_extent(whole)
            values = old.within(whole)
            values[box.relative_to(whole).slices] = patch.values
            patch = Patch(whole, values)
        draft = begun(state.draft.with_mask(patch))
        return self._moments.record("mask", replace(state, draft=draft), edit=edit)

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
            "automatic",
            replace(state, draft=draft),
            asking=asking,
            edit=Edit("automatic"),
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
        return self._moments.step("undo", back=True)

    def redo(self, branch: int | None = None) -> Change | None:
        """Bring back what undo took; None where there is nothing.

        Parameters
        ----------
        branch : int, optional
            Where edits were made after an undo, several futures lead on from
            here; default: the one last left.
        """
        return self._moments.step("redo", back=False, branch=branch)

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

        A journal (see :meth:`keep_journal`) comes back with its history, and waits for
        the answer to the clicks in work: call :meth:`update`.

        Parameters
        ----------
        path : str or Path
            A file that :meth:`save` wrote, or a journal.
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

        path, recovered = Path(path).expanduser(), None
        if is_frame_file(path):
            recovered = read_journal(path)
            record = recovered.record()
        elif dense_file.holds(path):
            record = dense_file.read(path)
        else:
            record = session_file.read(path)
        made = cls._of_record(record, model, device, precision)
        made.resume_record(record, image)
        if recovered is not None:
            made.take_up(recovered)
        return made

    @classmethod
    def _of_record(
        cls, record: SessionRecord, model: Any, device: str, precision: str
    ) -> ClickSession:
        """Return a session with the model and the options of a file."""
        if record.options["task"] != "segmentation":
            from napari_clickseg.session.dense_session import DenseSession

            return DenseSession.of_record(record, model, device, precision)
        answering = Answering(
            record.model["source"] if model is None else model,
            device,
            precision,
            settings=record.settings,
            # A model that is not on this machine is no reason not to look.
            check=model is not None,
        )
        return cls(answering, **record.options)

    def replay(
        self,
        model: str | Path | Model | None = None,
        *,
        device: str = "auto",
        precision: str = "auto",
        cancelled: Callable[[], bool] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> ClickSession:
        """Make all edits again, with this or another model, in a new session.

        With the same model, device and precision on the same machine the labels are the
        same, unless a time budget cut a refinement short or the model was changed in
        between. What was undone is not made again. Each answer is asked for with the
        settings of that time.
        A session from a file of an older version, which does not hold its edits, makes
        its objects again in the order of their last commits.

        Parameters
        ----------
        model : str, Path or Model, optional
            What answers; default: the session's own.
        device, precision : str
            As for :func:`napari_clickseg.load_model`.
        cancelled : callable, optional
            Asked between passes of the model; True stops.
        progress : callable, optional
            Called with the number of commits done and of all.

        Returns
        -------
        ClickSession
            With the same image; objects that nobody clicked are taken over.
        """
        answering = self._answering.another(model, device, precision)
        again = type(self)(answering, **self.options)
        again.set_image(self.image)
        again.visible = self.visible
        ask = again.asking(cancelled)
        begun, notices = replayed(self._moments.origin, ask, again.mask_of)
        state, more = redone(begun, self.edits, ask, again.mask_of, progress)
        again.settings, again.refinement = self.settings, self.refinement
        again.resume(state, (*ask.notices, *notices, *more))
        return again.with_past(begun, self.edits)
