"""Object-contextual representations (Yuan et al., ECCV 2020) on HRNet.

A first guess of the object gathers features inside it; every pixel then gets
the gathered feature beside its own. With one object, as in click
segmentation, all pixels get the same.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from napari_clickseg.networks.hrnet import HighResolutionNet


class ObjectGather(nn.Module):
    """Average features over each object's soft region."""

    def forward(self, features: Tensor, regions: Tensor) -> Tensor:
        """Gather one feature per object.

        Parameters
        ----------
        features : Tensor, shape (N, C, h, w)
        regions : Tensor, shape (N, K, h, w)
            Logits of K objects; a softmax over all places weighs them.

        Returns
        -------
        Tensor, shape (N, C, K, 1)
        """
        weights = regions.flatten(2).softmax(2)
        gathered = torch.bmm(weights, features.flatten(2).transpose(1, 2))
        return gathered.transpose(1, 2)[..., None]


class ObjectAttention(nn.Module):
    """Give each pixel the features of the objects that it resembles.

    Parameters
    ----------
    channels, key_channels : int
        Width of the features, and of queries, keys and values.
    """

    #: With one object, compute its context once and not for every pixel. The answer
    #: is the same; its gradient rounds otherwise.
    shortcut = True

    def __init__(self, channels: int, key_channels: int) -> None:
        super().__init__()
        self.key_channels = key_channels
        self.f_pixel = _projection(channels, key_channels, key_channels)
        self.f_object = _projection(channels, key_channels, key_channels)
        self.f_down = _projection(channels, key_channels)
        self.f_up = _projection(key_channels, channels)

    def forward(self, features: Tensor, objects: Tensor) -> Tensor:
        """Return the context ``(N, C, h, w)`` of each pixel.

        Parameters
        ----------
        features : Tensor, shape (N, C, h, w)
        objects : Tensor, shape (N, C, K, 1)
        """
        n, _, height, width = features.shape
        value = self.f_down(objects)
        if objects.shape[2] == 1 and self.shortcut and not self.training:
            # One object: the softmax over objects is exactly 1 everywhere, and
            # what follows treats every place alike, so one place will do.
            return self.f_up(value).expand(-1, -1, height, width)
        query = self.f_pixel(features).flatten(2).transpose(1, 2)
        key = self.f_object(objects).flatten(2)
        similarity = self.key_channels**-0.5 * torch.bmm(query, key)
        mixed = torch.bmm(similarity.softmax(2), value.flatten(2).transpose(1, 2))
        mixed = mixed.transpose(1, 2).contiguous()
        return self.f_up(mixed.view(n, -1, height, width))


class ObjectDistribution(nn.Module):
    """Mix each pixel's context with its own features.

    Parameters
    ----------
    channels, key_channels : int
        As in :class:`ObjectAttention`.
    dropout : float
        Share of channels dropped in training.
    """

    def __init__(self, channels: int, key_channels: int, dropout: float = 0.05) -> None:
        super().__init__()
        self.object_context_block = ObjectAttention(channels, key_channels)
        self.conv_bn_dropout = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 1, bias=False),
            bn_relu(channels),
            nn.Dropout2d(dropout),
        )

    def forward(self, features: Tensor, objects: Tensor) -> Tensor:
        """Map ``(N, C, h, w)`` and ``(N, C, K, 1)`` to ``(N, C, h, w)``."""
        context = self.object_context_block(features, objects)
        return self.conv_bn_dropout(torch.cat([context, features], 1))


class HRNetOCR(HighResolutionNet):
    """HRNet with an OCR head and an auxiliary head, one object.

    The heads' names lie beside those of the trunk, as published.

    Parameters
    ----------
    width, small
        See :class:`~napari_clickseg.networks.hrnet.HighResolutionNet`.
    ocr_width : int
        Width of queries, keys and values; features are twice as wide.
    """

    def __init__(self, width: int, ocr_width: int, small: bool = False) -> None:
        super().__init__(width, small)
        wide, middle = self.out_channels, 2 * ocr_width
        # A name for what both heads read: here refinement changes features.
        self.joined = nn.Identity()
        self.conv3x3_ocr = nn.Sequential(
            nn.Conv2d(wide, middle, 3, padding=1),
            nn.BatchNorm2d(middle),
            nn.ReLU(inplace=True),
        )
        self.ocr_gather_head = ObjectGather()
        self.ocr_distri_head = ObjectDistribution(middle, ocr_width)
        self.cls_head = nn.Conv2d(middle, 1, 1)
        self.aux_head = nn.Sequential(
            nn.Conv2d(wide, wide, 1),
            nn.BatchNorm2d(wide),
            nn.ReLU(inplace=True),
            nn.Conv2d(wide, 1, 1),
        )

    def places(self) -> dict[str, tuple[str, ...]]:
        """Return the insertion points of f-BRS: A and B are one, before both heads."""
        return {
            "f-brs-a": ("joined",),
            "f-brs-b": ("joined",),
            "f-brs-c": ("ocr_distri_head",),
            "g-brs": ("joined",),
        }

    def forward(self, stem: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits and those of the auxiliary head.

        Parameters
        ----------
        stem : Tensor, shape (N, 64, H / 2, W / 2)
            The output of ``stem``, with click features added or not.

        Returns
        -------
        tuple of Tensor, each of shape (N, 1, H / 4, W / 4)
        """
        x = self.joined(self.concatenated(stem))
        guess = self.aux_head(x)
        features = self.conv3x3_ocr(x)
        objects = self.ocr_gather_head(features, guess)
        return self.cls_head(self.ocr_distri_head(features, objects)), guess


def bn_relu(channels: int) -> nn.Sequential:
    """Batch norm and ReLU as one numbered step (published keys ``i.0.*``)."""
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def _projection(*channels: int) -> nn.Sequential:
    """1x1 convolutions without bias, each with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        layers += [nn.Conv2d(before, after, 1, bias=False), bn_relu(after)]
    return nn.Sequential(*layers)
