"""One piece of work: everything that a process needs to begin learning.

It holds no open files and no callbacks, so that it travels to other processes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from napari_clickseg.models.checkpoint import build_network, read_checkpoint
from napari_clickseg.models.gate import Gate
from napari_clickseg.models.model import load_model
from napari_clickseg.training.finetuning.augmenting import Kind
from napari_clickseg.training.finetuning.checking import Inventory
from napari_clickseg.training.finetuning.clicks import ClickLesson, Student
from napari_clickseg.training.finetuning.gating import make_gate
from napari_clickseg.training.finetuning.lesson import Batch, Lesson
from napari_clickseg.training.finetuning.loop import LoopOptions
from napari_clickseg.training.finetuning.pictures import Pictures
from napari_clickseg.training.finetuning.reference import (
    pack_sources,
    remembered,
    remembered_once,
)
from napari_clickseg.training.finetuning.settings import Settings, work_key
from napari_clickseg.training.finetuning.splitting import Split
from napari_clickseg.training.finetuning.windows import (
    ClickWindows,
    Source,
    WindowOptions,
)
from napari_clickseg.training.readers.base import Reader

#: Other images are seen at the sizes at which the starters learned, often whole: what
#: is to be kept is mostly what a first click on a large object finds.
REFERENCE: dict[str, Any] = {
    "canvases": ((257, 257), (353, 353), (289, 385), (385, 289)),
    "whole": 0.45,
    "near": 0.4,
    "fitted": True,
    "zoom_side": 0.0,
}


@dataclass(frozen=True)
class Work:
    """What is to be learned, from what, and how.

    Parameters
    ----------
    weights : Path
        The parent's file.
    task : str
        What the model is for.
    reader : Reader
        The user's images.
    inventory : Inventory
        What of them can be used.
    split : Split
        What is held aside.
    settings : Settings
        The user's choices.
    options : LoopOptions
        What follows from them.
    kind : {"microscopy", "photo"}
        How windows may be changed.
    ignore : int, optional
        Label of pixels that do not count.
    rehearsal : Path, optional
        Data root with the starters' packs.
    forgetful : bool
        Leave the reference out.
    world : int
        Processes that share each batch.
    windows : WindowOptions, optional
        How windows are drawn; default as suits the network.
    extra : dict
        ``folders`` of the user's images, which no reference may hold; ``cells`` where
        classes are made of single cells.
    """

    weights: Path
    task: str
    reader: Reader
    inventory: Inventory
    split: Split
    settings: Settings
    options: LoopOptions
    kind: Kind
    ignore: int | None = None
    rehearsal: Path | None = None
    forgetful: bool = False
    world: int = 1
    windows: WindowOptions | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What the work is known by, so that only the same one is taken up again."""
        return work_key(
            read_checkpoint(self.weights).sha256,
            self.inventory.digest,
            self.settings.to_dict(),
            vars(self.options),
            self.kind,
            self.ignore,
            None if self.rehearsal is None else str(self.rehearsal),
            self.forgetful,
            None if self.windows is None else vars(self.windows),
        )

    def network(self) -> nn.Module:
        """Build the parent's network."""
        return build_network(read_checkpoint(self.weights))

    def lesson(
        self, device: torch.device, cancelled: Callable[[], bool] | None = None
    ) -> Lesson:
        """Return what is learned, on a device."""
        if self.task != "segmentation":
            from napari_clickseg.training.finetuning.dense import dense_lesson

            return dense_lesson(self, device)
        return self._click_lesson(device, cancelled)

    def lesson_class(self) -> type[Lesson]:
        """Return the kind of lesson, without making one."""
        if self.task != "segmentation":
            from napari_clickseg.training.finetuning.dense import LESSONS

            return LESSONS[self.task]
        return ClickLesson

    def own(self) -> Pictures:
        """Return the user's images, without what is held aside."""
        return Pictures(self.reader, self.task, self.ignore, self.split.hidden)

    def whole(self) -> Pictures:
        """Return the user's images with everything."""
        return Pictures(self.reader, self.task, self.ignore)

    def window_options(self) -> WindowOptions:
        """Return how windows are drawn for this network."""
        if self.windows is not None:
            return self.windows
        network = self.network()
        working = getattr(network, "max_side", None) or 600
        return WindowOptions(working=int(working))

    def _click_lesson(
        self, device: torch.device, cancelled: Callable[[], bool] | None
    ) -> ClickLesson:
        options, seed = self.window_options(), self.settings.seed
        batch = self.settings.batch_for(self.world)
        source = Source(
            self.own(), self.split.learn, self.kind, skipped=self.split.hidden
        )
        own = ClickWindows([source], batch, options, seed)
        parent = reference = None
        labelled = False
        if not self.forgetful:
            parent = Student(copy.deepcopy(self.network())).to(device).eval()
            parent.requires_grad_(False)
            sources = self._reference(parent, device, cancelled)
            labelled = self.rehearsal is not None
            if sources:
                share = self.world * self.settings.accumulate
                half = max(1, round(batch / 2 / share)) * share
                others = replace(options, **REFERENCE)
                if self.windows is not None:
                    others = options
                reference = ClickWindows(sources, half, others, seed + 1)
        return ClickLesson(
            own,
            reference,
            labelled,
            held=self._held_windows(options),
            parent=parent,
            seed=seed,
        )

    def _reference(
        self,
        parent: nn.Module,
        device: torch.device,
        cancelled: Callable[[], bool] | None,
    ) -> list[Source]:
        """Return other images than the user's."""
        if self.rehearsal is not None:
            avoid = [Path(p) for p in self.extra.get("folders", ())]
            return pack_sources(self.rehearsal, avoid)
        key = (read_checkpoint(self.weights).sha256, self.settings.seed, device.type)
        return remembered_once(
            key,
            lambda: remembered(parent, self.settings.seed, device, cancelled),
        )

    def gate(self, cancelled: Callable[[], bool] | None = None) -> Gate | None:
        """Return what tells the user's images from others, None if nothing does."""
        if self.task != "segmentation" or self.forgetful:
            return None
        parent = Student(self.network()).eval().requires_grad_(False)
        others = self._reference(parent, torch.device("cpu"), cancelled)
        own = Source(self.own(), self.split.learn, self.kind)
        model = load_model(str(self.weights), "cpu", "float32")
        return make_gate(model, [own], others, self.settings.seed, cancelled)

    def _held_windows(self, options: WindowOptions) -> Batch | None:
        """Draw windows of what is held aside, always the same."""
        held = self.split.held()
        if not held:
            return None
        skipped = {
            entry.index: frozenset(range(len(entry.objects))) - frozenset(numbers)
            for entry, numbers in held
        }
        source = Source(
            self.whole(),
            tuple(entry for entry, _ in held),
            self.kind,
            "none",
            skipped=skipped,
        )
        plain = replace(options, damaged=0.0, extra=0.0, canvases=options.canvases[:1])
        count = -(-self.settings.preset.windows // self.world) * self.world
        return ClickWindows([source], count, plain, 77).draw(self.settings.seed)


def image_kind(reader: Reader, inventory: Inventory, wish: str) -> Kind:
    """Return whether images are photos or microscopy: colours tell, mostly.

    Parameters
    ----------
    wish : {"auto", "photo", "microscopy"}
        What the user says.
    """
    if wish != "auto":
        return "photo" if wish == "photo" else "microscopy"
    pictures = Pictures(reader, "segmentation")
    colourful = []
    for entry in inventory.entries[:5]:
        image = pictures.image_of(entry).astype(np.int16)
        spread = np.abs(image - image.mean(axis=2, keepdims=True)).mean()
        colourful.append(spread > 6)
    return "photo" if np.mean(colourful) > 0.5 else "microscopy"
