"""By which name features are found again."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clickseg.models.encoders import encoder_hash

if TYPE_CHECKING:
    from napari_clickseg.boxes import Box
    from napari_clickseg.image import ImageSource

#: Another number where windows are resized, or features made, in another way.
VERSION = 2
_HASH_BYTES = 20


def key_for(
    model: Any,
    image: ImageSource,
    box: Box,
    size: tuple[int, int],
    flipped: bool = False,
) -> str:
    """Return the key of a window's features.

    It depends on the pixels of the window as the model is shown them (channels and
    contrast applied, before resizing), on the size they are resized to, on whether
    they are mirrored, and on the encoder's weights and configuration; not on where
    the window lies, on device or precision, or on any name. So the same picture is
    found under another file name and as a cut-out of a larger one, and a pixel that
    changed is never overlooked.

    Parameters
    ----------
    model : Model or str
        Something with an encoder's hash
        (:func:`napari_clickseg.models.encoders.encoder_hash`), or that hash.
    image : ImageSource
        The window of it is read.
    box : Box
        The window.
    size : (int, int)
        Height and width that the model sees it at.
    flipped : bool
        Whether the model sees the mirror image.

    Returns
    -------
    str
        40 hexadecimal digits.
    """
    encoder = model if isinstance(model, str) else encoder_hash(model)
    window = np.ascontiguousarray(image.window(box), dtype="<f4")
    digest = hashlib.blake2b(digest_size=_HASH_BYTES)
    rest = [VERSION, encoder, list(window.shape), [int(s) for s in size], bool(flipped)]
    digest.update(json.dumps(rest).encode())
    digest.update(window.data)
    return digest.hexdigest()
