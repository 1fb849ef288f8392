"""The first click of a fresh process, run by test_cold_start.py; prints JSON."""

from __future__ import annotations

import json
import sys
import time

import napari
from tests.gui.hands import Hands, Stopwatch

from napari_clickseg.widgets import SegmentWidget


def main() -> None:
    """Open the window and the dock, click at once, and measure."""
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(1200, 800)
    viewer.open_sample("napari-clickseg", "fluorescence")
    started = time.perf_counter()
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget)
    opening = time.perf_counter() - started
    hands = Hands(viewer, widget.clicks)
    hands.pause(1.0)
    before = "torch" in sys.modules
    with Stopwatch() as idle:
        hands.pause(1.0)
    messages: list[str] = []
    widget.clicks.changed.connect(lambda: messages.append(widget.clicks.busy[0]))
    started = time.perf_counter()
    with Stopwatch() as first:
        hands.click(234, 340)
        hands.settle()
    found = {
        "torch_before": before,
        "opening_ms": 1000 * opening,
        "idle_ms": idle.longest,
        "first_ms": first.longest,
        "limit_ms": first.limit,
        "first_answer_s": time.perf_counter() - started,
        "messages": sorted(set(messages)),
        "pixels": int((widget.clicks.mask_layer.data != 0).sum()),
    }
    viewer.close()
    print(json.dumps(found))


main()
