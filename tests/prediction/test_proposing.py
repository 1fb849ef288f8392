"""Objects without a click, of images of any size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import zoom
from tests.prediction.class_nets import (
    ByBrightness,
    bright_model,
    other_classes,
    painted,
)

from napari_clickseg.boxes import Box
from napari_clickseg.errors import (
    Cancelled,
    DeviceError,
    ModelError,
    SettingsError,
)
from napari_clickseg.image import ImageSource
from napari_clickseg.prediction.class_tiles import steps
from napari_clickseg.prediction.object_size import BEST, usual_diameter, windows
from napari_clickseg.prediction.proposing import propose
from napari_clickseg.samples import draw_fluorescence

#: The network goes by brightness, so that no size is better than another.
AS_IT_IS = {"diameter": BEST}


def source(image: Any) -> ImageSource:
    return ImageSource(image, contrast=(0, 255))


@given(st.integers(1, 5000), st.integers(8, 900))
@settings(deadline=None, max_examples=200)
def test_weights_of_tiles_add_up_to_one(length: int, side: int) -> None:
    total = np.zeros(length)
    for step in steps(length, side):
        assert step.length <= max(side, min(length, side * 1.25))
        assert step.start >= 0
        total[step.start : step.start + step.length] += step.weights
    np.testing.assert_allclose(total, 1, atol=1e-5)


def test_the_rim_of_a_tile_counts_for_nothing() -> None:
    first, second = steps(1000, 600)
    assert not first.weights[-30:].any()
    assert not second.weights[:30].any()


@given(st.integers(0, 1000), st.sampled_from([64, 100, 131]))
@settings(deadline=None, max_examples=15)
def test_tiles_leave_no_seam(seed: int, tile: int) -> None:
    """Also where objects lie across many of them."""
    rng = np.random.default_rng(seed)
    discs = [
        (int(rng.integers(0, 230)), int(rng.integers(0, 310)), int(rng.integers(6, 45)))
        for _ in range(9)
    ]
    image, model = painted((230, 310), discs), bright_model()
    whole = propose(model, source(image), least_area=1, **AS_IT_IS)
    parts = propose(model, source(image), least_area=1, tile=tile, **AS_IT_IS)
    np.testing.assert_array_equal(parts.labels, whole.labels)
    np.testing.assert_array_equal(parts.background, whole.background)
    assert (whole.labels > 0).sum() == pytest.approx((image > 0).sum(), rel=0.02)


def test_an_object_larger_than_a_tile_is_one() -> None:
    image = painted((400, 500), [(200, 250, 180)])
    found = propose(bright_model(), source(image), tile=64, **AS_IT_IS)
    assert found.labels.max() == 1
    np.testing.assert_array_equal(found.labels > 0, image > 0)


class Watched:
    """An array that is not in memory, and tells how much of it is read at once."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.most = 0

    def __getitem__(self, index: Any) -> Any:
        part = self.array[index]
        self.most = max(self.most, part.size)
        return part


def test_large_images_are_read_by_tiles() -> None:
    image = painted((900, 1100), [(100, 100, 20), (800, 1000, 25)])
    watched = Watched(image)
    network = ByBrightness()
    found = propose(bright_model(network), source(watched), tile=128, **AS_IT_IS)
    assert found.labels.max() == 2
    assert watched.most <= 160 * 160
    assert max(map(max, network.sides)) <= 160


@pytest.mark.parametrize("diameter", [6.0, 24.0, 96.0])
def test_the_network_sees_objects_at_the_size_it_knows(diameter: float) -> None:
    network = ByBrightness()
    image = painted((256, 320), [(100, 100, 30)])
    propose(bright_model(network), source(image), diameter=diameter, tile=4096)
    rows, columns = network.sides[-1]
    assert rows == pytest.approx(256 * BEST / diameter, rel=0.02)
    assert columns == pytest.approx(320 * BEST / diameter, rel=0.02)


def test_only_a_part_is_looked_at() -> None:
    image = painted((300, 300), [(40, 40, 12), (40, 150, 12), (148, 40, 12)])
    network = ByBrightness()
    part = Box(0, 0, 150, 100)
    found = propose(bright_model(network), source(image), within=part, **AS_IT_IS)
    # the one that lies across the rim belongs to the part, with all its pixels
    mine = np.zeros((300, 300), np.int32)
    mine[found.box.slices] = found.labels
    assert set(np.unique(mine)) == {0, 1, 2}
    assert (mine[148 + 10, 40], mine[40, 40], mine[40, 150]) == (2, 1, 0)
    assert network.sides[-1] < (300, 300)


def test_it_can_be_stopped() -> None:
    image, asked = painted((400, 400), [(40, 40, 12)]), []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 3

    seen: list[tuple[int, int]] = []
    with pytest.raises(Cancelled):
        propose(
            bright_model(),
            source(image),
            tile=128,
            cancelled=cancelled,
            progress=lambda *at: seen.append(at),
            **AS_IT_IS,
        )
    assert seen == [(1, 16), (2, 16), (3, 16)]


class Short(ByBrightness):
    """A network for which memory is short."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def forward(self, image: Any) -> Any:
        if image.shape[2] * image.shape[3] > self.most**2:
            raise MemoryError
        return super().forward(image)


def test_tiles_are_smaller_where_memory_is_short() -> None:
    image = painted((900, 900), [(450, 450, 300), (20, 20, 15)])
    whole = propose(bright_model(), source(image), **AS_IT_IS)
    found = propose(bright_model(Short(500)), source(image), **AS_IT_IS)
    np.testing.assert_array_equal(found.labels, whole.labels)
    assert "384 pixels" in found.notices[-1]
    with pytest.raises(DeviceError, match="enough memory"):
        propose(bright_model(Short(100)), source(image), **AS_IT_IS)


def test_what_does_not_fit_is_refused_in_words() -> None:
    image = source(np.zeros((40, 40), np.uint8))
    for classes in (other_classes(),):
        with pytest.raises(ModelError, match="sky, sea, land"):
            propose(bright_model(classes=classes), image)
    with pytest.raises(ModelError, match="semantic-cells-starter"):
        propose(object(), image)
    for wrong in ({"diameter": 0.5}, {"seed": 1.0}, {"least_area": 0}):
        with pytest.raises(SettingsError, match=next(iter(wrong))):
            propose(bright_model(), image, **wrong)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="no pixel"):
        propose(bright_model(), image, within=Box(50, 50, 60, 60))


def test_nothing_is_found_in_nothing() -> None:
    found = propose(bright_model(), source(np.zeros((50, 70), np.uint8)))
    assert found.labels.shape == (50, 70)
    assert not found.labels.any()


@pytest.mark.parametrize("radius", [6, 14, 40, 90])
def test_the_diameter_is_found_out(radius: int) -> None:
    places = range(radius + 5, 4 * radius + 90, 2 * radius + 9)
    discs = [(row, col, radius) for row in places for col in places]
    side = places[-1] + radius + 5
    image = painted((side, side), discs)
    found = propose(bright_model(), source(image))
    assert found.diameter == pytest.approx(2 * radius, rel=0.16)
    assert found.labels.max() == len(discs)


def test_pieces_do_not_count() -> None:
    whole = np.full(10, 80.0**2)
    assert usual_diameter(whole * np.pi / 4) == pytest.approx(80)
    pieces = np.full(30, 5.0**2)
    both = np.concatenate([whole, pieces]) * np.pi / 4
    assert usual_diameter(both) == pytest.approx(80)
    smaller = np.concatenate([whole, np.full(30, 30.0**2)]) * np.pi / 4
    assert usual_diameter(smaller) == pytest.approx(30)


def test_windows_lie_where_there_is_something() -> None:
    """Of a large image little is looked at to find the diameter out."""
    image = np.zeros((1500, 1800), np.uint8)
    image[900:1500, 1100:1800] = painted(
        (600, 700), [(r, c, 10) for r in range(15, 600, 28) for c in range(15, 700, 28)]
    )
    watched = Watched(image)
    parts = windows(source(watched), Box.of_shape(image.shape), 1.0)
    assert 1 <= len(parts) <= 3
    assert all(part.shape == (512, 512) for part in parts)
    assert parts[0].top >= 700
    assert parts[0].left >= 900
    assert watched.most <= 64 * 64


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_the_bundled_model_finds_nuclei_of_any_size(scale: float) -> None:
    import napari_clickseg as cs
    from napari_clickseg.models.registry import get_info

    if not get_info("semantic-cells-starter").downloaded:
        pytest.skip("the bundled model is not there")
    image, objects = draw_fluorescence()
    low, high = np.percentile(image, (0.5, 99.9))
    image, objects = (zoom(x, scale, order=o) for x, o in ((image, 1), (objects, 0)))
    found = propose(
        cs.load_model("semantic-cells-starter"),
        ImageSource(image, contrast=(low, high)),
    )
    areas = np.bincount(objects.ravel())[1:]
    true = np.sqrt(4 / np.pi * np.median(areas[areas > 0]))
    assert found.diameter == pytest.approx(true, rel=0.15)
    overlaps = [
        np.bincount(found.labels[objects == i], minlength=1)
        for i in np.unique(objects)[1:]
    ]
    # nearly each nucleus has one object for most of its pixels
    alone = [each[1:].max(initial=0) > 0.7 * each.sum() for each in overlaps]
    assert np.mean(alone) > 0.93
    assert abs(int(found.labels.max()) - len(alone)) <= 4
