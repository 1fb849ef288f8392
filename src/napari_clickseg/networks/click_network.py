"""What the published click networks have in common.

Each is a backbone that an image enters through a stem, and a branch through
which clicks enter. What comes before the clicks is computed once per view
(``encode_image``), the rest once per click (``decode_clicks``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from napari_clickseg.networks.deeplab import DeepLabV3Plus, SepConvHead
from napari_clickseg.networks.layers import resize
from napari_clickseg.networks.ocr import HRNetOCR
from napari_clickseg.networks.resnet import VARIANTS

#: Widths of the published OCR heads and DeepLab decoders.
PUBLISHED_OCR_WIDTHS = {"hrnet18s": 48, "hrnet18": 64, "hrnet32": 128}
PUBLISHED_DEEPLAB_CHANNELS = {"resnet34": 128, "resnet50": 128, "resnet101": 256}


class EncodedImage(NamedTuple):
    """The part of a network's work that no click changes.

    Attributes
    ----------
    features : Tensor, shape (N, C, h, w)
    size : tuple of int
        Height and width of the image.
    """

    features: Tensor
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Backbone:
    """Backbone and decoder of a click network.

    Attributes
    ----------
    name : str
        ``"hrnet<width>"``, ``"hrnet<width>s"`` (small), or a ResNet's name.
    ocr_width : int or None
        HRNet: width of the OCR head.
    deeplab_ch : int or None
        ResNet: width of the DeepLabV3+ decoder.
    aspp_dropout : float or None
        ResNet: dropout of the ASPP in training.
    """

    name: str
    ocr_width: int | None = None
    deeplab_ch: int | None = None
    aspp_dropout: float | None = None

    @classmethod
    def named(
        cls,
        name: str,
        ocr_width: int | None = None,
        deeplab_ch: int | None = None,
        aspp_dropout: float | None = None,
    ) -> Backbone:
        """Fill in what is published under that name.

        Raises
        ------
        ValueError
            If the name is unknown, or an option belongs to the other family.
        """
        if _hrnet_name(name):
            if deeplab_ch is not None or aspp_dropout is not None:
                raise ValueError(f"{name} has no DeepLab decoder to configure.")
            if ocr_width is None:
                ocr_width = PUBLISHED_OCR_WIDTHS.get(name)
            if ocr_width is None or ocr_width < 1:
                raise ValueError(
                    f"{name} needs an ocr_width of at least 1; nets without the "
                    "OCR head were never published."
                )
            return cls(name, ocr_width=ocr_width)
        if name not in VARIANTS:
            raise ValueError(
                f"Unknown backbone {name!r}: choose hrnet18s, hrnet18, hrnet32, "
                f"another hrnet<width>[s], or one of {', '.join(VARIANTS)}."
            )
        if ocr_width is not None:
            raise ValueError(f"{name} has no OCR head to configure.")
        if deeplab_ch is None:
            deeplab_ch = PUBLISHED_DEEPLAB_CHANNELS.get(name, 256)
        if aspp_dropout is None:
            aspp_dropout = 0.5 if deeplab_ch == 256 else 0.2
        return cls(name, deeplab_ch=deeplab_ch, aspp_dropout=aspp_dropout)

    @property
    def is_hrnet(self) -> bool:
        """Whether this is an HRNet with OCR, not a ResNet with DeepLabV3+."""
        return self.ocr_width is not None

    @property
    def config(self) -> dict[str, Any]:
        """What a network's ``config`` says of its backbone."""
        config: dict[str, Any] = {"backbone": self.name}
        for key in ("ocr_width", "deeplab_ch", "aspp_dropout"):
            value = getattr(self, key)
            if value is not None:
                config[key] = value
        return config

    def build(self) -> HRNetOCR | DeepLabV3Plus:
        """Build the network that the image's stem is part of."""
        found = _hrnet_name(self.name)
        if found and self.ocr_width is not None:
            return HRNetOCR(int(found[1]), self.ocr_width, small=bool(found[2]))
        if self.deeplab_ch is None or self.aspp_dropout is None:
            raise ValueError(f"{self.name} is not fully configured.")
        return DeepLabV3Plus(self.name, self.deeplab_ch, self.aspp_dropout)


def _hrnet_name(name: str) -> re.Match[str] | None:
    return re.fullmatch(r"hrnet(\d{1,4})(s?)", name)


class ClickNetwork(nn.Module):
    """A network that answers clicks on an image.

    Subclasses add the branch of the clicks, then call :meth:`add_backbone`.

    Attributes
    ----------
    with_prev_mask : bool
        Whether the answer before is an input.
    normalises_input : bool
        Whether RGB in [0, 1] is normalised inside.
    point_columns : int
        Columns of a point that the published network is given.
    rgb_place : str
        The submodule that returns the normalised image.
    config : dict
        Constructor arguments that build this network again, ready for JSON.
    """

    normalises_input: ClassVar[bool]
    point_columns: ClassVar[int]
    rgb_place: ClassVar[str]
    with_prev_mask: bool
    with_aux_output: bool
    config: dict[str, Any]

    def add_backbone(self, backbone: Backbone, with_aux_output: bool | None) -> None:
        """Add the layers whose keys start with ``feature_extractor`` and ``head``.

        Parameters
        ----------
        backbone : Backbone
        with_aux_output : bool or None
            Return the auxiliary head's answer too; by default where there is
            such a head.
        """
        if with_aux_output is None:
            with_aux_output = backbone.is_hrnet
        if with_aux_output and not backbone.is_hrnet:
            raise ValueError(f"{backbone.name} has no auxiliary head.")
        self.with_aux_output = with_aux_output
        self.feature_extractor = backbone.build()
        if backbone.deeplab_ch is not None:
            self.head = SepConvHead(backbone.deeplab_ch)

    def places(self) -> dict[str, tuple[str, ...]]:
        """Return where published refinements change this network.

        Returns
        -------
        dict
            Sites (see :class:`napari_clickseg.refinement.sites.Site`) by refinement:
            ``"rgb"`` (normalised), ``"distmap"`` (both click maps), ``"f-brs-a"``,
            ``"f-brs-b"``, ``"f-brs-c"`` and ``"g-brs"``.
        """
        trunk = self.feature_extractor.places()
        inside = {
            name: tuple(f"feature_extractor.{site}" for site in sites)
            for name, sites in trunk.items()
        }
        return {"rgb": (self.rgb_place,), "distmap": ("dist_maps",)} | inside

    def encode_image(self, image: Tensor) -> EncodedImage:
        """Compute what no click changes.

        Parameters
        ----------
        image : Tensor, shape (N, 3, H, W)
            RGB in [0, 1], normalised by the caller unless
            ``normalises_input``.
        """
        raise NotImplementedError

    def decode_clicks(
        self, encoded: EncodedImage, points: Tensor, previous: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Answer clicks on an encoded image.

        Parameters
        ----------
        encoded : EncodedImage
            From :meth:`encode_image`, of N images; not changed.
        points : Tensor, shape (N, 2P, 2 or more)
            Rows of row, column (and order) in pixels of the image. The first P
            are positive, the last P negative; unused rows are -1.
        previous : Tensor, shape (N, 1, H, W), optional
            Probability of the answer before; zeros by default. Networks
            without ``with_prev_mask`` do not look at it.

        Returns
        -------
        dict
            ``"instances"``, and ``"instances_aux"`` if ``with_aux_output``:
            logits (N, 1, H, W), float32 even where the network works in half
            precision.
        """
        raise NotImplementedError

    def forward(self, image: Tensor, points: Tensor) -> dict[str, Tensor]:
        """Answer clicks on an image.

        Parameters
        ----------
        image : Tensor, shape (N, 3 or 4, H, W)
            RGB as in :meth:`encode_image`; if ``with_prev_mask``, the previous
            probability follows as fourth channel.
        points : Tensor, shape (N, 2P, 2 or more)
            See :meth:`decode_clicks`, as for the result.
        """
        channels = 4 if self.with_prev_mask else 3
        if image.ndim != 4 or image.shape[1] != channels:
            raise ValueError(
                f"This network takes images of the shape (N, {channels}, H, W), "
                f"not {tuple(image.shape)}."
            )
        previous = image[:, 3:] if self.with_prev_mask else None
        return self.decode_clicks(self.encode_image(image[:, :3]), points, previous)

    def answer(self, stem: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
        """Run the backbone from its stem to logits of the image's size.

        Parameters
        ----------
        stem : Tensor, shape (N, C, H / 2, W / 2)
        size : tuple of int
            Height and width of the image.
        """
        features = self.feature_extractor(stem)
        if isinstance(features, tuple):
            logits, aux = features
        else:
            logits, aux = self.head(features), None
        result = {"instances": _full_size(logits, size)}
        if self.with_aux_output and aux is not None:
            result["instances_aux"] = _full_size(aux, size)
        return result


def _full_size(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize logits in float32 at least: half precision would leave steps."""
    precise = torch.promote_types(logits.dtype, torch.float32)
    return resize(logits.to(precise), size)
