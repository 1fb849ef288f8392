"""A published network of street scenes, as a network of CamVid's classes.

DeepLabV3 on MobileNetEdgeTPU knows the 19 classes of Cityscapes and has never seen
CamVid. Its weights come as a list of layers (Apache-2.0; the images it learned from are
for research), see ``examples/deeplab.py``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_clickseg.tasks.class_lists import CAMVID, CITYSCAPES

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
from deeplab import LayerList

FILE = "init/deeplab_mobilenet_edgetpu_slim_cityscapes_quant_dequant.pt"
#: Which classes of Cityscapes are each of CamVid's.
MEANS = {
    "sky": ("sky",),
    "building": ("building", "wall"),
    "pole": ("pole",),
    "road": ("road",),
    "pavement": ("sidewalk",),
    "tree": ("vegetation", "terrain"),
    "sign symbol": ("traffic light", "traffic sign"),
    "fence": ("fence",),
    "car": ("car", "truck", "bus", "train"),
    "pedestrian": ("person",),
    "bicyclist": ("rider", "motorcycle", "bicycle"),
}
#: Height and width that the network sees an image at: 4/3 of CamVid's. The first and
#: the last of its features then lie on the first and the last pixel.
SIZE = (481, 641)
#: Pixels of an image for each of the answer. Its features are coarser still.
STRIDE = 4
#: Features that see all of the image (stride 16), and what their sum becomes.
PLACES = ("L74", "L79")


class Streets(nn.Module):
    """Answers with CamVid's classes.

    Parameters
    ----------
    network : LayerList
        Of Cityscapes' classes.
    size : (int, int)
        At which it sees every image.
    """

    def __init__(self, network: nn.Module, size: tuple[int, int] = SIZE) -> None:
        super().__init__()
        self.network, self.size = network, size
        names = [each.name for each in CITYSCAPES]
        groups = [[names.index(name) for name in MEANS[each.name]] for each in CAMVID]
        widest = max(map(len, groups))
        # Shorter groups are filled up with a channel of minus infinity.
        filled = [group + [len(names)] * (widest - len(group)) for group in groups]
        self.groups: Tensor
        self.register_buffer("groups", torch.tensor(filled))

    def places(self) -> dict[str, tuple[str, ...]]:
        """Return where refinements change this network."""
        places = tuple(f"network.{place}" for place in PLACES)
        levels = {f"L{n}": places[:n] for n in range(1, len(places) + 1)}
        return {**levels, "g-brs": places[:1], "rgb": ("input",)}

    def forward(self, image: Tensor) -> Tensor:
        """Map RGB in [0, 1] (N, 3, H, W) to logits (N, 11, H / 4, W / 4).

        The probability of a class is that of all that it means, so its logit is the
        logarithm of the sum of their exponentials.
        """
        seen = F.interpolate(image, self.size, mode="bilinear", align_corners=True)
        logits = self.network.coarse(self.network.prepare(seen))
        each = F.pad(logits, (0, 0, 0, 0, 0, 1), value=-torch.inf)
        merged = each[:, self.groups].logsumexp(2)
        size = image.shape[2] // STRIDE, image.shape[3] // STRIDE
        return F.interpolate(merged, size, mode="bilinear", align_corners=True)


def streets(data: Path) -> Streets:
    """Return the network."""
    pack = torch.load(data / FILE, weights_only=True)
    return Streets(LayerList(pack)).eval()


def baseline(data: Path) -> None:
    """Print how good it is without clicks, and how good features so coarse can be.

    The latter is an answer that knows the truth, averaged over the cells of the
    features: what is thinner than a cell is lost.
    """
    import numpy as np

    from napari_clickseg.evaluation.semantic_metrics import (
        confusion,
        mean_iou,
        pixel_accuracy,
    )
    from napari_clickseg.evaluation.task_datasets import open_task_dataset

    folder = data / "eval" / "camvid" / "test"
    network, count = streets(data), len(CAMVID)
    tables = {"513 x 513": 0, "481 x 641": 0, "the truth in cells of 31 x 41": 0}
    for sample in open_task_dataset(folder, task="semantic", ignore=11):
        truth = sample.read_reference().truth
        shape = (truth.shape[0], truth.shape[1])
        image = torch.from_numpy(np.array(sample.read_image())[..., :3])
        answers = []
        for size in ((513, 513), SIZE):
            network.size = size
            with torch.inference_mode():
                answers.append(network(image.permute(2, 0, 1)[None].float() / 255))
        labels = torch.from_numpy(truth).long().clamp(0, count)
        planes = F.one_hot(labels, count + 1).permute(2, 0, 1)[None, 1:].float()
        cells = [(side - 1) // 16 + 1 for side in SIZE]
        answers.append(F.interpolate(planes, cells, mode="bilinear", antialias=True))
        for name, answer in zip(tables, answers, strict=True):
            full = F.interpolate(answer, shape, mode="bilinear")
            found = full[0].argmax(0).numpy() + 1
            tables[name] = tables[name] + confusion(truth, found, count)
    for name, table in tables.items():
        print(
            f"{name}: pixel accuracy {pixel_accuracy(table):.3f}, "
            f"mean IoU {mean_iou(table):.3f}"
        )


if __name__ == "__main__":
    import os

    baseline(Path(os.environ.get("CLICKSEG_DATA", "../shared/data")))
