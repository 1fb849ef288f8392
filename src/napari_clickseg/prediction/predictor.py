"""From clicks to a probability map, by the published protocol or faster."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from napari_clickseg.boxes import Box
from napari_clickseg.device import is_out_of_memory, release_memory
from napari_clickseg.errors import Cancelled, ClickError, DeviceError
from napari_clickseg.prediction import first_look
from napari_clickseg.prediction.passes import ClickModel, Passes
from napari_clickseg.prediction.resize import resize
from napari_clickseg.prediction.settings import (
    Prediction,
    PredictionSettings,
    PredictorState,
)
from napari_clickseg.prediction.views import (
    LongestSide,
    Size,
    View,
    ZoomIn,
    limit_size,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from torch import Tensor

    from napari_clickseg.clicks import Click
    from napari_clickseg.image import ImageSource

#: A published first click sees the whole image only up to so many pixels; of a
#: larger one it sees windows, as the policy ``search`` does.
WHOLE_PIXELS = 2**24
#: No window is read that is larger than this.
WINDOW_PIXELS = 2**27
#: Memory exhaustion never makes the longer side of a window smaller than this.
SMALLEST_SIDE = 160

_START = PredictorState()


@dataclass
class _Request:
    """One question, and what was already worked out for it.

    The settled answer often follows the quick one for the same clicks; then
    only the mirrored pass is left to do.
    """

    image: ImageSource
    clicks: tuple[Click, ...]
    before: PredictorState
    visible: Box | None
    settings: PredictionSettings
    cancelled: Callable[[], bool] | None = None
    logits: dict[tuple[Box, Size, bool], Tensor] = field(default_factory=dict)
    searched: first_look.Look | None = None
    notices: list[str] = field(default_factory=list)

    def same(self, other: _Request) -> bool:
        """Whether this request asks what the other did.

        Without a field of its own it means the one of the other: the user may
        have moved the canvas since.
        """
        return (
            self.image is other.image
            and self.before is other.before
            and self.clicks == other.clicks
            and self.visible in (None, other.visible)
            and self.settings == other.settings
        )

    def check(self) -> None:
        """Stop here if the caller wants it."""
        if self.cancelled is not None and self.cancelled():
            raise Cancelled("The answer was no longer wanted; nothing was changed.")


class Predictor:
    """Answers clicks with a model.

    Parameters
    ----------
    model : Model
        A loaded model; after memory ran out on its device it is replaced by a
        copy on the CPU (:attr:`model`).
    settings : PredictionSettings
        Where to look and how to average; by default as published.

    Notes
    -----
    With the default settings and ``settle=True`` at every click the answers are
    those of the published predictor (facts 2.1, 2.2). The order of things: the
    window is cut out of image and previous mask, resized, mirrored; logits are
    averaged with those of the mirror image; probabilities are resized back and
    are zero outside of the window.
    """

    def __init__(
        self, model: ClickModel, settings: PredictionSettings | None = None
    ) -> None:
        self.settings = settings if settings is not None else PredictionSettings()
        self._passes = Passes(model)
        self._longest: int | None = None
        self._one_by_one = False
        self._last: _Request | None = None

    @property
    def model(self) -> ClickModel:
        """The model in use."""
        return self._passes.model

    @property
    def longest_side(self) -> int | None:
        """Longest side that memory was found to allow; None: no limit known."""
        return self._longest

    def forget(self) -> None:
        """Drop what is kept of the last image (it changed, or memory is wanted)."""
        self._passes.forget()
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
            All clicks on this object in order, at least one.
        state : PredictorState, optional
            State after the click before the newest; its probability is the
            previous mask. None at the first click.
        settle : bool
            With the mirrored pass, if the settings ask for it. Without it the
            answer comes in half the time. Asking again for the same clicks and
            the same ``state`` with ``settle=True`` only adds that pass.
        visible : Box, optional
            The field shown on the canvas, for the policies ``visible`` and
            ``search``. Leave it out where the same clicks are settled.
        cancelled : callable, optional
            Asked before every pass; True stops the work.

        Returns
        -------
        Prediction

        Raises
        ------
        Cancelled
            If ``cancelled`` said so; the next call starts afresh.
        ClickError
            If there is no click, or clicks lie too far apart.
        DeviceError
            If memory does not suffice even for a small window on the CPU.
        """
        started = time.perf_counter()
        if not clicks:
            raise ClickError("There is no click yet: click inside an object first.")
        request = _Request(
            image, tuple(clicks), state or _START, visible, self.settings
        )
        if self._last is None or not request.same(self._last):
            self._last = request
        request = self._last
        request.cancelled = cancelled
        request.notices.clear()
        settle = settle and self.settings.flip
        memory_notice = ""
        while True:
            try:
                box, after = self._attempt(request, settle=settle)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # Outside of the except block: its traceback holds on to tensors.
            memory_notice = self._retreat()
        if after.probability is None:  # pragma: no cover - for the type checker
            raise AssertionError
        return Prediction(
            box=box,
            probability=after.probability,
            state=after,
            settled=settle or not self.settings.flip,
            seconds=time.perf_counter() - started,
            notices=(*request.notices, *filter(None, [memory_notice])),
        )

    def _attempt(
        self, request: _Request, *, settle: bool
    ) -> tuple[Box, PredictorState]:
        """Answer once with what memory is thought to allow."""
        settings, shape = request.settings, request.image.shape
        before, clicks = request.before, request.clicks
        zoom = ZoomIn.of(settings) if settings.zoom_in else None
        published = settings.first_look == "published"
        # What the zoom-in goes by is the last answer, but a starting mask given
        # from outside is none to the published code: it predicts twice instead.
        seen, passes = before, 1
        starting = published and before.external and len(clicks) == 1
        if starting and zoom and Box.of_shape(shape).area <= WHOLE_PIXELS:
            seen, passes = _START, 2
        while True:
            view, min_crop = self._view(request, zoom, seen)
            _check_window(view.box)
            probability = self._probability(request, view, settle=settle)
            after = PredictorState(
                roi=view.roi,
                box=view.paste,
                probability=probability,
                min_crop=min_crop,
                index_offset=before.index_offset,
            )
            passes -= 1
            again = zoom is not None and zoom.wants_second_pass(after, shape)
            if not again and passes <= 0:
                return view.paste, after
            seen = after

    def _view(
        self, request: _Request, zoom: ZoomIn | None, seen: PredictorState
    ) -> tuple[View, int | None]:
        """Return where to look, and the smallest window from now on."""
        settings, shape = request.settings, request.image.shape
        min_crop = seen.min_crop
        if zoom is None:
            view = LongestSide(settings.max_size).view(shape)
        elif settings.first_look == "published":
            view = zoom.view(seen, request.clicks, shape)
        else:
            # A window was chosen at the first click, so none is skipped.
            zoom = replace(zoom, skip_clicks=0)
            view = zoom.view(seen, request.clicks, shape)
        whole = Box.of_shape(shape)
        first = zoom is not None and settings.first_look != "published"
        if view.box == whole and view.roi is None and first:
            look = self._first_look(request)
            view, min_crop = look.view(settings), look.min_crop(settings)
        elif view.box == whole and whole.area > WHOLE_PIXELS:
            request.notices.append(
                f"The image ({shape[0]} x {shape[1]}) is too large to be seen as a "
                "whole: the model looked at windows around the clicks."
            )
            look = self._first_look(request)
            view, min_crop = look.view(settings), look.min_crop(settings)
        size = limit_size(limit_size(view.size, settings.max_size), self._longest)
        return replace(view, size=size), min_crop

    def _first_look(self, request: _Request) -> first_look.Look:
        """Return where to look when no object has been found yet."""
        shape = request.image.shape
        if request.settings.first_look == "visible" and request.visible is not None:
            look = first_look.visible(request.clicks, request.visible, shape)
            if look is not None:
                return look
        if request.searched is None:
            request.searched = first_look.search(
                request.clicks,
                shape,
                lambda boxes, size: self._look(request, boxes, size),
                within=request.visible,
            )
        return request.searched

    def _look(self, request: _Request, boxes: Sequence[Box], size: Size) -> np.ndarray:
        """Return logits ``(N, *size)`` of several windows."""
        size = limit_size(size, self._longest)
        groups = [[box] for box in boxes] if self._one_by_one else [list(boxes)]
        answers = []
        for group in groups:
            request.check()
            answers.append(
                self._passes.batch(request.image, group, size, request.clicks)
            )
        found: np.ndarray = torch.cat(answers)[:, 0].numpy()
        return found

    def _probability(
        self, request: _Request, view: View, *, settle: bool
    ) -> np.ndarray:
        """Return the answer on a view, ``view.paste.shape``."""
        logits = self._logits(request, view, flipped=False)
        if settle:
            logits = 0.5 * (logits + self._logits(request, view, flipped=True))
        probability = resize(torch.sigmoid(logits), view.paste.shape)
        values: np.ndarray = probability[0, 0].numpy()
        return values

    def _logits(self, request: _Request, view: View, *, flipped: bool) -> Tensor:
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
                limit=request.settings.net_clicks_limit,
            )
        return request.logits[key]

    def _retreat(self) -> str:
        """Ask for less memory from now on and say so.

        First no windows at once, then smaller windows, then the CPU.
        """
        device = self.model.device
        self._passes.forget()
        release_memory(device)
        if self._passes.last_batch > 1:
            self._one_by_one = True
            return f"Memory ran out on {device}: windows are now looked at one by one."
        failed = max(self._passes.last_size)
        if failed // 2 >= SMALLEST_SIDE:
            self._longest = failed // 2
            return (
                f"Memory ran out on {device}: windows are now at most "
                f"{self._longest} pixels long, so edges may be less sharp."
            )
        if device.type != "cpu":
            self._passes.model = self.model.to(device="cpu")
            self._longest = None
            return f"Memory ran out on {device}: the model now runs on the CPU."
        raise DeviceError(
            "Memory ran out even for a small window on the CPU. Close other "
            "programs, or choose a smaller model."
        )


def _check_window(box: Box) -> None:
    """Refuse to read a window that no machine should be asked for."""
    if box.area > WINDOW_PIXELS:
        raise ClickError(
            f"The clicks of this object ask for a window of {box.shape[0]} x "
            f"{box.shape[1]} pixels. Undo the last click, or work on a smaller "
            "version of the image."
        )
