"""Which pixels a click means, for images of every kind."""

from __future__ import annotations

import numpy as np
import pytest
from tests.napari.conftest import discs

from napari_clickseg.binding.plane_engine import plane_source
from napari_clickseg.binding.planes import (
    Plane,
    displayed_plane,
    plane_image,
    visible_box,
)
from napari_clickseg.boxes import Box
from napari_clickseg.errors import ImageError


def window(layers, plane):
    """Return what a session sees of the plane."""
    source = plane_source(plane_image(layers, plane))
    return source.window(Box.of_shape(source.shape))


def test_a_flat_image(viewer):
    layer = viewer.add_image(discs())
    plane = displayed_plane(viewer, layer)
    assert plane == Plane((0, 1), (-1, -1))
    seen = window([layer], plane)
    assert seen.shape == (120, 160, 3)
    low, high = layer.contrast_limits
    np.testing.assert_allclose(
        seen[..., 0], np.clip((discs() - low) / (high - low), 0, 1), atol=1e-6
    )


def test_contrast_as_on_screen(viewer):
    image = np.arange(16, dtype=np.uint16).reshape(4, 4) * 100
    layer = viewer.add_image(image, contrast_limits=(200, 600))
    seen = window([layer], displayed_plane(viewer, layer))
    np.testing.assert_allclose(seen[..., 1], np.clip((image - 200.0) / 400, 0, 1))


@pytest.mark.parametrize(
    ("image", "white"),
    [
        (np.full((6, 7, 3), 128, np.uint8), 128 / 255),
        (np.full((6, 7, 4), 0.25, np.float32), 0.25),
        (np.full((6, 7, 3), 1000, np.uint16), 1000 / 65535),
    ],
)
def test_rgb_is_shown_as_it_is(viewer, image, white):
    layer = viewer.add_image(image, rgb=True)
    plane = displayed_plane(viewer, layer)
    assert plane.ndim == 2
    seen = window([layer], plane)
    assert seen.shape == (6, 7, 3)
    np.testing.assert_allclose(seen, white, atol=1e-6)


def test_stack_of_rgb(viewer):
    stack = np.zeros((5, 6, 7, 3), np.uint8)
    stack[3, ..., 1] = 255
    layer = viewer.add_image(stack, rgb=True)
    viewer.dims.set_current_step(0, 3)
    plane = displayed_plane(viewer, layer)
    assert plane == Plane((1, 2), (3, -1, -1))
    np.testing.assert_array_equal(window([layer], plane)[2, 2], (0, 1, 0))


def test_other_axes_and_transposed_views(viewer):
    stack = np.random.default_rng(0).integers(0, 255, (5, 6, 7), np.uint8)
    layer = viewer.add_image(stack, contrast_limits=(0, 255))
    viewer.dims.set_current_step(0, 2)
    shown = displayed_plane(viewer, layer)
    viewer.dims.transpose()
    assert displayed_plane(viewer, layer) == shown
    viewer.dims.order = (1, 0, 2)
    viewer.dims.set_current_step(1, 4)
    plane = displayed_plane(viewer, layer)
    assert plane == Plane((0, 2), (-1, 4, -1))
    np.testing.assert_allclose(
        window([layer], plane)[..., 0], stack[:, 4] / 255, atol=1e-6
    )
    place = plane.to_data((1.25, 3.5))
    assert place == (1.25, 4.0, 3.5)
    assert plane.to_plane(place) == (1.25, 3.5)
    assert plane.holds(place)
    assert not plane.holds((1.25, 3, 3.5))
    assert plane.at((0, 2.2, 0)).fixed == (-1, 2, -1)


def test_scale_translate_and_affine_of_stacks(viewer):
    stack = np.zeros((9, 30, 40))
    layer = viewer.add_image(stack, scale=(4, 0.5, 2), translate=(100, 3, -7))
    viewer.dims.set_point(0, 100 + 4 * 6)
    assert displayed_plane(viewer, layer).fixed[0] == 6


def test_3d_view_says_what_to_do(viewer):
    layer = viewer.add_image(np.zeros((5, 6, 7)))
    viewer.dims.ndisplay = 3
    with pytest.raises(ImageError, match="2-D view"):
        displayed_plane(viewer, layer)


def test_axes_the_image_does_not_have(viewer):
    flat = viewer.add_image(np.zeros((6, 7)))
    viewer.add_image(np.zeros((5, 6, 7)))
    displayed_plane(viewer, flat)
    viewer.dims.order = (1, 0, 2)
    with pytest.raises(ImageError, match="roll"):
        displayed_plane(viewer, flat)


def test_lazy_arrays_are_read_by_window(viewer):
    da = pytest.importorskip("dask.array")
    reads = []

    def block(block_info=None):
        reads.append(block_info[None]["array-location"])
        return np.full((1, 50, 50), 7, np.uint8)

    stack = da.map_blocks(
        block,
        chunks=((1,) * 4, (50,) * 4, (50,) * 4),
        dtype=np.uint8,
        meta=np.array(()),
    )
    layer = viewer.add_image(stack, contrast_limits=(0, 14))
    viewer.dims.set_current_step(0, 2)
    plane = displayed_plane(viewer, layer)
    source = plane_source(plane_image([layer], plane))
    reads.clear()
    seen = source.window(Box(10, 110, 40, 140))
    np.testing.assert_allclose(seen, 0.5)
    assert reads == [[(2, 3), (0, 50), (100, 150)]]


def test_zarr_is_read_by_window(viewer):
    zarr = pytest.importorskip("zarr")

    class Counting:
        """What napari and we read of an array."""

        def __init__(self, array):
            self.array, self.read = array, 0
            self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

        def __getitem__(self, key):
            got = np.asarray(self.array[key])
            self.read += got.size
            return got

        def __array__(self, *_args, **_keywords):
            return np.asarray(self.array[:])

    array = zarr.create_array(
        {}, shape=(3, 200, 300), chunks=(1, 50, 50), dtype="uint16"
    )
    array[1, 20:40, 30:60] = 1000
    counting = Counting(array)
    layer = viewer.add_image(counting, contrast_limits=(0, 1000))
    viewer.dims.set_current_step(0, 1)
    source = plane_source(plane_image([layer], displayed_plane(viewer, layer)))
    counting.read = 0
    seen = source.window(Box(15, 25, 45, 65))
    assert seen[6, 6, 0] == 1
    assert seen[0, 0, 0] == 0
    assert counting.read <= 30 * 40


def test_multiscale_uses_full_resolution(viewer):
    full = np.random.default_rng(1).integers(0, 255, (64, 96), np.uint8)
    layer = viewer.add_image([full, full[::2, ::2], full[::4, ::4]], multiscale=True)
    plane = displayed_plane(viewer, layer)
    assert plane_image([layer], plane).shape == (64, 96)
    assert window([layer], plane).shape == (64, 96, 3)


def test_channels_are_visible_images_of_one_shape(attach_to, viewer):
    ui = attach_to(discs(), name="red")
    viewer.add_image(discs()[::-1], name="green", contrast_limits=(0, 440))
    viewer.add_image(discs()[:, ::-1], name="hidden", visible=False)
    viewer.add_image(np.zeros((5, 6)), name="other")
    assert [layer.name for layer in ui.channel_layers()] == ["red"]
    ui.set_use_channels(True)
    layers = ui.channel_layers()
    assert [layer.name for layer in layers] == ["red", "green"]
    seen = window(layers, ui.plane)
    # Two channels are shown as magenta and green.
    np.testing.assert_allclose(seen[..., 1], discs()[::-1] / 440, atol=1e-6)
    assert seen[30, 35, 0] > 0.8
    ui.first_look = "published"
    ui.add_click((30, 35))
    assert ui.session.mask[30, 35]


def test_visible_box_is_what_the_canvas_shows(viewer):
    layer = viewer.add_image(np.zeros((5, 100, 200)))
    plane = displayed_plane(viewer, layer)
    assert visible_box(layer, plane) == Box(0, 0, 100, 200)
    layer.corner_pixels = np.array([[0, 10, 20], [4, 40, 70]])
    assert visible_box(layer, plane) == Box(10, 20, 41, 71)


def test_first_look_by_itself(ui):
    assert ui.first_look == "published"
    ui.first_look = "auto"
    assert ui.current_options().first_look == "search"
    ui.image_layer.corner_pixels = np.array([[10, 10], [60, 70]])
    assert ui.current_options().first_look == "visible"
    assert ui.current_options().visible == Box(10, 10, 61, 71)


@pytest.mark.parametrize(
    "keywords",
    [
        {"scale": (0.5, 3)},
        {"translate": (100, -30)},
        {"rotate": 35},
        {"shear": (0.4,)},
        {"affine": [[0.8, 0.3, 5], [-0.2, 1.1, 7], [0, 0, 1]], "scale": (2, 2)},
    ],
)
def test_our_layers_lie_where_the_image_lies(attach_to, viewer, keywords):
    ui = attach_to(discs(), **keywords)
    place = (30.0, 35.0)
    world = ui.image_layer.data_to_world(place)
    for name in ("Clicks", "Mask", ui.objects_layer.name):
        np.testing.assert_allclose(viewer.layers[name].world_to_data(world), place)
    # A click of the mouse is a place in the world.
    points = viewer.layers["Clicks"]
    points.add(points.world_to_data(world))
    assert ui.session.mask[30, 35]
    ui.image_layer.scale = (7, 7)
    ui.image_layer.rotate = 10
    ui.image_layer.translate = (1, 2)
    world = ui.image_layer.data_to_world(place)
    for name in ("Clicks", "Mask", ui.objects_layer.name):
        np.testing.assert_allclose(viewer.layers[name].world_to_data(world), place)


def test_each_plane_is_its_own_session(attach_to, viewer):
    stack = np.stack([discs()] * 3)
    ui = attach_to(stack)
    ui.first_look = "published"
    viewer.dims.set_current_step(0, 0)
    ui.add_click((30, 35))
    viewer.dims.set_current_step(0, 2)
    assert len(viewer.layers["Clicks"].data) == 0
    ui.add_click((85, 40))
    assert ui.commit() == 1
    viewer.dims.set_current_step(0, 0)
    assert len(viewer.layers["Clicks"].data) == 1
    assert ui.commit() == 2, "ids are unique over all planes"
    assert ui.objects_layer.data[2, 85, 40] == 1
    assert ui.objects_layer.data[0, 30, 35] == 2
    assert not ui.objects_layer.data[1].any()
    assert len(ui.stats.objects) == 2
    ui.undo()
    assert not ui.objects_layer.data[0].any()
    assert ui.objects_layer.data[2, 85, 40] == 1


def test_ids_of_planes_never_looked_at_are_not_given_again(attach_to, viewer):
    ui = attach_to(np.stack([discs()] * 3))
    ui.first_look = "published"
    labels = np.zeros((3, 120, 160), np.int32)
    labels[2, 5, 5] = 40
    ui.choose_objects(viewer.add_labels(labels))
    viewer.dims.set_current_step(0, 0)
    ui.add_click((30, 35))
    assert ui.commit() == 41


def test_a_click_on_another_plane_goes_there(attach_to, viewer):
    ui = attach_to(np.stack([discs()] * 3))
    ui.first_look = "published"
    viewer.dims.set_current_step(0, 0)
    viewer.layers["Clicks"].add([2, 30, 35])
    assert len(viewer.layers["Clicks"].data) == 0
    assert ui.mask_layer.data[2, 30, 35]
    viewer.dims.set_current_step(0, 2)
    assert len(viewer.layers["Clicks"].data) == 1


def test_3d_view_and_back(attach_to, viewer):
    ui = attach_to(np.stack([discs()] * 3))
    ui.first_look = "published"
    viewer.dims.set_current_step(0, 1)
    ui.add_click((30, 35))
    viewer.dims.ndisplay = 3
    assert ui.hint[1] == "error"
    viewer.layers["Clicks"].add([1, 2, 3])
    ui.act("commit")
    assert ui.hint[1] == "error"
    viewer.dims.ndisplay = 2
    assert len(viewer.layers["Clicks"].data) == 1
    assert ui.commit() == 1


def test_new_data_in_the_image_starts_anew(ui, viewer):
    ui.add_click((30, 35))
    ui.image_layer.data = discs()[:60]
    assert ui.session.shape == (60, 160)
    assert ui.mask_layer.data.shape == (60, 160)
    ui.add_click((30, 120))
    assert ui.commit() == 1
    assert ui.objects_layer.data.shape == (60, 160)


def test_channels_in_the_colors_of_their_layers(viewer):
    """The same as napari's own pixels, for maps of two colors and of many."""
    rng = np.random.default_rng(0)
    layers = [
        viewer.add_image(
            rng.random((24, 32)).astype(np.float32),
            colormap=name,
            gamma=gamma,
            contrast_limits=(0.1, 0.8),
            blending="additive",
        )
        for name, gamma in (("green", 1), ("magma", 0.6), ("gray_r", 1))
    ]
    plane = displayed_plane(viewer, layers[0])
    shown = np.zeros((24, 32, 3))
    for layer in layers:
        values = np.clip((layer.data - 0.1) / 0.7, 0, 1) ** layer.gamma
        shown += layer.colormap.map(values.ravel())[:, :3].reshape(24, 32, 3)
    seen = window(layers, plane)
    np.testing.assert_allclose(seen, np.minimum(shown, 1), atol=2 / 255)
    source = plane_source(plane_image(layers, plane))
    assert [len(table) for table in source.describe()["colormaps"]][::2] == [2, 2]


def test_channels_of_one_color_map_are_red_green_and_blue(viewer):
    layers = [
        viewer.add_image(
            np.full((8, 8), value), contrast_limits=(0, 1), colormap="gray"
        )
        for value in (0.2, 0.4, 0.6)
    ]
    plane = displayed_plane(viewer, layers[0])
    np.testing.assert_allclose(window(layers, plane)[0, 0], (0.2, 0.4, 0.6), atol=1e-6)
    layers[0].colormap = "green"  # an image by itself has values only
    np.testing.assert_allclose(window(layers[:1], plane)[0, 0], 0.2, atol=1e-6)
    np.testing.assert_allclose(window(layers, plane)[0, 0], (1.0, 1.0, 1.0), atol=1e-6)


def test_another_color_map_counts_from_the_next_answer(viewer):
    engine_image = [
        viewer.add_image(np.full((8, 8), 0.5), contrast_limits=(0, 1), colormap=name)
        for name in ("red", "blue")
    ]
    plane = displayed_plane(viewer, engine_image[0])
    before = plane_image(engine_image, plane)
    engine_image[1].colormap = "green"
    after = plane_image(engine_image, plane)
    assert before.look != after.look
    np.testing.assert_allclose(
        plane_source(after).window(Box(0, 0, 1, 1))[0, 0], (0.5, 0.5, 0)
    )
