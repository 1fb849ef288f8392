"""Initial clicks have the distributions that RITM published."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage, stats

from napari_clickseg.training.point_sampler import ORDER, PointSampler

DRAWS = 6000


def disk(row: float, col: float, radius: float, size: int = 120) -> np.ndarray:
    rows, cols = np.mgrid[:size, :size]
    return (rows - row) ** 2 + (cols - col) ** 2 <= radius**2


def agrees(counts: np.ndarray, chances: np.ndarray) -> bool:
    """Whether a chi-squared test sees no difference; rare ends are put together."""
    expected = chances / chances.sum() * counts.sum()
    last = int(np.flatnonzero(expected >= 8)[-1])
    counts = np.append(counts[:last], counts[last:].sum())
    expected = np.append(expected[:last], expected[last:].sum())
    return bool(stats.chisquare(counts, expected).pvalue > 1e-4)


@pytest.mark.parametrize(("kind", "first", "count"), [("p", 1, 24), ("n", 0, 25)])
def test_numbers_fall_off_geometrically(kind: str, first: int, count: int) -> None:
    sampler, rng = PointSampler(), np.random.default_rng(0)
    draw = sampler.positives if kind == "p" else sampler.negatives
    drawn = np.array([draw(rng) for _ in range(DRAWS)])
    assert drawn.min() == first
    assert drawn.max() < first + count
    counts = np.bincount(drawn - first, minlength=count)
    assert agrees(counts, 0.8 ** np.arange(count))
    assert not agrees(counts, 0.7 ** np.arange(count))  # the test could fail


def test_merged_as_often_as_said() -> None:
    sampler, rng = PointSampler(), np.random.default_rng(1)
    objects = [disk(30, 30, 10), disk(60, 60, 10), disk(90, 90, 10)]
    numbers = [len(sampler.choose(objects, rng)) for _ in range(DRAWS)]
    share = np.mean(np.array(numbers) == 2)
    assert set(numbers) == {1, 2}
    assert stats.binomtest(int(share * DRAWS), DRAWS, 0.15).pvalue > 1e-4
    assert len(sampler.choose(objects[:1], rng)) == 1


def test_positives_keep_away_from_the_outline_nine_times_in_ten() -> None:
    sampler, rng = PointSampler(), np.random.default_rng(2)
    mask = disk(60, 60, 20)
    inner = [sampler.inner(mask, rng).sum() for _ in range(3000)]
    smaller = int(np.sum(np.array(inner) < mask.sum()))
    assert len(set(inner)) == 2
    assert stats.binomtest(smaller, 3000, 0.9).pvalue > 1e-4
    wanted = ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=3)
    np.testing.assert_array_equal(sampler_eroded(mask), wanted)


def sampler_eroded(mask: np.ndarray) -> np.ndarray:
    return PointSampler(eroded=1.0).inner(mask, np.random.default_rng(0))


def test_small_objects_are_not_eroded_away() -> None:
    mask = disk(60, 60, 4)  # 9 x 9 loses all but 3 x 3: not more than ten pixels
    assert sampler_eroded(mask).sum() == mask.sum()


def test_positives_are_even_over_the_object() -> None:
    sampler = PointSampler(eroded=0.0, merge=0.0)
    rng = np.random.default_rng(3)
    mask = disk(60, 60, 25)
    none = np.zeros_like(mask)
    rows = [sampler.draw([mask], none, rng) for _ in range(1500)]
    points = np.concatenate([r[:24][r[:24, 2] == ORDER] for r in rows])
    assert mask[points[:, 0].astype(int), points[:, 1].astype(int)].all()
    quarter = (points[:, 0] >= 60).astype(int) * 2 + (points[:, 1] >= 60)
    areas = np.bincount(
        ((np.argwhere(mask)[:, 0] >= 60) * 2 + (np.argwhere(mask)[:, 1] >= 60)),
        minlength=4,
    )
    assert agrees(np.bincount(quarter, minlength=4), areas.astype(float))


def test_negatives_by_three_strategies() -> None:
    sampler, rng = PointSampler(), np.random.default_rng(4)
    mask, others = disk(30, 30, 12), disk(90, 90, 8)
    ring = sampler.border_of(mask)
    assert ring.sum() > 0
    assert not (ring & mask).any()
    counts = np.zeros(3)
    for _ in range(1500):
        drawn = sampler.draw([mask], others, rng)[24:]
        for row, col, order in drawn:
            if order != ORDER:
                continue
            place = int(row), int(col)
            assert not mask[place]
            counts += (others[place], ring[place], True)
    beside = ~mask
    expected = np.array(
        [
            0.4 + 0.1 * others.sum() / beside.sum(),
            0.5 + 0.1 * ring.sum() / beside.sum(),
        ]
    )
    for found, chance in zip(counts[:2], expected, strict=True):
        assert stats.binomtest(int(found), int(counts[2]), chance).pvalue > 1e-4


def test_each_merged_object_gets_its_first_click() -> None:
    sampler, rng = PointSampler(), np.random.default_rng(5)
    objects = [disk(30, 30, 10), disk(90, 90, 10)]
    none = np.zeros_like(objects[0])
    for _ in range(100):
        rows = sampler.draw(objects, none, rng)
        assert objects[0][int(rows[0, 0]), int(rows[0, 1])]
        assert objects[1][int(rows[1, 0]), int(rows[1, 1])]


def test_without_others_negatives_fall_back_to_the_background() -> None:
    sampler, rng = PointSampler(other=1.0, border=0.0, background=0.0), None
    rng = np.random.default_rng(6)
    mask = disk(60, 60, 10)
    rows = np.concatenate(
        [sampler.draw([mask], np.zeros_like(mask), rng)[24:] for _ in range(200)]
    )
    rows = rows[rows[:, 2] == ORDER]
    assert len(rows) > 50
    assert not mask[rows[:, 0].astype(int), rows[:, 1].astype(int)].any()
