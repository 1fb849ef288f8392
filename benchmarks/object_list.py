"""How long the window stands still with a list of thousands of objects.

``QT_QPA_PLATFORM=offscreen python benchmarks/object_list.py 1000 10000`` prints, for
each number of objects, milliseconds that the window's thread takes to show them first,
to show that one changed, one went, and to sort and filter; and what one edit and its
report take in the worker. Compare the columns of one run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QTableView

from napari_clickseg.binding.effort import WorkingEngine
from napari_clickseg.binding.planes import Plane, PlaneImage
from napari_clickseg.binding.reports import Options
from napari_clickseg.binding.shelf import ModelChoice, ModelShelf
from napari_clickseg.widgets.object_columns import AREA
from napari_clickseg.widgets.object_model import ObjectModel

SIDE, STEP = 12, 16


def labelled(count: int) -> np.ndarray:
    """Return a label image of small squares."""
    across = int(np.ceil(np.sqrt(count)))
    labels = np.zeros((across * STEP, across * STEP), np.int32)
    for number in range(count):
        row, col = divmod(number, across)
        size = SIDE - number % 5
        top, left = row * STEP, col * STEP
        labels[top : top + size, left : left + size] = number + 1
    return labels


def milliseconds(work: Callable[[], Any], rounds: int = 5) -> float:
    """Return the shortest of some times."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return 1000 * min(times)


def measure(count: int) -> dict[str, float]:
    """Return the times for so many objects."""
    labels = labelled(count)
    engine = WorkingEngine(ModelShelf(), lambda *_: None)
    engine.keeps = False
    plane, options = Plane((0, 1), (-1, -1)), Options(ModelChoice("x", "cpu", "auto"))
    image = PlaneImage(np.zeros(labels.shape, np.uint8), (0, 255), False, labels.shape)
    found: dict[str, float] = {}
    began = time.perf_counter()
    report = engine.open(plane, image, options, lambda: labels)
    found["open (worker)"] = 1000 * (time.perf_counter() - began)
    model, table = ObjectModel(lambda *_: None, lambda: None), QTableView()
    table.setModel(model)
    table.show()
    began = time.perf_counter()
    model.show_objects(report.objects)
    QApplication.processEvents()
    found["first list"] = 1000 * (time.perf_counter() - began)
    number = iter(range(1, count))
    edited: list[Any] = []

    def edit(name: str, *more: Any) -> None:
        edited.append(engine.call(plane, options, name, next(number), *more))

    def show() -> None:
        model.show_objects(edited.pop(0).objects)
        QApplication.processEvents()

    found["one edit (worker)"] = milliseconds(lambda: edit("set_class", "a"))
    found["one class"] = milliseconds(show)
    milliseconds(lambda: edit("delete"))
    found["one deleted"] = milliseconds(show)
    descending = Qt.SortOrder.DescendingOrder
    found["sort by area"] = milliseconds(lambda: model.sort(AREA, descending), 1)
    found["filter"] = milliseconds(lambda: model.filter("77", "All"), 1)
    return found


def main(counts: list[int]) -> None:
    """Print a table."""
    application = QApplication([])
    rows = [(count, measure(count)) for count in counts]
    print("objects".ljust(20) + "".join(f"{count:>12,}" for count, _ in rows))
    for name in rows[0][1]:
        print(name.ljust(20) + "".join(f"{times[name]:12.1f}" for _, times in rows))
    del application


if __name__ == "__main__":
    main([int(each) for each in sys.argv[1:]] or [1000, 10000])
