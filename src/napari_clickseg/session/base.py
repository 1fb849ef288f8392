"""What a session works with, and what can be read from it at any time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.boxes import Box
from napari_clickseg.clicks import Clicks
from napari_clickseg.errors import ImageError, SessionError
from napari_clickseg.image import ImageSource
from napari_clickseg.memory import DENSE_PIXELS
from napari_clickseg.plane_view import Piece, PlaneView
from napari_clickseg.prediction.settings import PredictionSettings
from napari_clickseg.session.answering import Answering, Asking
from napari_clickseg.session.changes import Change, SessionStats
from napari_clickseg.session.draft import Draft
from napari_clickseg.session.file import IMAGE_LIMIT, SessionRecord
from napari_clickseg.session.in_blocks import objects_of
from napari_clickseg.session.moments import Moments, State
from napari_clickseg.session.objects import (
    Objects,
    Overlap,
    SegmentedObject,
    check_overlap,
)
from napari_clickseg.session.options import SessionOptions
from napari_clickseg.session.patches import Patch
from napari_clickseg.session.refining import Refinement
from napari_clickseg.session.totals import work_in
from napari_clickseg.tasks import get_task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_clickseg.models.model import Model
    from napari_clickseg.prediction.predictor import Predictor

#: What planes hold.
_DTYPES = {"probability": np.float32, "mask": np.bool_, "labels": np.int32}
#: The bundled model.
STARTER = "ritm-mobilenetv2-starter"
#: Where a session looks by default: at the first click not as published, for a
#: whole micrograph of small objects tells the model too little.
SESSION_SETTINGS = PredictionSettings(first_look="search")


class SessionBase(SessionOptions):
    """Image, model and options of a session, and its state as arrays.

    Parameters are those of :class:`napari_clickseg.ClickSession`.
    Everything returned here is immutable or a read-only array of one moment,
    so that any thread may read it.
    """

    def __init__(
        self,
        model: str | Path | Model | Answering = STARTER,
        device: str = "auto",
        *,
        precision: str = "auto",
        task: str = "segmentation",
        refinement: Refinement = None,
        settings: PredictionSettings | None = None,
        overlap: Overlap = "keep",
        predictor: Predictor | None = None,
        **task_options: Any,
    ) -> None:
        self.task = get_task(task, **task_options)
        self.overlap: Overlap = check_overlap(overlap)
        #: The field shown on the canvas, where there is one.
        self.visible: Box | None = None
        if not isinstance(model, Answering):
            model = Answering(
                model,
                device,
                precision,
                settings=settings or SESSION_SETTINGS,
                predictor=predictor,
                refinement=refinement,
            )
        elif refinement is not None:
            model.refinement = refinement
        self._answering = model
        self._image: ImageSource | None = None
        self._image_notes: dict[str, Any] = {}
        self._counted: tuple[Objects, SessionStats] | None = None
        self._masked: tuple[Patch, float, Patch] | None = None
        self.resume(State())

    def rest(self) -> None:
        """Let go of what is kept to be quick: one of many sessions, not in sight.

        Pixels are read again, and windows looked at anew, with the next answer.
        """
        if self._image is not None:
            self._image.release()
        self._answering.rest()

    # -- what the session works with -------------------------------------------

    def set_image(
        self,
        image: Any,
        channels: int | Sequence[int] | None = None,
        contrast: Any = None,
        *,
        gamma: float | Sequence[float] = 1.0,
        colormaps: Sequence[Any] | None = None,
        channel_axis: int | None = None,
        labels: Any = None,
    ) -> None:
        """Begin with an image; clicks, objects and history start anew.

        Parameters
        ----------
        image : array-like or ImageSource
            ``(H, W)`` or ``(H, W, C)``, of any type, also lazy.
        channels, contrast, gamma, colormaps, channel_axis
            As for :class:`napari_clickseg.image.ImageSource`.
        labels : array-like of int, shape (H, W), optional
            Objects that are there already.

        Raises
        ------
        ImageError, MaskError
            If the arrays are no such images; the session stays as it was.
        """
        if not isinstance(image, ImageSource):
            image = ImageSource(
                image,
                channels,
                contrast,
                gamma=gamma,
                colormaps=colormaps,
                channel_axis=channel_axis,
            )
        objects = Objects() if labels is None else objects_of(labels, image.shape)
        self._image, self._image_notes = image, {}
        self.resume(State(objects=objects))

    def set_contrast(
        self,
        contrast: Any,
        channels: int | Sequence[int] | None = None,
        gamma: float | Sequence[float] = 1.0,
        colormaps: Sequence[Any] | None = None,
    ) -> None:
        """Show the model the same image with other contrast (and channels, colors).

        Counts from the next answer; nothing else changes.
        """
        self._image = self.image.shown(contrast, channels, gamma, colormaps)

    def set_model(
        self, model: str | Path | Model, device: str = "auto", precision: str = "auto"
    ) -> None:
        """Answer with another model from the next click on."""
        self._answering = Answering(
            model,
            device,
            precision,
            settings=self.settings,
            refinement=self.refinement,
        )

    @property
    def image(self) -> ImageSource:
        """The image.

        Raises
        ------
        SessionError
            If there is none yet.
        """
        if self._image is None:
            raise SessionError(
                "The session has no image. Give it one with set_image(image); a "
                "loaded session takes it as load(path, image=...)."
            )
        return self._image

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the image."""
        if self._image is None and self._image_notes:
            height, width = self._image_notes["shape"]
            return height, width
        return self.image.shape

    @property
    def model(self) -> Any:
        """The model, loaded if it was not yet."""
        return self._answering.predictor.model

    @property
    def model_name(self) -> str:
        """Name of the model (its file, where that is not loaded yet)."""
        return self._answering.model_name

    # -- what stands -----------------------------------------------------------

    @property
    def state(self) -> State:
        """The current moment, immutable: everything that undo brings back."""
        return self._moments.state

    @property
    def clicks(self) -> Clicks:
        """The clicks of the object in work."""
        return self.state.draft.clicks

    @property
    def probability(self) -> NDArray[np.float32]:
        """How sure the model is of each pixel: float32 ``(H, W)`` in [0, 1].

        This and other planes of more than 2**27 pixels come as a
        :class:`~napari_clickseg.plane_view.PlaneView`, which is read by slicing.
        """
        answer = self.state.draft.answer
        return self._plane("probability", answer, lambda: _pieces(answer))

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The pixels of the object in work: boolean ``(H, W)``."""
        patch = self.mask_of(self.state.draft)
        return self._plane("mask", patch, lambda: _pieces(patch))

    @property
    def result(self) -> NDArray[Any]:
        """What the task makes of the answer; for segmentation the mask."""
        probability: Any = self.probability
        if isinstance(probability, PlaneView):
            return self.mask
        return self.task.result(probability, self.settings.threshold)

    @property
    def labels(self) -> NDArray[np.int32]:
        """The committed objects: int32 ``(H, W)``, 0 for background."""
        objects = self.state.objects
        return self._plane("labels", objects, objects.pieces)

    def _plane(
        self, name: str, source: object, pieces: Callable[[], list[Piece]]
    ) -> NDArray[Any]:
        """Return a plane, made once of what it is made of; a view where it is large."""
        held = self._planes.get(name)
        if held is None or held[0] is not source:
            box = Box.of_shape(self.shape)
            plane: Any = PlaneView(box, pieces(), _DTYPES[name])
            if box.area <= DENSE_PIXELS:
                plane = plane.read(box)
                plane.flags.writeable = False
            held = self._planes[name] = source, plane
        return held[1]

    @property
    def objects(self) -> Mapping[int, SegmentedObject]:
        """The committed objects by label."""
        return self.state.objects

    @property
    def stats(self) -> SessionStats:
        """Clicks and seconds for each object."""
        state, held = self.state, self._counted
        if held is None or held[0] is not state.objects:
            held = self._counted = state.objects, work_in(state)
        clicks = len(state.draft.clicks) - state.draft.given
        return replace(held[1], current_clicks=clicks)

    @property
    def change(self) -> Change:
        """The newest change."""
        return self._moments.change

    @property
    def notices(self) -> tuple[str, ...]:
        """What the model had to tell so far, e.g. that memory ran out."""
        return tuple(self._notices)

    @property
    def in_work(self) -> bool:
        """Whether there is an object in work: a click, a mask, an opened object."""
        return not self.state.draft.blank

    @property
    def opened_label(self) -> int | None:
        """The id of the object in work, where it was opened again."""
        return self.state.draft.label

    @property
    def pending(self) -> bool:
        """Whether the clicks have yet to be answered by ``update()``."""
        return self.state.draft.pending

    @property
    def settled(self) -> bool:
        """Whether the answer is final: nothing for ``settle()`` to do."""
        return self.state.draft.settled

    @property
    def can_undo(self) -> bool:
        """Whether undo would do something."""
        return self._moments.history.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether redo would do something."""
        return self._moments.history.branches > 0

    def mask_of(self, draft: Draft) -> Patch:
        """Return the mask of a draft's answer as a tight patch."""
        answer, threshold, held = draft.answer, self.settings.threshold, self._masked
        if held is None or held[0] is not answer or held[1] != threshold:
            mask = Patch(answer.box, self.task.mask(answer.values, threshold)).tight()
            held = (answer, threshold, mask)
            self._masked = held
        return held[2]

    def asking(self, cancelled: Callable[[], bool] | None = None) -> Asking:
        """Return what asks the model about the image."""
        return Asking(self._answering, self.image, self._notices, cancelled)

    # -- taking up where another session stopped -------------------------------

    def resume(self, state: State, notices: Iterable[str] = ()) -> None:
        """Continue from a state; the history begins here."""
        self._notices = list(notices)
        self._planes: dict[str, tuple[object, NDArray[Any]]] = {}
        self._moments = Moments(state, self.mask_of)
        self._moments.threshold = lambda: self.settings.threshold

    def to_record(self, with_image: bool | None = None) -> SessionRecord:
        """Return all that a session file holds (see ``ClickSession.save``)."""
        notes, pixels = self._image_notes, None
        if self._image is not None or not notes:
            notes = self.image.describe()
            fits = not self.image.lazy and self.image.array.nbytes <= IMAGE_LIMIT
            if fits if with_image is None else with_image:
                pixels = np.asarray(self.image.array)
        elif with_image:
            self.image  # noqa: B018 - says that there is none to put in
        return SessionRecord(
            image=notes,
            pixels=pixels,
            options=self.options,
            settings=self.settings,
            model=self._answering.describe(),
            notices=self.notices,
            stats=self.stats.to_dict(),
            state=self.state,
        )

    def resume_record(self, record: SessionRecord, image: Any = None) -> None:
        """Continue from a session file.

        Parameters
        ----------
        record : SessionRecord
            What the file holds.
        image : array-like or ImageSource, optional
            The image; default: the one in the record, if there is one.

        Raises
        ------
        SessionError
            If it is another image than the session was made with.
        """
        notes = record.image
        source = None
        if image is not None:
            source = _same_image(image, notes)
        elif record.pixels is not None:
            source = ImageSource(record.pixels, channel_axis=notes["channel_axis"])
        if source is not None:
            source = source.shown(
                notes["contrast"],
                notes["channels"],
                notes.get("gamma", 1.0),
                notes.get("colormaps"),
            )
        self._image, self._image_notes = source, notes
        self.resume(record.state, record.notices)


def _pieces(patch: Patch) -> list[Piece]:
    return [Piece(patch.box, patch.values)]


def _same_image(image: Any, notes: dict[str, Any]) -> ImageSource:
    """Return the image if it is the one of a session file; else say so."""
    try:
        if not isinstance(image, ImageSource):
            image = ImageSource(image, channel_axis=notes["channel_axis"])
        if image.signature() == notes["signature"]:
            return image
        found = f"one of shape {image.shape}, {image.dtype}, with other values"
    except ImageError as error:
        found = f"something else ({error})"
    raise SessionError(
        f"The session was made with another image, of shape {tuple(notes['shape'])}, "
        f"{notes['dtype']}; this is {found}. Pass the image it was made with, or "
        "leave image out to look at its masks and labels."
    )
