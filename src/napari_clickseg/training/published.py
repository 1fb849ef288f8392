"""Training as RITM and InterFormer were trained: data, clicks, rates.

A recipe says ``protocol = "ritm"`` or ``"interformer"`` and names data in any layout.
The released configurations are ``recipes/ritm-hrnet18s-cocolvis.toml`` and
``recipes/interformer-light-cocolvis.toml``; values as in the released code.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from napari_clickseg.errors import TrainingError
from napari_clickseg.networks.layers import IMAGENET
from napari_clickseg.training.finetuning.checking import examine
from napari_clickseg.training.finetuning.pictures import Pictures
from napari_clickseg.training.losses import (
    mean_iou,
    normalized_focal_loss,
    sigmoid_bce_loss,
)
from napari_clickseg.training.progress import Progress
from napari_clickseg.training.published_batches import (
    PublishedBatches,
    PublishedOptions,
)
from napari_clickseg.training.readers.coco_lvis import CocoLvis
from napari_clickseg.training.readers.opening import open_reader
from napari_clickseg.training.run import Run
from napari_clickseg.training.sampling import depth_of, inner_point

Image = NDArray[np.uint8]
Labels = NDArray[np.int16]


def ritm_rate(name: str) -> float:
    """Return what a parameter of RITM gets of the learning rate.

    The pretrained backbone a tenth; HRNet's OCR a whole, but its first heads, which
    the released code does not list, a tenth, too.
    """
    if name.startswith("feature_extractor.backbone."):
        return 0.1
    if not name.startswith("feature_extractor."):
        return 1.0
    rest = name.removeprefix("feature_extractor.")
    if rest.startswith(("ocr_distri_head", "ocr_gather_head", "conv3x3_ocr")):
        return 1.0
    # of DeepLab's parts only the backbone, which was handled above, is slow
    deeplab = rest.startswith(("aspp", "skip_project", "head"))
    return 1.0 if deeplab else 0.1


def layer_rate(name: str, layers: int, decay: float) -> float:
    """Return what a parameter of a ViT gets of the rate: less, the earlier it is."""
    if not name.startswith("backbone."):
        return 1.0
    rest = name.removeprefix("backbone.")
    if rest.startswith(("cls_token", "pos_embed", "patch_embed")):
        depth = 0
    else:
        found = re.match(r"layers\.(\d+)\.", rest)
        depth = layers if found is None else int(found[1]) + 1
    return float(decay ** (layers + 1 - depth))


class PublishedRun(Run):
    """A run by a published recipe."""

    def read_data(self, root: Path) -> Dataset[dict[str, Tensor]]:
        """Open each pack in its own layout."""
        options = PublishedOptions(**self.plan.sampling)
        sources = []
        for spec in self.plan.packs:
            reader = open_reader(root / spec.name, layout=spec.layout)
            stuff = None
            if options.stuff and isinstance(reader, CocoLvis):
                stuff = Pictures(CocoLvis(root / spec.name, stuff=True))
            inventory = examine(reader, ignore=spec.ignore)
            pictures = Pictures(reader, ignore=spec.ignore)
            sources.append((pictures, stuff, inventory.entries))
        if not sources:
            raise TrainingError("The recipe names no data.")
        return PublishedBatches(sources, options, self.plan.schedule.seed)

    @property
    def _clicks(self) -> PublishedOptions:
        options: PublishedOptions = self.data.options  # type: ignore[attr-defined]
        return options

    def _optimiser(self) -> torch.optim.Optimizer:
        """Return one group for each parameter."""
        schedule = self.plan.schedule
        layers = len(getattr(getattr(self.network, "backbone", None), "layers", ()))
        groups = []
        for name, parameter in self.network.named_parameters():
            kept = schedule.weight_decay
            if self.plan.protocol == "ritm":
                factor = ritm_rate(name)
            else:
                factor = layer_rate(name, layers, schedule.layer_decay)
                if parameter.ndim == 1 or "pos_embed" in name or "patch_embed" in name:
                    kept = 0.0
            groups.append(
                {"params": [parameter], "factor": factor, "weight_decay": kept}
            )
        if self.plan.protocol == "ritm":
            return torch.optim.Adam(groups, lr=schedule.learning_rate)
        return torch.optim.AdamW(groups, lr=schedule.learning_rate)

    def begin_step(self) -> None:
        """Set the rates: by milestones (RITM), or falling in a line (InterFormer)."""
        schedule = self.plan.schedule
        if self.plan.protocol == "ritm":
            passed = sum(self.step >= at for at in schedule.milestones)
            factor = 0.1**passed
        else:
            factor = max(0.0, 1 - self.progress())
            if self.step < schedule.warmup_steps:
                share = self.step / schedule.warmup_steps
                factor *= 1e-6 + (1 - 1e-6) * share
        for group in self.optimiser.param_groups:
            group["lr"] = schedule.learning_rate * factor * group["factor"]
        self.network.train()

    def end_step(self, loss: Tensor) -> None:
        """Go down the gradient of a loss, as it is."""
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        self.step += 1
        self.average.update(self.network, self.step)

    def rounds(self, batch: dict[str, Tensor]) -> Iterator[Progress]:
        """Click without learning a few times, then learn from the last answer."""
        start = time.monotonic()
        rng = np.random.default_rng([self.plan.schedule.seed, 1, self.batch])
        image, labels = self.send(batch)
        points = batch["points"].clone()
        previous = torch.zeros_like(labels)
        ritm = self.plan.protocol == "ritm"
        if not ritm:
            points = self._first_clicks(batch["mask"], rng)
        count = self.draw_clicks(rng)
        self.network.eval()
        with torch.no_grad(), self.autocast():
            for number in range(1, count + 1):
                previous = torch.sigmoid(self._ask(image, points, previous)[0].float())
                depth = 2.0 if ritm else float(self._clicks.inner[1])
                answers = previous[:, 0].float().cpu().numpy()
                add_clicks(points, answers, batch["mask"].numpy(), number, depth, rng)
        self.begin_step()
        with self.autocast():
            logits, auxiliary = self._ask(image, points, previous)
        loss = normalized_focal_loss(logits.float(), labels).mean()
        if auxiliary is not None and self.plan.losses.auxiliary:
            rough = (
                sigmoid_bce_loss(auxiliary.float(), labels)
                if ritm
                else normalized_focal_loss(auxiliary.float(), labels)
            )
            loss = loss + self.plan.losses.auxiliary * rough.mean()
        self.end_step(loss)
        iou = mean_iou(torch.sigmoid(logits.detach().float()), labels)
        yield self.tell(start, float(loss.detach()), iou)

    def draw_clicks(self, rng: Generator) -> int:
        """Draw how many corrective clicks all windows of a batch get."""
        options = self._clicks
        if self.plan.protocol == "ritm":
            return int(rng.integers(options.most_clicks + 1))
        chances = options.decay ** np.arange(21.0)
        return int(rng.choice(21, p=chances / chances.sum()))

    def _first_clicks(self, masks: Tensor, rng: Generator) -> Tensor:
        """Return one click in the very middle of each object."""
        capacity = 24
        points = torch.full((len(masks), 2 * capacity, 3), -1.0)
        for i, mask in enumerate(masks[:, 0].numpy()):
            place = inner_point(mask == 1, rng, 0.999999 / self._clicks.inner[0])
            if place is not None:
                points[i, 0] = torch.tensor([*place, 0.0])
        return points

    def _ask(
        self, image: Tensor, points: Tensor, previous: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Return logits and auxiliary ones; everything learns, the encoder, too."""
        if not getattr(self.network, "normalises_input", True):
            mean, std = (image.new_tensor(c).view(1, 3, 1, 1) for c in IMAGENET)
            image = (image - mean) / std
        columns = int(getattr(self.network, "point_columns", 3))
        points = points[..., :columns].to(image.device)
        given = image
        if getattr(self.network, "with_prev_mask", True):
            given = torch.cat([image, previous], 1)
        head = getattr(self.network, "auxiliary_head", None)
        if head is None:
            output = self.network(given, points)
            return output["instances"], output.get("instances_aux")
        # InterFormer's second head looks at the third map of the neck
        maps: list[Tensor] = []
        hook = self.network.neck.register_forward_hook(  # type: ignore[union-attr]
            lambda _module, _given, out: maps.append(out[2])
        )
        try:
            logits = self.network(given, points)["instances"]
        finally:
            hook.remove()
        classes = head(maps[0])
        rough = F.interpolate(
            classes[:, 1:] - classes[:, :1], logits.shape[-2:], mode="bilinear"
        )
        return logits, rough


def add_clicks(
    points: Tensor,
    answers: NDArray[np.float32],
    masks: NDArray[np.int8],
    number: int,
    inner: float,
    rng: Generator,
) -> None:
    """Add a corrective click to each sample, in place.

    As released: the click lies where the larger error is deeper than its greatest depth
    over ``inner``; it is written from the end of its half, ``number`` places before it,
    so that it may take the place of an initial one.

    Parameters
    ----------
    points : Tensor, shape (N, 2P, 3)
    answers : ndarray, shape (N, H, W)
        Probabilities.
    masks : ndarray of int8, shape (N, 1, H, W)
    number : int
        Of the click, from 1.
    inner : float
        2 for RITM, 1.7 for InterFormer.
    """
    half = points.shape[1] // 2
    for i, answer in enumerate(answers):
        truth = masks[i, 0]
        missed = depth_of((truth == 1) & (answer < 0.49))
        extra = depth_of((truth == 0) & (answer > 0.49))
        positive = bool(missed.max() > extra.max())
        depth = missed if positive else extra
        deepest = float(depth.max())
        if deepest <= 0:
            continue
        places = np.argwhere(depth > deepest / inner)
        row, col = places[rng.integers(len(places))]
        slot = (half if positive else 2 * half) - number
        points[i, slot] = torch.tensor([float(row), float(col), float(number)])
