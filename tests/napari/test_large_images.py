"""Layers of images that are too large for planes of labels, without a window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.large import DISCS, SIDE, Counting, pyramid
from tests.napari.fakes import FakeModel

from napari_clickseg.binding import lazy_labels, own_layers
from napari_clickseg.binding.labels_plane import LabelsPlane
from napari_clickseg.binding.lazy_labels import LazyLabels, label_levels
from napari_clickseg.binding.planes import Plane, PlaneImage, plane_image
from napari_clickseg.napari_layers import ViewerClicks, attach

SHAPES = ((300, 260), (3, 280, 270), (270, 2, 300))


@pytest.fixture
def large(viewer: Any, model: FakeModel, tmp_path: Path) -> ViewerClicks:
    """A session on an image of 100,000 x 100,000 pixels."""
    levels = [Counting(array) for array in pyramid(tmp_path / "image.zarr")]
    viewer.add_image(levels, multiscale=True, contrast_limits=(0, 255), name="slide")
    return attach(viewer)


def test_objects_all_over(large: ViewerClicks) -> None:
    for number, place in enumerate(DISCS, start=1):
        large.add_click(place)
        assert large.commit() == number
    objects = large.objects_layer
    assert objects is not None
    assert objects.multiscale
    finest = objects.data[0]
    assert isinstance(finest, LazyLabels)
    assert finest[1_000, 99_000] == 3
    assert finest.held_bytes < 5e6
    assert all(int(np.max(level)) == 3 for level in objects.data[-3:])
    large.delete(3)
    assert finest[1_000, 99_000] == 0
    large.undo()
    assert finest[1_000, 99_000] == 3
    assert large.labels[50_100, 70_300] == 1
    assert "data[0]" in large.image_in_python()


def test_a_layer_that_was_deleted_comes_back(large: ViewerClicks, viewer: Any) -> None:
    for place in DISCS:
        large.add_click(place)
        large.commit()
    viewer.layers.remove(large.objects_layer)
    assert not large.objects
    while len(large.objects) < 3:
        assert large.undo() is not None
    assert large.objects_layer is not None
    assert large.objects_layer.data[0].max() == 3


def test_taken_up_again(large: ViewerClicks, viewer: Any, tmp_path: Path) -> None:
    for place in DISCS[:2]:
        large.add_click(place)
        large.commit()
    large.add_click(DISCS[2])
    data = viewer.layers["slide"].data
    large.save(tmp_path / "work.clickseg")
    large.close()
    from napari.components import ViewerModel

    second = ViewerModel()
    second.add_image(data, multiscale=True, contrast_limits=(0, 255), name="slide")
    again = attach(second)
    assert "2 objects" in again.resume_text
    again.resume()
    assert again.objects_layer is not None
    assert again.objects_layer.data[0][50_160, 70_390] == 2
    assert again.mask_layer is not None
    assert again.mask_layer.data[0][1_000, 99_000] == 1
    again.commit()
    assert again.objects_layer.data[0][1_000, 99_000] == 3
    again.close()


def test_objects_of_an_earlier_session_are_taken_over(
    large: ViewerClicks, viewer: Any
) -> None:
    for place in DISCS:
        large.add_click(place)
        large.commit()
    objects = large.objects_layer
    data = viewer.layers["slide"].data
    from napari.components import ViewerModel

    second = ViewerModel()
    second.add_image(data, multiscale=True, contrast_limits=(0, 255), name="slide")
    layer = second.add_labels(objects.data, multiscale=True)
    other = attach(second)
    other.set_objects_layer(layer)
    other.add_click((50_100, 70_100))
    assert sorted(other.objects) == [1, 2, 3]
    assert other.objects[3].area > 1_000
    other.close()


def test_to_a_file_from_the_dock(large: ViewerClicks, tmp_path: Path) -> None:
    from napari_clickseg.exporting import load_objects

    large.add_click(DISCS[2])
    large.commit()
    large.export_objects_to(str(tmp_path / "labels.zarr"))
    back = load_objects(tmp_path / "labels.zarr")
    assert back.shape == (SIDE, SIDE)
    assert back[1_000, 99_000] == 1
    large.export_objects_to(str(tmp_path / "labels.png"))
    assert "at most 134,217,728 pixels" in large.hint[0]


def test_small_images_have_arrays_as_ever(attach_to: Callable[..., Any]) -> None:
    ui = attach_to(np.zeros((64, 64), np.uint8))
    assert isinstance(ui.objects_layer.data, np.ndarray)
    assert isinstance(ui.mask_layer.data, np.ndarray)


def test_a_stack_that_does_not_fit(
    attach_to: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_layers, "fits", lambda *_: False)
    stack = np.full((4, 90, 110), 20, np.uint8)
    stack[:, 20:50, 30:60] = 220
    ui = attach_to(stack)
    ui.first_look = "published"
    ui.add_click((35, 45))
    ui.commit()
    layer = ui.objects_layer
    assert isinstance(layer.data, LazyLabels)
    assert not layer.multiscale
    here = ui.plane.fixed[0]
    assert layer.data[here, 35, 45] == 1
    # napari's own undo knows what was committed.
    layer.undo()
    assert layer.data[here, 35, 45] == 0
    layer.redo()
    ui.viewer.dims.set_current_step(0, (here + 1) % 4)
    ui.add_click((35, 45))
    assert ui.commit() == 2
    assert layer.data[:, 35, 45].tolist().count(0) == 2


# --------------------------------------------------------------------- coarser levels


def test_levels_are_told_to_the_session(viewer: Any) -> None:
    stack = np.arange(4 * 8 * 64 * 96, dtype=np.uint16).reshape(4, 8, 64, 96)
    levels = [stack, stack[:, ::2, ::2, ::2], stack[:, ::4, ::4, ::4]]
    layer = viewer.add_image(levels, multiscale=True, contrast_limits=(0, 10**6))
    plane = Plane((2, 3), (3, 6, -1, -1))
    found: PlaneImage = plane_image([layer], plane)
    assert np.array_equal(np.asarray(found.array), stack[3, 6])
    halves, quarters = found.coarser
    assert np.array_equal(halves[:, :], levels[1][3, 3])
    assert np.array_equal(quarters[2:5, :], levels[2][3, 1, 2:5])
    # Other axes on screen, and two channels of the same levels.
    side = plane_image([layer], Plane((1, 3), (2, -1, 40, -1)))
    assert np.array_equal(side.coarser[0][:, :], levels[1][2, :, 20])
    both = plane_image([layer, layer], plane)
    assert both.coarser[1].shape == (16, 24, 2)


def test_the_field_on_screen_without_napari_s_margins(viewer: Any) -> None:
    from napari_clickseg.binding.hooks import camera_of
    from napari_clickseg.binding.planes import displayed_plane, visible_box
    from napari_clickseg.boxes import Box

    levels = [np.zeros((4_000 >> n, 6_000 >> n), np.uint8) for n in range(3)]
    scale = (2.0, 0.5)
    layer = viewer.add_image(
        levels, multiscale=True, contrast_limits=(0, 1), scale=scale, translate=(7, 9)
    )
    plane = displayed_plane(viewer, layer)
    camera, size = camera_of(viewer), viewer.canvas.size
    camera.center = (0, 7 + 2.0 * 1_000, 9 + 0.5 * 3_000)
    camera.zoom = 4.0
    layer._data_level = 0
    layer.corner_pixels = np.array([[0, 0], [2_047, 4_095]])
    assert visible_box(layer, plane) == Box(0, 0, 2_048, 4_096)
    box = visible_box(layer, plane, viewer)
    assert box is not None
    assert box.shape[0] == pytest.approx(size[0] / 4 / 2, abs=3)
    assert box.shape[1] == pytest.approx(size[1] / 4 / 0.5, abs=3)
    assert (box.top + box.bottom) / 2 == pytest.approx(1_000, abs=2)
    assert (box.left + box.right) / 2 == pytest.approx(3_000, abs=2)
    # The same through a transposed view.
    viewer.dims.order = (1, 0)
    camera.center, camera.zoom = (0, 9 + 0.5 * 3_000, 7 + 2.0 * 1_000), 4.0
    layer._data_level = 0
    layer.corner_pixels = np.array([[0, 0], [2_047, 4_095]])
    turned = visible_box(layer, plane, viewer)
    assert turned is not None
    assert turned.shape[0] == pytest.approx(size[1] / 4 / 2, abs=3)
    assert (turned.left + turned.right) / 2 == pytest.approx(3_000, abs=2)


# ------------------------------------------------------------------------- the arrays


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_lazy_labels_are_like_an_array(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from(SHAPES))
    lazy, dense = LazyLabels(shape, np.int32), np.zeros(shape, np.int32)
    spans = [
        st.one_of(
            st.integers(-n, n - 1),
            st.tuples(st.integers(0, n), st.integers(0, n)).map(
                lambda pair: slice(min(pair), max(pair))
            ),
        )
        for n in shape
    ]
    for _ in range(data.draw(st.integers(1, 5))):
        index, value = data.draw(st.tuples(*spans)), data.draw(st.integers(0, 3))
        lazy[index], dense[index] = value, value
        points = tuple(
            np.array(
                data.draw(st.lists(st.integers(-n, n - 1), min_size=3, max_size=3))
            )
            for n in shape
        )
        lazy[points] = np.array([1, 2, 0])
        dense[points] = np.array([1, 2, 0])
        if (
            len(
                {
                    tuple(p % n for p, n in zip(at, shape, strict=True))
                    for at in zip(*points, strict=True)
                }
            )
            < 3
        ):
            dense[points] = lazy[points]  # which of equal places wins is not said
        assert np.array_equal(lazy[points], dense[points])
        read = data.draw(st.tuples(*spans))
        assert np.array_equal(lazy[read], dense[read])
        step = data.draw(st.sampled_from([1, 2, 3, -1, -2]))
        assert np.array_equal(lazy[::step, ..., ::step], dense[::step, ..., ::step])
    assert np.array_equal(np.asarray(lazy), dense)
    assert lazy.max() == dense.max()
    assert lazy.any() == dense.any()
    lazy[...] = 0
    assert lazy.held_bytes == 0


def test_coarser_levels_show_the_largest_label() -> None:
    rng = np.random.default_rng(0)
    levels, dense = (
        label_levels((1_501, 1_100), np.uint16),
        np.zeros((1_501, 1_100), int),
    )
    assert [level.shape for level in levels] == [(1501, 1100), (751, 550), (376, 275)]
    assert isinstance(levels[-1], np.ndarray)  # napari keeps hold of it
    for _ in range(40):
        row, col = rng.integers(0, (1_450, 1_050))
        height, width = rng.integers(1, 90, 2)
        value = int(rng.integers(0, 900))
        levels[0][row : row + height, col : col + width] = value
        dense[row : row + height, col : col + width] = value
    for level in levels:
        assert np.array_equal(np.asarray(level), dense)
        padded = np.pad(dense, [(0, n % 2) for n in dense.shape])
        dense = padded.reshape(padded.shape[0] // 2, 2, padded.shape[1] // 2, 2).max(
            axis=(1, 3)
        )


def test_old_chunks_are_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy_labels, "HOT", 2**20)
    labels = LazyLabels((20_000, 20_000), np.int32)
    for number in range(60):
        at = number * 300
        labels[at : at + 50, at : at + 50] = number + 1
    assert labels.held_bytes < 2 * 2**20
    for number in range(60):
        at = number * 300
        assert labels[at + 10, at + 10] == number + 1
    labels[10:20, 10:20] = 7  # a packed one is written to
    assert labels[15, 15] == 7
    assert labels[5, 5] == 1
    with pytest.raises(IndexError):
        labels[20_000, 0]
    with pytest.raises(IndexError):
        labels[0, 0, 0]


def test_parts_of_a_plane() -> None:
    labels = LazyLabels((3, 10_000, 10_000), np.int32)
    labels[1, 5_000:5_010, 9_000:9_010] = 4
    plane = LabelsPlane(labels, (1, slice(None), slice(None)))
    (box,) = plane.parts()
    assert box.contains(5_005, 9_005)
    assert plane.any()
    assert plane.max() == 4
    assert np.asarray(plane[box.slices]).sum() == 400
    assert not LabelsPlane(labels, (0, slice(None), slice(None))).any()
    across = LabelsPlane(labels, (slice(None), 5_005, slice(None)))
    assert across.shape == (3, 10_000)
    assert across.max() == 4


# --------------------------------------------------------------------- as on screen


def test_gamma_on_screen_is_what_the_model_sees(ui: Any, viewer: Any) -> None:
    layer = viewer.layers["discs"]
    layer.gamma = 0.5
    ui.add_click((30, 35))
    image = ui.session.image
    low, high = layer.contrast_limits
    expected = ((220 - low) / (high - low)) ** 0.5
    assert image.gamma == (0.5,)
    from napari_clickseg.boxes import Box

    window = image.window(Box(30, 35, 31, 36))
    np.testing.assert_allclose(window[0, 0], expected, atol=1e-6)
    assert "gamma=[0.5]" in ui.as_python()
    # Another gamma counts from the next answer, and the session keeps it.
    layer.gamma = 2.0
    ui.add_click((35, 35))
    assert ui.session.image.gamma == (2.0,)
    assert ui.session.image.describe()["gamma"] == [2.0]


def test_gamma_comes_back_with_a_session(tmp_path: Path) -> None:
    from napari_clickseg.session import ClickSession

    session = ClickSession(FakeModel())
    image = np.full((40, 40), 20, np.uint8)
    image[10:20, 10:20] = 200
    session.set_image(image, contrast=(0, 255), gamma=0.7)
    session.add_click((15, 15))
    session.commit()
    back = ClickSession.load(session.save(tmp_path / "a.clickseg"), model=FakeModel())
    assert back.image.gamma == (0.7,)
    assert back.labels.max() == 1
