"""Hierarchical multi-scale attention (Tao et al., arXiv 2005.10821) on HRNet + OCR.

The same network sees the image at several scales, and learns where to trust which:
each scale's own attention decides, pixel by pixel, between it and the next finer one.
Weight names are those of the release.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from napari_clickseg.errors import ModelError
from napari_clickseg.networks.hrnet import HighResolutionNet
from napari_clickseg.networks.layers import resize
from napari_clickseg.networks.ocr import ObjectDistribution, ObjectGather, bn_relu

SCALES = (0.5, 1.0)
#: Classes of the released models.
CITYSCAPES, MAPILLARY = 19, 65


class ObjectContext(nn.Module):
    """OCR over the classes: features inside each class's first guess, for every pixel.

    Parameters
    ----------
    in_channels, classes : int
    width : int
        Of queries, keys and values; features are twice as wide.
    """

    def __init__(self, in_channels: int, classes: int, width: int) -> None:
        super().__init__()
        middle = 2 * width
        self.conv3x3_ocr = nn.Sequential(
            nn.Conv2d(in_channels, middle, 3, padding=1), bn_relu(middle)
        )
        self.ocr_gather_head = ObjectGather()
        self.ocr_distri_head = ObjectDistribution(middle, width)
        self.cls_head = nn.Conv2d(middle, classes, 1)
        self.aux_head = nn.Sequential(
            nn.Conv2d(in_channels, in_channels, 1),
            bn_relu(in_channels),
            nn.Conv2d(in_channels, classes, 1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, those of the first guess, and the features behind the former.

        Parameters
        ----------
        x : Tensor, shape (N, in, h, w)

        Returns
        -------
        tuple of Tensor, shapes (N, classes, h, w) twice and (N, 2 width, h, w)
        """
        guess = self.aux_head(x)
        features = self.conv3x3_ocr(x)
        objects = self.ocr_gather_head(features, guess)
        features = self.ocr_distri_head(features, objects)
        return self.cls_head(features), guess, features


class ScaleAttention(nn.Module):
    """How far a scale trusts itself, in (0, 1), at every pixel."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn0 = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 1, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, h, w)`` to ``(N, 1, h, w)``."""
        x = F.relu(self.bn0(self.conv0(x)))
        x = F.relu(self.bn1(self.conv1(x)))
        return self.conv2(x).sigmoid()


class MultiScaleHRNet(nn.Module):
    """HRNet-W48 + OCR + scale attention; without arguments Cityscapes' model.

    Parameters
    ----------
    num_classes : int
        19 (Cityscapes) or 65 (Mapillary Vistas) as released.
    scales : sequence of float
        At which the image is seen; 1 must be among them. The paper that this follows
        for corrections uses 0.5 and 1; the release's best numbers have 2 as well.
    width, ocr_width : int
        Channels of HRNet's finest branch and of OCR's keys.
    small : bool
        See :class:`~napari_clickseg.networks.hrnet.HighResolutionNet`.

    Raises
    ------
    ModelError
        If a scale is not positive, or 1 is none of them.
    """

    task: ClassVar[str] = "semantic"
    #: RGB comes normalised by ImageNet's mean and deviation.
    normalises_input: ClassVar[bool] = False
    #: Any size will do.
    multiple: ClassVar[int] = 1

    def __init__(
        self,
        num_classes: int = CITYSCAPES,
        scales: Sequence[float] = SCALES,
        width: int = 48,
        ocr_width: int = 256,
        small: bool = False,
    ) -> None:
        super().__init__()
        # From fine to coarse: each is asked whether it knows better.
        self.scales = tuple(sorted({float(scale) for scale in scales}, reverse=True))
        if 1.0 not in self.scales or min(self.scales) <= 0:
            raise ModelError(
                f"The scales {list(scales)} should be positive and have 1 among them."
            )
        self.config: dict[str, Any] = {
            "num_classes": num_classes,
            "scales": list(reversed(self.scales)),
            "width": width,
            "ocr_width": ocr_width,
            "small": small,
        }
        self.backbone = HighResolutionNet(width, small, align_corners=False)
        self.ocr = ObjectContext(self.backbone.out_channels, num_classes, ocr_width)
        self.scale_attn = ScaleAttention(2 * ocr_width, 256)

    @staticmethod
    def recognise(state_dict: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Read the configuration off released weights.

        Returns
        -------
        dict or None
            Arguments of :class:`MultiScaleHRNet`; None if these are other weights.
        """
        head = state_dict.get("ocr.cls_head.weight")
        if head is None or "scale_attn.conv0.weight" not in state_dict:
            return None
        finest = state_dict.get("backbone.stage4.0.branches.0.0.conv1.weight")
        if finest is None or head.ndim != 4:
            return None
        return {
            "num_classes": head.shape[0],
            "width": finest.shape[0],
            "ocr_width": head.shape[1] // 2,
            "small": "backbone.stage4.2.branches.0.0.conv1.weight" not in state_dict,
        }

    def places(self) -> dict[str, tuple[str, ...]]:
        """Return where G-BRS layers go (paper, figure 1b), at every scale alike.

        The paper puts three into stage 4 of the trunk, at three strides. Here these
        are the last module's branches at strides 16, 8 and 4: ``"L1"`` to ``"L3"`` are
        that many of them, from low to high resolution; ``"g-brs"`` is all three. Any
        other place can be named: ``"backbone.stage4.0[3]"`` is stride 32 behind the
        first module, ``"backbone.stage4[2]#0"`` stride 16 at the finest scale only.
        """
        branches = tuple(f"backbone.stage4[{branch}]" for branch in (2, 1, 0))
        levels = {f"L{n}": branches[:n] for n in range(1, len(branches) + 1)}
        return {**levels, "g-brs": branches, "rgb": ("input",)}

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of the classes.

        Parameters
        ----------
        image : Tensor, shape (N, 3, H, W)
            Normalised RGB.

        Returns
        -------
        Tensor, shape (N, num_classes, H, W)
        """
        logits: Tensor | None = None
        for scale in self.scales:
            own, trust, _ = self.at_scale(_scaled(image, scale))
            if logits is None:
                # The finest scale is asked first: it has no finer one to trust.
                logits = own
            elif scale < 1:
                size = logits.shape[-2:]
                weighed, trust = _fit(trust * own, size), _fit(trust, size)
                logits = weighed + (1 - trust) * logits
            else:
                finer = _fit(logits, own.shape[-2:])
                logits = trust * own + (1 - trust) * finer
        assert logits is not None
        return _fit(logits, image.shape[-2:])

    def at_scale(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, attention and auxiliary logits of one pass over an image.

        Parameters
        ----------
        image : Tensor, shape (N, 3, H, W)

        Returns
        -------
        tuple of Tensor, each of size (H, W)
            With as many channels as classes, one, and as many as classes.
        """
        features = self.backbone.concatenated(self.backbone.stem(image))
        logits, guess, context = self.ocr(features)
        size = image.shape[-2:]
        trust = self.scale_attn(context)
        return _fit(logits, size), _fit(trust, size), _fit(guess, size)


def _fit(x: Tensor, size: Sequence[int]) -> Tensor:
    return resize(x, size, align_corners=False)


def _scaled(image: Tensor, scale: float) -> Tensor:
    """Resize an image by a factor, down to whole pixels."""
    if scale == 1:
        return image
    size = [max(1, int(side * scale)) for side in image.shape[-2:]]
    return _fit(image, size)
