"""DeepLabV3 on MobileNetV2, as it was published, corrected by clicks.

The network knows the 21 classes of Pascal VOC and answers at once, without clicks.
Made interactive for one class, it is a model like any other:

    napari-clickseg segment photo.jpg --model examples/deeplab.py:person --click 80,120

The weights (Apache-2.0) come as a list of layers; the folder with
``init/deeplabv3_mnv2_pascal_quant_dequant.pt`` is ``../shared/data``, or what
``CLICKSEG_DATA`` says.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import napari_clickseg as cs

# fmt: off
CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car",
    "cat", "chair", "cow", "diningtable", "dog", "horse", "motorbike", "person",
    "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)
# fmt: on
FILE = "init/deeplabv3_mnv2_pascal_quant_dequant.pt"
#: Behind the last layer before the one that tells classes apart.
PLACES = ("L67",)
#: Adam's step size that did best there.
STEP = 2e-4


class Convolution(nn.Module):
    """A convolution with TensorFlow's padding, and its activation.

    "Same" padding makes the output ``ceil(size / stride)`` and puts the odd row or
    column of zeros at the bottom and at the right.
    """

    def __init__(self, weight: Tensor, bias: Tensor, layer: dict[str, Any]) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.stride, self.dilation = layer["stride"], layer["dil"]
        self.groups, self.activation = layer["groups"], layer["act"]

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, K, H / stride, W / stride)``."""
        pads: list[int] = []
        for size, kernel in zip(x.shape[:1:-1], self.weight.shape[:1:-1], strict=True):
            reach = (kernel - 1) * self.dilation + 1
            steps = -(-size // self.stride)
            missing = max(0, (steps - 1) * self.stride + reach - size)
            pads += [missing // 2, missing - missing // 2]
        x = F.conv2d(
            F.pad(x, pads) if any(pads) else x,
            self.weight,
            self.bias,
            self.stride,
            dilation=self.dilation,
            groups=self.groups,
        )
        if self.activation == "relu6":
            return F.relu6(x)
        return F.relu(x) if self.activation == "relu" else x


class LayerList(nn.Module):
    """A network given as a list of operations.

    Parameters
    ----------
    pack : dict
        ``state`` with ``L{i}.weight`` and ``L{i}.bias``, ``layers``, a JSON list of
        operations in order, and ``meta``.

    Notes
    -----
    Every operation is a submodule ``L{i}``, so that each is a place for clicks to
    act. Answers have the size of the input; the last resizing and the choice of the
    largest class are replaced by resizing to it.
    """

    def __init__(self, pack: dict[str, Any]) -> None:
        super().__init__()
        meta = pack["meta"]
        self.meta = json.loads(meta) if isinstance(meta, str) else meta
        self.layers = json.loads(pack["layers"])
        while self.layers[-1]["op"] in ("ARG_MAX", "RESIZE_BILINEAR"):
            self.layers.pop()
        for layer in self.layers:
            name = f"L{layer['i']}"
            place: nn.Module = nn.Identity()
            if layer["op"] in ("CONV_2D", "DEPTHWISE_CONV_2D"):
                weight, bias = (
                    pack["state"][f"{name}.{key}"].float() for key in ("weight", "bias")
                )
                place = Convolution(weight, bias, layer)
            self.add_module(name, place)

    def prepare(self, image: Tensor) -> Tensor:
        """Turn RGB in [0, 1] into what the network was trained on."""
        return (image * 255 - self.meta["in_zp"]) * self.meta["in_scale"]

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, 3, H, W)`` to a logit for each class, ``(N, K, H, W)``."""
        x = self.coarse(image)
        return F.interpolate(x, image.shape[2:], mode="bilinear", align_corners=True)

    def coarse(self, image: Tensor) -> Tensor:
        """Return the logits before they are resized, at stride 16."""
        known = {self.meta["inp"]: image}
        for layer in self.layers:
            inputs = [known[number] for number in layer["inp"]]
            place = self.get_submodule(f"L{layer['i']}")
            known[layer["out"]] = x = place(self._combined(layer["op"], inputs))
        return x

    def _combined(self, operation: str, inputs: list[Tensor]) -> Tensor:
        if operation == "ADD":
            return inputs[0] + inputs[1]
        if operation == "AVERAGE_POOL_2D":  # of the whole image
            return inputs[0].mean((2, 3), keepdim=True)
        if operation == "CONCATENATION":
            # what was averaged over the image holds everywhere
            height = max(x.shape[2] for x in inputs)
            width = max(x.shape[3] for x in inputs)
            return torch.cat([x.expand(-1, -1, height, width) for x in inputs], 1)
        return inputs[0]  # its own submodule, or resizing and tiling of one pixel


def network(file: str = FILE) -> LayerList:
    """Return the network as it is, in evaluation mode."""
    data = Path(os.environ.get("CLICKSEG_DATA", "../shared/data"))
    return LayerList(torch.load(data / file, weights_only=True)).eval()


def for_class(name: str) -> Any:
    """Return the network, made interactive for one class of Pascal VOC."""
    deeplab = network()
    return cs.make_interactive(
        deeplab,
        at=PLACES,
        learning_rate=STEP,
        preprocess=deeplab.prepare,
        output=CLASSES.index(name),
        name=f"deeplab-{name}",
        licence="Apache-2.0",
        source="DeepLabV3 on MobileNetV2, Pascal VOC",
    )


def person() -> Any:
    """Return a model of persons."""
    return for_class("person")


def animal() -> Any:
    """Return a model of the six animals together."""
    deeplab = network()
    animals = ("bird", "cat", "cow", "dog", "horse", "sheep")
    return cs.make_interactive(
        deeplab,
        at=PLACES,
        learning_rate=STEP,
        preprocess=deeplab.prepare,
        output=tuple(map(CLASSES.index, animals)),
        name="deeplab-animal",
        licence="Apache-2.0",
        source="DeepLabV3 on MobileNetV2, Pascal VOC",
    )
