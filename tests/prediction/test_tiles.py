"""The fixed pyramid of windows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_clickseg.boxes import Box
from napari_clickseg.prediction.tiles import around, levels, snap, tiles

SHAPES = st.tuples(st.integers(1, 1500), st.integers(1, 1500))
SIDES = st.sampled_from([32, 96, 448, 512])


@st.composite
def images(draw):
    """A shape, a side with a manageable number of tiles, and a box in the image."""
    shape = draw(SHAPES)
    side = draw(SIDES.filter(lambda side: max(shape) <= 16 * side))
    top, left = (draw(st.integers(0, length - 1)) for length in shape)
    bottom = draw(st.integers(top + 1, shape[0]))
    right = draw(st.integers(left + 1, shape[1]))
    return shape, side, Box(top, left, bottom, right)


def inside(inner, outer):
    return inner.intersect(outer) == inner


@given(images())
def test_every_level_covers_the_image(case):
    shape, side, _ = case
    found = list(tiles(shape, side))
    assert len(set(found)) == len(found)
    assert [tile.level for tile in found] == sorted(tile.level for tile in found)
    covered = np.zeros((levels(shape, side), *shape), bool)
    for tile in found:
        assert tile.box.clip(shape) == tile.box
        assert not tile.box.empty
        assert 1 <= max(tile.size) <= side
        covered[(tile.level, *tile.box.slices)] = True
    assert covered.all()


@given(images())
def test_levels_go_from_the_whole_image_to_its_own_pixels(case):
    shape, side, _ = case
    found = list(tiles(shape, side))
    assert found[0].box == Box.of_shape(shape)
    assert max(found[0].size) == min(side, max(shape))
    extents = {tile.level: max(tile.box.shape) for tile in found}
    assert (
        len(extents)
        == levels(shape, side)
        <= 1 + math.ceil(math.log2(max(1, max(shape) / side)))
    )
    for coarse, fine in zip(extents, list(extents)[1:], strict=False):
        assert fine == coarse + 1
        assert 1 < extents[coarse] / extents[fine] < 2.5
    scales = {tile.level: max(tile.size) / max(tile.box.shape) for tile in found}
    assert scales[max(scales)] <= 1
    assert scales[max(scales)] > 0.8
    for tile in found:  # the same enlargement along both axes, but for rounding
        for ours, seen in zip(tile.box.shape, tile.size, strict=True):
            assert abs(seen - ours * scales[tile.level]) <= 1


@given(images())
def test_a_box_is_seen_at_the_finest_level_that_holds_it(case):
    shape, side, box = case
    tile = snap(box, shape, side)
    found = list(tiles(shape, side))
    assert tile in found
    assert inside(box, tile.box)
    holding = [other for other in found if inside(box, other.box)]
    assert tile.level == max(other.level for other in holding)

    def off(other):
        return tuple(
            abs(a + b - c - d)
            for a, b, c, d in zip(box[:2], box[2:], other.box[:2], other.box[2:],
                                  strict=True)
        )  # fmt: skip

    for other in holding:
        if other.level == tile.level:
            assert off(tile)[0] <= off(other)[0]
            assert off(tile)[1] <= off(other)[1]


@given(images())
def test_what_is_smaller_than_half_a_tile_is_seen_at_full_detail(case):
    shape, side, box = case
    half = Box(
        box.top,
        box.left,
        min(box.bottom, box.top + side // 4),
        min(box.right, box.left + side // 4),
    )
    assert snap(half, shape, side).level == levels(shape, side) - 1


@given(images())
def test_tiles_within_a_field(case):
    shape, side, field = case
    some = list(tiles(shape, side, field))
    everything = list(tiles(shape, side))
    assert some == [tile for tile in everything if not tile.box.intersect(field).empty]
    assert list(tiles(shape, side, Box(-50, -50, 0, 0))) == []


@given(images(), st.floats(-20, 1600, allow_nan=False), st.floats(-20, 1600))
def test_around_a_place(case, row, col):
    shape, side, _ = case
    found = around(row, col, shape, side)
    everything = list(tiles(shape, side))
    assert [tile.level for tile in found] == list(range(levels(shape, side)))
    for tile in found:
        assert tile in everything
        for place, low, high, length in (
            (row, tile.box.top, tile.box.bottom, shape[0]),
            (col, tile.box.left, tile.box.right, shape[1]),
        ):
            place = min(max(place, 0), length - 1)
            margin = (high - low) / 4 - 1
            assert place - low >= margin or low == 0
            assert high - place >= margin or high == length


@given(images())
def test_the_same_question_has_the_same_answer(case):
    shape, side, box = case
    tile = snap(box, shape, side)
    assert tile == snap(box, shape, side)
    numbers = (*tile.box, *tile.size, tile.level)
    assert all(type(number) is int for number in numbers)
    assert snap(tile.box, shape, side) == tile


@given(images(), st.sampled_from([2.0, 3.9, 4.0]))
def test_closer_levels_follow_on_the_same_pyramid(case, magnify):
    """What was prepared without them is found with them, too."""
    shape, side, box = case
    plain = list(tiles(shape, side))
    field = Box(box.top, box.left, box.top + 1, box.left + 1)
    found = list(tiles(shape, side, field, magnify=magnify))
    count = levels(shape, side)
    assert [t for t in found if t.level < count] == list(tiles(shape, side, field))
    assert levels(shape, side, magnify) == count + int(np.log2(magnify))
    closer = [t for t in found if t.level >= count]
    for tile in closer:
        scale = 2.0 ** (tile.level - count + 1)
        assert max(tile.box.shape) <= max(1, round(side / scale))
        for ours, seen in zip(tile.box.shape, tile.size, strict=True):
            assert abs(seen - ours * scale) <= 1
            assert seen <= side
    assert {t.level for t in closer} == set(range(count, levels(shape, side, magnify)))
    tile = snap(field, shape, side, magnify=magnify)
    assert tile in found
    assert tile not in plain
    places = around(box.top, box.left, shape, side, magnify=magnify)
    assert [t.level for t in places] == list(range(levels(shape, side, magnify)))
    assert places[:count] == around(box.top, box.left, shape, side)


def test_images_too_large_to_be_read():
    shape, side = (40_000, 100_000), 512
    field = Box(20_000, 30_000, 20_400, 30_300)
    some = list(tiles(shape, side, field))
    assert max(tile.box.area for tile in some) <= 2**24
    assert 4 < len(some) < 60  # and at once, though there are 60,000 in all
    assert snap(field, shape, side) in some
    assert snap(field, shape, side).level == levels(shape, side) - 1
    # What no tile holds is looked at in the middle, as coarsely as can be read.
    wide = snap(Box(0, 0, 40_000, 100_000), shape, side)
    assert wide.box.area <= 2**24
    assert wide.box.contains(20_000, 50_000)
    coarsest = around(20_000, 50_000, shape, side)[0]
    assert wide.level == coarsest.level == some[0].level > 0


@pytest.mark.parametrize(
    ("shape", "count"),
    [((480, 512), [1]), ((1024, 1024), [1, 9]), ((2048, 2048), [1, 9, 49])],
)
def test_how_many(shape, count):
    found = [tile.level for tile in tiles(shape, 512)]
    assert [found.count(level) for level in range(levels(shape, 512))] == count
