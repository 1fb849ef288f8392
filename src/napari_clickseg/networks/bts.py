"""BTS (Lee et al., arXiv 1907.10326): depth from one image, guided by local planes.

At strides 8, 4 and 2 the decoder guesses, for every cell, the plane that the scene
has there, and draws it at the image's full size; the last layers choose from these
guesses. Written from the paper and the names and shapes of the release's weights.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_clickseg.networks.densenet import VARIANTS, DenseNet
from napari_clickseg.networks.layers import IMAGENET, Normalise, check_multiple
from napari_clickseg.networks.mobilenet import MobileNetV2

#: Dilations of the dense context module.
RATES = (3, 6, 12, 18, 24)
#: Batch norm of the decoder: as released.
NORM: dict[str, Any] = {"momentum": 0.01, "eps": 1.1e-5}
#: Planes lean away from the image plane by at most this angle.
MAX_TILT = math.pi / 3
ENCODERS = (*VARIANTS, "mobilenetv2")


#: Which DenseNet ends with how many channels.
LAST_CHANNELS = {1024: "densenet121", 2208: "densenet161"}


class Guesses(NamedTuple):
    """Depth as the decoder sees it from coarse to fine, each ``(N, 1, H, W)``.

    All but the last are in units of the largest depth.
    """

    stride8: Tensor
    stride4: Tensor
    stride2: Tensor
    stride1: Tensor
    depth: Tensor


class Encoder(nn.Module):
    """The network that sees the image, under its published name ``base_model``.

    Parameters
    ----------
    name : str
        One of :data:`ENCODERS`.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.base_model: DenseNet | MobileNetV2
        self.rescale: Normalise | None = None
        if name == "mobilenetv2":
            self.base_model = MobileNetV2(output_stride=32)
            # From normalised RGB to [-1, 1], which its filters have learned from. In
            # plain numbers: a network may be built without memory for tensors.
            pairs = list(zip(*IMAGENET, strict=True))
            shift = [(1 - 2 * mean) / (2 * std) for mean, std in pairs]
            self.rescale = Normalise(shift, [1 / (2 * std) for _, std in pairs])
        elif name in VARIANTS:
            self.base_model = DenseNet(name)
        else:
            raise ValueError(
                f"There is no encoder {name!r}: choose {', '.join(ENCODERS)}."
            )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map normalised RGB ``(N, 3, H, W)`` to features at strides 2 to 32."""
        if self.rescale is not None:
            image = self.rescale(image)
        return self.base_model.pyramid(image)


class UpConv(nn.Module):
    """Double the sides by repetition, then filter."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, h, w)`` to ``(N, out, 2 h, 2 w)``."""
        return F.elu(self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest")))


class AtrousLayer(nn.Module):
    """One dilated layer of the context module: 1x1, then 3x3 at a distance."""

    def __init__(
        self, in_channels: int, out_channels: int, rate: int, *, first_bn: bool
    ) -> None:
        super().__init__()
        inner = 2 * out_channels
        self.atrous_conv = nn.Sequential()
        if first_bn:
            norm = nn.BatchNorm2d(in_channels, **NORM)
            self.atrous_conv.add_module("first_bn", norm)
        sequence = nn.Sequential(
            nn.ReLU(),  # what comes in is needed elsewhere: not in place
            nn.Conv2d(in_channels, inner, 1, bias=False),
            nn.BatchNorm2d(inner, **NORM),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, out_channels, 3, padding=rate, dilation=rate, bias=False),
        )
        self.atrous_conv.add_module("aconv_sequence", sequence)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, h, w)`` to ``(N, out, h, w)``."""
        return self.atrous_conv(x)


class Reduction(nn.Module):
    """1x1 convolutions that halve the channels, down to 8, and what they are for.

    Parameters
    ----------
    in_channels, width : int
        Channels at first, and after the first halving.
    planes : bool
        Whether the result is a plane for each cell, or a depth.
    """

    def __init__(self, in_channels: int, width: int, *, planes: bool = True) -> None:
        super().__init__()
        self.planes = planes
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        while width >= 8:
            conv = nn.Conv2d(in_channels, width, 1, bias=False)
            layers[f"inter_{in_channels}_{width}"] = nn.Sequential(conv, nn.ELU())
            in_channels, width = width, width // 2
        if planes:
            layers["plane_params"] = nn.Conv2d(in_channels, 3, 1, bias=False)
        else:
            conv = nn.Conv2d(in_channels, 1, 1, bias=False)
            layers["final"] = nn.Sequential(conv, nn.Sigmoid())
        self.reduc = nn.Sequential(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, h, w)`` to depth in (0, 1), or to plane coefficients.

        Returns
        -------
        Tensor, shape (N, 1, h, w) or (N, 4, h, w)
            The plane's unit normal, x y z, and its distance in (0, 1).
        """
        values = self.reduc(x)
        if not self.planes:
            return values
        tilt, turn, distance = values.sigmoid().split(1, 1)
        tilt, turn = tilt * MAX_TILT, turn * (2 * math.pi)
        normal = [tilt.sin() * turn.cos(), tilt.sin() * turn.sin(), tilt.cos()]
        return torch.cat([*normal, distance], 1)


class LocalPlanes(nn.Module):
    """Draw one plane for each cell of ``side`` by ``side`` pixels (equation 1).

    A pixel's ray meets the plane at ``distance / (n1 u + n2 v + n3)``, where u and v
    are the pixel's place in its cell, from the middle, in cells.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, planes: Tensor) -> Tensor:
        """Map ``(N, 4, h, w)`` to depth ``(N, 1, side h, side w)``."""
        n, _, height, width = planes.shape
        side = self.side
        steps = torch.arange(side, device=planes.device, dtype=planes.dtype)
        steps = (steps - (side - 1) / 2) / side
        # Cells by rows, pixels of a cell by rows, cells by columns, pixels.
        n1, n2, n3, distance = planes.view(n, 4, height, 1, width, 1).unbind(1)
        slope = n1 * steps + n2 * steps.view(-1, 1, 1) + n3
        return (distance / slope).reshape(n, 1, height * side, width * side)


class Decoder(nn.Module):
    """From features at five strides to depth.

    Parameters
    ----------
    channels : sequence of int
        Of the encoder's features, finest first.
    size : int
        Channels at the coarsest step.
    max_depth : float
        The answer lies between 0 and this.
    """

    def __init__(self, channels: tuple[int, ...], size: int, max_depth: float) -> None:
        super().__init__()
        at2, at4, at8, at16, at32 = channels
        w16, w8, w4, w2, w1 = size, size // 2, size // 4, size // 8, size // 16
        self.max_depth = max_depth

        self.upconv5 = UpConv(at32, w16)
        self.bn5 = nn.BatchNorm2d(w16, **NORM)
        self.conv5 = _conv_elu(w16 + at16, w16)
        self.upconv4 = UpConv(w16, w8)
        self.bn4 = nn.BatchNorm2d(w8, **NORM)
        self.conv4 = _conv_elu(w8 + at8, w8)
        self.bn4_2 = nn.BatchNorm2d(w8, **NORM)

        self.daspp_3 = AtrousLayer(w8, w4, 3, first_bn=False)
        for number, rate in enumerate(RATES[1:], start=1):
            inputs = w8 + at8 + number * w4
            layer = AtrousLayer(inputs, w4, rate, first_bn=True)
            self.add_module(f"daspp_{rate}", layer)
        self.daspp_conv = _conv_elu(w8 + len(RATES) * w4, w4)
        self.reduc8x8 = Reduction(w4, w4)
        self.lpg8x8 = LocalPlanes(8)

        self.upconv3 = UpConv(w4, w4)
        self.bn3 = nn.BatchNorm2d(w4, **NORM)
        self.conv3 = _conv_elu(w4 + at4 + 1, w4)
        self.reduc4x4 = Reduction(w4, w2)
        self.lpg4x4 = LocalPlanes(4)

        self.upconv2 = UpConv(w4, w2)
        self.bn2 = nn.BatchNorm2d(w2, **NORM)
        self.conv2 = _conv_elu(w2 + at2 + 1, w2)
        self.reduc2x2 = Reduction(w2, w1)
        self.lpg2x2 = LocalPlanes(2)

        self.upconv1 = UpConv(w2, w1)
        self.reduc1x1 = Reduction(w1, w1 // 2, planes=False)
        self.conv1 = _conv_elu(w1 + 4, w1)
        self.get_depth = nn.Sequential(
            nn.Conv2d(w1, 1, 3, padding=1, bias=False), nn.Sigmoid()
        )

    def forward(self, features: list[Tensor]) -> Guesses:
        """Return depth and the guesses that led to it.

        Parameters
        ----------
        features : list of Tensor
            At strides 2, 4, 8, 16 and 32.
        """
        at2, at4, at8, at16, at32 = features
        x = torch.cat([self.bn5(self.upconv5(at32)), at16], 1)
        x = self.conv5(x)
        dense = torch.cat([self.bn4(self.upconv4(x)), at8], 1)
        x = self._context(self.bn4_2(self.conv4(dense)), dense)
        stride8 = self.lpg8x8(self.reduc8x8(x))

        x = torch.cat([self.bn3(self.upconv3(x)), at4, _every(4, stride8)], 1)
        x = self.conv3(x)
        stride4 = self.lpg4x4(self.reduc4x4(x))

        x = torch.cat([self.bn2(self.upconv2(x)), at2, _every(2, stride4)], 1)
        x = self.conv2(x)
        stride2 = self.lpg2x2(self.reduc2x2(x))

        x = self.upconv1(x)
        stride1 = self.reduc1x1(x)
        x = self.conv1(torch.cat([x, stride1, stride2, stride4, stride8], 1))
        depth = self.max_depth * self.get_depth(x)
        return Guesses(stride8, stride4, stride2, stride1, depth)

    def _context(self, x: Tensor, dense: Tensor) -> Tensor:
        """Let each dilated layer see what those before it have found."""
        found = [x, self.daspp_3(x)]
        for rate in RATES[1:]:
            dense = torch.cat([dense, found[-1]], 1)
            found.append(self.get_submodule(f"daspp_{rate}")(dense))
        return self.daspp_conv(torch.cat(found, 1))


class BTS(nn.Module):
    """BTS; without arguments the model released for NYU Depth V2.

    Parameters
    ----------
    encoder : {"densenet161", "densenet121", "mobilenetv2"}
        What sees the image. MobileNetV2 is meant for small models: it has biases
        instead of batch norm (see :mod:`~napari_clickseg.networks.mobilenet`).
    size : int
        Channels at the decoder's coarsest step (``bts_size``); a multiple of 16.
    max_depth : float
        The answer lies between 0 and this, in the unit that was trained for.
    """

    task: ClassVar[str] = "depth"
    #: RGB comes normalised by ImageNet's mean and deviation.
    normalises_input: ClassVar[bool] = False
    #: Sides must be multiples of this. NYU's images (480 x 640) are.
    multiple: ClassVar[int] = 32

    def __init__(
        self, encoder: str = "densenet161", size: int = 512, max_depth: float = 10.0
    ) -> None:
        super().__init__()
        if size < 16 or size % 16:
            raise ValueError(f"size must be a multiple of 16, not {size}.")
        self.config: dict[str, Any] = {
            "encoder": encoder,
            "size": size,
            "max_depth": max_depth,
        }
        self.encoder = Encoder(encoder)
        channels = self.encoder.base_model.channels
        self.decoder = Decoder(channels, size, max_depth)

    @staticmethod
    def recognise(state_dict: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Read the configuration off released weights.

        The largest depth is not among them: NYU Depth V2's 10 m are assumed.

        Returns
        -------
        dict or None
            Arguments of :class:`BTS`; None if these are other weights.
        """
        last = state_dict.get("encoder.base_model.norm5.weight")
        decoder = state_dict.get("decoder.upconv5.conv.weight")
        if (
            last is None
            or decoder is None
            or "decoder.daspp_conv.0.weight" not in (state_dict)
        ):
            return None
        encoder = LAST_CHANNELS.get(last.numel())
        if encoder is None:
            return None
        return {"encoder": encoder, "size": decoder.shape[0]}

    def places(self) -> dict[str, tuple[str, ...]]:
        """Return where a G-BRS layer goes (paper, figure 1d): the encoder's end.

        There are 2208 channels in DenseNet-161, of which the paper changes the 256
        that are most active on average.
        """
        last = (f"encoder.base_model.{self.encoder.base_model.last}",)
        return {"L1": last, "g-brs": last, "rgb": ("input",)}

    def guesses(self, image: Tensor) -> Guesses:
        """Return depth and the coarser guesses that led to it.

        Parameters
        ----------
        image : Tensor, shape (N, 3, H, W)
            Normalised RGB; H and W are multiples of 32.

        Raises
        ------
        ModelError
            If the sides are no multiples of 32.
        """
        check_multiple(image, self.multiple)
        return self.decoder(self.encoder(image))

    def forward(self, image: Tensor) -> Tensor:
        """Return depth ``(N, 1, H, W)`` in (0, max_depth); see :meth:`guesses`."""
        return self.guesses(image).depth


def _conv_elu(in_channels: int, out_channels: int) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.ELU())


def _every(step: int, x: Tensor) -> Tensor:
    """Keep every n-th row and column, as resizing to the nearest pixel does."""
    return x[..., ::step, ::step]
