"""What a session of classes, alpha or depth works with, and what can be read of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.clicks import Click, check_inside
from napari_clickseg.errors import ClickError, ImageError, SessionError
from napari_clickseg.image import ImageSource
from napari_clickseg.memory import check_room
from napari_clickseg.prediction.dense_settings import DenseSettings
from napari_clickseg.session.base import STARTER
from napari_clickseg.session.changes import ObjectStats, SessionStats
from napari_clickseg.session.click_session import ClickSession
from napari_clickseg.session.dense_answering import DenseAnswering, DenseAsking
from napari_clickseg.session.dense_draft import DenseDraft, DenseMoment
from napari_clickseg.session.dense_moments import DenseMoments
from napari_clickseg.session.dense_options import TaskOptions
from napari_clickseg.session.draft import Draft
from napari_clickseg.session.patches import Patch
from napari_clickseg.session.refining import Refinement, as_plain
from napari_clickseg.tasks.regression import PUSH

#: The bundled models.
STARTERS = {
    "semantic": "semantic-cells-starter",
    "matting": "matting-indexnet-starter",
    "depth": "depth-bts-starter",
}
#: Bytes for each pixel that a map of the whole image takes at the very least: the
#: colours twice (as read, and for the network) and the map; classes come in tiles.
LEAST_PER_PIXEL = {"semantic": 16, "matting": 28, "depth": 28}


class DenseBase(ClickSession):
    """Image, model and options, and the state as arrays.

    Parameters are those of :class:`napari_clickseg.session.dense_session.DenseSession`.
    """

    def __init__(
        self,
        model: Any = STARTER,
        device: str = "auto",
        *,
        task: str,
        precision: str = "auto",
        mode: str = "click",
        classes: Any = None,
        refinement: Refinement = None,
        settings: DenseSettings | None = None,
        **task_options: Any,
    ) -> None:
        self._options = TaskOptions(task, mode, classes, task_options)
        self._made: dict[str, tuple[Any, Any]] = {}
        self.overlap = "keep"
        self.visible = None
        if not isinstance(model, DenseAnswering):
            model = DenseAnswering(
                STARTERS[task] if model == STARTER else model,
                device,
                precision,
                task=task,
                settings=settings or DenseSettings(),
                refinement=refinement,
            )
        elif refinement is not None:
            model.refinement = refinement
        self._answering: DenseAnswering = model
        self._image: ImageSource | None = None
        self._image_notes: dict[str, Any] = {}
        self.resume(DenseMoment())

    # -- what the session works with -------------------------------------------

    @property
    def task(self) -> Any:  # type: ignore[override]
        """What clicks mean; known once the model is loaded."""
        return self.task_in(self.mode)

    def task_in(self, mode: str) -> Any:
        """Return what clicks mean in a mode."""
        model, made = self.model, self._made.get(mode)
        if made is None or made[0] is not model:
            made = self._made[mode] = model, self._options.in_mode(mode).task(model)
        return made[1]

    @property
    def mode(self) -> str:
        """``"click"``, ``"push"`` or ``"stroke"``: how the next wish is told.

        May be changed at any time; what was asked for stays as it was meant.

        Raises
        ------
        SettingsError
            If the task has no such mode.
        """
        return self._options.mode

    @mode.setter
    def mode(self, mode: str) -> None:
        self._options = self._options.in_mode(mode)

    @property
    def push(self) -> float:
        """How far one click pushes, in the unit of the map; above 0.

        May be changed at any time, and counts from the next answer.

        Raises
        ------
        SettingsError
            If it is no number above 0.
        """
        return float(self._options.others.get("push", PUSH))

    @push.setter
    def push(self, push: float) -> None:
        if self._options.name == "semantic":
            self._no("push", "Classes are clicked or painted.")
        if push != self.push:
            self._options = self._options.with_push(push)
            self._made.clear()

    @property
    def options(self) -> dict[str, Any]:
        """Task, mode and refinement, as the constructor takes them."""
        return {
            **self._options.to_dict(),
            "refinement": as_plain(self.refinement),
        }

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
        """Begin with an image; see :meth:`napari_clickseg.ClickSession.set_image`."""
        if labels is not None:
            self._no("labels", "Objects belong to task='segmentation'.")
        if not isinstance(image, ImageSource):
            image = ImageSource(
                image,
                channels,
                contrast,
                gamma=gamma,
                colormaps=colormaps,
                channel_axis=channel_axis,
            )
        height, width = image.shape
        check_room(
            f"A map of the whole image for task={self._options.name!r}",
            height * width,
            LEAST_PER_PIXEL[self._options.name],
            ImageError,
            "Crop the image, or work on a smaller version of it; objects "
            "(task='segmentation') are clicked on images of any size.",
        )
        self._image, self._image_notes = image, {}
        self.resume(DenseMoment())

    def set_model(
        self, model: Any, device: str = "auto", precision: str = "auto"
    ) -> None:
        """Answer with another model from the next click on."""
        answering = self._answering
        self._answering = DenseAnswering(
            model, device, precision, task=answering.task, settings=answering.settings
        )

    def resume(self, state: Any, notices: Iterable[str] = ()) -> None:
        """Continue from a state; the history begins here."""
        if state.draft.blank:
            state = replace(state, draft=DenseDraft(mode=self.mode))
        self._notices = list(notices)
        self._planes: dict[str, tuple[object, NDArray[Any]]] = {}
        self._moments = DenseMoments(state, self.mask_of)
        if self._folder is not None:
            self._begin_journal()

    def asking(self, cancelled: Callable[[], bool] | None = None) -> DenseAsking:
        """Return what asks the model about the image."""
        image = self.image
        return DenseAsking(
            self._answering, self.task_in, image, self._notices, cancelled
        )

    # -- what stands -----------------------------------------------------------

    @property
    def state(self) -> Any:
        """The current moment, immutable: everything that undo brings back."""
        return self._moments.state

    @property
    def result(self) -> NDArray[Any]:
        """Labels of classes, alpha or depths ``(H, W)``; 0 where nothing is asked."""
        answer = self.state.draft.answer
        held = self._planes.get("result")
        if held is None or held[0] is not answer:
            if answer.box.empty:
                kind = np.uint8 if self._options.name == "semantic" else np.float32
                answer_plane = Patch.empty(kind).plane(self.shape)
            else:
                answer_plane = answer.plane(self.shape)
            held = self._planes["result"] = answer, answer_plane
        return held[1]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Where alpha is above 1/2; classes and depth have none."""
        if self._options.name != "matting":
            self._no("mask", "Read result; a class is result == label.")
        return self.result > 0.5

    @property
    def probability(self) -> NDArray[np.float32]:
        """Not known here: read :attr:`result`."""
        self._no("probability", "Read result.")

    @property
    def trimap(self) -> NDArray[np.uint8] | None:
        """What matting was told: 0 background, 128 unknown, 255 object."""
        trimap: NDArray[np.uint8] | None = self.state.draft.trimap
        return trimap

    @property
    def painted(self) -> NDArray[Any] | None:
        """All strokes: labels of classes where they were painted, else 0."""
        painted: NDArray[Any] | None = self.state.draft.painted
        return painted

    @property
    def committed(self) -> Mapping[int, NDArray[Any]]:
        """What was kept: arrays ``(H, W)`` by number."""
        results = self.state.results.items()
        return MappingProxyType({n: r.values.plane(self.shape) for n, r in results})

    @property
    def stats(self) -> SessionStats:
        """Clicks and seconds for each map that was kept."""
        made = sorted(self.state.results.values(), key=lambda each: each.time)
        return SessionStats(
            tuple(
                ObjectStats(
                    each.number,
                    len(each.draft.clicks),
                    each.seconds,
                    int(np.count_nonzero(each.values.values)),
                )
                for each in made
            ),
            current_clicks=len(self.state.draft.clicks),
        )

    def mask_of(self, draft: Draft) -> Patch:
        """Return the answer of a draft: what changes are told of."""
        return draft.answer

    # -- what there is not -------------------------------------------------------

    def set_mask(self, *args: Any, **options: Any) -> NoReturn:  # noqa: ARG002
        """Refuse: a mask is no start here; matting takes a trimap made of one."""
        self._no("set_mask", "For matting call trimap_from_mask(mask).")

    def set_labels(self, *args: Any, **options: Any) -> NoReturn:  # noqa: ARG002
        """Refuse: there are no objects here."""
        self._no("set_labels", "Objects belong to task='segmentation'.")

    def propose_objects(self, *args: Any, **options: Any) -> NoReturn:  # noqa: ARG002
        """Refuse: there are no objects here."""
        self._no("propose_objects", "Objects belong to task='segmentation'.")

    def _only_objects(self, what: str) -> None:
        self._no(what, "Objects belong to task='segmentation'.")

    def prepare(self, *args: Any, **options: Any) -> NoReturn:  # noqa: ARG002
        """Refuse: what does not depend on clicks is kept anyway."""
        self._no("prepare", "What no click changes is computed once for an image.")

    # -- parts ------------------------------------------------------------------

    @property
    def _task_name(self) -> str:
        return self._options.name

    def _checked(self, click: Click) -> Click:
        if self.mode == "stroke":
            raise ClickError(
                "Stroke mode takes painted pixels: call paint(labels). For clicks set "
                "mode to 'click'."
            )
        check_inside(click, self.shape)
        # A click of another mode may be moved, too.
        wished = click.label is not None or click.value is not None
        self.task_in("click" if wished else self.mode).check_click(click)
        return click

    def _ready(self, draft: Draft) -> Draft:
        assert isinstance(draft, DenseDraft)
        mode = "click" if self.mode == "stroke" else self.mode
        return draft if draft.mode == mode else replace(draft, mode=mode)

    def _only(self, task: str, what: str) -> None:
        if self._options.name != task:
            self._no(what, f"It belongs to task={task!r}.")

    def _no(self, what: str, instead: str) -> NoReturn:
        raise SessionError(
            f"A session for {self._options.name} has no {what}. {instead}"
        )
