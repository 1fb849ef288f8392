"""Maps of a session of classes, alpha or depth as files for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.boxes import Box
from napari_clickseg.errors import ExportError
from napari_clickseg.exporting.alpha import save_alpha
from napari_clickseg.exporting.class_maps import save_class_map
from napari_clickseg.exporting.cutouts import save_cutout
from napari_clickseg.exporting.depth import save_depth
from napari_clickseg.exporting.values import in_bits

if TYPE_CHECKING:
    from napari_clickseg.image import ImageSource
    from napari_clickseg.session.dense_base import DenseBase

#: What a session can write, by task; the first is the usual one.
KINDS = {
    "semantic": ("classes",),
    "matting": ("alpha", "cutout"),
    "depth": ("depth",),
}


def export(
    session: DenseBase,
    path: str | Path,
    number: int | None = None,
    kind: str | None = None,
    **options: Any,
) -> list[Path]:
    """Write one map; see :meth:`DenseSession.export`."""
    task = session.options["task"]
    kinds = KINDS[task]
    kind = kinds[0] if kind is None else kind
    if kind not in kinds:
        raise ExportError(
            f"A session for {task} writes {' or '.join(map(repr, kinds))}, not "
            f"{kind!r}."
        )
    values = _values(session, number)
    if kind == "classes":
        return save_class_map(path, values, session.task.classes, **options)
    if kind == "depth":
        options.setdefault("unit", session.task.unit)
        return save_depth(path, values, **options)
    if kind == "alpha":
        return save_alpha(path, values, **options)
    return save_cutout(path, colours_of(session.image), values, **options)


def colours_of(source: ImageSource) -> NDArray[Any]:
    """Return an image to cut out: as it is where it is colour, else as it is shown.

    Parameters
    ----------
    source : ImageSource

    Returns
    -------
    ndarray, shape (H, W, 3)
        The image's own uint8 or uint16; else what the model sees, in as many bits.
    """
    dtype = source.dtype.newbyteorder("=")
    if source.colour and source.contrast is None and dtype in (np.uint8, np.uint16):
        whole = np.asarray(source.array)
        return np.moveaxis(whole, source.channel_axis or 0, -1)[..., :3]
    shown = source.window(Box.of_shape(source.shape))
    source.release()
    return in_bits(shown, 8 if source.dtype.itemsize == 1 else 16)


def _values(session: DenseBase, number: int | None) -> NDArray[Any]:
    if number is not None:
        kept = session.committed
        if number not in kept:
            there = ", ".join(map(str, list(kept)[:10])) or "none yet"
            raise ExportError(f"Nothing was kept as {number}. There are: {there}.")
        return kept[number]
    if session.state.draft.answer.box.empty:
        raise ExportError(
            "There is no map to write. Click, or call start_from_model(), first; what "
            "was kept is written by its number."
        )
    return session.result
