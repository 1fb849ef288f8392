"""Docks; importing them imports no torch."""

from __future__ import annotations

from napari_clickseg.widgets.depth import DepthWidget
from napari_clickseg.widgets.finetune import FinetuneWidget
from napari_clickseg.widgets.matting import MattingWidget
from napari_clickseg.widgets.objects import ObjectsWidget
from napari_clickseg.widgets.segment import SegmentWidget
from napari_clickseg.widgets.semantic import SemanticWidget

__all__ = [
    "DepthWidget",
    "FinetuneWidget",
    "MattingWidget",
    "ObjectsWidget",
    "SegmentWidget",
    "SemanticWidget",
]
