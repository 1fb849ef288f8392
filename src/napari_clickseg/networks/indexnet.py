"""IndexNet Matting (Lu et al., ICCV 2019): MobileNetV2 with indexed pooling.

At five places the encoder learns an index map: four weights for every 2 x 2 block of
pixels. Softmaxed, it says how the block is pooled; as a plain sigmoid, how the decoder
spreads its features over the block again. Weight names are those of the release.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_clickseg.networks.index_blocks import (
    Context,
    DecoderLayer,
    IndexBlock,
    IndexKind,
    PaddedResidual,
    conv_bn_relu6,
)
from napari_clickseg.networks.layers import IMAGENET, check_multiple

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


class IndexNet(nn.Module):
    """IndexNet Matting; without arguments the released model.

    Parameters
    ----------
    index : {"m2o", "o2o"}
        See :class:`~napari_clickseg.networks.index_blocks.IndexBlock`.
    kernel : int
        Side of the decoder's filters, odd.
    separable : bool
        Whether the decoder's convolutions are depthwise and pointwise ones.
    context : int
        Width of the context module's branches.

    Notes
    -----
    For a light model: ``IndexNet("o2o", separable=True)`` has 2.5 million weights
    instead of 6 and needs a fifth of the operations (but 0.96 s instead of 1.08 s of
    one core for 512 x 512 pixels: what remains is memory traffic at full size). Its
    encoder is the same, so :meth:`start_from` fills it alike.
    """

    task: ClassVar[str] = "matting"
    #: RGB comes normalised by ImageNet's mean and deviation, the trimap in [0, 1].
    normalises_input: ClassVar[bool] = False
    #: Sides must be multiples of this. The release resizes the image to the nearest
    #: ones (bicubic; the trimap: nearest) and the answer back.
    multiple: ClassVar[int] = 32
    #: The fourth channel is the trimap.
    needs_trimap: ClassVar[bool] = True

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
        # A name for the image without its trimap: RGB-BRS changes only that.
        self.rgb = nn.Identity()
        self.layer0 = nn.Sequential(*conv_bn_relu6(4, STEM_CHANNELS, 3))
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
            nn.Sequential(*conv_bn_relu6(DECODED[0], 1, kernel)),
            nn.Conv2d(1, 1, kernel, padding=kernel // 2, bias=False),
        )

    @staticmethod
    def recognise(state_dict: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Read the configuration off released weights.

        Returns
        -------
        dict or None
            Arguments of :class:`IndexNet`; None if these are other weights.
        """
        names = (
            "index0.indexnet1.0.weight",
            "decoder_layer6.dconv.0.weight",
            "dconv_pp.aspp1.atrous_conv.0.weight",
        )
        if not all(name in state_dict for name in names):
            return None
        index, decoder, context = (state_dict[name].shape for name in names)
        if not len(index) == len(decoder) == len(context) == 4:
            return None
        return {
            "index": "o2o" if index[1] == 1 else "m2o",
            "kernel": decoder[-1],
            "separable": decoder[1] == 1,
            "context": context[0],
        }

    def places(self) -> dict[str, tuple[str, ...]]:
        """Return where G-BRS layers go (paper, figure 1c): the decoder's index maps.

        ``"L1"`` to ``"L5"`` are that many layers, from low to high resolution (1/16
        to the image's own); ``"g-brs"`` is all of them.
        """
        maps = tuple(f"index{layer}[1]" for layer in reversed(INDEXED))
        levels = {f"L{n}": maps[:n] for n in range(1, len(maps) + 1)}
        return {**levels, "g-brs": maps, "rgb": ("rgb",)}

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
        x = torch.cat([self.rgb(image[:, :3]), image[:, 3:]], 1)
        skips, indices = [], {}
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

        Batch norms become the identity plus a bias, so training should go on without
        the statistics of small batches: the release freezes them, too.

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


def _for_normalised_rgb(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Let a filter for RGB in [-1, 1] take normalised RGB instead."""
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in IMAGENET)
    shift = (weight * (2 * mean - 1)).sum((1, 2, 3))
    return weight * 2 * std, bias + shift
