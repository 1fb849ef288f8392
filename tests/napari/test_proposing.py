"""Objects proposed in a viewer without a window."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from tests.napari.conftest import discs
from tests.napari.fakes import FakeModel
from tests.prediction.class_nets import ByBrightness, bright_model

from napari_clickseg import napari_layers
from napari_clickseg.binding.shelf import ModelShelf
from napari_clickseg.errors import Cancelled, ModelError
from napari_clickseg.napari_layers import ViewerClicks, attach
from napari_clickseg.session import PROPOSER
from napari_clickseg.worker import Worker

DISCS = ((30, 35), (30, 120), (85, 40), (85, 115))


class Gated(ByBrightness):
    """Looks at so many tiles, and then waits for leave to look at more."""

    tiles = 100

    def forward(self, image: Any) -> Any:
        answer = super().forward(image)
        while len(self.sides) > self.tiles:
            time.sleep(0.002)
        return answer


@pytest.fixture
def network() -> Gated:
    return Gated()


@pytest.fixture
def shelf(
    monkeypatch: pytest.MonkeyPatch, network: Gated, model: FakeModel
) -> ModelShelf:
    """Two models: one for clicks, one for proposals."""
    names = []

    def load(name: str, **_: Any) -> Any:
        names.append(name)
        return bright_model(network) if name == PROPOSER else model

    made = ModelShelf(load=load)
    monkeypatch.setattr(napari_layers, "_SHELF", made)
    return made


@pytest.fixture
def ui(viewer: ViewerModel, shelf: ModelShelf) -> ViewerClicks:
    viewer.add_image(discs(), name="discs", contrast_limits=(0, 255))
    ui = attach(viewer)
    ui.first_look = "published"
    return ui


class Turns:
    """A viewer with a worker of its own, whose results arrive when they are taken."""

    def __init__(self, viewer: ViewerModel, shelf: ModelShelf) -> None:
        self.waiting: deque[Callable[[], None]] = deque()
        self.worker = Worker(synchronous=False)
        channel = self.worker.channel(self.waiting.append)
        self.ui = ViewerClicks(viewer, channel, shelf)
        self.ui.first_look = "published"
        self.ui.choose(viewer.layers[0])

    def until(self, ready: Callable[[], bool]) -> None:
        """Take results until something holds."""
        end = time.monotonic() + 60
        while not ready():
            assert time.monotonic() < end
            if self.waiting:
                self.waiting.popleft()()
            else:
                time.sleep(0.002)

    def close(self) -> None:
        """End the thread."""
        self.ui.close()
        self.worker.stop()


@pytest.fixture
def turns(viewer: ViewerModel, shelf: ModelShelf) -> Iterator[Turns]:
    viewer.add_image(discs(), name="first", contrast_limits=(0, 255))
    viewer.add_image(discs() * 0, name="second", contrast_limits=(0, 255))
    made = Turns(viewer, shelf)
    yield made
    made.close()


def test_objects_come_into_their_layer(ui: ViewerClicks) -> None:
    change = ui.propose_objects()
    assert change.proposed == (1, 2, 3, 4)
    assert ui.objects_layer is not None
    data = np.asarray(ui.objects_layer.data)
    np.testing.assert_array_equal(data > 0, discs() == 220)
    np.testing.assert_array_equal(data, ui.session.labels)
    assert str(ui.stats) == "4 proposed"
    assert ui.hint[0].startswith("4 objects proposed")
    assert ui.busy[0] == ""
    ui.undo()
    assert not np.asarray(ui.objects_layer.data).any()
    ui.redo()
    np.testing.assert_array_equal(np.asarray(ui.objects_layer.data), data)
    assert not ui.propose_objects().proposed
    assert "No object" in ui.hint[0]


def test_a_proposal_is_corrected_by_a_click(ui: ViewerClicks) -> None:
    ui.propose_objects()
    label = int(ui.session.labels[30, 35])
    ui.act("next_object")
    ui.reopen(label)
    assert ui.session.mask[30, 35]
    ui.add_click((30, 27), positive=False)
    assert not ui.session.mask[30, 27]
    assert ui.commit() == label
    assert ui.objects_layer is not None
    assert ui.objects_layer.data[30, 27] == 0
    assert str(ui.stats) == "1 object, 1.0 clicks each; 3 proposed"
    while ui.can_undo:
        ui.undo()
    assert not np.asarray(ui.objects_layer.data).any()


def test_labels_are_unique_over_planes(viewer: ViewerModel, shelf: ModelShelf) -> None:
    viewer.add_image(np.stack([discs()] * 3), contrast_limits=(0, 255))
    ui = attach(viewer)
    viewer.dims.set_point(0, 0)
    assert ui.propose_objects().proposed == (1, 2, 3, 4)
    viewer.dims.set_point(0, 2)
    assert ui.propose_objects().proposed == (5, 6, 7, 8)
    assert ui.objects_layer is not None
    assert [int(plane.max()) for plane in ui.objects_layer.data] == [4, 0, 8]
    assert ui.stats.proposed == 8


def test_wishes_are_heard(ui: ViewerClicks, network: Gated) -> None:
    ui.propose_objects(diameter=56)
    assert network.sides[-1] == (60, 80)
    ui.undo()
    ui.proposing.diameter = 14
    ui.propose_objects()
    assert network.sides[-1] == (240, 320)
    with pytest.raises(ModelError, match="knows"):
        ui.propose_objects(model="ritm-mobilenetv2-starter")
    assert not ui.proposing.running


def test_a_click_goes_first(turns: Turns, network: Gated) -> None:
    ui = turns.ui
    network.tiles = 2
    ui.proposing.start(tile=64, diameter=28)
    turns.until(lambda: ui.busy[1] is not None)
    assert ui.busy == ("Looking for objects", pytest.approx(1 / 9))
    assert ui.points is not None
    ui.points.layer.add([85, 40])  # while the second tile is looked at
    network.tiles = 3
    turns.until(lambda: ui.session.mask[85, 40])
    assert ui.proposing.running
    assert len(network.sides) <= 3
    network.tiles = 100
    turns.until(lambda: not ui.proposing.running and ui.idle)
    assert len(network.sides) == 9
    # the object in work is left alone
    assert sorted(ui.session.objects) == [1, 2, 3]
    assert ui.session.mask[85, 40]
    assert ui.session.labels[85, 40] == 0


def test_it_is_stopped_by_the_same_button(turns: Turns, network: Gated) -> None:
    ui = turns.ui
    ui.proposing.diameter = 28
    network.tiles = 0
    ui.act("propose")
    turns.until(lambda: bool(network.sides))
    assert ui.proposing.running
    assert "Looking for objects" in ui.busy[0]
    ui.act("propose")
    assert not ui.proposing.running
    assert "Stopped" in ui.hint[0]
    network.tiles = 100
    turns.until(lambda: ui.idle and not ui.busy[0])
    assert not ui.session.objects
    ui.act("propose")
    turns.until(lambda: not ui.proposing.running and ui.idle)
    assert len(ui.session.objects) == 4


def test_results_go_to_the_image_they_were_found_on(
    turns: Turns, network: Gated, viewer: ViewerModel
) -> None:
    ui = turns.ui
    network.tiles = 0
    ui.act("propose")
    turns.until(lambda: bool(network.sides))
    layer = ui.objects_layer
    ui.choose(viewer.layers["second"])
    network.tiles = 100
    turns.until(lambda: not ui.proposing.running and ui.idle)
    assert layer is not None
    assert len(np.unique(layer.data)) == 5
    ui.choose(viewer.layers["first"])
    turns.until(lambda: ui.idle)
    assert ui.stats.proposed == 4


def test_a_script_is_told_when_it_is_stopped(
    ui: ViewerClicks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ui.proposing, "advance", lambda: ui.proposing.cancel())
    with pytest.raises(Cancelled):
        ui.propose_objects()


def test_without_an_image_it_says_so(viewer: ViewerModel, shelf: ModelShelf) -> None:
    ui = attach(viewer)
    ui.act("propose")
    assert not ui.proposing.running
    assert ui.hint[1] == "error"
