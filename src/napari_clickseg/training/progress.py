"""What a training run tells while it runs."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

logger = logging.getLogger(__name__)


@dataclass
class Progress:
    """What a caller is told after each step."""

    step: int
    fraction: float
    loss: float
    iou: float
    learning_rate: float
    score_name: str = "IoU"


class TrainingLog:
    """TensorBoard where it is installed, and a line every fifty steps."""

    def __init__(self, folder: Path) -> None:
        self.writer: Any = None
        self.losses: list[float] = []
        self.ious: list[float] = []
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            logger.info("tensorboard is not installed; logging to the console only")
        else:
            self.writer = SummaryWriter(str(folder / "tensorboard"))

    def write(self, progress: Progress, seconds: float) -> None:
        """Note a step; the means of fifty are told at once."""
        self.losses.append(progress.loss)
        self.ious.append(progress.iou)
        if progress.step % 50 == 0:
            loss, iou = float(np.mean(self.losses)), float(np.mean(self.ious))
            self.losses.clear()
            self.ious.clear()
            logger.info(
                "step %d  %.1f min  loss %.4f  %s %.3f  lr %.2e  %.0f%%",
                progress.step,
                seconds / 60,
                loss,
                progress.score_name,
                iou,
                progress.learning_rate,
                100 * progress.fraction,
            )
            if self.writer is not None:
                self.writer.add_scalar("loss", loss, progress.step)
                self.writer.add_scalar(progress.score_name.lower(), iou, progress.step)
                self.writer.add_scalar("lr", progress.learning_rate, progress.step)

    def close(self) -> None:
        """Write out what is left."""
        if self.writer is not None:
            self.writer.close()
