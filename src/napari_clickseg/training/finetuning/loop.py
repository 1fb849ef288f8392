"""The loop: any lesson, on a processor, a GPU or several, by ``lightning.fabric``.

Whatever is drawn is drawn by number, the state is written between batches, and a run
that was killed goes on from there with the same losses as if it had not been.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from napari_clickseg.errors import Cancelled, TrainingError
from napari_clickseg.training.finetuning.lesson import Lesson, Where
from napari_clickseg.training.finetuning.log import Logged, note
from napari_clickseg.training.finetuning.parts import Parts, prepare
from napari_clickseg.training.finetuning.report import Validation
from napari_clickseg.training.progress import Progress, TrainingLog
from napari_clickseg.training.state import MovingAverage, load_state, save_state

if TYPE_CHECKING:
    from lightning_fabric import Fabric

#: What a checkpoint must have to be taken up.
FORMAT = 1
Nothing: Callable[[], bool] = lambda: False  # noqa: E731


@dataclass(frozen=True)
class LoopOptions:
    """How long and how fast.

    Parameters
    ----------
    steps : int
        Optimiser steps.
    learning_rate : float
        Peak for the head; it rises for ``warmup`` steps and falls by half a cosine.
    encoder_factor : float
        What the encoder gets of it, if it learns.
    weight_decay, clip : float
        AdamW's decoupled decay, and the largest norm of a gradient.
    ema : float
        Decay of the moving average of weights, which is what comes out.
    parts : {"head", "adapters", "all"}
        What is trained.
    accumulate : int
        In how many pieces a batch goes through the network, to save memory.
    check_every : int
        Steps between validations.
    patience : int
        Validations without a better one after which to stop; 0 never stops early.
    save_seconds : float
        Time between checkpoints: what an interruption can lose.
    seed : int
        Of adapters.
    """

    steps: int
    learning_rate: float = 1e-3
    encoder_factor: float = 0.2
    weight_decay: float = 1e-4
    clip: float = 5.0
    warmup: int = 20
    ema: float = 0.99
    parts: Parts = "all"
    accumulate: int = 1
    check_every: int = 50
    patience: int = 0
    save_seconds: float = 30.0
    seed: int = 0


@dataclass(frozen=True)
class Tick:
    """What the loop tells after each step."""

    step: int
    loss: float
    score: float
    seconds: float
    validation: Validation | None = None


class Loop:
    """The state of learning.

    Parameters
    ----------
    fabric : Fabric
        Launched.
    network : nn.Module
        Changed in place.
    lesson : Lesson
        What is learned.
    options : LoopOptions
        How.
    folder : Path
        Checkpoint and logs.
    """

    def __init__(
        self,
        fabric: Fabric,
        network: nn.Module,
        lesson: Lesson,
        options: LoopOptions,
        folder: Path,
    ) -> None:
        self.fabric, self.lesson, self.options = fabric, lesson, options
        self.folder = folder
        self.checkpoint = folder / "checkpoint.pt"
        self.network = network
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            groups = prepare(
                network, options.parts, options.learning_rate, options.encoder_factor
            )
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimiser = torch.optim.AdamW(groups, weight_decay=options.weight_decay)
        student = lesson.wrap(network)
        self.student, self.optimiser = fabric.setup(student, optimiser)
        self.where = Where(fabric.global_rank, fabric.world_size, fabric.device)
        self.average = MovingAverage(network, options.ema)
        self.best: dict[str, Tensor] | None = None
        self.step = self.batch = self.waited = 0
        self.seconds = 0.0
        self.history: list[tuple[int, float]] = []
        self.validations: list[Validation] = []
        #: Shown the moving average after each validation; changes nothing of it.
        self.show: Callable[[nn.Module], None] | None = None

    # -- remembering ---------------------------------------------------------

    def restore(self, key: str) -> bool:
        """Go on from the checkpoint, where there is one of the same work.

        Parameters
        ----------
        key : str
            What the work is known by: data, model and settings.
        """
        if not self.checkpoint.exists():
            return False
        state = load_state(self.checkpoint)
        if state.get("format") != FORMAT or state.get("key") != key:
            raise TrainingError(
                f"{self.checkpoint} belongs to other data or settings. Give another "
                "folder, or begin anew (--restart)."
            )
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        device = self.where.device
        self.average.values = {k: v.to(device) for k, v in state["average"].items()}
        self.best = state["best"]
        self.step, self.batch = state["step"], state["batch"]
        self.waited, self.seconds = state["waited"], state["seconds"]
        self.history = [(int(a), float(b)) for a, b in state["history"]]
        self.validations = [Validation(*one) for one in state["validations"]]
        torch.set_rng_state(state["rng"])
        return True

    def save(self, key: str) -> None:
        """Write the checkpoint; what was there stays until the new one is whole.

        Raises
        ------
        TrainingError
            If it cannot be written, for example on a full disk.
        """
        if self.where.rank:
            return
        state = {
            "format": FORMAT,
            "key": key,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average.values,
            "best": self.best,
            "step": self.step,
            "batch": self.batch,
            "waited": self.waited,
            "seconds": self.seconds,
            "history": self.history,
            "validations": [
                (one.step, one.loss, one.score, one.noc) for one in self.validations
            ],
            "rng": torch.get_rng_state(),
        }
        try:
            save_state(self.checkpoint, state)
        except (OSError, RuntimeError) as error:
            self.checkpoint.with_suffix(".part").unlink(missing_ok=True)
            raise TrainingError(
                f"The state of learning cannot be written to {self.folder} ({error}). "
                "Make room there and run the same again: it goes on from the last "
                "state that was written."
            ) from error

    # -- learning ------------------------------------------------------------

    def go(
        self,
        key: str,
        on_tick: Callable[[Tick], None] | None = None,
        cancelled: Callable[[], bool] = Nothing,
        finish: Callable[[], bool] = Nothing,
    ) -> None:
        """Learn until the steps are done, or it gets no better, or someone says so.

        Raises
        ------
        Cancelled
            If ``cancelled`` said so; the last checkpoint stays.
        """
        log = TrainingLog(self.folder) if self.where.rank == 0 else None
        saved = time.monotonic()
        try:
            if self.step == 0 and not self.validations:
                self.validate_once(cancelled)
                if self._agreed(cancelled()):
                    raise Cancelled("Stopped before the first step.")
                self.save(key)
            while self.step < self.options.steps and not self._done_early():
                if self._agreed(finish()):
                    break
                stopped = self._learn_batch(log, on_tick, cancelled)
                self.batch += 1
                if stopped:
                    self.save(key)
                    raise Cancelled(
                        f"Stopped at step {self.step} of {self.options.steps}. The "
                        f"same again goes on from there (kept in {self.folder})."
                    )
                if time.monotonic() - saved > self.options.save_seconds:
                    self.save(key)
                    saved = time.monotonic()
        finally:
            if log is not None:
                log.close()
        if self.validations and self.validations[-1].step != self.step:
            self.validate_once(cancelled)
        self.save(key)

    def _learn_batch(
        self,
        log: TrainingLog | None,
        on_tick: Callable[[Tick], None] | None,
        cancelled: Callable[[], bool],
    ) -> bool:
        """Make the steps of a batch; return whether someone wants to stop.

        Only between batches there is a state from which the same follows again.
        """
        stopped = False
        chunks = self.lesson.begin(self.batch, self.where, self.options.accumulate)
        rounds = self.lesson.rounds(self.batch)
        for number in range(rounds):
            start = time.monotonic()
            loss, score = self.step_once(chunks)
            if number + 1 < rounds:
                for chunk in chunks:
                    self.lesson.go_on(chunk, self.batch, number)
            checked = None
            if self.step % self.options.check_every == 0:
                checked = self.validate_once(cancelled)
                if checked is None and self.validations and cancelled():
                    # Half a validation is none, so this is no state to go on from.
                    raise Cancelled(
                        "Stopped. The same again goes on from the last state written "
                        f"in {self.folder}."
                    )
            self.seconds += time.monotonic() - start
            self.history.append((self.step, loss))
            self._tell(log, loss, score, checked)
            if on_tick is not None:
                on_tick(Tick(self.step, loss, score, self.seconds, checked))
            stopped = stopped or self._agreed(cancelled())
            if self.step >= self.options.steps:
                break
        return stopped

    def step_once(self, chunks: Any) -> tuple[float, float]:
        """Make one optimiser step; return its loss and score, over all processes."""
        options = self.options
        factor = rate_factor(self.step, options.steps, options.warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = options.learning_rate * factor * group["factor"]
        self._to_train()
        self.optimiser.zero_grad()
        # What chance does in a step depends on its number, not on what came before.
        torch.manual_seed(options.seed * 1_000_003 + self.step)
        losses, scores = [], []
        for place, chunk in enumerate(chunks):
            waits = place + 1 < len(chunks)
            with self.fabric.no_backward_sync(self.student, enabled=waits):
                loss, score = self.lesson.ask(self.student, chunk)
                self.fabric.backward(loss / len(chunks))
            losses.append(float(loss.detach()))
            scores.append(score)
        told = torch.tensor([sum(losses), sum(scores)], device=self.where.device)
        told = told / len(chunks)
        if self.where.world > 1:
            summed: Any = self.fabric.all_reduce(told, reduce_op="mean")
            told = summed
        if not math.isfinite(float(told[0])):
            raise TrainingError(
                f"The loss is no number at step {self.step + 1}. Try a smaller "
                "learning rate; if it is so again, look whether the images hold "
                "strange values."
            )
        self.fabric.clip_gradients(
            self.student,
            self.optimiser,
            max_norm=options.clip,
            error_if_nonfinite=False,
        )
        self.optimiser.step()
        self.step += 1
        self.average.update(self.network, self.step)
        return float(told[0]), float(told[1])

    def _to_train(self) -> None:
        """Train, but for batch norm: few images say little of all images."""
        self.student.train()
        for module in self.network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):  # noqa: SLF001
                module.eval()

    # -- validation ----------------------------------------------------------

    def validate_once(self, stop: Callable[[], bool] = Nothing) -> Validation | None:
        """Measure the moving average on what was held aside, and keep the best."""
        now = {key: value.clone() for key, value in self.network.state_dict().items()}
        self.network.load_state_dict(self.average.values)
        self.student.eval()
        try:
            stop = Nothing if self.where.world > 1 else stop
            figures = self.lesson.validate(self.student, self.where, stop)
            if figures is None or stop():
                return None
            if self.show is not None:
                self.show(self.network)
        finally:
            self.network.load_state_dict(now)
        names = sorted(figures)
        values = torch.tensor([figures[n] for n in names], device=self.where.device)
        if self.where.world > 1:
            meant: Any = self.fabric.all_reduce(values, reduce_op="mean")
            values = meant
        told = dict(zip(names, values.tolist(), strict=True))
        one = Validation(self.step, told["loss"], told["score"], told.get("noc"))
        better = all(self._rank(one) < self._rank(old) for old in self.validations)
        self.validations.append(one)
        if better or self.best is None:
            self.best = {k: v.detach().clone() for k, v in self.average.values.items()}
            self.waited = 0
        else:
            self.waited += 1
        return one

    def outcome(self) -> dict[str, Tensor]:
        """Return the weights that are the result.

        Those of the end, where the rate has come to nothing; the best ones seen where
        learning ended early or went wrong.
        """
        values = self.average.values
        if self.best is None or len(self.validations) < 2:
            return values
        ended = self.step >= self.options.steps and not self.options.patience
        first, last = self.validations[0], self.validations[-1]
        if ended and self._rank(last) < self._rank(first):
            return values
        return self.best

    def _rank(self, one: Validation) -> tuple[float, float]:
        """Return what is to be small: clicks, then the loss."""
        return (math.inf if one.noc is None else one.noc, one.loss)

    def _done_early(self) -> bool:
        return bool(self.options.patience) and self.waited >= self.options.patience

    def _agreed(self, wish: bool) -> bool:
        """Return whether the first process wishes it, in all processes."""
        if self.where.world == 1:
            return wish
        return bool(self.fabric.broadcast(wish, src=0))

    def _tell(
        self,
        log: TrainingLog | None,
        loss: float,
        score: float,
        checked: Validation | None,
    ) -> None:
        if log is None:
            return
        rate = self.optimiser.param_groups[0]["lr"]
        share = self.step / self.options.steps
        name = self.lesson.score_name
        log.write(Progress(self.step, share, loss, score, rate, name), self.seconds)
        if checked is not None and log.writer is not None:
            for key in ("loss", "score", "noc"):
                value = getattr(checked, key)
                if value is not None:
                    log.writer.add_scalar(f"validation/{key}", value, self.step)
        note(self.folder, Logged(self.step, loss, score, checked))


def rate_factor(step: int, steps: int, warmup: int) -> float:
    """Linear rise, then half a cosine to zero."""
    rise = min(1.0, (step + 1) / max(1, min(warmup, steps // 4 or 1)))
    return rise * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
