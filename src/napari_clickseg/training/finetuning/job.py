"""One piece of finetuning: what was found, what it will take, and how it runs."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from napari_clickseg.errors import TrainingError
from napari_clickseg.models.checkpoint import read_checkpoint, save_checkpoint
from napari_clickseg.models.gate import Gate, shortest, with_elsewhere
from napari_clickseg.models.model import load_model
from napari_clickseg.training.finetuning.adapters import take_up
from napari_clickseg.training.finetuning.blending import HALFWAY, blended
from napari_clickseg.training.finetuning.checking import Problem
from napari_clickseg.training.finetuning.forecast import forecast
from napari_clickseg.training.finetuning.keeping import (
    keep_model,
    make_card,
)
from napari_clickseg.training.finetuning.log import Logged, logged
from napari_clickseg.training.finetuning.loop import Nothing, Tick
from napari_clickseg.training.finetuning.measuring import (
    Target,
    answers,
    examples_of,
    measure,
)
from napari_clickseg.training.finetuning.report import (
    Example,
    FinetuneProgress,
    FinetuneResult,
    Forecast,
    OnExamples,
    OnProgress,
    Phase,
    Scores,
)
from napari_clickseg.training.finetuning.running import learn
from napari_clickseg.training.finetuning.work import Work

__all__ = ["DataReport", "FinetuneJob"]

#: Shares of the whole that measuring before and after take in the progress.
MEASURING = 0.08


@dataclass(frozen=True)
class DataReport:
    """What was found in the data.

    Parameters
    ----------
    images, objects : int
        That are used, those held aside included.
    held : int
        Objects held aside to measure on; images where the task knows no objects.
    problems : tuple of Problem
        What is left out, and why.
    kind : str
        ``photo`` or ``microscopy``.
    text : str
        All of it in a sentence or two.
    """

    images: int
    objects: int
    held: int
    problems: tuple[Problem, ...]
    kind: str
    text: str


class FinetuneJob:
    """Finetuning that is ready to run; made by :func:`plan_finetune`.

    Attributes
    ----------
    name : str
        What the new model will be called.
    data : DataReport
        What was found.
    parts : str
        What will be trained: ``head``, ``adapters`` or ``all``.
    folder : Path
        Checkpoints and logs; ``tensorboard`` in it is for TensorBoard.
    targets : list of Target
        Objects held aside, to measure on.
    where : dict
        ``device``, ``devices``, ``nodes`` and ``precision``.
    """

    def __init__(
        self,
        work: Work,
        name: str,
        parent: str,
        folder: Path,
        targets: list[Target],
        where: dict[str, Any],
    ) -> None:
        self.work, self.name, self.parent = work, name, parent
        self.folder, self.targets, self.where = folder, targets, where
        self.parts = work.options.parts
        self.data = _report(work)

    def forecast(self, cancelled: Callable[[], bool] | None = None) -> Forecast:
        """Measure two steps and tell what all of it will take.

        Parameters
        ----------
        cancelled : callable, optional
            Asked now and then; True stops.
        """
        return forecast(
            self.work,
            device=self.where["device"],
            precision=self.where["precision"],
            measured=len(self.targets),
            cancelled=cancelled or Nothing,
        )

    def run(
        self,
        on_progress: OnProgress | None = None,
        cancelled: Callable[[], bool] | None = None,
        finish: Callable[[], bool] | None = None,
        on_examples: OnExamples | None = None,
    ) -> FinetuneResult:
        """Measure, learn, measure again, and put the model into the list.

        Parameters
        ----------
        on_progress : callable, optional
            Told after each step and each measured object. With several processes it is
            called in a thread of its own.
        cancelled : callable, optional
            Asked often; True stops after the batch in work. Nothing is kept but the
            checkpoint.
        finish : callable, optional
            Asked between batches; True ends learning and keeps what was learned.
        on_examples : callable, optional
            Given a few objects held aside as the model answers them so far: before
            learning, and after each validation. With several processes only before.

        Raises
        ------
        Cancelled
            If ``cancelled`` said so; the same job goes on from where it was.
        TrainingError
            If learning fails, or the model cannot be saved; what was learned so far
            lies in :attr:`folder`, and the same job goes on from there.
        """
        run = _Run(self, on_progress, cancelled or Nothing, finish or Nothing)
        run.on_examples = on_examples
        return run.go()

    def logged(self) -> list[Logged]:
        """Return the steps of an earlier run of the same that was stopped.

        As far as its log goes, which may be a little further than its checkpoint;
        nothing where there is no checkpoint.
        """
        kept = (self.folder / "checkpoint.pt").exists()
        return logged(self.folder) if kept else []


class _Run:
    """One run of a job."""

    def __init__(
        self,
        job: FinetuneJob,
        on_progress: OnProgress | None,
        cancelled: Callable[[], bool],
        finish: Callable[[], bool],
    ) -> None:
        self.job, self.work = job, job.work
        self.on_progress, self.cancelled, self.finish = on_progress, cancelled, finish
        self.began = time.monotonic()
        self.measuring = MEASURING if job.targets else 0.0
        self.first_step: tuple[int, float] | None = None
        self.on_examples: OnExamples | None = None
        self.old: list[Any] = []
        self.gate: Gate | None = None

    def go(self) -> FinetuneResult:
        job, work, folder = self.job, self.work, self.job.folder
        self._make_folder(folder)
        self._tell("preparing", 0, 0.0)
        self.gate = work.gate(self.cancelled)
        before, old = self._measure_parent()
        self.old = old
        self._show(old)
        where = job.where
        learned = learn(
            work,
            folder,
            on_tick=self._tick,
            cancelled=self.cancelled,
            finish=self.finish,
            show=self._peek if self.on_examples is not None and old else None,
            **where,
        )
        network = self._blend(learned["weights"])
        self._tell("saving", learned["step"], 1 - self.measuring)
        after, new = self._measure_network(network)
        if work.task != "segmentation" and learned["validations"]:
            before, after = self._scores(learned["validations"])
        card = self._card(learned, before, after)
        beside = self._beside(network)
        info = keep_model(network, job.name, card, folder, beside=beside)
        self._tell("saving", learned["step"], 1.0)
        examples = self._examples(new)
        return FinetuneResult(
            name=info.name,
            info=info,
            path=info.path,
            card=card,
            before=before,
            after=after,
            history=tuple(learned["history"]),
            validations=tuple(learned["validations"]),
            problems=work.inventory.problems,
            examples=examples,
            seconds=time.monotonic() - self.began,
        )

    def _blend(self, learned: dict[str, Any]) -> Any:
        """Return the parent's network with what would be the result."""
        network = self.work.network()
        weights = blended(network.state_dict(), learned, self.share)
        network.load_state_dict(weights)
        return network

    @property
    def share(self) -> float:
        """How far the result goes from the parent towards what was learned."""
        forgets = self.work.task != "segmentation" or self.work.forgetful
        return 1.0 if forgets or self.gate is not None else HALFWAY

    def _beside(self, network: Any) -> dict[str, Tensor] | None:
        """Return what the file holds beside the result: gate and parent."""
        if self.gate is None:
            return None
        new = network.state_dict()
        other = {
            name: shortest(value)
            for name, value in self.work.network().state_dict().items()
            # as the file will hold it, see keep_model
            if not torch.equal(value, new[name].half().to(value))
        }
        return with_elsewhere(self.gate, other)

    def _examples(self, new: list[Any]) -> tuple[Example, ...]:
        targets = self.job.targets
        return examples_of(self.work.whole(), targets, self.old, new) if targets else ()

    def _show(self, masks: list[Any]) -> None:
        if self.on_examples is not None and masks:
            self.on_examples(self._examples(masks))

    def _peek(self, network: Any) -> None:
        """Answer the examples with the network as it is now."""
        copied = copy.deepcopy(network)
        with torch.random.fork_rng(devices=[]):
            model = self._as_model(self._blend(take_up(copied).state_dict()))
            self._show(answers(model, self.work.whole(), self.job.targets))

    def _make_folder(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(
                f"The folder {folder} for checkpoints cannot be made: {error}. Choose "
                "another one (out)."
            ) from error

    def _measure_parent(self) -> tuple[Scores | None, list[Any]]:
        if not self.job.targets:
            return None, []
        model = load_model(str(self.work.weights), self.job.where["device"])
        return self._measure("measuring before", model, 0.0)

    def _measure_network(self, network: Any) -> tuple[Scores | None, list[Any]]:
        """Measure the new weights as a model reads them from a file."""
        if not self.job.targets:
            return None, []
        model = self._as_model(network)
        return self._measure("measuring after", model, 1 - self.measuring)

    def _as_model(self, network: Any) -> Any:
        """Return a network as a model that answers clicks, as if read from a file."""
        path = self.job.folder / "learned.safetensors"
        metadata, beside = {"task": self.work.task}, self._beside(network)
        save_checkpoint(path, network, metadata=metadata, beside=beside)
        return load_model(str(path), self.job.where["device"])

    def _measure(
        self, phase: Phase, model: Any, done: float
    ) -> tuple[Scores | None, list[Any]]:
        targets = self.job.targets

        def told(count: int) -> None:
            share = self.measuring * count / len(targets)
            self._tell(phase, 0, done + share)

        return measure(model, self.work.whole(), targets, told, self.cancelled)

    def _scores(self, validations: Sequence[Any]) -> tuple[Scores, Scores]:
        held = len(self.work.split.hold)
        lesson = self.work.lesson_class()
        best = min(validations, key=lambda one: one.loss)
        return (
            Scores(held, score=validations[0].score, score_name=lesson.score_name),
            Scores(held, score=best.score, score_name=lesson.score_name),
        )

    def _tick(self, tick: Tick) -> None:
        steps = self.work.options.steps
        share = tick.step / steps
        if self.first_step is None:
            self.first_step = (tick.step, time.monotonic())
        step, since = self.first_step
        left = None
        if tick.step > step:
            each = (time.monotonic() - since) / (tick.step - step)
            learning = each * (steps - tick.step)
            left = learning + self.measuring / (1 - 2 * self.measuring) * each * steps
        fraction = self.measuring + (1 - 2 * self.measuring) * share
        self._tell("learning", tick.step, fraction, left, tick)

    def _tell(
        self,
        phase: Phase,
        step: int,
        fraction: float,
        left: float | None = None,
        tick: Tick | None = None,
    ) -> None:
        if self.on_progress is None:
            return
        self.on_progress(
            FinetuneProgress(
                phase=phase,
                step=step,
                steps=self.work.options.steps,
                fraction=min(1.0, fraction),
                seconds_left=left,
                loss=None if tick is None else tick.loss,
                score=None if tick is None else tick.score,
                score_name=self.work.lesson_class().score_name,
                validation=None if tick is None else tick.validation,
            )
        )

    def _card(
        self, learned: dict[str, Any], before: Scores | None, after: Scores | None
    ) -> dict[str, Any]:
        work, data = self.work, self.job.data
        facts = {
            "data": {
                "text": work.inventory.text,
                "sha": work.inventory.digest,
                "layout": work.reader.layout,
                "images": data.images,
                "objects": data.objects,
                "held": data.held,
                "left_out": len([p for p in data.problems if p.left_out]),
            },
            "recipe": {
                **work.settings.to_dict(),
                "parts": work.options.parts,
                "steps": learned["step"],
                "learning_rate": work.options.learning_rate,
                "kind": work.kind,
                "blend": self.share,
                "gate": self.gate is not None,
                "reference": "none"
                if work.forgetful
                else "pictures that come along"
                if work.rehearsal is None
                else "the starters' packs",
            },
            "minutes": round(learned["seconds"] / 60, 2),
            "before": None if before is None else vars(before),
            "after": None if after is None else vars(after),
        }
        checkpoint = read_checkpoint(work.weights)
        return make_card(self.job.name, checkpoint, self.job.parent, facts)


def _report(work: Work) -> DataReport:
    inventory, aside = work.inventory, work.split
    held = aside.held_objects if inventory.objects else len(aside.hold)
    text = f"{inventory.text}; taken for {work.kind}"
    if held:
        what = "object" if inventory.objects else "image"
        text += f"; {held} {what}{'s' * (held != 1)} held aside to measure on"
    else:
        text += "; too few to hold any aside, so nothing will be measured"
    return DataReport(
        images=len(inventory.entries),
        objects=inventory.objects,
        held=held,
        problems=inventory.problems,
        kind=work.kind,
        text=text + ".",
    )
