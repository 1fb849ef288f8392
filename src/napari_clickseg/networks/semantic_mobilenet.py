"""A small network for semantic classes: a feature pyramid on MobileNetV2.

From coarse to fine each step joins what it has with the encoder's features at that
stride (Lin et al., "Feature pyramid networks", CVPR 2017); the last one sees the image
itself, since borders between cells are a pixel or two wide. Group norm instead of
batch norm: training and use are alike, whatever the batch.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_clickseg.networks.layers import check_multiple
from napari_clickseg.networks.mobilenet import MobileNetV2

#: Groups of a group norm.
GROUPS = 8
#: Contrast below this is noise: standard deviation of RGB in [0, 1].
LEAST_CONTRAST = 0.02


def _pointwise(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.GroupNorm(GROUPS, outputs),
        nn.ReLU(inplace=True),
    ]


class PyramidStep(nn.Module):
    """Double the size, join the encoder's features there, filter twice.

    Parameters
    ----------
    coarse, tap, out : int
        Channels from the step before, of the encoder, and of the answer.
    """

    def __init__(self, coarse: int, tap: int, out: int) -> None:
        super().__init__()
        self.fuse = nn.Sequential(
            *_pointwise(coarse + tap, out),
            nn.Conv2d(out, out, 3, padding=1, groups=out),
            *_pointwise(out, out),
            nn.Conv2d(out, out, 3, padding=1, groups=out),
            *_pointwise(out, out),
        )

    def forward(self, coarse: Tensor, tap: Tensor) -> Tensor:
        """Map ``(N, coarse, h, w)`` and ``(N, tap, 2 h, 2 w)`` to the finer size."""
        size = (tap.shape[-2], tap.shape[-1])
        x = F.interpolate(coarse, size, mode="bilinear", align_corners=False)
        y: Tensor = self.fuse(torch.cat([x, tap], 1))
        return y


class SemanticMobileNetV2(nn.Module):
    """Semantic classes on MobileNetV2, logits at full resolution.

    Parameters
    ----------
    classes : int
        How many.
    context : int
        Width of the coarsest step.
    channels : tuple of int
        Widths at strides 16, 8, 4 and 2.
    detail : int
        Width at full resolution.
    own_contrast : bool
        Bring each image to mean 0 and standard deviation 1/2 first, so that bright
        and dark microscopes look alike. Without it [0, 1] becomes [-1, 1].
    """

    task: ClassVar[str] = "semantic"
    #: RGB comes in [0, 1].
    normalises_input: ClassVar[bool] = True
    #: Sides must be multiples of this.
    multiple: ClassVar[int] = 32

    def __init__(
        self,
        classes: int = 3,
        context: int = 128,
        channels: tuple[int, int, int, int] = (96, 64, 48, 32),
        detail: int = 16,
        own_contrast: bool = True,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "classes": classes,
            "context": context,
            "channels": list(channels),
            "detail": detail,
            "own_contrast": own_contrast,
        }
        self.own_contrast = own_contrast
        self.backbone = MobileNetV2(output_stride=32)
        at2, at4, at8, at16, at32 = self.backbone.channels
        self.context = nn.Sequential(*_pointwise(at32, context))
        self.whole = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(at32, context, 1), nn.ReLU(inplace=True)
        )
        w16, w8, w4, w2 = channels
        self.decode16 = PyramidStep(context, at16, w16)
        self.decode8 = PyramidStep(w16, at8, w8)
        self.decode4 = PyramidStep(w8, at4, w4)
        self.decode2 = PyramidStep(w4, at2, w2)
        self.reduce = nn.Conv2d(w2, detail, 1)
        self.detail = nn.Sequential(
            nn.Conv2d(detail + 3, detail, 3, padding=1, bias=False),
            nn.GroupNorm(GROUPS, detail),
            nn.ReLU(inplace=True),
        )
        self.head = nn.Conv2d(detail, classes, 1)

    def places(self) -> dict[str, tuple[str, ...]]:
        """Return where refinements change this network.

        ``"L1"`` to ``"L3"``: the steps at strides 8, 4 and 2, from low to high
        resolution; ``"g-brs"`` is all of them.
        """
        steps = ("decode8", "decode4", "decode2")
        levels = {f"L{n}": steps[:n] for n in range(1, len(steps) + 1)}
        return {**levels, "g-brs": steps, "rgb": ("input",)}

    def forward(self, image: Tensor) -> Tensor:
        """Return logits.

        Parameters
        ----------
        image : Tensor, shape (N, 3, H, W)
            RGB in [0, 1]; H and W are multiples of 32.

        Returns
        -------
        Tensor, shape (N, classes, H, W)

        Raises
        ------
        ModelError
            If the sides are no multiples of 32.
        """
        check_multiple(image, self.multiple)
        x = self._scaled(image)
        at2, at4, at8, at16, at32 = self.backbone.pyramid(x)
        deep = self.context(at32) + self.whole(at32)
        y = self.decode16(deep, at16)
        y = self.decode8(y, at8)
        y = self.decode4(y, at4)
        y = self.reduce(self.decode2(y, at2))
        size = (image.shape[-2], image.shape[-1])
        y = F.interpolate(y, size, mode="bilinear", align_corners=False)
        y = self.detail(torch.cat([y, x.to(y.dtype)], 1))
        return self.head(y)

    def _scaled(self, image: Tensor) -> Tensor:
        if not self.own_contrast:
            return image * 2 - 1
        mean = image.mean((1, 2, 3), keepdim=True)
        deviation = image.std((1, 2, 3), keepdim=True)
        return (image - mean) / (2 * (deviation + LEAST_CONTRAST))
