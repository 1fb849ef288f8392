"""Changes of windows while learning from few images, by kornia.

Turning by quarters, mirroring and scale come before, with the cutting of windows
(:func:`napari_clickseg.training.augment.warp`); here come bending, intensity,
sharpness and noise, as they differ between microscopes or between cameras.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from napari_clickseg.errors import MissingPackageError

if TYPE_CHECKING:
    from kornia.augmentation import AugmentationSequential

Kind = Literal["microscopy", "photo"]
Labels = TypeVar("Labels", bound=NDArray[Any])


@cache
def _changes(kind: Kind) -> AugmentationSequential:
    """Return kornia's transforms; the first that may bend the labels, too."""
    try:
        import kornia.augmentation as K
        from kornia.constants import DataKey, Resample
    except ImportError as error:
        raise MissingPackageError(
            "Finetuning needs kornia. Install it with: pip install "
            "'napari-clickseg[train]'"
        ) from error
    micro = kind == "microscopy"
    steps = [
        K.RandomElasticTransform(
            kernel_size=(41, 41),
            sigma=(9.0, 9.0),
            alpha=(1.0, 1.0),
            padding_mode="reflection",
            p=0.25 if micro else 0.1,
        ),
        K.ColorJiggle(
            brightness=0.25,
            contrast=0.35,
            saturation=0.0 if micro else 0.3,
            hue=0.0 if micro else 0.02,
            p=0.7,
        ),
        K.RandomGamma((0.6, 1.6) if micro else (0.8, 1.25), p=0.5),
        # uneven illumination
        K.RandomLinearIllumination((0.05, 0.3), p=0.2 if micro else 0.05),
        K.RandomGaussianBlur((7, 7), (0.4, 1.6), p=0.2),
        K.RandomGaussianNoise(mean=0.0, std=0.03, p=0.35 if micro else 0.2),
    ]
    if not micro:
        steps += [K.RandomGrayscale(p=0.05), K.RandomJPEG((40.0, 90.0), p=0.1)]
    nearest = {"resample": Resample.NEAREST, "align_corners": False}
    return K.AugmentationSequential(
        *steps, data_keys=["input", "mask"], extra_args={DataKey.MASK: nearest}
    )


def change(
    image: NDArray[np.uint8],
    labels: Labels,
    kind: Kind,
    rng: Generator,
) -> tuple[NDArray[np.uint8], Labels]:
    """Change a window and its labels at random.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W, 3)
    labels : ndarray of int16 or float32, shape (H, W)
        Bent with the image; never mixed.
    kind : {"microscopy", "photo"}
        Microscopy keeps hues, and bends and shades more.
    rng : Generator
        Source of chance; the same state makes the same change.

    Returns
    -------
    image, labels
        Of the same shapes and types.
    """
    sequence = _changes(kind)
    pixels = torch.from_numpy(image.transpose(2, 0, 1).copy())[None].float().div_(255)
    marks = torch.from_numpy(labels.astype(np.float32))[None, None]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(int(rng.integers(2**62)))
        pixels, marks = sequence(pixels, marks)
    out = pixels[0].clamp(0, 1).mul(255).round().to(torch.uint8)
    bent = marks[0, 0].numpy()
    if labels.dtype.kind in "iu":
        bent = bent.round()
    return (
        np.ascontiguousarray(out.permute(1, 2, 0).numpy()),
        bent.astype(labels.dtype),
    )
