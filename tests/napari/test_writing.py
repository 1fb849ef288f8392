"""Boxes written into Labels layers: quickly, and by the public way as well."""

from __future__ import annotations

import numpy as np
import pytest

from napari_clickseg.binding.planes import Plane
from napari_clickseg.binding.writing import (
    label_check,
    read_box,
    write_box,
    write_box_undoable,
)
from napari_clickseg.boxes import Box
from napari_clickseg.errors import MaskError

FLAT = Plane((0, 1), (-1, -1))


def shown(layer):
    """Return what napari would send to the screen."""
    return layer.colormap.map(np.asarray(layer._slice.image.view))


@pytest.fixture
def layer(viewer):
    return viewer.add_labels(np.zeros((40, 50), np.int32))


def test_the_quick_way_shows_what_the_public_way_shows(layer, viewer):
    values = np.random.default_rng(0).integers(0, 5, (7, 9))
    box = Box(10, 20, 17, 29)
    told = []
    layer.events.labels_update.connect(lambda event: told.append(event.data.shape))
    write_box(layer, FLAT, box, values)
    np.testing.assert_array_equal(layer.data[10:17, 20:29], values)
    assert told == [(7, 9)], "only the box is drawn anew"
    quick = np.array(layer._slice.image.view)
    layer.refresh()
    np.testing.assert_array_equal(quick, layer._slice.image.view)


def test_without_naparis_inner_parts(layer, monkeypatch):
    monkeypatch.delattr(type(layer), "_partial_labels_refresh")
    write_box(layer, FLAT, Box(0, 0, 2, 3), np.ones((2, 3), bool))
    assert layer.data[:2, :3].all()
    assert np.asarray(layer._slice.image.view)[0, 0]


@pytest.mark.parametrize("write", [write_box, write_box_undoable])
def test_planes_of_a_stack(viewer, write):
    layer = viewer.add_labels(np.zeros((4, 40, 50), np.uint16))
    viewer.dims.set_current_step(0, 1)
    box = Box(5, 6, 8, 10)
    values = np.arange(12).reshape(3, 4)
    for index in (1, 3):
        write(layer, Plane((1, 2), (index, -1, -1)), box, values)
        np.testing.assert_array_equal(layer.data[index, 5:8, 6:10], values)
        np.testing.assert_array_equal(
            read_box(layer, Plane((1, 2), (index, -1, -1)), box), values
        )
    assert not layer.data[[0, 2]].any()
    before = np.array(layer._slice.image.view)
    layer.refresh()
    np.testing.assert_array_equal(before, layer._slice.image.view)
    write(layer, Plane((0, 2), (-1, 20, -1)), Box(0, 0, 4, 2), np.full((4, 2), 9))
    assert (layer.data[:, 20, :2] == 9).all()


def test_transposed_view(viewer):
    layer = viewer.add_labels(np.zeros((40, 50), np.int32))
    viewer.dims.transpose()
    write_box(layer, FLAT, Box(1, 2, 3, 9), np.full((2, 7), 4))
    before = np.array(layer._slice.image.view)
    layer.refresh()
    np.testing.assert_array_equal(before, layer._slice.image.view)


def test_naparis_undo_takes_it_back(layer):
    write_box_undoable(layer, FLAT, Box(0, 0, 2, 2), np.full((2, 2), 7))
    assert layer.data[0, 0] == 7
    layer.undo()
    assert not layer.data.any()


def test_hidden_layers_are_written_and_shown_later(layer):
    layer.visible = False
    write_box(layer, FLAT, Box(0, 0, 2, 2), np.full((2, 2), 7))
    assert layer.data[0, 0] == 7
    layer.visible = True
    assert shown(layer)[0, 0].any()


def test_lazy_and_read_only_layers_are_refused(viewer):
    da = pytest.importorskip("dask.array")
    box = Box(0, 0, 1, 1)
    lazy = viewer.add_labels(da.zeros((4, 5), dtype=np.int32))
    with pytest.raises(MaskError, match="lazy"):
        write_box(lazy, FLAT, box, np.ones((1, 1)))
    data = np.zeros((4, 5), np.int32)
    data.flags.writeable = False
    fixed = viewer.add_labels(data)
    with pytest.raises(MaskError, match="read-only"):
        write_box_undoable(fixed, FLAT, box, np.ones((1, 1), int))


def test_zarr_layers_can_be_written(viewer):
    zarr = pytest.importorskip("zarr")
    array = zarr.create_array({}, shape=(20, 30), chunks=(10, 10), dtype="int32")
    layer = viewer.add_labels(array)
    write_box_undoable(layer, FLAT, Box(2, 3, 4, 6), np.full((2, 3), 5))
    assert (np.asarray(array[2:4, 3:6]) == 5).all()
    write_box(layer, FLAT, Box(2, 3, 4, 6), np.zeros((2, 3)))
    assert not np.asarray(array[:]).any()


def test_labels_that_fit(viewer):
    small = viewer.add_labels(np.zeros((4, 5), np.uint8), name="small")
    label_check(small)(255)
    with pytest.raises(MaskError, match="small"):
        label_check(small)(256)
