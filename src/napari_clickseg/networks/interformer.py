"""InterFormer (Huang et al., ICCV 2023): encode an image once, answer clicks lightly.

The released models, weight name by weight name. Where the paper and the released code
differ (the pooling is a maximum), the code decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from napari_clickseg.networks.click_labels import RADIUS, labels_from, remember
from napari_clickseg.networks.interactive_attention import InteractiveNeck
from napari_clickseg.networks.layers import IMAGENET, Normalise
from napari_clickseg.networks.uperhead import FCNHead, UPerHead, resize
from napari_clickseg.networks.vit import ViT

CHANNELS = (32, 64, 128, 256)
#: Sides of images are padded to multiples of this.
MULTIPLE = 32
#: Blocks of each stage that pass their result to the next one, in both models.
COARSE_DEPTHS = (1, 1, 2, 1)
#: Published models: ViT width, depth and heads, and blocks of each stage.
VARIANTS: dict[str, dict[str, Any]] = {
    "light": {"dim": 768, "depth": 12, "heads": 12, "depths": (1, 1, 2, 1)},
    "tiny": {"dim": 1024, "depth": 24, "heads": 16, "depths": (2, 2, 6, 3)},
}


class InterFormer(nn.Module):
    """InterFormer with a plain ViT.

    Parameters
    ----------
    dim, depth, heads : int
        Of the ViT: 768, 12, 12 (Light) or 1024, 24, 16 (Tiny).
    depths : sequence of int
        Blocks of each stage of the neck. Those beyond :data:`COARSE_DEPTHS` refine
        on a side branch.
    """

    with_prev_mask = True
    normalises_input = True
    point_columns = 3
    #: Encoding takes much longer than answering: see few windows, and keep them.
    encodes_once = True
    #: What is kept of all answers instead of the last one.
    remember = staticmethod(remember)
    #: Pixels around a click that carry its label.
    click_radius = RADIUS

    def __init__(
        self,
        dim: int = 768,
        depth: int = 12,
        heads: int = 12,
        depths: Sequence[int] = COARSE_DEPTHS,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "dim": dim,
            "depth": depth,
            "heads": heads,
            "depths": list(depths),
        }
        coarse = [min(d, c) for d, c in zip(depths, COARSE_DEPTHS, strict=True)]
        refine = [d - c for d, c in zip(depths, coarse, strict=True)]
        self.normalization = Normalise(*IMAGENET)
        self.backbone = ViT(dim, depth, heads, CHANNELS)
        self.neck = InteractiveNeck(CHANNELS, coarse, refine)
        self.decode_head = UPerHead(CHANNELS)
        self.auxiliary_head = FCNHead(CHANNELS[2])

    @staticmethod
    def recognise(state_dict: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Read the configuration off released weights.

        Returns
        -------
        dict or None
            Arguments of :class:`InterFormer`; None if these are other weights.
        """
        table = state_dict.get(
            "backbone.layers.0.attn.relative_position_bias_table", None
        )
        token = state_dict.get("backbone.cls_token", None)
        if table is None or token is None or "neck.patch_embed" not in state_dict:
            return None
        depths = [
            _count(state_dict, f"neck.stages.{i}.blocks.")
            + _count(state_dict, f"neck.refine_stages.{i}.blocks.")
            for i in range(len(CHANNELS))
        ]
        return {
            "dim": token.shape[-1],
            "depth": _count(state_dict, "backbone.layers."),
            "heads": table.shape[-1],
            "depths": depths,
        }

    @classmethod
    def variant(cls, name: str) -> InterFormer:
        """Build ``"light"`` or ``"tiny"``.

        Raises
        ------
        ValueError
            If there is no such model.
        """
        if name not in VARIANTS:
            raise ValueError(
                f"There is no InterFormer {name!r}: choose {' or '.join(VARIANTS)}."
            )
        return cls(**VARIANTS[name])

    def encode_image(self, image: Tensor) -> list[Tensor]:
        """Return the feature pyramid, which no click changes.

        Parameters
        ----------
        image : Tensor, shape (N, 3, H, W)
            RGB in [0, 1]; padded at the right and the bottom to multiples of 32.

        Returns
        -------
        list of Tensor
            32, 64, 128 and 256 channels at strides 4, 8, 16 and 32.
        """
        image = self.normalization(image)
        height, width = image.shape[-2:]
        image = F.pad(image, (0, -width % MULTIPLE, 0, -height % MULTIPLE))
        pyramid: list[Tensor] = self.backbone(image)
        return pyramid

    def decode_labels(
        self,
        pyramid: Sequence[Tensor],
        labels: Tensor,
        region: tuple[int, int, int, int] | None = None,
    ) -> Tensor:
        """Answer click labels on an encoded image.

        Parameters
        ----------
        pyramid : sequence of Tensor
            From :meth:`encode_image`.
        labels : Tensor of int64, shape (N, H, W)
            Click labels (:mod:`napari_clickseg.networks.click_labels`) of the
            image before padding.
        region : (left, top, right, bottom), optional
            Region of interest in pixels, multiples of 32.

        Returns
        -------
        Tensor, shape (N, 2, H, W)
            Logits of background and object, in float32 at least.
        """
        logits, full = self._logits(pyramid, labels, region)
        height, width = labels.shape[-2:]
        return resize(logits, full)[..., :height, :width]

    def _logits(
        self,
        pyramid: Sequence[Tensor],
        labels: Tensor,
        region: tuple[int, int, int, int] | None = None,
    ) -> tuple[Tensor, list[int]]:
        """Return logits at stride 4, and the size of the padded image."""
        height, width = labels.shape[-2:]
        full = [4 * side for side in pyramid[0].shape[-2:]]
        # Pixels beyond the image are unknown, as every pixel is at first.
        labels = F.pad(labels, (0, full[1] - width, 0, full[0] - height), value=2)
        logits = self.decode_head(self.neck(pyramid, labels, region))
        return (logits.float() if logits.element_size() < 4 else logits), full

    def decode_clicks(
        self,
        pyramid: Sequence[Tensor],
        points: Tensor,
        previous: Tensor,
        region: tuple[int, int, int, int] | None = None,
    ) -> dict[str, Tensor]:
        """Answer clicks as the other click networks do.

        Parameters
        ----------
        pyramid : sequence of Tensor
            From :meth:`encode_image`.
        points : Tensor, shape (N, 2P, 3)
            Rows of row, column, order; positive half first, -1 unused.
        previous : Tensor, shape (N, 1, H, W)
            What is remembered of the answers before
            (:func:`napari_clickseg.networks.click_labels.remember`), or a mask.
        region : (left, top, right, bottom), optional
            See :meth:`decode_labels`.

        Returns
        -------
        dict
            ``instances``: logits (N, 1, H, W) of the object against the rest.
        """
        height, width = previous.shape[-2:]
        labels = labels_from(previous, points)
        classes, full = self._logits(pyramid, labels, region)
        # The difference first: one plane is resized, not two.
        logits = resize(classes[:, 1:] - classes[:, :1], full)
        return {"instances": logits[..., :height, :width]}

    @property
    def refines_region(self) -> bool:
        """Whether there are blocks that may look at a region alone."""
        return len(self.neck.refine_stages) > 0

    def places(self) -> dict[str, tuple[str, ...]]:
        """Return where refinement puts its layers."""
        joined = ("decode_head.joined",)
        return {
            "rgb": ("normalization",),
            "f-brs-a": ("decode_head.bottleneck",),
            "f-brs-b": joined,
            "f-brs-c": ("decode_head.fpn_bottleneck",),
            "g-brs": joined,
        }

    def forward(self, image: Tensor, points: Tensor) -> dict[str, Tensor]:
        """Answer clicks on an image.

        Parameters
        ----------
        image : Tensor, shape (N, 4, H, W)
            RGB in [0, 1], and what is remembered.
        points : Tensor, shape (N, 2P, 3)
            See :meth:`decode_clicks`.
        """
        pyramid = self.encode_image(image[:, :3])
        return self.decode_clicks(pyramid, points, image[:, 3:])


def _count(state_dict: Mapping[str, Tensor], prefix: str) -> int:
    """Count the numbered parts behind a prefix."""
    numbers = {
        name.removeprefix(prefix).split(".")[0]
        for name in state_dict
        if name.startswith(prefix)
    }
    return len(numbers)
