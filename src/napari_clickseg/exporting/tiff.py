"""TIFF files with what other programs want to know: unit, spacing, colours."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from napari_clickseg import __version__
from napari_clickseg.errors import ExportError

#: Centimetres of the units that a resolution tag may be given in.
_CENTIMETRES = {"nm": 1e-7, "um": 1e-4, "mm": 0.1, "cm": 1.0, "m": 100.0, "inch": 2.54}
_LONGER = {
    "nanometer": "nm",
    "micrometer": "um",
    "micron": "um",
    "\u00b5m": "um",
    "\u03bcm": "um",
    "millimeter": "mm",
    "centimeter": "cm",
    "meter": "m",
    "metre": "m",
    "in": "inch",
}
#: What ImageJ reads, and how many bytes of it: it knows no 64-bit TIFF.
_IMAGEJ_TYPES = ("uint8", "uint16", "float32")
_IMAGEJ_BYTES = 2**31
_RESOLUTION_LIMIT = 2.0**31


@dataclass(frozen=True)
class Spacing:
    """How far pixels lie apart.

    Parameters
    ----------
    row, col : float
        Above 0, in ``unit``.
    plane : float or None
        Distance of the planes of a stack.
    unit : str
        Such as ``"um"``.
    """

    row: float
    col: float
    plane: float | None = None
    unit: str = "um"

    @classmethod
    def of(
        cls, spacing: float | Iterable[float] | Spacing | None, unit: str = "um"
    ) -> Spacing | None:
        """Return what users give: one number, (row, col) or (..., plane, row, col).

        Raises
        ------
        ExportError
            If a distance is not above 0.
        """
        if spacing is None or isinstance(spacing, Spacing):
            return spacing
        try:
            given = [float(value) for value in np.atleast_1d(np.asarray(spacing))]
        except (TypeError, ValueError):
            given = []
        if not given or not all(math.isfinite(v) and v > 0 for v in given):
            raise ExportError(
                f"The spacing of pixels is {spacing!r}: give one number above 0, or "
                "(row, col), or (plane, row, col)."
            )
        plane = given[-3] if len(given) > 2 else None
        return cls(given[-2:][0], given[-1], plane, plain_unit(unit))


def plain_unit(unit: Any) -> str:
    """Return a unit in a few ASCII letters: ``"um"`` for a micrometre of any spelling.

    Raises
    ------
    ExportError
        If there is nothing left.
    """
    text = " ".join(str(unit).split())
    text = _LONGER.get(text, text).replace("\u00b5", "u").replace("\u03bc", "u")
    text = text.replace("\u00b2", "^2").replace("\u00b3", "^3").replace("\u00b0", "deg")
    if not text or not text.isascii() or len(text) > 40:
        raise ExportError(
            f"The unit is {unit!r}: give a short one, such as 'm' or 'um'."
        )
    return text


def write_tiff(
    file: BinaryIO,
    pages: Iterable[NDArray[Any]],
    shape: tuple[int, ...],
    dtype: Any,
    *,
    channels: bool = False,
    spacing: Spacing | None = None,
    colours: NDArray[np.uint8] | None = None,
    unit: str | None = None,
    shown: tuple[float, float] | None = None,
) -> None:
    """Write planes, deflated; as ImageJ's own TIFF where it can read such data.

    Parameters
    ----------
    file : file
        Open for reading and writing bytes.
    pages : iterable of ndarray, shape (H, W) or (H, W, 4)
        All planes, the last axis before the rows fastest.
    shape : tuple of int
        Of the whole: (..., H, W) or (..., H, W, 4).
    dtype : dtype
        What the file holds.
    channels : bool
        Colours with straight alpha.
    spacing : Spacing, optional
    colours : ndarray of uint8, shape (256, 3), optional
        How ImageJ shows the values of uint8. Every reader gets the values.
    unit : str, optional
        Of the values.
    shown : (float, float), optional
        Values that are shown as black and white at first.
    """
    import tifffile

    dtype = np.dtype(dtype)
    leading = len(shape) - (3 if channels else 2)
    size = math.prod(shape) * dtype.itemsize
    # tifffile takes a last axis of 1 for no axis, unless it is to describe nothing.
    narrow = leading > 0 and shape[-1] == 1
    imagej = (
        not channels
        and dtype.name in _IMAGEJ_TYPES
        and leading <= 3
        and not narrow
        and size < _IMAGEJ_BYTES
    )
    facts: dict[str, Any] = {}
    if unit is not None:
        # A straight line from values to values, as older versions of ImageJ ask for.
        facts |= {"cf": 0, "c0": 0.0, "c1": 1.0, "vunit": unit} if imagej else {}
        facts |= {} if imagej else {"vunit": unit}
    if imagej:
        facts["axes"] = ("", "Z", "TZ", "TZC")[leading] + "YX"
        if shown is not None and shown[0] < shown[1]:
            facts |= {"min": shown[0], "max": shown[1]}
    resolution = _resolution(spacing, imagej)
    if spacing is not None and resolution:
        facts["unit"] = spacing.unit
        if spacing.plane is not None:
            facts["spacing"] = spacing.plane
    kinds: dict[str, Any] = {"photometric": "minisblack"}
    if channels:
        kinds = {"photometric": "rgb", "extrasamples": ["unassalpha"]}
    with tifffile.TiffWriter(
        file, imagej=imagej, bigtiff=not imagej and size > 2**32 - 2**25
    ) as writer:
        writer.write(
            iter(pages),
            shape=shape,
            dtype=dtype,
            compression="zlib",
            compressionargs={"level": 4},
            metadata=None if narrow else facts,
            software=f"napari-clickseg {__version__}",
            extratags=_tags(colours, unit),
            **kinds,
            **resolution,
        )


def resolution_tags(spacing: Spacing | None) -> dict[str, Any]:
    """Return what ``tifffile`` writes of a spacing, for files that are not ImageJ's."""
    found = _resolution(spacing, imagej=False)
    if spacing is not None and found:
        found["metadata"] = {"unit": spacing.unit}
    return found


def _resolution(spacing: Spacing | None, imagej: bool) -> dict[str, Any]:
    """Return pixels per unit as the tags have it; nothing where they cannot."""
    if spacing is None:
        return {}
    scale = 1.0 if imagej else _CENTIMETRES.get(spacing.unit)
    if scale is None:
        return {}
    values = 1 / (spacing.col * scale), 1 / (spacing.row * scale)
    if not all(1 / _RESOLUTION_LIMIT < value < _RESOLUTION_LIMIT for value in values):
        return {}
    return {"resolution": values, "resolutionunit": "NONE" if imagej else "CENTIMETER"}


def _tags(colours: NDArray[np.uint8] | None, unit: str | None) -> list[Any]:
    tags: list[Any] = []
    if colours is not None:
        # The colour map of a palette file, in one of grey values: ImageJ shows it, and
        # programs that take palettes for colours still read the labels.
        wide = colours.astype(np.uint16).T * 257
        tags.append((320, "H", wide.size, tuple(int(v) for v in wide.ravel()), False))
    if unit is not None:
        # The same for GDAL, and so for QGIS.
        text = (
            '<GDALMetadata><Item name="UNITTYPE" sample="0" role="unittype">'
            f"{_escaped(unit)}</Item></GDALMetadata>"
        )
        tags.append((42112, "s", 0, text, True))
    return tags


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
