"""The networks of f-BRS (Sofiiuk et al., CVPR 2020), as its checkpoints need
them: "distance maps fusion" on DeepLabV3+ or HRNet + OCR.

The paper's refinement by backpropagation lives elsewhere; these are the
networks that it refines.
"""  # noqa: D205

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from napari_clickseg.networks.click_encoding import DistMaps
from napari_clickseg.networks.click_network import (
    Backbone,
    ClickNetwork,
    EncodedImage,
)

_TRUNK = "feature_extractor."


class FBRS(ClickNetwork):
    """Click network of f-BRS: clicks as distances, mixed into the image.

    There is no previous mask, and RGB comes normalised by ImageNet's mean and
    standard deviation.

    Parameters
    ----------
    backbone : str
        ``"resnet34"``, ``"resnet50"``, ``"resnet101"``, ``"hrnet18"``,
        ``"hrnet32"`` (or another HRNet).
    ocr_width : int, optional
        Width of the OCR head: 64 (18), 128 (32).
    deeplab_ch, aspp_dropout : int and float, optional
        Decoder of the ResNets: 128 channels (34, 50) or 256 (101).
    with_aux_output : bool, optional
        Return ``"instances_aux"`` too; by default with HRNet.
    norm_radius : float
        Distance in pixels at which the click maps begin to level out.
    """

    normalises_input: ClassVar[bool] = False
    point_columns: ClassVar[int] = 2
    rgb_place: ClassVar[str] = "normalised"

    def __init__(
        self,
        backbone: str = "resnet34",
        *,
        ocr_width: int | None = None,
        deeplab_ch: int | None = None,
        aspp_dropout: float | None = None,
        with_aux_output: bool | None = None,
        norm_radius: float = 260,
    ) -> None:
        super().__init__()
        self.with_prev_mask = False
        # A name for the image as it comes: RGB-BRS changes it there.
        self.normalised = nn.Identity()
        self.dist_maps = DistMaps(norm_radius, use_disks=False)
        self.rgb_conv = nn.Sequential(
            nn.Conv2d(5, 8, 1),
            nn.LeakyReLU(0.2),
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 3, 1),
        )
        base = Backbone.named(backbone, ocr_width, deeplab_ch, aspp_dropout)
        self.add_backbone(base, with_aux_output)
        self.config = base.config | {
            "with_aux_output": self.with_aux_output,
            "norm_radius": norm_radius,
        }

    def encode_image(self, image: Tensor) -> EncodedImage:
        """Keep the image: clicks join before the first layer.

        Parameters
        ----------
        image : Tensor, shape (N, 3, H, W)
            RGB, ImageNet-normalised.
        """
        return EncodedImage(image, (image.shape[-2], image.shape[-1]))

    def decode_clicks(
        self,
        encoded: EncodedImage,
        points: Tensor,
        previous: Tensor | None = None,  # noqa: ARG002
    ) -> dict[str, Tensor]:
        """Answer clicks; see the base class."""
        image = self.normalised(encoded.features)
        maps = self.dist_maps(image, points).to(image.dtype)
        mixed = self.rgb_conv(torch.cat([image, maps], 1))
        return self.answer(self.feature_extractor.stem(mixed), encoded.size)

    @staticmethod
    def recognise(state_dict: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Read the configuration off a bare state dict.

        The released files say nothing but their weights. What tells the nets
        apart is read off single layers, not off the number of entries, so that
        files without ``num_batches_tracked`` are recognised as well.

        Parameters
        ----------
        state_dict : mapping of str to Tensor
            Published names, without prefix.

        Returns
        -------
        dict or None
            Arguments of :class:`FBRS`; None if these are other weights.
        """
        if not {"rgb_conv.0.weight", "rgb_conv.2.weight"} <= state_dict.keys():
            return None  # RITM's rgb_conv has its batch norm at 1, nothing at 2
        if f"{_TRUNK}stage2.0.branches.0.0.conv1.weight" in state_dict:
            return _recognise_hrnet(state_dict)
        return _recognise_resnet(state_dict)


def _recognise_hrnet(state_dict: Mapping[str, Tensor]) -> dict[str, Any] | None:
    down = f"{_TRUNK}ocr_distri_head.object_context_block.f_down.1.0.bias"
    if down not in state_dict:
        return None
    width = len(state_dict[f"{_TRUNK}stage2.0.branches.0.0.conv1.weight"])
    small = f"{_TRUNK}layer1.2.conv1.weight" not in state_dict
    return {
        "backbone": f"hrnet{width}{'s' if small else ''}",
        "ocr_width": len(state_dict[down]),
    }


def _recognise_resnet(state_dict: Mapping[str, Tensor]) -> dict[str, Any] | None:
    project = f"{_TRUNK}aspp.project.0.weight"
    if project not in state_dict:
        return None
    third = f"{_TRUNK}backbone.layer3."
    if f"{third}0.conv3.weight" not in state_dict:
        name = "resnet34"
    elif f"{third}6.conv1.weight" not in state_dict:
        name = "resnet50"
    elif f"{third}23.conv1.weight" not in state_dict:
        name = "resnet101"
    else:
        name = "resnet152"
    return {"backbone": name, "deeplab_ch": len(state_dict[project])}
