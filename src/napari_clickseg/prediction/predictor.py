"""From clicks to a probability map, by the published protocol or faster."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from napari_clickseg.boxes import Box
from napari_clickseg.device import is_out_of_memory, release_memory
from napari_clickseg.errors import ClickError, DeviceError
from napari_clickseg.models.given import check_answers_clicks
from napari_clickseg.prediction.looking import Looking
from napari_clickseg.prediction.passes import ClickModel, Passes
from napari_clickseg.prediction.promise import Found, held_against_clicks
from napari_clickseg.prediction.refining import Answer, Refining
from napari_clickseg.prediction.regions import region_of
from napari_clickseg.prediction.request import Request
from napari_clickseg.prediction.resize import resize
from napari_clickseg.prediction.settings import (
    Prediction,
    PredictionSettings,
    PredictorState,
    Refined,
)
from napari_clickseg.prediction.tiles import WHOLE_PIXELS
from napari_clickseg.prediction.views import View
from napari_clickseg.refinement.settings import RefinementSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from torch import Tensor

    from napari_clickseg.clicks import Click
    from napari_clickseg.image import ImageSource

#: Memory exhaustion never makes the longer side of a window smaller than this.
SMALLEST_SIDE = 160

_START = PredictorState()
_UNLIKE = (
    "This image is unlike those that the model was finetuned on, so its parent answers."
)


class Predictor:
    """Answers clicks with a model.

    Parameters
    ----------
    model : Model
        A loaded model; after memory ran out on its device it is replaced by a
        copy on the CPU (:attr:`model`).
    settings : PredictionSettings
        Where to look and how to average; by default as published.
    refinement : RefinementSettings or str
        How answers are made to obey the clicks; by default not at all. A model that
        answers without clicks brings a refinement of its own, for where none is asked
        for.

    Notes
    -----
    With the default settings and ``settle=True`` at every click the answers are
    those of the published predictor (facts 2.1, 2.2). The order of things: the
    window is cut out of image and previous mask, resized, mirrored; logits are
    averaged with those of the mirror image; probabilities are resized back and
    are zero outside of the window.
    """

    def __init__(
        self,
        model: ClickModel,
        settings: PredictionSettings | None = None,
        refinement: RefinementSettings | str | None = None,
    ) -> None:
        check_answers_clicks(model)
        self.settings = settings if settings is not None else PredictionSettings()
        self._passes = Passes(model)
        self._refining = Refining(self._passes)
        self.refinement = refinement
        self._looking = Looking(self._passes, self._plain)
        self._last: Request | None = None

    @property
    def model(self) -> ClickModel:
        """The model in use; of a finetuned one, its parent may answer."""
        return self._passes.given

    @property
    def refinement(self) -> RefinementSettings:
        """How answers are made to obey; a change counts from the next answer."""
        return self._refinement

    @refinement.setter
    def refinement(self, given: RefinementSettings | str | None) -> None:
        self._refinement = RefinementSettings.of(given)

    @property
    def refinement_in_use(self) -> RefinementSettings:
        """The same, or the model's own where none is asked for."""
        own: RefinementSettings | None = getattr(self.model, "refinement", None)
        return (
            own if own is not None and not self.refinement.active else self.refinement
        )

    @property
    def early_stop(self) -> bool:
        """Whether refinement ends once the clicks are obeyed.

        False makes all iterations of every click, for measurements.
        """
        return self._refining.early_stop

    @early_stop.setter
    def early_stop(self, stop: bool) -> None:
        self._refining.early_stop = stop

    @property
    def longest_side(self) -> int | None:
        """Longest side that memory was found to allow; None: no limit known."""
        return self._looking.longest

    @property
    def last_size(self) -> tuple[int, int]:
        """Height and width at which the model saw the window of the last answer."""
        return self._passes.last_size

    def forget(self) -> None:
        """Drop what is kept of the last image (it changed, or memory is wanted)."""
        self._passes.forget()
        self._refining.forget()
        self._last = None

    def predict(
        self,
        image: ImageSource,
        clicks: Sequence[Click],
        state: PredictorState | None = None,
        *,
        settle: bool = True,
        visible: Box | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Prediction:
        """Answer the clicks made so far.

        Parameters
        ----------
        image : ImageSource
            The image; only the windows that are needed are read.
        clicks : sequence of Click
            All clicks on this object in order, at least one; none for a model that
            answers without.
        state : PredictorState, optional
            State after the click before the newest; its probability is the
            previous mask. None at the first click.
        settle : bool
            With the mirrored pass, if the settings ask for it, and with the
            refinement. Without them the answer comes at once, by the parameters that
            the refinement of earlier clicks has found. Asking again for the same
            clicks and the same ``state`` with ``settle=True`` only adds what is
            missing; where a time budget stopped a refinement, it goes on.
        visible : Box, optional
            The field shown on the canvas, for the policies ``visible`` and
            ``search``. Leave it out where the same clicks are settled.
        cancelled : callable, optional
            Asked before every pass, and in a refinement before every evaluation;
            True stops the work.

        Returns
        -------
        Prediction

        Raises
        ------
        Cancelled
            If ``cancelled`` said so. A refinement goes on from there if the same is
            asked next.
        ClickError
            If there is no click, or clicks lie too far apart.
        RefinementError
            If the refinement does not fit the model.
        DeviceError
            If memory does not suffice even for a small window on the CPU.
        """
        started = time.perf_counter()
        if not clicks and not self._looking.automatic:
            raise ClickError("There is no click yet: click inside an object first.")
        refinement = self.refinement_in_use
        settings = self.settings.decided_for(self.model)
        request = Request(
            image, tuple(clicks), state or _START, visible, settings, refinement
        )
        if self._last is None or not request.same(self._last):
            self._last = request
        request, self._last.refinement = self._last, refinement
        request.cancelled = cancelled
        request.deadline = None
        if refinement.time_budget is not None:
            request.deadline = started + refinement.time_budget
        request.notices.clear()
        settle = settle and bool(settings.flip or refinement.active)
        memory_notice = ""
        while True:
            try:
                own = self._passes.suit(image, request.clicks)
                if not own and _UNLIKE not in request.notices:
                    request.notices.append(_UNLIKE)
                found = self._attempt(request, settle=settle)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # Outside of the except block: its traceback holds on to tensors.
            request.works.clear()
            memory_notice = self._retreat()
        if refinement.active:
            settled = settle and found.finished
        else:
            settled = settle or not settings.flip
        return held_against_clicks(
            request,
            found,
            settled=settled,
            seconds=time.perf_counter() - started,
            notices=(*request.notices, *filter(None, [memory_notice])),
        )

    def _attempt(self, request: Request, *, settle: bool) -> Found:
        """Answer once with what memory is thought to allow."""
        settings, shape = request.settings, request.image.shape
        before, clicks = request.before, request.clicks
        zoom = self._looking.zoom(request)
        published = settings.first_look == "published"
        # What the zoom-in goes by is the last answer, but a starting mask given
        # from outside is none to the published code: it predicts twice instead.
        seen, passes = before, 1
        starting = published and before.external and len(clicks) == 1
        if starting and zoom and Box.of_shape(shape).area <= WHOLE_PIXELS:
            seen, passes = _START, 2
        refined, evaluations = before.refined, 0
        while True:
            view, min_crop = self._looking.view(request, zoom, seen)
            self._passes.last_size = view.size
            answer = self._answer(request, view, refined, settle=settle)
            evaluations += answer.evaluations
            refined = answer.refined
            probability = _resized(answer.logits, view.paste)
            memory = None
            if self._passes.remembers:
                seen_so = _resized(answer.logits, view.box)
                memory = self._passes.memory(before, view.box, seen_so)
            after = PredictorState(
                roi=view.roi,
                box=view.paste,
                probability=probability,
                min_crop=min_crop,
                index_offset=before.index_offset,
                refined=refined,
                memory_box=None if memory is None else view.box,
                memory=memory,
                within=before.within,
            )
            passes -= 1
            again = zoom is not None and zoom.wants_second_pass(after, shape)
            if not again and passes <= 0:
                return Found(after, answer.finished, evaluations)
            seen = after

    def _answer(
        self, request: Request, view: View, refined: Refined | None, *, settle: bool
    ) -> Answer:
        """Return the logits of a view, and what the refinement leaves behind."""
        refines = request.refinement.active and bool(request.clicks)
        if refines and settle:
            return self._refining.settled(request, view, refined)
        if refines:
            key = (view.box, view.size, False)
            if key not in request.logits:
                request.check()
                logits = self._refining.quick(request, view)
                if logits is not None:
                    request.logits[key] = logits
        logits = self._logits(request, view, flipped=False)
        if settle and request.settings.flip:
            logits = 0.5 * (logits + self._logits(request, view, flipped=True))
        return Answer(logits, refined)

    def _plain(self, request: Request, view: View) -> Tensor:
        """Return the model's own answer, without the mirror image."""
        return self._logits(request, view, flipped=False)

    def _logits(self, request: Request, view: View, *, flipped: bool) -> Tensor:
        key = (view.box, view.size, flipped)
        if key not in request.logits:
            request.check()
            request.logits[key] = self._passes.logits(
                request.image,
                view.box,
                view.size,
                request.clicks,
                request.before,
                flipped=flipped,
                limit=self._refining.limit(request),
                region=None
                if flipped
                else region_of(request, self.model, view.box, view.size),
            )
        return request.logits[key]

    def _retreat(self) -> str:
        """Ask for less memory from now on and say so.

        First no windows at once, then smaller windows, then the CPU.
        """
        device = self.model.device
        self._passes.forget()
        self._refining.forget()
        release_memory(device)
        if self._passes.last_batch > 1:
            self._looking.one_by_one = True
            return f"Memory ran out on {device}: windows are now looked at one by one."
        failed = max(self._passes.last_size)
        if failed // 2 >= SMALLEST_SIDE:
            self._looking.longest = failed // 2
            return (
                f"Memory ran out on {device}: windows are now at most "
                f"{self._looking.longest} pixels long, so edges may be less sharp."
            )
        if device.type != "cpu":
            self._passes.use(self.model.to(device="cpu"))
            self._looking.longest = None
            return f"Memory ran out on {device}: the model now runs on the CPU."
        raise DeviceError(
            "Memory ran out even for a small window on the CPU. Close other "
            "programs, or choose a smaller model."
        )


def _resized(logits: Tensor, box: Box) -> np.ndarray:
    """Return the probability of an answer at the size of a box."""
    probability = resize(torch.sigmoid(logits), box.shape)
    values: np.ndarray = probability[0, 0].numpy()
    return values
