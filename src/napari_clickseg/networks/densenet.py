"""DenseNet features (Huang et al., CVPR 2017): each layer sees all layers before it.

Weight names are those of the usual ImageNet release, without the classifier.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Channels of the stem, channels that each layer adds, and layers of each block.
VARIANTS: dict[str, tuple[int, int, tuple[int, ...]]] = {
    "densenet121": (64, 32, (6, 12, 24, 16)),
    "densenet161": (96, 48, (6, 12, 36, 24)),
}
#: Width inside a layer, in channels that it adds.
BOTTLENECK = 4


class DenseLayer(nn.Module):
    """Normalise, 1x1 convolution, normalise, 3x3 convolution."""

    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__()
        inner = BOTTLENECK * growth
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, inner, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, h, w)`` to ``(N, growth, h, w)``."""
        y = self.conv1(F.relu(self.norm1(x)))
        return self.conv2(F.relu(self.norm2(y)))


class DenseBlock(nn.Sequential):
    """Layers that each append to what they were given."""

    def __init__(self, in_channels: int, growth: int, layers: int) -> None:
        super().__init__(
            OrderedDict(
                (f"denselayer{i + 1}", DenseLayer(in_channels + i * growth, growth))
                for i in range(layers)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, h, w)`` to ``(N, in + layers growth, h, w)``."""
        for layer in self:
            x = torch.cat([x, layer(x)], 1)
        return x


class Transition(nn.Module):
    """Half the channels, half the sides."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, in_channels // 2, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in, h, w)`` to ``(N, in / 2, h / 2, w / 2)``."""
        return F.avg_pool2d(self.conv(F.relu(self.norm(x))), 2)


class DenseNet(nn.Module):
    """DenseNet up to its last norm.

    Parameters
    ----------
    variant : str
        A key of :data:`VARIANTS`.

    Attributes
    ----------
    channels : tuple of int
        Of what :meth:`pyramid` returns.
    """

    #: Its last features in :meth:`pyramid`, before their ReLU.
    last = "norm5"

    def __init__(self, variant: str = "densenet161") -> None:
        super().__init__()
        stem, growth, layers = VARIANTS[variant]
        self.conv0 = nn.Conv2d(3, stem, 7, 2, 3, bias=False)
        self.norm0 = nn.BatchNorm2d(stem)
        widths = [stem, stem]
        channels = stem
        for number, count in enumerate(layers, start=1):
            block = DenseBlock(channels, growth, count)
            self.add_module(f"denseblock{number}", block)
            channels += count * growth
            if number < len(layers):
                self.add_module(f"transition{number}", Transition(channels))
                channels //= 2
                widths.append(channels)
        self.norm5 = nn.BatchNorm2d(channels)
        # The last transition is no tap: the last block works at its stride.
        self.channels = (*widths[:4], channels)

    def pyramid(self, image: Tensor) -> list[Tensor]:
        """Return features at strides 2, 4, 8, 16 and 32.

        Parameters
        ----------
        image : Tensor, shape (N, 3, H, W)
            RGB normalised by ImageNet's mean and deviation.

        Returns
        -------
        list of Tensor
            The stem's, before and after pooling; those of the first two
            transitions; the last block's, normalised and rectified.
        """
        x = F.relu(self.norm0(self.conv0(image)))
        taps = [x]
        x = F.max_pool2d(x, 3, 2, 1)
        taps.append(x)
        for number in (1, 2, 3):
            x = self._step(f"denseblock{number}", x)
            x = self._step(f"transition{number}", x)
            taps.append(x)
        x = self._step("denseblock4", x)
        return [*taps[:4], F.relu(self.norm5(x))]

    def _step(self, name: str, x: Tensor) -> Any:
        return self.get_submodule(name)(x)

    def forward(self, image: Tensor) -> Tensor:
        """Map ``(N, 3, H, W)`` to the features at stride 32."""
        return self.pyramid(image)[-1]
