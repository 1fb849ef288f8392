"""What goes into a job about classes, alpha or depth, and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.binding.reports import Report
from napari_clickseg.binding.shelf import ModelChoice
from napari_clickseg.boxes import Box
from napari_clickseg.prediction.dense_settings import DenseSettings
from napari_clickseg.tasks.class_lists import Classes

__all__ = ["DenseOptions", "DenseReport"]


@dataclass(frozen=True)
class DenseOptions:
    """What the dock says about how to answer; a snapshot for one job.

    Parameters
    ----------
    model : ModelChoice
    mode : str
        ``"click"``, ``"push"`` or ``"stroke"``: what a new click means.
    settings : DenseSettings
    object_model : ModelChoice
        Matting: what answers clicks on the object, before there is a trimap.
    band : float or None
        Matting: half the width of the unknown band around that object, in pixels;
        None: by its size.
    push : float
        How far one click pushes, in the unit of the map.
    """

    model: ModelChoice
    object_model: ModelChoice
    mode: str = "click"
    settings: DenseSettings = field(default_factory=DenseSettings)
    band: float | None = None
    push: float = 0.1
    visible: Box | None = None


@dataclass(frozen=True)
class DenseReport(Report):
    """What a job tells the thread that owns the layers.

    Attributes
    ----------
    mode : str
        Of the next click.
    classes : Classes or None
        Of the map, where it is one of classes.
    needs_trimap : bool
        Whether nothing is answered before there is a trimap.
    outlining : bool
        Matting: clicks are on the object, since there is no trimap yet.
    trimap : ndarray (H, W) or None
        What matting knows; while the object is outlined, what it would be.
    kept : dict
        Maps that were kept under a number since the report before, as arrays
        ``(H, W)``; None: it is kept no more.
    numbers : tuple of int
        All that are kept on the plane.
    span : (float, float)
        Smallest and largest value of the map.
    unit : str
        Of the values.
    largest : float or None
        Value that the model cannot go beyond.
    """

    mode: str = "click"
    classes: Classes | None = None
    needs_trimap: bool = False
    outlining: bool = False
    trimap: NDArray[np.uint8] | None = None
    kept: dict[int, NDArray[Any] | None] = field(default_factory=dict)
    numbers: tuple[int, ...] = ()
    span: tuple[float, float] = (0.0, 1.0)
    unit: str = ""
    largest: float | None = None
