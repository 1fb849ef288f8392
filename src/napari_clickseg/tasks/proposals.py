"""Objects without a click: from classes background, interior and border.

Interiors that border keeps apart are seeds; each grows over the border around it
(watershed), so that objects touch where their cells do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_clickseg.errors import MaskError

#: Channels of the probabilities.
BACKGROUND, INTERIOR, BORDER = range(3)


def propose_objects(
    probabilities: ArrayLike,
    *,
    seed: float = 0.5,
    least_seed: int = 6,
    least_area: int = 20,
) -> NDArray[np.int32]:
    """Return the objects that class probabilities speak of.

    Parameters
    ----------
    probabilities : array, shape (3, H, W)
        Of background, interior and border.
    seed : float
        Interior at least this probable is a seed.
    least_seed, least_area : int
        Seeds and objects of fewer pixels are left out.

    Returns
    -------
    ndarray of int32, shape (H, W)
        0 background, 1 and up the objects, by rows of their first pixels.

    Raises
    ------
    MaskError
        If there are not three planes.
    """
    from scipy import ndimage
    from skimage.segmentation import relabel_sequential, watershed

    values: NDArray[Any] = np.asarray(probabilities, np.float32)
    if values.ndim != 3 or len(values) != 3:
        raise MaskError(
            f"Proposals are made of three planes (background, interior, border), not "
            f"of an array of shape {values.shape}."
        )
    seeds, count = ndimage.label(values[INTERIOR] >= seed)
    sizes = np.bincount(seeds.ravel(), minlength=count + 1)
    seeds[sizes[seeds] < least_seed] = 0
    # more likely an object, its border included, than background
    object_ = values[BACKGROUND] < 0.5
    # border between two objects belongs to the nearer; background in it to none
    found = watershed(-values[INTERIOR], seeds, mask=object_)
    areas = np.bincount(found.ravel())
    found[areas[found] < least_area] = 0
    relabelled, _, _ = relabel_sequential(found)
    return np.asarray(relabelled, np.int32)
