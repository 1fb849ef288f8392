"""Semantic classes, alpha and depth: a network's map of a view, made to obey clicks.

The networks know nothing of clicks, so whatever does not depend on a refinement is
computed once for a view; each click costs only what lies behind the refined places.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from napari_clickseg.errors import Cancelled, SettingsError
from napari_clickseg.models.tuned import learning_rate
from napari_clickseg.prediction.dense_network import DenseNetwork
from napari_clickseg.prediction.dense_promise import corrected
from napari_clickseg.prediction.dense_question import Question, ask
from napari_clickseg.prediction.dense_settings import (
    DensePrediction,
    DenseSettings,
    DenseState,
)
from napari_clickseg.prediction.dense_wishes import (
    ClickJudge,
    PushRun,
    Reading,
    StrokeJudge,
)
from napari_clickseg.refinement.adam import AdamRun
from napari_clickseg.refinement.settings import LEARNING_RATE
from napari_clickseg.tasks.semantic import Semantic
from napari_clickseg.tasks.trimap import overwritten

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor, nn

    from napari_clickseg.boxes import Box
    from napari_clickseg.clicks import Click
    from napari_clickseg.image import ImageSource
    from napari_clickseg.refinement.optimise import Run, Variables
    from napari_clickseg.tasks.task import Task


class DensePredictor:
    """Answers images with a network that has a value for every pixel.

    Parameters
    ----------
    module : nn.Module
        In eval mode. Called with RGB (N, 3, h, w), and a trimap as a fourth channel
        where one is given; returns the task's channels at any size.
        ``normalises_input``, ``multiple`` and ``places()`` are used where it has them.
    task : Task
        Semantic, Matting or Depth.
    settings : DenseSettings, optional
    places : sequence of str, optional
        Where layers are put, if neither the settings nor the network say so.
    output : callable, optional
        Takes the map out of what the network returns, for those that return more.
    name : str
        Of the weights: parameters found for others are not used.
    rates : mapping, optional
        Step sizes of Adam that were found for the network, see
        :mod:`napari_clickseg.models.tuned`; for settings that say none.

    Raises
    ------
    SettingsError
        If the task is segmentation.
    """

    def __init__(
        self,
        module: nn.Module,
        task: Task,
        settings: DenseSettings | None = None,
        *,
        places: Sequence[str] | None = None,
        output: Callable[[Any], Tensor] | None = None,
        name: str = "",
        rates: Mapping[str, float] | None = None,
    ) -> None:
        if task.name == "segmentation":
            raise SettingsError(
                "Masks of single objects are answered by Predictor, which gives the "
                "clicks to the network."
            )
        self.module = module
        self.rates = dict(rates or {})
        self.settings = settings or DenseSettings()
        self._network = DenseNetwork(
            module, task, places=places, output=output, name=name
        )
        self._work: tuple[Question, DenseSettings, DenseState | None, Run] | None
        self._work = None

    @property
    def task(self) -> Task:
        """What clicks mean; another mode of the same task may be set at any time."""
        return self._network.task

    @task.setter
    def task(self, task: Task) -> None:
        if (task.name, task.channels) != (self.task.name, self.task.channels):
            raise SettingsError(
                f"This network answers {self.task.name} with {self.task.channels} "
                f"channels, not {task.name} with {task.channels}."
            )
        self._network.task = task
        self._work = None

    def forget(self) -> None:
        """Drop everything that was kept of an image."""
        self._work = None
        self._network.forget()

    def predict(
        self,
        image: ImageSource | Any,
        clicks: Sequence[Click] = (),
        state: DenseState | None = None,
        *,
        trimap: ArrayLike | None = None,
        painted: ArrayLike | None = None,
        box: Box | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> DensePrediction:
        """Answer an image, or a part of it.

        Parameters
        ----------
        image : ImageSource or array
            What does not depend on clicks is kept for the next call with the same
            ImageSource.
        clicks : sequence of Click
            All so far, the newest last. In push mode only the newest counts, and each
            call pushes again: give it with the state before it.
        state : DenseState, optional
            Of the answer before; one of an older answer takes back what came after.
        trimap : array (H, W), optional
            Matting: see :func:`napari_clickseg.tasks.trimap.as_trimap`.
        painted : array (H, W) of int, optional
            Stroke mode: labels of classes where they were painted, else 0.
        box : Box, optional
            The part to answer; all of the image by default.
        cancelled : callable, optional
            Asked between two evaluations; True stops.

        Raises
        ------
        Cancelled
            If ``cancelled`` said so. Nothing is lost: asking again goes on there.
        """
        settings, network = self.settings, self._network
        asked = ask(
            self.task,
            image,
            clicks,
            max_side=settings.max_side,
            multiple=int(getattr(self.module, "multiple", 1)),
            needs_trimap=bool(getattr(self.module, "needs_trimap", False)),
            trimap=trimap,
            painted=painted,
            box=box,
        )
        if not settings.active:
            return self._prediction(asked, network.own_answer(asked), None)
        run = self._paused(asked, state)
        if run is None:
            variables, state_in_use = network.variables(asked, settings, state)
            if not asked.asks:
                return self._prediction(asked, variables.answer(), state_in_use)
            run = self._new_run(asked, variables)
            self._work = asked, settings, state, run
        self._advance(run, cancelled)
        view, purpose = asked.view, network.purpose(settings)
        refined = DenseState(purpose, view.box, view.size, run.arrays)
        return self._prediction(asked, run.logits, refined, run)

    # -- the optimisation -------------------------------------------------------

    def _paused(self, asked: Question, state: DenseState | None) -> Run | None:
        """Return the run that was paused at the same question."""
        if self._work is None:
            return None
        question, settings, before, run = self._work
        same = before is state and settings == self.settings and question.same(asked)
        return run if same and not run.finished else None

    def _new_run(self, asked: Question, variables: Variables) -> Run:
        settings, task, output = self.settings, self.task, variables.tail.output
        view, device = asked.view.at_size_of(output), output.device
        rate = settings.learning_rate
        if rate is None:
            found = learning_rate(self.rates, settings.method, settings.at)
            rate = LEARNING_RATE if found is None else found
        weight = task.weight if settings.consistency is None else settings.consistency
        judge: ClickJudge | StrokeJudge
        if asked.painted is not None:
            assert isinstance(task, Semantic)
            judge = StrokeJudge(task, asked.painted, weight, device)
        else:
            heard = [asked.clicks[index] for index in asked.heard]
            reach = settings.reach(heard[-1].radius, view.box.shape)
            weight = 0.0 if task.mode == "push" else weight
            judge = ClickJudge(task, heard, view, reach, weight, device)
            if task.mode == "push":
                return PushRun(
                    variables, judge, learning_rate=rate, exact=settings.exact_push
                )
        return AdamRun(
            variables,
            judge,
            iterations=settings.iterations or task.iterations,
            learning_rate=rate,
            early_stop=settings.early_stop,
        )

    def _advance(self, run: Run, cancelled: Callable[[], bool] | None) -> None:
        deadline = None
        if self.settings.time_budget is not None:
            deadline = time.perf_counter() + self.settings.time_budget

        def pause() -> bool:
            if cancelled is not None and cancelled():
                raise Cancelled("Stopped.")
            return deadline is not None and time.perf_counter() >= deadline

        run.advance(pause)

    # -- the answer -------------------------------------------------------------

    def _prediction(
        self,
        asked: Question,
        output: Tensor,
        state: DenseState | None,
        run: Run | None = None,
    ) -> DensePrediction:
        view, task = asked.view, self.task
        with torch.no_grad():
            output = output.detach().float()
            failed = self._failed(asked, output)
            parts = []
            for _, part in view.back(output):
                # The likeliest class has the largest logit.
                likely = part if task.name == "semantic" else task.activation(part)
                answer = likely[0].cpu().numpy()
                parts.append(
                    task.result(answer[0] if len(answer) == 1 else answer, 0.5)
                )
        result = np.concatenate(parts)
        spots = failed if self.settings.active and self.settings.correct else ()
        heard = [asked.clicks[index] for index in asked.heard]
        spotted = [asked.clicks[index] for index in spots]
        result = corrected(task, result, view.box, heard, spotted)
        trimap = None
        if asked.trimap is not None:
            trimap = np.array(asked.trimap[view.box.slices])
            result = overwritten(result, trimap)
        return DensePrediction(
            view.box,
            result,
            partial(_values, task, output, view.size),
            state,
            failed,
            spots,
            0 if run is None else run.evaluations,
            run is None or run.finished,
            trimap,
            _notices(failed, spots),
        )

    def _failed(self, asked: Question, output: Tensor) -> tuple[int, ...]:
        """Return the clicks that do not have what they ask for."""
        # What a push asked for depends on what was there before.
        if self.task.mode == "push" or not asked.heard:
            return ()
        heard = [asked.clicks[index] for index in asked.heard]
        view = asked.view.at_size_of(output)
        values = Reading(heard, view, output.device)(output)
        obeyed = self.task.obeyed(values, self.task.targets(heard, values))
        pairs = zip(asked.heard, obeyed.tolist(), strict=True)
        return tuple(index for index, kept in pairs if not kept)


def refine_dense(
    module: nn.Module,
    image: ImageSource | Any,
    task: Task,
    clicks: Sequence[Click] = (),
    state: DenseState | None = None,
    settings: DenseSettings | None = None,
    **options: Any,
) -> DensePrediction:
    """Answer an image once; see :class:`DensePredictor` for many clicks on one image.

    Parameters
    ----------
    module, task, settings
        See :class:`DensePredictor`.
    image, clicks, state, **options
        See :meth:`DensePredictor.predict`; ``places``, ``output``, ``name`` and
        ``rates`` go to the predictor.
    """
    names = ("places", "output", "name", "rates")
    own = {key: options.pop(key) for key in names if key in options}
    predictor = DensePredictor(module, task, settings, **own)
    return predictor.predict(image, clicks, state, **options)


@torch.no_grad()
def _values(task: Task, output: Tensor, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return what a network says, (C, h, w), at the size at which it saw."""
    if (output.shape[2], output.shape[3]) != size:
        output = F.interpolate(output, size, mode="bilinear", align_corners=False)
    values: NDArray[np.float32] = task.activation(output)[0].cpu().numpy()
    return values


def _notices(failed: Sequence[int], spots: Sequence[int]) -> tuple[str, ...]:
    if not failed:
        return ()
    many = len(failed) > 1
    names = ", ".join(str(index + 1) for index in failed)
    done = "; a few pixels around were changed instead" if spots else ""
    text = (
        f"Click{'s' if many else ''} {names} {'are' if many else 'is'} not obeyed by "
        f"the network{done}. Click again near by with a larger radius, or choose "
        "another refinement."
    )
    return (text,)
