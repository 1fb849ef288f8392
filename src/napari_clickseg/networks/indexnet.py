"""IndexNet Matting (Lu et al., ICCV 2019): MobileNetV2 with indexed pooling.

At five places the encoder learns an index map: four weights for every 2 x 2 block of
pixels. Softmaxed, it says how the block is pooled; as a plain sigmoid, how the decoder
spreads its features over the block again. Weight names are those of the release.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_clickseg.networks.layers import IMAGENET, check_multiple

IndexKind = Literal["m2o", "o2o"]

STEM_CHANNELS = 32
#: Expansion, output channels and number of inverted residuals of each layer.
LAYERS: tuple[tuple[int, int, int], ...] = (
    (1, 16, 1),
    (6, 24, 2),
    (6, 32, 3),
    (6, 64, 4),
    (6, 96, 3),
    (6, 160, 3),
    (6, 320, 1),
)
#: Layers that are pooled by an index map, finest first.
INDEXED = (0, 2, 3, 4, 6)
#: Channels that the decoder gives at each layer.
DECODED = {6: 96, 5: 64, 4: 32, 3: 24, 2: 16, 1: 32, 0: 32}
#: Dilation of the context module's branches at output stride 32.
RATES = (1, 2, 4, 8)


class PaddedResidual(nn.Module):
    """Inverted residual that pads its input, not what its depthwise filter sees.

    So the expansion's bias shows at the border, unlike in the usual MobileNetV2.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels before and after.
    expansion : int
        Factor of the inner width; 1 leaves the first 1x1 out.
    """

    def __init__(self, in_channels: int, out_channels: int, expansion: int) -> None:
        super().__init__()
        inner = in_channels * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers += _conv_bn_relu6(in_channels, inner, 1)
        layers += [
            nn.Conv2d(inner, inner, 3, groups=inner, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU6(inplace=True),
            nn.Conv2d(inner, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        ]
        self.conv = nn.Sequential(*layers)
        self.residual = in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, H, W)`` to ``(N, out, H, W)``."""
        y: Tensor = self.conv(F.pad(x, (1, 1, 1, 1)))
        return x + y if self.residual else y


class IndexBlock(nn.Module):
    """Predict the index maps of one layer from its features.

    One small network for each of the four places in a 2 x 2 block; nonlinear and with
    context, in the paper's terms.

    Parameters
    ----------
    channels : int
        Of the features.
    kind : {"m2o", "o2o"}
        Whether each channel's index is computed from all channels (many to one, as
        released) or from that channel only (one to one, far fewer weights).
    """

    def __init__(self, channels: int, kind: IndexKind) -> None:
        super().__init__()
        groups = channels if kind == "o2o" else 1
        for place in range(1, 5):
            branch = nn.Sequential(
                nn.Conv2d(channels, channels, 4, 2, 1, groups=groups, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU6(inplace=True),
                nn.Conv2d(channels, channels, 1, groups=groups, bias=False),
            )
            self.add_module(f"indexnet{place}", branch)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps for the encoder and for the decoder.

        Parameters
        ----------
        x : Tensor, shape (N, C, H, W)
            H and W even.

        Returns
        -------
        tuple of Tensor, each of shape (N, C, H, W)
            The encoder's sums to 1 over each block; the decoder's lies in [0, 1].
        """
        places = torch.stack([branch(x) for branch in self.children()], 2).sigmoid()
        pooling = places.softmax(2)
        return _shuffled(pooling), _shuffled(places)


class Context(nn.Module):
    """Features at several dilations and of the whole image, joined (ASPP)."""

    def __init__(self, in_channels: int, out_channels: int, width: int) -> None:
        super().__init__()
        self.aspp1 = _AtrousBranch(in_channels, width, RATES[0])
        self.aspp2 = _AtrousBranch(in_channels, width, RATES[1])
        self.aspp3 = _AtrousBranch(in_channels, width, RATES[2])
        self.aspp4 = _AtrousBranch(in_channels, width, RATES[3])
        self.global_avg_pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), *_conv_bn_relu6(in_channels, width, 1)
        )
        self.bottleneck_conv = nn.Sequential(
            *_conv_bn_relu6(5 * width, out_channels, 1)
        )
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, h, w)`` to ``(N, out, h, w)``."""
        branches = [self.aspp1(x), self.aspp2(x), self.aspp3(x), self.aspp4(x)]
        whole = self.global_avg_pool(x).expand(-1, -1, *x.shape[-2:])
        joined = torch.cat([*branches, whole], 1)
        return self.dropout(self.bottleneck_conv(joined))


class _AtrousBranch(nn.Module):
    """One branch: a 1x1 convolution, behind a dilated depthwise one where asked."""

    def __init__(self, in_channels: int, out_channels: int, rate: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if rate > 1:
            layers += _conv_bn_relu6(
                in_channels, in_channels, 3, groups=in_channels, dilation=rate
            )
        layers += _conv_bn_relu6(in_channels, out_channels, 1)
        self.atrous_conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, h, w)`` to ``(N, out, h, w)``."""
        return self.atrous_conv(x)


class DecoderLayer(nn.Module):
    """Spread by the index map where there is one, join the encoder's features."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, separable: bool
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if separable:
            layers += _conv_bn_relu6(
                in_channels, in_channels, kernel, groups=in_channels
            )
            kernel = 1
        layers += _conv_bn_relu6(in_channels, out_channels, kernel)
        self.dconv = nn.Sequential(*layers)

    def forward(self, x: Tensor, skip: Tensor, index: Tensor | None = None) -> Tensor:
        """Decode one layer.

        Parameters
        ----------
        x : Tensor, shape (N, C, h, w)
            h and w half those of ``skip`` where there is an index map.
        skip : Tensor, shape (N, C, H, W)
        index : Tensor, shape (N, C, H, W), optional

        Returns
        -------
        Tensor, shape (N, out, H, W)
        """
        if index is not None:
            x = index * F.interpolate(x, scale_factor=2.0, mode="nearest")
        return self.dconv(torch.cat([x, skip], 1))


class IndexNet(nn.Module):
    """IndexNet Matting; without arguments the released model.

    Parameters
    ----------
    index : {"m2o", "o2o"}
        See :class:`IndexBlock`.
    kernel : int
        Side of the decoder's filters, odd.
    separable : bool
        Whether the decoder's convolutions are depthwise and pointwise ones.
    context : int
        Width of the context module's branches.

    Notes
    -----
    For a light model: ``IndexNet("o2o", separable=True)`` has 2.5 million weights
    instead of 6 and needs a fifth of the operations; its encoder is the same, so
    :meth:`start_from` fills it alike.
    """

    #: RGB comes normalised by ImageNet's mean and deviation, the trimap in [0, 1].
    normalises_input: ClassVar[bool] = False
    #: Sides must be multiples of this. The release resizes the image to the nearest
    #: ones (bicubic; the trimap: nearest) and the answer back.
    multiple: ClassVar[int] = 32

    def __init__(
        self,
        index: IndexKind = "m2o",
        kernel: int = 5,
        separable: bool = False,
        context: int = 256,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "index": index,
            "kernel": kernel,
            "separable": separable,
            "context": context,
        }
        self.layer0 = nn.Sequential(*_conv_bn_relu6(4, STEM_CHANNELS, 3))
        widths = [STEM_CHANNELS]
        for number, (expansion, channels, repeats) in enumerate(LAYERS, start=1):
            inputs = [widths[-1]] + [channels] * (repeats - 1)
            blocks = [PaddedResidual(c, channels, expansion) for c in inputs]
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
            widths.append(channels)
        for layer in INDEXED:
            self.add_module(f"index{layer}", IndexBlock(widths[layer], index))
        self.dconv_pp = Context(widths[7], widths[6], context)
        for layer, channels in DECODED.items():
            step = DecoderLayer(2 * widths[layer], channels, kernel, separable)
            self.add_module(f"decoder_layer{layer}", step)
        self.pred = nn.Sequential(
            nn.Sequential(*_conv_bn_relu6(DECODED[0], 1, kernel)),
            nn.Conv2d(1, 1, kernel, padding=kernel // 2, bias=False),
        )

    def places(self) -> dict[str, tuple[str, ...]]:
        """Return where G-BRS layers go (paper, figure 1c): the decoder's index maps.

        ``"L1"`` to ``"L5"`` are that many layers, from low to high resolution (1/16
        to the image's own); ``"g-brs"`` is all of them.
        """
        maps = tuple(f"index{layer}[1]" for layer in reversed(INDEXED))
        levels = {f"L{n}": maps[:n] for n in range(1, len(maps) + 1)}
        return {**levels, "g-brs": maps, "rgb": ("input",)}

    def forward(self, image: Tensor) -> Tensor:
        """Return the alpha matte, unbounded, as the release does before it clips.

        Parameters
        ----------
        image : Tensor, shape (N, 4, H, W)
            Normalised RGB, and the trimap: 0 background, 128 / 255 unknown, 1
            foreground. H and W are multiples of 32.

        Returns
        -------
        Tensor, shape (N, 1, H, W)

        Raises
        ------
        ModelError
            If the sides are no multiples of 32.
        """
        check_multiple(image, self.multiple)
        x, skips, indices = image, [], {}
        for layer in range(7):
            x = self.get_submodule(f"layer{layer}")(x)
            if layer in INDEXED:
                pooling, indices[layer] = self.get_submodule(f"index{layer}")(x)
                x = pooling * x
            skips.append(x)
            if layer in INDEXED:
                x = 4 * F.avg_pool2d(x, 2)
        x = self.dconv_pp(self.get_submodule("layer7")(x))
        for layer, skip in reversed(list(enumerate(skips))):
            step = self.get_submodule(f"decoder_layer{layer}")
            x = step(x, skip, indices.get(layer))
        return self.pred(x)

    @torch.no_grad()
    def start_from(self, filters: Sequence[tuple[Tensor, Tensor]]) -> int:
        """Fill the encoder with a MobileNetV2's filters, batch norm folded in.

        Batch norms become the identity plus a bias, so they should not be trained
        from there with statistics of small batches: the release freezes them, too.

        Parameters
        ----------
        filters : sequence of (weight, bias)
            In order; at least the encoder's 51, of a network that takes RGB in
            [-1, 1]. The first one is adapted to normalised RGB and ignores the trimap.

        Returns
        -------
        int
            Number of convolutions that were filled.

        Raises
        ------
        ValueError
            If a filter has another shape.
        """
        pairs = list(self._encoder_convolutions())
        if len(filters) < len(pairs):
            raise ValueError(f"{len(pairs)} filters are needed, not {len(filters)}.")
        for number, ((conv, norm), given) in enumerate(
            zip(pairs, filters, strict=False)
        ):
            weight, bias = (x.detach().float() for x in given)
            wanted = list(conv.weight.shape)
            wanted[1] -= number == 0  # it knows no trimap
            if list(weight.shape) != wanted or bias.shape != norm.bias.shape:
                raise ValueError(
                    f"Filter {number} has shape {tuple(weight.shape)} instead of "
                    f"{tuple(wanted)}: no MobileNetV2 of width 1."
                )
            if number == 0:
                weight, bias = _for_normalised_rgb(weight, bias)
                weight = torch.cat([weight, torch.zeros_like(weight[:, :1])], 1)
            conv.weight.copy_(weight)
            norm.bias.copy_(bias)
            norm.weight.fill_(1)
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.running_mean.zero_()
            norm.running_var.fill_(1 - norm.eps)
        return len(pairs)

    def _encoder_convolutions(self) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
        """Yield each convolution with its norm, from the image on."""
        for layer in range(8):
            modules = [
                module
                for module in self.get_submodule(f"layer{layer}").modules()
                if isinstance(module, nn.Conv2d | nn.BatchNorm2d)
            ]
            for conv, norm in zip(modules[::2], modules[1::2], strict=True):
                assert isinstance(conv, nn.Conv2d)
                assert isinstance(norm, nn.BatchNorm2d)
                yield conv, norm


def _conv_bn_relu6(
    in_channels: int,
    out_channels: int,
    kernel: int,
    *,
    groups: int = 1,
    dilation: int = 1,
) -> list[nn.Module]:
    padding = dilation * (kernel // 2)
    return [
        nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=False,
        ),
        nn.BatchNorm2d(out_channels),
        nn.ReLU6(inplace=True),
    ]


def _shuffled(places: Tensor) -> Tensor:
    """Lay ``(N, C, 4, h, w)`` out as ``(N, C, 2 h, 2 w)``."""
    return F.pixel_shuffle(places.flatten(1, 2), 2)


def _for_normalised_rgb(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Let a filter for RGB in [-1, 1] take normalised RGB instead."""
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in IMAGENET)
    shift = (weight * (2 * mean - 1)).sum((1, 2, 3))
    return weight * 2 * std, bias + shift
