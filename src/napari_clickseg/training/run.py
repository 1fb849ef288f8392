"""The training loop, and how click segmentation models learn in it.

Iterative training as in RITM (Sofiiuk et al., 2021), arranged so that no pass
is lost: a batch is kept for a few rounds, each round is one optimiser step,
and its own answer gives the previous mask and the next click. Networks that know
no clicks learn in :mod:`napari_clickseg.training.foreground`, in the same loop.
"""

from __future__ import annotations

import json
import logging
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.data import DataLoader, Dataset

from napari_clickseg.device import has_native_bfloat16
from napari_clickseg.errors import TrainingError
from napari_clickseg.training.dataset import ClickBatches, SamplingOptions
from napari_clickseg.training.kinds import kind_of
from napari_clickseg.training.losses import (
    mean_iou,
    normalized_focal_loss,
    sigmoid_bce_loss,
    soft_iou_loss,
)
from napari_clickseg.training.packs import Pack, data_root, read_pack
from napari_clickseg.training.progress import Progress, TrainingLog
from napari_clickseg.training.recipe import Recipe, read_recipe
from napari_clickseg.training.sampling import add_point, next_click
from napari_clickseg.training.state import (
    MovingAverage,
    RelativeGain,
    learning_rate_factor,
    load_state,
    plain_weights,
    save_state,
)

logger = logging.getLogger(__name__)


def train(
    recipe: str | Path,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = True,
    device: str = "cpu",
    max_steps: int | None = None,
    save_seconds: float = 45.0,
    workers: int = 1,
    on_step: Callable[[Progress], None] | None = None,
) -> Path:
    """Train a model by a recipe and write its weights.

    Parameters
    ----------
    recipe : path
        A TOML file, see ``recipes/``.
    data : path, optional
        Folder that holds the packs; default ``../shared/data`` or the
        environment's ``CLICKSEG_DATA``.
    out : path, optional
        Folder of checkpoints, logs and weights; default ``runs/NAME``.
    resume : bool
        Go on from the last checkpoint in ``out`` where there is one.
    device : str
        ``"cpu"`` or ``"cuda"``; bfloat16 autocast where the hardware has it.
    max_steps : int, optional
        Stop (resumably) after this many steps in all.
    save_seconds : float
        Time between checkpoints: what an interruption can lose.
    workers : int
        Processes that prepare batches; 0 prepares them in this one.
    on_step : callable, optional
        Told the progress after each optimiser step.

    Returns
    -------
    Path
        The weights, ``OUT/ema.safetensors``, the moving average so far.

    Raises
    ------
    TrainingError
        If the recipe or the data cannot be used.
    """
    plan = read_recipe(Path(recipe))
    root = data_root(data)
    folder = Path(out) if out is not None else Path("runs") / plan.name
    kind = kind_of(plan) or Run
    run: Run = kind(plan, root, folder, torch.device(device), save_seconds)
    if resume and run.checkpoint.exists():
        run.restore()
    return run.go(max_steps, workers, on_step)


class Run:
    """State and steps of one training run."""

    #: What the model is for, as its card says.
    task: ClassVar[str] = "segmentation"
    #: What is told beside the loss.
    score_name: ClassVar[str] = "IoU"

    def __init__(
        self,
        plan: Recipe,
        root: Path,
        folder: Path,
        device: torch.device,
        save_seconds: float,
    ) -> None:
        from napari_clickseg.models.architectures import ARCHITECTURES

        if plan.architecture not in ARCHITECTURES:
            raise TrainingError(
                f"unknown architecture {plan.architecture!r}; known are "
                f"{sorted(ARCHITECTURES)}"
            )
        torch.manual_seed(plan.schedule.seed)
        self.plan, self.folder, self.device = plan, folder, device
        self.save_seconds = save_seconds
        self.network = ARCHITECTURES[plan.architecture](**plan.network)
        if plan.start is not None:
            for module in self.begin_from(root, plan.start):
                if isinstance(module, nn.Conv2d):
                    parametrize.register_parametrization(
                        module, "weight", RelativeGain(module.weight)
                    )
        self.network.to(device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = self._optimiser()
        self.average = MovingAverage(self.network, plan.schedule.ema)
        self.data = self.read_data(root)
        self.step = self.batch = 0
        self.seconds = 0.0
        self.checkpoint = folder / "checkpoint.pt"
        self.stopping = False
        self._taps: tuple[Tensor, Any] | None = None

    #: Beginnings of the names of pretrained parameters.
    pretrained: tuple[str, ...] = ("backbone.",)

    def begin_from(self, root: Path, start: str) -> list[nn.Module]:
        """Take over what was learned before; return the modules that have it."""
        from napari_clickseg.training.start import load_backbone

        backbone = getattr(self.network, "backbone", None)
        if backbone is None:
            raise TrainingError(f"{self.plan.architecture} takes no backbone start")
        load_backbone(backbone, root, start)
        return list(backbone.modules())

    def _optimiser(self) -> torch.optim.Optimizer:
        schedule = self.plan.schedule
        pretrained, new = [], []
        for name, parameter in self.network.named_parameters():
            if self.plan.start is not None and name.startswith(self.pretrained):
                pretrained.append(parameter)
            else:
                new.append(parameter)
        groups: list[dict[str, Any]] = [{"params": new, "factor": 1.0}]
        if pretrained:
            groups.append({"params": pretrained, "factor": schedule.backbone_factor})
        return torch.optim.AdamW(
            groups, lr=schedule.learning_rate, weight_decay=schedule.weight_decay
        )

    def read_data(self, root: Path) -> Dataset[dict[str, Tensor]]:
        """Read the recipe's packs, and return batches by number, without end."""
        packs = [read_pack(root / "train", spec) for spec in self.plan.packs]
        return self.open_data(packs)

    def open_data(self, packs: list[Pack]) -> Dataset[dict[str, Tensor]]:
        """Return batches by number, without end."""
        options = SamplingOptions(**self.plan.sampling)
        return ClickBatches(packs, options, self.plan.schedule.seed)

    # -- remembering ---------------------------------------------------------

    def restore(self) -> None:
        """Go on from the checkpoint."""
        state = load_state(self.checkpoint)
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average.values = {
            key: value.to(self.device) for key, value in state["average"].items()
        }
        self.step, self.batch = state["step"], state["batch"]
        self.seconds = state["seconds"]
        logger.info("resuming at step %d", self.step)

    def save(self) -> Path:
        """Write the checkpoint, and the weights as they are now."""
        from napari_clickseg.models.architectures import ARCHITECTURES
        from napari_clickseg.models.checkpoint import save_checkpoint

        save_state(
            self.checkpoint,
            {
                "network": self.network.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "average": self.average.values,
                "step": self.step,
                "batch": self.batch,
                "seconds": self.seconds,
            },
        )
        target = self.folder / "ema.safetensors"
        twin = ARCHITECTURES[self.plan.architecture](**self.plan.network).eval()
        twin.load_state_dict(plain_weights(self.average.values))
        card = {
            **self.plan.card,
            "name": self.plan.name,
            "task": self.task,
            "steps": self.step,
            "minutes": round(self.seconds / 60, 1),
        }
        save_checkpoint(target, twin, metadata=card, dtype=torch.float16)
        return target

    # -- learning ------------------------------------------------------------

    def autocast(self) -> torch.autocast:
        """Return the context of forward passes: bfloat16 where that is quicker."""
        quick = self.device.type != "cpu" or has_native_bfloat16()
        return torch.autocast(self.device.type, torch.bfloat16, enabled=quick)

    def progress(self) -> float:
        """Return how much of the schedule is over, from 0."""
        schedule = self.plan.schedule
        shares = [0.0]
        if schedule.minutes:
            shares.append(self.seconds / (60 * schedule.minutes))
        if schedule.steps:
            shares.append(self.step / schedule.steps)
        return max(shares)

    def go(
        self,
        max_steps: int | None,
        workers: int,
        on_step: Callable[[Progress], None] | None,
    ) -> Path:
        """Learn until the schedule is over, or someone stops it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "recipe.json").write_text(
            json.dumps(asdict(self.plan), indent=1), encoding="utf-8"
        )
        log = TrainingLog(self.folder)
        before = signal.getsignal(signal.SIGTERM)
        in_main = _set_sigterm(self._on_signal)
        saved = time.monotonic()
        try:
            for batch in self._batches(workers):
                for progress in self.rounds(batch):
                    log.write(progress, self.seconds)
                    if on_step is not None:
                        on_step(progress)
                    if self._over(max_steps):
                        break
                self.batch += 1
                if time.monotonic() - saved > self.save_seconds:
                    self.save()
                    saved = time.monotonic()
                if self._over(max_steps):
                    break
        except KeyboardInterrupt:
            logger.info("interrupted; saving, run the same command to go on")
        except RuntimeError:
            if not self.stopping:  # else a worker heard the signal before us
                raise
        finally:
            if in_main:
                signal.signal(signal.SIGTERM, before)
            log.close()
        return self.save()

    def _over(self, max_steps: int | None) -> bool:
        reached = max_steps is not None and self.step >= max_steps
        return self.stopping or reached or self.progress() >= 1

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping = True

    def _batches(self, workers: int) -> Iterator[dict[str, Tensor]]:
        loader: DataLoader[dict[str, Tensor]] = DataLoader(
            self.data,
            batch_size=None,
            sampler=range(self.batch, 2**31),
            num_workers=workers,
            prefetch_factor=4 if workers else None,
        )
        yield from loader

    def rounds(self, batch: dict[str, Tensor]) -> Iterator[Progress]:
        """Learn from a batch, telling of each step."""
        rng = np.random.default_rng([self.plan.schedule.seed, 1, self.batch])
        rounds = self.plan.schedule.draw_rounds(rng)
        image, labels = self.send(batch)
        mask = batch["mask"]
        previous = batch["previous"].to(self.device)
        points, counts = batch["points"].clone(), batch["counts"].clone()
        for number in range(rounds):
            start = time.monotonic()
            loss, probability = self.learn(
                labels, image, points.to(self.device), previous
            )
            iou = mean_iou(probability, labels)
            if number + 1 < rounds:
                answers = probability[:, 0].cpu().numpy()
                for i, answer in enumerate(answers):
                    click = next_click(answer, mask[i, 0].numpy(), rng)
                    if click is not None:
                        add_point(points[i], counts[i], click, number + 1)
                previous = probability
            yield self.tell(start, loss, iou)

    def send(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return images (N, 3, H, W) in [0, 1] and labels, on the device."""
        image = batch["image"].to(self.device).float().div_(255)
        image = image.contiguous(memory_format=torch.channels_last)
        return image, batch["mask"].to(self.device).float()

    def tell(self, start: float, loss: float, score: float) -> Progress:
        """Count a step's time, and return what is to be told of it."""
        self.seconds += time.monotonic() - start
        rate = self.optimiser.param_groups[0]["lr"]
        share = min(1.0, self.progress())
        return Progress(self.step, share, loss, score, rate, self.score_name)

    def answer(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Return the network's answer: ``instances``, and perhaps more."""
        image, points, previous = inputs
        # What lies before the first click is pretrained and kept, but where a
        # network says that more than that lies there.
        learns = self.plan.start is None or getattr(
            self.network, "encoder_learns", False
        )
        schedule = self.plan.schedule
        kept = schedule.since_restart(self.progress()) >= schedule.encoder_until
        if kept and hasattr(self.network, "taps"):
            features = self._call("pyramid", *self._taps_of(image))
        else:
            with torch.set_grad_enabled(learns):
                features = self._call("encode_image", image)
        output: dict[str, Tensor] = self._call(
            "decode_clicks", features, points, previous
        )
        return output

    @torch.no_grad()
    def _taps_of(self, image: Tensor) -> Any:
        """Return what the backbone says of a batch, from the last round if known."""
        if self._taps is None or self._taps[0] is not image:
            self._taps = image, self._call("taps", image)
        return self._taps[1]

    def learn(self, labels: Tensor, *inputs: Tensor) -> tuple[float, Tensor]:
        """Make one optimiser step; return its loss and the probabilities."""
        weights = self.plan.losses
        self.begin_step()
        with self.autocast(), parametrize.cached():
            output = self.answer(*inputs)
        logits = output["instances"].float()
        loss = normalized_focal_loss(logits, labels).mean()
        if weights.soft_iou:
            loss = loss + weights.soft_iou * soft_iou_loss(logits, labels).mean()
        if "instances_aux" in output and weights.auxiliary:
            auxiliary = output["instances_aux"].float()
            loss = loss + weights.auxiliary * sigmoid_bce_loss(auxiliary, labels).mean()
        self.end_step(loss)
        return float(loss.detach()), torch.sigmoid(logits.detach())

    def begin_step(self) -> None:
        """Set the learning rates."""
        schedule = self.plan.schedule
        share = schedule.since_restart(self.progress())
        factor = learning_rate_factor(self.step, share, schedule)
        for group in self.optimiser.param_groups:
            group["lr"] = schedule.learning_rate * factor * group["factor"]
        self.network.train()

    def end_step(self, loss: Tensor) -> None:
        """Go down the gradient of a loss."""
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        self.step += 1
        self.average.update(self.network, self.step)

    def _call(self, method: str, *inputs: Any) -> Any:
        return getattr(self.network, method)(*inputs)


def _set_sigterm(handler: Callable[[int, FrameType | None], None]) -> bool:
    try:
        signal.signal(signal.SIGTERM, handler)
    except ValueError:  # not the main thread: the caller handles signals
        return False
    return True
