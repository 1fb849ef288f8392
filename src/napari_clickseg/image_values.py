"""Values of an image: which range is shown, and the way from it to 0..1."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Percent of the values that may saturate at each end where no contrast is
#: given, so that one hot pixel does not darken the image.
SATURATED = 0.1
#: Differences that float32 cannot divide by.
_TINY = 1e-30


def robust_range(values: NDArray[Any]) -> tuple[float, float]:
    """Return the percentiles of the finite values; never an empty range."""
    finite = values[np.isfinite(values)].astype(np.float64)
    if finite.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(finite, (SATURATED, 100 - SATURATED))
    if not high - low > _TINY:  # what little contrast there is must stay visible
        low, high = finite.min(), finite.max()
    if not high - low > _TINY:
        high = low + max(1.0, 1e-6 * abs(low))
    return float(low), float(high)


def finite_within(values: NDArray[Any], low: float, high: float) -> bool:
    """Whether all finite values lie in a range, and there is one."""
    finite = values[np.isfinite(values)]
    return finite.size > 0 and bool(finite.min() >= low and finite.max() <= high)


def rescale(values: NDArray[Any], low: float, high: float) -> NDArray[np.float32]:
    """Map ``low``..``high`` to 0..1 as float32.

    Types that float32 does not hold exactly are subtracted in float64, so that
    small differences on a large offset survive.
    """
    exact = np.result_type(values.dtype.newbyteorder("="), np.float32)
    scaled = values.astype(exact, order="C")
    # In place: large images are slow to find memory for.
    scaled -= exact.type(low)
    scaled /= exact.type(high - low)
    if values.dtype.kind == "f":
        scaled = np.nan_to_num(scaled, copy=False, nan=0.0, posinf=1.0, neginf=0.0)
    return np.clip(scaled, 0.0, 1.0, out=scaled).astype(np.float32, copy=False)
