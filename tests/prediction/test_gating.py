"""Which expert answers on which image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.models.test_gate import brightness, network

from napari_clickseg.clicks import Click
from napari_clickseg.image import ImageSource
from napari_clickseg.models.checkpoint import save_checkpoint
from napari_clickseg.models.gate import with_elsewhere
from napari_clickseg.models.model import Model, load_model
from napari_clickseg.prediction import Predictor
from napari_clickseg.prediction.gating import FIELD, field_of, overview


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """The first of two networks on bright images, the second elsewhere."""
    path = tmp_path / "gated.safetensors"
    beside = with_elsewhere(brightness(network(2)), network(2).state_dict())
    save_checkpoint(path, network(1), metadata={}, beside=beside)
    return load_model(path, "cpu", "float32")


def image(level: int) -> ImageSource:
    rng = np.random.default_rng(level)
    return ImageSource((level + rng.integers(0, 8, (90, 120, 3))).astype(np.uint8))


def test_the_expert_goes_by_the_image(model: Model) -> None:
    bright, dark = image(240), image(4)
    plain = {}
    for seed, shown in ((1, bright), (2, dark)):
        alone = Model(network(seed), model.info, device="cpu", precision="float32")
        plain[seed] = Predictor(alone).predict(shown, [Click(40, 50)]).probability
    predictor = Predictor(model)
    for _ in range(2):  # back and forth
        own = predictor.predict(bright, [Click(40, 50)])
        np.testing.assert_allclose(own.probability, plain[1], atol=1e-5)
        assert own.notices == ()
        other = predictor.predict(dark, [Click(40, 50)])
        np.testing.assert_allclose(other.probability, plain[2], atol=1e-5)
        assert other.notices[0].startswith("This image is unlike those")
        assert predictor.model is model
    assert not np.allclose(plain[1].mean(), plain[2].mean(), atol=1e-3)


def test_without_its_gate_a_model_answers_everywhere(model: Model) -> None:
    model.gate = None
    alone = Model(network(1), model.info, device="cpu", precision="float32")
    wanted = Predictor(alone).predict(image(4), [Click(40, 50)])
    found = Predictor(model).predict(image(4), [Click(40, 50)])
    np.testing.assert_allclose(found.probability, wanted.probability, atol=1e-5)
    assert found.notices == ()


def test_refinement_works_on_the_expert(model: Model) -> None:
    clicks = [Click(40, 50), Click(42, 80, positive=False)]
    predictor = Predictor(model, refinement="f-brs-b")
    state = None
    for count in (1, 2):
        answer = predictor.predict(image(4), clicks[:count], state)
        state = answer.state
    found = answer.probability[40 - answer.box.top, 50 - answer.box.left]
    assert found > 0.49
    assert predictor.predict(image(240), clicks[:1]).notices == ()


@given(
    height=st.integers(1, 100_000),
    width=st.integers(1, 100_000),
    at=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_the_part_that_is_judged(
    height: int, width: int, at: tuple[float, float]
) -> None:
    first = Click(at[0] * (height - 1), at[1] * (width - 1))
    box = field_of((height, width), [first])
    assert box.clip((height, width)) == box
    assert max(box.shape) <= FIELD
    assert box.contains(first.row, first.col)
    assert box == field_of((height, width), [first, Click(0, 0)])
    if max(height, width) <= FIELD:
        assert box.shape == (height, width)


@pytest.mark.parametrize("shape", [(1, 1), (3, 900), (2048, 100), (448, 448)])
def test_it_is_judged_small(shape: tuple[int, int]) -> None:
    seen = overview(np.full((*shape, 3), 0.25, np.float32))
    assert seen.shape[:2] == (1, 3)
    assert 32 <= min(seen.shape[2:]) <= max(seen.shape[2:]) == 448
    assert float(seen.min()) == pytest.approx(0.25)
    assert float(seen.max()) == pytest.approx(0.25)
