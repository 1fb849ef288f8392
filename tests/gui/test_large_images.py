"""A real window on an image of 100,000 x 100,000 pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import Qt
from tests.gui.hands import Hands, Stopwatch
from tests.large import DISCS, SIDE, Counting, pyramid
from tests.napari.fakes import FakeModel


@pytest.fixture
def levels(tmp_path: Path) -> list[Counting]:
    """An image on disk, whose reads are counted."""
    return [Counting(array) for array in pyramid(tmp_path / "image.zarr")]


@pytest.fixture
def large(
    open_dock: Callable[..., Hands], model: FakeModel, levels: list[Counting]
) -> Hands:
    """A window on it, zoomed in on two of its discs."""
    hands = open_dock(levels, multiscale=True, contrast_limits=(0, 255))
    hands.camera.center = (0, 50_130, 70_345)
    hands.camera.zoom = 2.0
    hands.pause(0.5)
    return hands


def test_the_field_is_what_the_canvas_shows(large: Hands) -> None:
    from napari_clickseg.binding.planes import visible_box

    ui = large.ui
    for zoom in (2.0, 5.0, 0.5):
        large.camera.zoom = zoom
        large.pause(0.2)
        box = visible_box(ui.image_layer, ui.plane, large.viewer)
        size = large.canvas.size()
        height, width = size.height() / zoom, size.width() / zoom
        assert box.shape[0] == pytest.approx(height, abs=4)
        assert box.shape[1] == pytest.approx(width, abs=4)
        assert (box.top + box.bottom) / 2 == pytest.approx(50_130, abs=3)
        assert (box.left + box.right) / 2 == pytest.approx(70_345, abs=3)


def test_clicks_read_what_is_on_screen(large: Hands, levels: list[Counting]) -> None:
    for level in levels:
        level.forget()
    large.click(*DISCS[0])
    large.settle()
    ui = large.ui
    assert ui.mask[50_100, 70_300]
    assert levels[0].largest <= 2048**2
    assert sum(level.pixels for level in levels) <= 4 * 2048**2
    # On screen, too: the mask's tile is that of the view.
    shown = ui.mask_layer._slice.image.raw
    assert shown.size < 4000 * 4000
    assert (shown > 0).sum() == pytest.approx(np.pi * 25**2, rel=0.1)


def test_a_whole_session_by_hand(large: Hands) -> None:
    ui = large.ui
    with Stopwatch() as watch:
        for place in DISCS[:2]:
            large.click(*place)
            large.settle()
            large.press(Qt.Key.Key_N)
            large.settle()
    assert watch.longest < watch.limit
    objects = ui.objects_layer.data[0]
    assert objects[50_100, 70_300] == 1
    assert objects[50_160, 70_390] == 2
    # Seen from afar both are still there.
    large.viewer.reset_view()
    large.pause(0.3)
    assert set(np.unique(ui.objects_layer._slice.image.raw)) >= {2}
    ui.act("undo")
    large.settle()
    assert objects[50_160, 70_390] == 0
    ui.act("redo")
    large.settle()
    assert objects[50_160, 70_390] == 2
    # The click far away shows the object in the far corner.
    large.camera.center = (0, *DISCS[2])
    large.camera.zoom = 2.0
    large.pause(0.3)
    large.click(*DISCS[2])
    large.settle()
    large.press(Qt.Key.Key_N)
    large.settle()
    assert objects[1_000, 99_000] == 3


def test_opening_an_object_after_one_far_away(large: Hands) -> None:
    ui = large.ui
    for place in (DISCS[0], DISCS[2]):
        ui.add_click(place)
        ui.commit()
    ui.reopen(2)
    change = ui.reopen(1)  # the other one goes back: 70,000 pixels lie in between
    assert len(change.parts) == 4
    assert change.bbox.area > 10**9
    assert ui.objects_layer.data[0][1_000, 99_000] == 2
    assert ui.objects_layer.data[0][50_100, 70_300] == 0
    assert ui.mask_layer.data[0][50_100, 70_300] == 1
    ui.undo()
    assert ui.objects_layer.data[0][1_000, 99_000] == 0
    assert ui.objects_layer.data[0][50_100, 70_300] == 1


def test_what_napari_does_with_such_layers(large: Hands) -> None:
    """Layers with levels of detail cannot be painted; nothing of it breaks."""
    ui = large.ui
    large.click(*DISCS[0])
    large.settle()
    layer = ui.mask_layer
    assert layer.multiscale
    assert not layer.editable
    layer.mode = "paint"
    assert layer.mode == "pan_zoom"
    layer.undo()
    layer.redo()
    assert ui.mask[50_100, 70_300]
    assert ui.objects_layer.get_value((50_100, 70_300)) is not None
    assert "0" in str(layer.get_status((50_100, 70_300))["value"])
    assert ui.image_layer.data.shape == (SIDE, SIDE)
    with pytest.raises(Exception, match="would fit now"):
        np.asarray(ui.objects_layer.data[0])


def test_a_stack_that_does_not_fit_can_be_painted(
    open_dock: Callable[..., Hands],
    model: FakeModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stack of small planes keeps napari's painting, and its undo."""
    from napari_clickseg.binding import own_layers

    monkeypatch.setattr(own_layers, "fits", lambda *_: False)
    stack = np.full((3, 120, 160), 20, np.uint8)
    stack[:, 20:50, 30:60] = 220
    hands = open_dock(stack)
    ui = hands.ui
    ui.first_look = "published"
    hands.click(35, 45)
    hands.settle()
    hands.press(Qt.Key.Key_N)
    hands.settle()
    layer = ui.objects_layer
    assert type(layer.data).__name__ == "LazyLabels"
    step = ui.plane.fixed[0]
    assert layer.data[step, 35, 45] == 1
    layer.selected_label = 5
    layer.brush_size = 9
    layer.paint((step, 90, 100), 5)
    layer.events.paint(value=[])
    hands.settle()
    assert layer.data[step, 90, 100] == 5
    assert ui.objects[5].area > 20
    layer.undo()
    assert layer.data[step, 90, 100] == 0
    assert layer.data[step, 35, 45] == 1
