"""Docks; importing them imports no torch."""

from __future__ import annotations

from napari_clickseg.widgets.segment import SegmentWidget

__all__ = ["SegmentWidget"]
