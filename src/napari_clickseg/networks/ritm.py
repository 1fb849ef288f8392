"""RITM (Sofiiuk, Petrov, Konushin: "Reviving iterative training with mask
guidance for interactive segmentation", 2021), as its checkpoints need it.

Clicks are disks. Together with the mask of the answer before they enter after
the stem through a small branch (Conv1S), so that the backbone keeps its
ImageNet weights.
"""  # noqa: D205

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from napari_clickseg.networks.click_encoding import DistMaps
from napari_clickseg.networks.click_network import (
    Backbone,
    ClickNetwork,
    EncodedImage,
)
from napari_clickseg.networks.layers import IMAGENET, Normalise, ScaleLayer

#: Channels of the click branch; the stem may be wider (see ``_join``).
BRANCH_CHANNELS = 64


class RITM(ClickNetwork):
    """RITM on HRNet + OCR or on ResNet + DeepLabV3+.

    Defaults are the published configuration of the backbone.

    Parameters
    ----------
    backbone : str
        ``"hrnet18s"``, ``"hrnet18"``, ``"hrnet32"`` (or another width),
        ``"resnet34"``, ``"resnet50"``, ``"resnet101"``.
    width, small : int and bool, optional
        The HRNet by its numbers, as published configurations spell it;
        ``width`` takes the place of ``backbone``.
    ocr_width : int, optional
        Width of the OCR head: 48 (18s), 64 (18), 128 (32).
    deeplab_ch, aspp_dropout : int and float, optional
        Decoder of the ResNets: 128 channels (34, 50) or 256 (101).
    with_prev_mask : bool, optional
        Take the previous mask as fourth input channel. By default with HRNet
        (the iteratively trained models), not with ResNet (the baselines).
    with_aux_output : bool, optional
        Return ``"instances_aux"`` too; by default with HRNet.
    binary_prev_mask : bool
        Threshold the previous mask at 0.5.
    use_leaky_relu : bool
        LeakyReLU of slope 0.2 in the click branch, ReLU otherwise.
    use_rgb_conv : bool
        Instead of the branch: mix image and maps into three channels before
        the stem. Goes before ``conv_extend``.
    conv_extend : bool
        Instead of the branch: one 3x3 convolution of stride 2.
    use_disks : bool
        Disks or distances, see
        :class:`~napari_clickseg.networks.click_encoding.DistMaps`.
    norm_radius : float
        Radius of the disks in pixels, or scale of the distances.
    norm_mean_std : pair of sequences of float
        Normalisation of RGB in [0, 1], done inside the network.
    """

    normalises_input: ClassVar[bool] = True
    point_columns: ClassVar[int] = 3
    rgb_place: ClassVar[str] = "normalization"

    def __init__(
        self,
        backbone: str = "hrnet18s",
        *,
        width: int | None = None,
        small: bool | None = None,
        ocr_width: int | None = None,
        deeplab_ch: int | None = None,
        aspp_dropout: float | None = None,
        with_prev_mask: bool | None = None,
        with_aux_output: bool | None = None,
        binary_prev_mask: bool = False,
        use_leaky_relu: bool = True,
        use_rgb_conv: bool = False,
        conv_extend: bool = False,
        use_disks: bool = True,
        norm_radius: float = 5,
        norm_mean_std: Sequence[Sequence[float]] = IMAGENET,
    ) -> None:
        super().__init__()
        if width is not None:
            backbone = f"hrnet{width}{'s' if small else ''}"
        elif small is not None:
            raise ValueError("small goes with width; otherwise name the backbone.")
        base = Backbone.named(backbone, ocr_width, deeplab_ch, aspp_dropout)
        if with_prev_mask is None:
            with_prev_mask = base.is_hrnet
        if [len(numbers) for numbers in norm_mean_std] != [3, 3]:
            raise ValueError("norm_mean_std must be two times three numbers.")
        self.with_prev_mask = with_prev_mask
        self.binary_prev_mask = binary_prev_mask
        self.normalization = Normalise(*norm_mean_std)
        self.dist_maps = DistMaps(norm_radius, use_disks)

        maps = 3 if with_prev_mask else 2
        self.rgb_conv: nn.Module | None = None
        if use_rgb_conv:
            self.rgb_conv = _rgb_conv(maps, use_leaky_relu)
        elif conv_extend:
            self.maps_transform: nn.Module = nn.Conv2d(maps, BRANCH_CHANNELS, 3, 2, 1)
        else:
            self.maps_transform = _conv1s(maps, use_leaky_relu)
        self.add_backbone(base, with_aux_output)

        self.config = base.config | {
            "with_prev_mask": with_prev_mask,
            "with_aux_output": self.with_aux_output,
            "binary_prev_mask": binary_prev_mask,
            "use_leaky_relu": use_leaky_relu,
            "use_rgb_conv": use_rgb_conv,
            "conv_extend": conv_extend,
            "use_disks": use_disks,
            "norm_radius": norm_radius,
            "norm_mean_std": [list(numbers) for numbers in norm_mean_std],
        }

    def encode_image(self, image: Tensor) -> EncodedImage:
        """Normalise; where clicks join after the stem, run the stem too.

        Parameters
        ----------
        image : Tensor, shape (N, 3, H, W)
            RGB in [0, 1].
        """
        rgb = self.normalization(image)
        size = (image.shape[-2], image.shape[-1])
        if self.rgb_conv is not None:
            return EncodedImage(rgb, size)
        return EncodedImage(self.feature_extractor.stem(rgb), size)

    def click_maps(
        self, encoded: EncodedImage, points: Tensor, previous: Tensor | None = None
    ) -> Tensor:
        """Return the branch's input: previous mask (if used), positive, negative.

        Parameters are those of :meth:`decode_clicks`; the result has the shape
        (N, 2 or 3, H, W).
        """
        shape = (points.shape[0], 1, *encoded.size)
        blank = torch.zeros(shape, device=points.device)
        maps = self.dist_maps(blank, points)
        if self.with_prev_mask:
            mask = blank if previous is None else previous
            if self.binary_prev_mask:
                mask = mask > 0.5
            maps = torch.cat([mask.to(maps.dtype), maps], 1)
        return maps.to(encoded.features.dtype)

    def decode_clicks(
        self, encoded: EncodedImage, points: Tensor, previous: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Answer clicks; see the base class."""
        maps = self.click_maps(encoded, points, previous)
        if self.rgb_conv is not None:
            mixed = self.rgb_conv(torch.cat([encoded.features, maps], 1))
            stem = self.feature_extractor.stem(mixed)
        else:
            stem = _join(encoded.features, self.maps_transform(maps))
        return self.answer(stem, encoded.size)


def _activation(leaky: bool) -> nn.Module:
    return nn.LeakyReLU(0.2) if leaky else nn.ReLU()


def _conv1s(maps: int, leaky: bool) -> nn.Sequential:
    """Build the published click branch: to 16, to 64 at stride 2, scaled."""
    return nn.Sequential(
        nn.Conv2d(maps, 16, 1),
        _activation(leaky),
        nn.Conv2d(16, BRANCH_CHANNELS, 3, stride=2, padding=1),
        ScaleLayer(),
    )


def _rgb_conv(maps: int, leaky: bool) -> nn.Sequential:
    """Mix RGB and maps by 1x1 convolutions (not f-BRS's layers of that name)."""
    hidden = 6 + maps
    return nn.Sequential(
        nn.Conv2d(3 + maps, hidden, 1),
        nn.BatchNorm2d(hidden),
        _activation(leaky),
        nn.Conv2d(hidden, 3, 1),
    )


def _join(stem: Tensor, clicks: Tensor) -> Tensor:
    """Add click features to the stem's first channels; the rest stay."""
    missing = stem.shape[1] - clicks.shape[1]
    if missing:
        clicks = nn.functional.pad(clicks, (0, 0, 0, 0, 0, missing))
    return stem + clicks
