"""A real network of random weights under a session, from a weight file."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import napari_clickseg as cs
from napari_clickseg.image import ImageSource
from napari_clickseg.models.checkpoint import save_checkpoint
from napari_clickseg.networks.ritm_mobilenet import RITMMobileNetV2
from napari_clickseg.prediction import PredictionSettings
from napari_clickseg.prediction.predictor import Predictor
from napari_clickseg.refinement.settings import RefinementSettings


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_checkpoint(path, RITMMobileNetV2().eval(), metadata={"name": "random"})
    return path


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 255, (150, 200, 3), np.uint8)


# A random network is sure of nothing: a threshold amid its answers makes masks.
SETTINGS = PredictionSettings(first_look="published", target_size=96, threshold=0.5)


def work(session):
    session.add_click((75, 100), settle=False)
    session.settle()
    session.add_click((20, 30), positive=False)
    session.move_click(0, (80, 90))
    return session.probability


def test_the_session_gives_what_the_predictor_gives(weights, image):
    model = cs.load_model(weights, device="cpu", precision="float32")
    session = cs.ClickSession(model, settings=SETTINGS)
    session.set_image(image)
    answer = work(session)
    predictor, source = Predictor(model, SETTINGS), ImageSource(image)
    state = None
    for count in (1, 2):
        last = predictor.predict(source, session.clicks[:count], state)
        state = last.state
    expected = np.zeros((150, 200), np.float32)
    expected[last.box.slices] = last.probability
    np.testing.assert_allclose(answer, expected, atol=1e-6)
    assert 0 <= answer.min() <= answer.max() <= 1


def test_saved_and_replayed_from_the_weight_file(weights, image, tmp_path):
    session = cs.ClickSession(
        weights, device="cpu", precision="float32", settings=SETTINGS
    )
    session.set_image(image)
    work(session)
    session.set_mask(np.tri(150, 200, dtype=bool))
    session.add_click((100, 30))
    if session.mask.any():
        session.commit()
    session.add_click((20, 150))
    loaded = cs.ClickSession.load(
        session.save(tmp_path / "a.clickseg"), device="cpu", precision="float32"
    )
    again = loaded.replay()
    np.testing.assert_allclose(again.probability, session.probability, atol=1e-6)
    assert (again.labels == session.labels).mean() > 0.999
    description = session.to_record().model
    assert description["device"] == "cpu"
    assert description["precision"] == "float32"
    assert len(description["sha256"]) == 64


def test_one_answer_without_a_session(weights, image):
    model = cs.load_model(weights, device="cpu", precision="float32")
    answer = cs.predict(
        image,
        [(75, 100), (20, 30, False)],
        model=model,
        output="probability",
        settings=SETTINGS,
    )
    assert answer.shape == (150, 200)
    assert answer.dtype == np.float32


@pytest.mark.parametrize("method", ["g-brs-sb", "g-brs-bmconv", "f-brs-b", "rgb-brs"])
def test_what_a_refinement_found_goes_on_after_loading(
    weights, image, tmp_path, method
):
    session = cs.ClickSession(
        weights,
        device="cpu",
        precision="float32",
        settings=SETTINGS,
        refinement=RefinementSettings(method, iterations=4),
    )
    session.set_image(image)
    for place, positive in (((75, 100), True), ((20, 30), False), ((78, 99), False)):
        session.add_click(place, positive, radius=15)
        assert session.mask[place] == positive, "a click always wins"
    path = session.save(tmp_path / "kept.clickseg")
    again = cs.ClickSession.load(path, device="cpu", precision="float32")
    assert again.refinement == session.refinement
    refined = session.state.draft.newest.state.refined
    kept = again.state.draft.newest.state.refined
    assert (kept is None) == (refined is None)
    if refined is not None:
        assert (kept.purpose, kept.box, kept.size) == (
            refined.purpose,
            refined.box,
            refined.size,
        )
        for mine, theirs in zip(kept.arrays, refined.arrays, strict=True):
            assert mine.keys() == theirs.keys()
            for name in mine:
                np.testing.assert_array_equal(mine[name], theirs[name])
    change, other = session.add_click((110, 60)), again.add_click((110, 60))
    np.testing.assert_array_equal(again.probability, session.probability)
    assert change.unsatisfied == other.unsatisfied
    replayed = again.replay()
    np.testing.assert_allclose(replayed.probability, session.probability, atol=1e-5)


def test_refinement_stops_in_time_and_goes_on(weights, image):
    session = cs.ClickSession(
        weights,
        device="cpu",
        precision="float32",
        settings=SETTINGS,
        refinement=RefinementSettings("g-brs-bmconv", time_budget=1e-4),
    )
    session.set_image(image)
    session.add_click((75, 100))
    session.add_click((78, 99), positive=False)
    asked = 0
    while not session.settled:
        session.settle()
        assert session.mask[75, 100]
        assert not session.mask[78, 99], "corrected while the refinement goes on"
        asked += 1
        assert asked < 50
    session.undo()
    session.undo()
    assert not session.can_undo
