"""Cut-outs: an image that is transparent where the object is not."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.errors import ExportError
from napari_clickseg.exporting.foreground import estimate_foreground
from napari_clickseg.exporting.planes import Planes, check_single
from napari_clickseg.exporting.png import encode
from napari_clickseg.exporting.tiff import Spacing, write_tiff
from napari_clickseg.exporting.values import as_alpha, as_colours, in_bits, with_bits
from napari_clickseg.exporting.writing import PNG, TIFF, check_suffix, replacing

CUTOUT_SUFFIXES = PNG + TIFF
_WHAT = "A cut-out"


def save_cutout(
    path: str | os.PathLike[str],
    image: Any,
    alpha: Any = None,
    *,
    foreground: bool = True,
    bits: int | None = None,
    spacing: float | Sequence[float] | Spacing | None = None,
    spacing_unit: str = "um",
) -> list[Path]:
    """Write the object of an image, with alpha that is straight (not multiplied in).

    Parameters
    ----------
    path : path
        ``.png``, or ``.tif``, ``.tiff``; stacks only the latter.
    image : array-like
        ``(H, W)``, ``(H, W, 3)`` or, with alpha in its fourth channel, ``(H, W, 4)``;
        uint8, uint16, or floats from 0 to 1. Also stacks of RGBA.
    alpha : array-like, shape (H, W), optional
        As for :func:`save_alpha`; multiplied with that of the image if it has one.
    foreground : bool
        Write the object's own colours, estimated where alpha is between 0 and 1.
        False: those of the image, in which the old background shines through.
    bits : {8, 16}, optional
        Of each channel; default: as the image has, and 16 for floats.
    spacing, spacing_unit
        As for :func:`save_class_map`.

    Returns
    -------
    list of Path
        The one file.

    Raises
    ------
    ExportError
        If image and alpha do not fit, or the file cannot be written; a file that was
        there is unchanged then.
    """
    path = check_suffix(path, CUTOUT_SUFFIXES, _WHAT)
    if bits not in (None, 8, 16):
        raise ExportError(f"A cut-out has 8 or 16 bits a channel, not {bits!r}.")
    spaced = Spacing.of(spacing, spacing_unit)
    planes, alphas = _pairs(image, alpha)
    if path.suffix.lower() in PNG:
        check_single(planes, path.name)
    made = (
        cut_out(plane, each, foreground=foreground, bits=bits)
        for plane, each in zip(planes, alphas, strict=True)
    )
    first = next(made)
    pages = _chained(first, made)
    with replacing(path) as [file]:
        if path.suffix.lower() in PNG:
            file.write(encode(first))
        else:
            shape = (*planes.leading, *first.shape)
            write_tiff(file, pages, shape, first.dtype, channels=True, spacing=spaced)
    return [path]


def cut_out(
    image: NDArray[Any],
    alpha: NDArray[Any] | None = None,
    *,
    foreground: bool = True,
    bits: int | None = None,
) -> NDArray[Any]:
    """Return a cut-out, RGBA (H, W, 4) of uint8 or uint16; see :func:`save_cutout`."""
    image = np.asarray(image)
    covered = None if alpha is None else as_alpha(np.asarray(alpha))
    if image.ndim == 3 and image.shape[2] in (2, 4):
        own = as_alpha(image[..., -1])
        covered = own if covered is None else own * covered
        image = image[..., :-1]
    colours = as_colours(image)
    if covered is None:
        raise ExportError(
            "A cut-out needs alpha: pass it beside the image, or as a fourth channel."
        )
    if covered.shape != colours.shape[:2]:
        raise ExportError(
            f"The image has {colours.shape[:2]} rows and columns, alpha "
            f"{covered.shape}: both must cover the same pixels."
        )
    if bits is not None:
        colours = with_bits(colours, bits)
    if foreground:
        colours = estimate_foreground(colours, covered)
    found = np.empty((*covered.shape, 4), colours.dtype)
    found[..., :3] = colours
    found[..., 3] = in_bits(covered, colours.dtype.itemsize * 8)
    return found


def _pairs(image: Any, alpha: Any) -> tuple[Planes, Any]:
    """Return the planes of an image, and alpha for each of them."""
    if alpha is None:
        planes = Planes(image, _WHAT, channels=True)
        return planes, [None] * len(planes)
    alphas = Planes(alpha, "Alpha")
    image = image if hasattr(image, "shape") else np.asarray(image)
    planes = Planes(image, _WHAT, channels=len(image.shape) > len(alphas.shape))
    if planes.leading != alphas.leading:
        raise ExportError(
            f"The image has shape {planes.shape}, alpha {alphas.shape}: both must "
            "cover the same pixels."
        )
    return planes, alphas


def _chained(first: NDArray[Any], others: Any) -> Iterator[NDArray[Any]]:
    yield first
    yield from others
