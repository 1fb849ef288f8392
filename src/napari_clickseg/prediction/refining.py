"""Refinement of one view: layers put in, parameters found, and kept for next time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_clickseg.errors import RefinementError
from napari_clickseg.models.tuned import learning_rate
from napari_clickseg.prediction.promise import heard
from napari_clickseg.prediction.settings import Refined
from napari_clickseg.prediction.tails import Tails, layer_of, places_of
from napari_clickseg.prediction.views import mirror, pixel_of, project
from napari_clickseg.refinement.adam import AdamRun
from napari_clickseg.refinement.layers import make_layer
from napari_clickseg.refinement.lbfgs import LbfgsRun
from napari_clickseg.refinement.optimise import Run, Variables
from napari_clickseg.refinement.settings import LEARNING_RATE, RADIUS_PART
from napari_clickseg.refinement.wishes import (
    PointWishes,
    SquareWishes,
    averaged,
    outside_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from napari_clickseg.clicks import Click
    from napari_clickseg.prediction.passes import Passes
    from napari_clickseg.prediction.request import Request
    from napari_clickseg.prediction.views import View
    from napari_clickseg.refinement.settings import RefinementSettings


@dataclass
class Answer:
    """A refined answer.

    Parameters
    ----------
    logits : Tensor, shape (1, 1, h, w), on the CPU
        The answer to the view.
    refined : Refined or None
        What the next click starts from.
    finished : bool
        Whether the refinement came to an end.
    evaluations : int
        How often its loss was computed.
    """

    logits: Tensor
    refined: Refined | None
    finished: bool = True
    evaluations: int = 0


@dataclass
class _Work:
    """A refinement under way."""

    run: Run
    view: View
    purpose: str
    previous: np.ndarray | None
    refined: Refined | None = None

    def answer(self) -> Answer:
        """Return the best answer so far."""
        refined = self.refined
        if refined is None:
            refined = Refined(
                self.purpose,
                self.view.box,
                self.view.size,
                self.run.arrays,
                self.previous,
            )
        if self.run.finished:  # the same object from now on
            self.refined = refined
        logits = averaged(self.run.logits).float().cpu()
        return Answer(logits, refined, self.run.finished, self.run.evaluations)


class Refining:
    """Refines answers of a model; keeps what the next click can use again.

    Parameters
    ----------
    passes : Passes
        The model, and how it is given windows of an image.
    """

    def __init__(self, passes: Passes) -> None:
        self._passes = passes
        #: False makes all iterations, for measurements.
        self.early_stop = True
        self._tails = Tails(passes)

    def forget(self) -> None:
        """Drop everything that was kept."""
        self._tails.forget()

    def limit(self, request: Request) -> int | None:
        """Return how many first clicks the network is given; None: all."""
        limits = (
            request.refinement.network_clicks,
            request.settings.net_clicks_limit,
        )
        return min((each for each in limits if each is not None), default=None)

    def quick(self, request: Request, view: View) -> Tensor | None:
        """Answer the view once, as the parameters are: no optimisation, no mirror.

        Returns
        -------
        Tensor, shape (1, 1, h, w), on the CPU, or None
            None where the parameters change nothing: the model's own answer it is.
        """
        start = self._start(request, view, request.before.refined)
        if start is None:
            return None
        variables, _ = self._variables(request, view, (False,), start)
        return variables.answer().float().cpu()

    def settled(self, request: Request, view: View, before: Refined | None) -> Answer:
        """Answer the view, optimised as long as there is time.

        Parameters
        ----------
        request : Request
            The question; what is worked out is kept there.
        view : View
            Where to look.
        before : Refined or None
            What was found for the click before, or for another view of this click.

        Returns
        -------
        Answer

        Raises
        ------
        Cancelled
            If the caller said so between two evaluations. Nothing is lost: asking
            again goes on there.
        """
        start = self._start(request, view, before)
        fewest = 1 if self._tails.automatic or request.refinement.by_adam else 2
        copies = (False, True) if request.settings.flip else (False,)
        if len(request.clicks) < fewest:
            if start is None:
                logits = self._tails.plain(
                    request, view, copies, limit=self.limit(request)
                )
                return Answer(averaged(logits).float().cpu(), None)
            variables, _ = self._variables(request, view, copies, start)
            return Answer(averaged(variables.answer()).float().cpu(), before)
        key = (view.box, view.size, None if before is None else id(before))
        if key not in request.works:
            request.check()
            variables, previous = self._variables(request, view, copies, start)
            run = self._run(request, view, copies, variables)
            purpose = self._purpose(request.refinement)
            request.works[key] = _Work(run, view, purpose, previous)
        work: _Work = request.works[key]

        def pause() -> bool:
            request.check()
            return request.deadline is not None and (
                time.perf_counter() >= request.deadline
            )

        work.run.advance(pause)
        return work.answer()

    # -- where to start ---------------------------------------------------------

    def _purpose(self, settings: RefinementSettings) -> str:
        """Name what parameters are for; those of other refinements do not fit."""
        model = self._passes.model
        places = ",".join(places_of(settings, model))
        name = f"{getattr(model, 'name', '')} {getattr(model, 'sha256', '')[:12]}"
        return f"{layer_of(settings.method)} at {places}, {settings.top_k}, {name}"

    def _start(
        self, request: Request, view: View, before: Refined | None
    ) -> Refined | None:
        """Return what to start from, None for parameters that change nothing.

        As published, parameters of features stay for the whole object, and changes
        of the input end where the window changes. By Adam, they move with it, unless
        each click starts anew.
        """
        settings = request.refinement
        if before is None or before.purpose != self._purpose(settings):
            return None
        # Another view of the same click goes on from what was found for the first.
        if before is request.before.refined and not self._carries(settings):
            return None
        if layer_of(settings.method) == "map" and not settings.by_adam:
            moved = (before.box, before.size) != (view.box, view.size)
            if moved or view.changed:
                return None
        return before

    def _carries(self, settings: RefinementSettings) -> bool:
        """Whether parameters stay from click to click."""
        if not settings.by_adam:
            return True
        if settings.carry is not None:
            return settings.carry
        if self._tails.automatic:  # it knows of clicks by its parameters alone
            return True
        return not getattr(self._passes.model, "with_prev_mask", False)

    def _variables(
        self,
        request: Request,
        view: View,
        copies: Sequence[bool],
        start: Refined | None,
    ) -> tuple[Variables, np.ndarray | None]:
        """Return the layers, and the previous mask to keep, if it must be kept."""
        settings = request.refinement
        limit = self.limit(request)
        previous = self._passes.window(request.before, view.box)
        spent = limit is not None and len(request.clicks) >= limit
        if (
            limit is not None
            and len(request.clicks) > limit
            and layer_of(settings.method) != "map"
            and start is not None
            and start.previous is not None
            and (start.box, start.size) == (view.box, view.size)
            and not view.changed
        ):
            # The network is not asked again: later clicks act through the loss.
            previous = start.previous
        tail = self._tails.tail(
            request, view, copies, previous, limit=limit, reuse=spent
        )
        kind = layer_of(settings.method)
        layers = [
            make_layer(kind, feature, mirrored=len(copies) == 2, top_k=settings.top_k)
            for feature in tail.features
        ]
        variables = Variables(tail, layers)
        if start is not None:
            try:
                variables.load(
                    tuple(
                        layer.resampled(arrays, start.box, view.box, _size(layer.shape))
                        for layer, arrays in zip(layers, start.arrays, strict=True)
                    )
                )
            except (RefinementError, ValueError):  # a network that calls otherwise
                variables.load(variables.identity)
        return variables, previous if spent else None

    # -- the optimisation -------------------------------------------------------

    def _run(
        self,
        request: Request,
        view: View,
        copies: Sequence[bool],
        variables: Variables,
    ) -> Run:
        settings = request.refinement
        shape = request.image.shape
        clicks = heard(request.clicks, shape)
        threshold = request.settings.threshold
        device = variables.tail.output.device
        positive = [click.positive for click in clicks]
        if not settings.by_adam:
            where = project(_positions(clicks), view.box, view.size)
            squares = SquareWishes(
                [mirror(where, view.size[1]) if copy else where for copy in copies],
                positive,
                view.size,
                threshold,
                device,
                published=request.settings.first_look == "published",
            )
            return LbfgsRun(
                variables,
                squares,
                iterations=settings.iterations,
                early_stop=self.early_stop,
            )
        inside = [c for c in clicks if view.paste.contains(*pixel_of(c, shape))]
        points = PointWishes(
            _read_at([pixel_of(click, shape) for click in inside], view),
            [click.positive for click in inside],
            _outside(request.clicks[-1], view, settings),
            settings.consistency,
            threshold,
            device,
        )
        return AdamRun(
            variables,
            points,
            iterations=settings.iterations,
            learning_rate=self._learning_rate(settings),
            early_stop=self.early_stop,
        )

    def _learning_rate(self, settings: RefinementSettings) -> float:
        if settings.learning_rate is not None:
            return settings.learning_rate
        rates = getattr(self._passes.model, "learning_rates", {})
        found = learning_rate(rates, settings.method, settings.at)
        return LEARNING_RATE if found is None else found


def _positions(clicks: Sequence[Click]) -> np.ndarray:
    return np.array([(c.row, c.col) for c in clicks], dtype=np.float64).reshape(-1, 2)


def _read_at(pixels: Sequence[tuple[int, int]], view: View) -> np.ndarray:
    """Return where in the answer the probability of a pixel comes from.

    Answers are resized with their corners on the corners of the window.
    """
    origin = np.array([view.paste.top, view.paste.left], dtype=np.float64)
    relative = np.array(pixels, dtype=np.float64).reshape(-1, 2) - origin
    spans = np.maximum(np.array(view.paste.shape) - 1, 1)
    return relative * (np.array(view.size) - 1) / spans


def _outside(click: Click, view: View, settings: RefinementSettings) -> np.ndarray:
    """Return what lies outside the attention of the newest click."""
    radius = click.radius or settings.radius
    if radius is None:
        radius = RADIUS_PART * max(view.box.shape)
    row, col = _read_at([click.position], view)[0]  # type: ignore[list-item]
    height, width = view.box.shape
    radii = (radius * view.size[0] / height, radius * view.size[1] / width)
    return outside_of((row, col), radii, view.size)


def _size(shape: tuple[int, ...]) -> tuple[int, int]:
    return shape[-2], shape[-1]
