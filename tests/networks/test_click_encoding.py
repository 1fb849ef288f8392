"""Clicks as maps: against the plainest possible implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_clickseg.networks.click_encoding import DistMaps

HEIGHT, WIDTH = 13, 17
UNUSED = (-1.0, -1.0, -1.0)

quarter = st.integers(-40, 120).map(lambda n: n / 4)
row = st.one_of(st.just(UNUSED), st.tuples(quarter, quarter, st.just(0.0)))
halves = st.integers(1, 4).flatmap(
    lambda p: st.lists(
        st.lists(row, min_size=2 * p, max_size=2 * p), min_size=1, max_size=3
    ).filter(lambda samples: len({len(s) for s in samples}) == 1)
)


def plain(points: np.ndarray, radius: float, disks: bool) -> np.ndarray:
    """One pixel and one click at a time."""
    half = points.shape[1] // 2
    maps = np.zeros((len(points), 2, HEIGHT, WIDTH))
    for n, sign, r, c in np.ndindex(maps.shape):
        clicks = [
            p for p in points[n, sign * half : (sign + 1) * half, :2] if max(p) >= 0
        ]
        nearest = min((np.hypot(r - y, c - x) for y, x in clicks), default=1e6)
        if disks:
            maps[n, sign, r, c] = nearest**2 <= radius**2 + 1e-9
        else:
            maps[n, sign, r, c] = np.tanh(2 * nearest / radius)
    return maps


@given(halves, st.sampled_from([1, 2.5, 5]), st.booleans())
def test_like_the_plain_one(samples: list, radius: float, disks: bool) -> None:
    points = torch.tensor(samples, dtype=torch.float32)
    drawn = DistMaps(radius, disks)(torch.empty(len(samples), 3, HEIGHT, WIDTH), points)
    np.testing.assert_allclose(
        drawn.numpy(), plain(points.numpy(), radius, disks), atol=1e-5
    )


def test_a_disk_of_radius_5_has_81_pixels() -> None:
    points = torch.tensor([[[10.0, 10.0, 0.0], UNUSED]])
    drawn = DistMaps(5)(torch.empty(1, 1, 21, 21), points)
    assert drawn[0, 0].sum() == 81
    assert drawn[0, 1].sum() == 0


def test_two_columns_do() -> None:
    points = torch.tensor([[[4.0, 5.0, 7.0], UNUSED]])
    image = torch.empty(1, 1, HEIGHT, WIDTH)
    assert torch.equal(DistMaps()(image, points), DistMaps()(image, points[..., :2]))


def test_a_click_beside_the_image_still_counts() -> None:
    """A crop may leave a click just outside; half of its disk may show."""
    points = torch.tensor([[[-3.0, 8.0, 0.0], UNUSED]])
    drawn = DistMaps(5)(torch.empty(1, 1, HEIGHT, WIDTH), points)
    assert drawn[0, 0, 0].sum() == 9
    assert drawn[0, 0, 3:].sum() == 0


def test_half_precision_images_do_not_move_clicks() -> None:
    """Bfloat16 has no 1001: rows would be wrong by pixels."""
    points = torch.tensor([[[1001.0, 3.0, 0.0], UNUSED]])
    drawn = DistMaps(1)(torch.empty(1, 1, 1010, 8, dtype=torch.bfloat16), points)
    assert drawn.dtype == torch.float32
    assert drawn[0, 0].nonzero().float().mean(0).tolist() == [1001.0, 3.0]


@pytest.mark.parametrize("shape", [(1, 3, 3), (2, 3), (1, 2, 1)])
def test_wrong_points_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="points must have the shape"):
        DistMaps()(torch.empty(1, 1, 4, 4), torch.zeros(shape))


@pytest.mark.parametrize("radius", [0, -1])
def test_a_radius_is_positive(radius: int) -> None:
    with pytest.raises(ValueError, match="norm_radius"):
        DistMaps(radius)
