"""Scenes and reliefs: depth is the true one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("cv2", reason="training needs the extra 'train' (OpenCV)")

from napari_clickseg.training.generators.furniture import turn
from napari_clickseg.training.generators.raycast import (
    Camera,
    Solid,
    cast,
    facing,
    lit,
)
from napari_clickseg.training.generators.relief import WORKING_DISTANCE, relief
from napari_clickseg.training.generators.scenes import FARTHEST, scene


def camera(shape=(60, 80), focal=70.0, place=(0.0, 0.0, 0.0)) -> Camera:
    """Looks along +y; right is +x, down is -z."""
    axes = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], np.float32)
    return Camera(np.array(place, np.float32), axes, focal, shape)


def solid(form, centre, half, axes=None, **more) -> Solid:
    return Solid(
        form,
        np.array(centre, np.float32),
        np.array(half, np.float32),
        np.eye(3, dtype=np.float32) if axes is None else axes,
        **more,
    )


def off_surface(body: Solid, points: np.ndarray) -> np.ndarray:
    """How far points, (3, n), are from a solid's surface, in its own units."""
    own = np.asarray(body.axes, float).T @ (points - body.centre[:, None].astype(float))
    own = own / body.half[:, None]
    if body.form == "ball":
        return np.abs(np.linalg.norm(own, axis=0) - 1)
    if body.form == "tube":
        return np.abs(np.maximum(np.hypot(own[0], own[1]), np.abs(own[2])) - 1)
    return np.abs(np.abs(own).max(0) - 1)


def seen(view: Camera, depth: np.ndarray) -> np.ndarray:
    """Points (3, H W) from depth by the pinhole model, in float64."""
    height, width = view.shape
    rows, cols = np.mgrid[:height, :width].astype(float)
    x = (cols - (width - 1) / 2) / view.focal * depth
    y = (rows - (height - 1) / 2) / view.focal * depth
    own = np.stack([x, y, depth]).reshape(3, -1)
    return view.axes.astype(float) @ own + view.place[:, None]


def test_a_plane_across_the_view_has_one_depth() -> None:
    """Depth runs along the optical axis: it is not the length of the ray."""
    depth, owner, _ = cast(camera(), [solid("box", (0, 3.5, 0), (50, 0.5, 50))])
    np.testing.assert_allclose(depth, 3.0, rtol=1e-5)
    assert (owner == 0).all()


def test_a_sphere_by_hand() -> None:
    view = camera((61, 81))
    depth, owner, _ = cast(view, [solid("ball", (0, 2, 0), (0.5, 0.5, 0.5))])
    assert depth[30, 40] == pytest.approx(1.5, abs=1e-5)
    # the pixel 10 to the right: |t d - c| = r with d = (10/70, 1, 0)
    tan = 10 / 70
    a, b, c = 1 + tan**2, -2 * 2, 4 - 0.25
    assert depth[30, 50] == pytest.approx((-b - np.sqrt(b * b - 4 * a * c)) / (2 * a))
    assert not np.isfinite(depth[0, 0])
    assert owner[0, 0] == -1


def test_a_cylinder_shows_its_side_and_its_top() -> None:
    tube = solid("tube", (0, 2, -0.5), (0.3, 0.3, 0.25))
    view = camera((121, 81))
    depth, owner, _ = cast(view, [tube])
    points = seen(view, np.where(owner == 0, depth, 1))[:, (owner == 0).ravel()]
    assert off_surface(tube, points).max() < 1e-4
    on_top = np.abs(points[2] + 0.25) < 1e-4
    assert on_top.any()
    assert (~on_top).any()
    normals, _, _ = facing(tube, points.astype(np.float32))
    np.testing.assert_allclose(
        normals[:, on_top].T, [[0, 0, 1]] * on_top.sum(), atol=1e-4
    )
    assert np.abs(normals[2, ~on_top]).max() < 1e-4


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_what_is_seen_lies_on_what_is_there_and_nothing_before_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bodies = [
        solid(
            str(rng.choice(["box", "ball", "tube"])),
            rng.uniform((-1.5, 1, -1.5), (1.5, 4, 1.5)),
            rng.uniform(0.1, 0.6, 3),
            turn(*rng.uniform(-3, 3, 3)),
        )
        for _ in range(6)
    ]
    view = camera((30, 40), 30.0)
    depth, owner, _ = cast(view, bodies)
    points = seen(view, np.where(owner >= 0, depth, 1.0))
    for index, body in enumerate(bodies):
        mine = (owner == index).ravel()
        # in units of its own size; flat angles magnify rounding
        assert (off_surface(body, points[:, mine]) < 5e-3).all()
    # march along a few rays: nothing solid before the depth that is told
    for row, col in rng.integers(0, (30, 40), (12, 2)):
        end = min(float(depth[row, col]), 6.0)
        steps = np.arange(0.06, end - 0.01, 0.01)
        ray = (seen(view, np.ones(view.shape))).reshape(3, 30, 40)[:, row, col]
        along = ray[:, None] * steps
        for body in bodies:
            own = body.inward() @ (along - body.centre[:, None])
            outside = off_surface(body, along) > 0.02
            inside = (
                np.linalg.norm(own, axis=0) < 1
                if body.form == "ball"
                else (np.hypot(own[0], own[1]) < 1) & (np.abs(own[2]) < 1)
                if body.form == "tube"
                else np.abs(own).max(0) < 1
            )
            assert not (inside & outside).any()


def test_shadows_lie_behind_things() -> None:
    ball = solid("ball", (0, 0, 1), (0.3, 0.3, 0.3))
    points = np.array([[0, 0, 0], [2, 0, 0], [0, 0, 3]], np.float32).T
    lamp = np.array([0, 0, 2], np.float32)
    assert lit(points, lamp, [ball]).tolist() == [False, True, True]
    assert lit(points, lamp, [solid("ball", (0, 0, 1), (0.3,) * 3, casts=False)]).all()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=12)
def test_rooms_are_closed_and_their_depth_is_true(seed: int) -> None:
    sample = scene((48, 64), np.random.default_rng(seed))
    assert sample.image.shape == (48, 64, 3)
    assert sample.image.dtype == np.uint8
    assert sample.depth.dtype == np.float32
    assert np.isfinite(sample.depth).all()
    assert 0.05 <= sample.depth.min() <= sample.depth.max() <= FARTHEST
    assert (sample.owner >= 0).all()
    points = seen(sample.camera, sample.depth)
    for index in np.unique(sample.owner):
        body = sample.solids[index]
        mine = (sample.owner == index).ravel()
        thick = 1e-3 / float(body.half.min())  # a millimetre, in its own units
        assert (off_surface(body, points[:, mine]) < max(thick, 1e-3)).mean() > 0.99
    axes = sample.camera.axes.astype(float)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-5)
    assert np.linalg.det(axes) == pytest.approx(1, abs=1e-5)


def test_scenes_differ_by_seed_and_only_by_it() -> None:
    one, two, other = (scene((48, 64), np.random.default_rng(s)) for s in (5, 5, 6))
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.depth, two.depth)
    assert (one.image != other.image).any()


def test_pictures_show_the_depth() -> None:
    """Where depth jumps, the picture changes more than elsewhere."""
    ratios = []
    for seed in range(8):
        sample = scene((96, 128), np.random.default_rng(seed))
        grey = sample.image.mean(2)
        change = np.abs(np.diff(grey, axis=1)) + 1e-3
        jump = np.abs(np.diff(np.log(sample.depth), axis=1)) > 0.1
        if jump.sum() > 20:
            ratios.append(change[jump].mean() / change[~jump].mean())
    assert np.median(ratios) > 1.5


@given(st.integers(0, 2**32 - 1), st.integers(40, 90), st.integers(40, 90))
@settings(max_examples=20)
def test_reliefs(seed: int, height: int, width: int) -> None:
    sample = relief((height, width), np.random.default_rng(seed))
    assert sample.image.shape == (height, width, 3)
    assert sample.depth.shape == (height, width)
    assert np.isfinite(sample.depth).all()
    # the middle of its heights is at the working distance
    middle = (sample.depth.min() + sample.depth.max()) / 2
    assert middle == pytest.approx(WORKING_DISTANCE, abs=1e-4)
    assert 0.05 < np.ptp(sample.depth) < 0.51
    again = relief((height, width), np.random.default_rng(seed))
    np.testing.assert_array_equal(again.image, sample.image)


def test_reliefs_are_sharpest_where_they_are_in_focus() -> None:
    from napari_clickseg.training.generators.relief import _focused

    rng = np.random.default_rng(0)
    sharp = rng.random((64, 240, 3)).astype(np.float32)
    height = np.broadcast_to(np.linspace(0, 1, 240, dtype=np.float32), (64, 240)).copy()
    out = _focused(sharp, height, np.random.default_rng(3))
    focus = np.random.default_rng(3).uniform(0, 1)
    rough = [out[:, i : i + 20].std() for i in range(0, 240, 20)]
    assert abs(int(np.argmax(rough)) * 20 + 10 - focus * 240) < 30
    assert max(rough) > 1.5 * min(rough)
