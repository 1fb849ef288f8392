"""The prediction loop, on a made-up model that keeps a record."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.prediction.fakes import FakeModel, GiantArray

from napari_clickseg.boxes import Box
from napari_clickseg.clicks import Click
from napari_clickseg.errors import Cancelled, ClickError, DeviceError, MaskError
from napari_clickseg.image import ImageSource
from napari_clickseg.prediction import (
    Prediction,
    PredictionSettings,
    Predictor,
    PredictorState,
)
from napari_clickseg.prediction.passes import click_points
from napari_clickseg.prediction.resize import resize_map

SHAPE = (480, 640)
WHOLE = Box(0, 0, *SHAPE)


@pytest.fixture
def image() -> ImageSource:
    rng = np.random.default_rng(0)
    return ImageSource(rng.integers(0, 256, (*SHAPE, 3), dtype=np.uint8))


def full(prediction: Prediction, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    return prediction.state.window(Box.of_shape(shape))


def test_first_clicks_as_published(image: ImageSource) -> None:
    model = FakeModel()
    predictor = Predictor(model)
    first = predictor.predict(image, [Click(100, 200)])
    assert first.box == WHOLE  # the whole image, not resized
    assert first.settled
    assert first.state.roi is None
    assert first.notices == ()
    assert model.encoded == [(1, 3, *SHAPE)] * 2  # and its mirror image
    assert full(first)[100, 200] > 0.99
    assert full(first)[300, 300] < 0.01

    clicks = [Click(100, 200), Click(110, 205)]
    second = predictor.predict(image, clicks, first.state)
    # The blob of radius 20 and the click within, 200 pixels at least.
    assert second.box == second.state.roi == Box(0, 100, 201, 301)
    assert model.encoded[2:] == [(1, 3, 400, 400)] * 2
    assert full(second)[201:].max() == 0
    assert second.probability.shape == second.box.shape


def test_settled_answer_is_the_mean_of_logits(image: ImageSource) -> None:
    """Logits of the fake are ``-6 + col / width`` where there is no click."""
    quick = Predictor(FakeModel()).predict(image, [Click(100, 200)], settle=False)
    settled = Predictor(FakeModel()).predict(image, [Click(100, 200)])
    cols = np.arange(640)
    there, back = -6 + cols / 640, -6 + (639 - cols) / 640
    np.testing.assert_allclose(full(quick)[400], 1 / (1 + np.exp(-there)), rtol=1e-4)
    np.testing.assert_allclose(
        full(settled)[400], 1 / (1 + np.exp(-0.5 * (there + back))), rtol=1e-4
    )
    assert not quick.settled
    assert settled.settled


def test_without_flip_every_answer_is_settled(image: ImageSource) -> None:
    predictor = Predictor(model := FakeModel(), PredictionSettings(flip=False))
    assert predictor.predict(image, [Click(9, 9)], settle=False).settled
    assert predictor.predict(image, [Click(9, 9)], settle=True).settled
    assert len(model.decoded) == 1


def test_settling_adds_one_pass_and_clicks_reuse_the_features(
    image: ImageSource,
) -> None:
    model = FakeModel()
    predictor = Predictor(model)
    state = predictor.predict(image, [Click(100, 200)]).state
    model.encoded.clear()
    model.decoded.clear()
    clicks = [Click(100, 200), Click(105, 200)]
    quick = predictor.predict(image, clicks, state, settle=False)
    assert (len(model.encoded), len(model.decoded)) == (1, 1)
    settled = predictor.predict(image, clicks, state, settle=True)
    assert (len(model.encoded), len(model.decoded)) == (2, 2)
    again = predictor.predict(image, clicks, state, settle=True)
    assert (len(model.encoded), len(model.decoded)) == (2, 2)
    assert np.array_equal(again.probability, settled.probability)
    fresh = Predictor(FakeModel()).predict(image, clicks, state, settle=True)
    assert np.array_equal(fresh.probability, settled.probability)
    assert quick.state.roi == settled.state.roi
    # A third click in the same window: nothing is encoded anew.
    clicks.append(Click(95, 200))
    predictor.predict(image, clicks, settled.state, settle=True)
    assert (len(model.encoded), len(model.decoded)) == (2, 4)
    # Another image of the same shape is not taken for this one.
    other = ImageSource(np.zeros(SHAPE, np.uint8))
    predictor.predict(other, clicks, settled.state, settle=False)
    assert len(model.encoded) == 3


def test_previous_mask_is_the_last_answer(image: ImageSource) -> None:
    model = FakeModel()
    predictor = Predictor(model)
    first = predictor.predict(image, [Click(100, 200)])
    assert float(model.decoded[0]["previous"].abs().max()) == 0
    model.decoded.clear()
    clicks = [Click(100, 200), Click(300, 400, positive=False)]
    second = predictor.predict(image, clicks, first.state)
    assert second.state.roi is not None
    expected = resize_map(full(first)[second.state.roi.slices], (400, 400))
    there, back = (call["previous"][0, 0].numpy() for call in model.decoded)
    assert np.array_equal(there, expected)
    assert np.array_equal(back[:, ::-1], expected)


def test_networks_without_previous_mask_get_none(image: ImageSource) -> None:
    model = FakeModel(with_prev_mask=False)
    first = Predictor(model).predict(image, [Click(100, 200)])
    Predictor(model).predict(image, [Click(100, 200)] * 2, first.state)
    assert all(call["previous"] is None for call in model.decoded)


def test_an_older_state_takes_a_click_back(image: ImageSource) -> None:
    predictor = Predictor(FakeModel())
    clicks = [Click(100, 200), Click(150, 230), Click(300, 500)]
    states: list[PredictorState | None] = [None]
    answers = []
    for i in range(3):
        answers.append(predictor.predict(image, clicks[: i + 1], states[-1]))
        states.append(answers[-1].state)
    again = predictor.predict(image, clicks[:2], states[1])
    assert again.box == answers[1].box
    assert np.array_equal(again.probability, answers[1].probability)
    with pytest.raises(ValueError, match="read-only"):
        answers[0].probability[0, 0] = 1


def test_mirrored_clicks(image: ImageSource) -> None:
    model = FakeModel()
    Predictor(model).predict(image, [Click(100, 200), Click(7, 8, positive=False)])
    there, back = (call["points"][0].tolist() for call in model.decoded)
    assert there == [[100, 200, 0], [7, 8, 1]]
    assert back == [[100, 439, 0], [7, 631, 1]]


def test_click_points() -> None:
    at = [np.array([[1.5, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.zeros((3, 2))]
    points = click_points(at, [True, False, True])
    assert points.shape == (2, 4, 3)
    assert points[0].tolist() == [[1.5, 2, 0], [5, 6, 2], [3, 4, 1], [-1, -1, -1]]
    limited = click_points(at, [True, False, True], limit=1, first_index=1)
    assert limited[0].tolist() == [[1.5, 2, 1], [-1, -1, -1]]
    only_negative = click_points([at[0][:1]], [False])
    assert only_negative[0].tolist() == [[-1, -1, -1], [1.5, 2, 0]]


def test_only_so_many_clicks_reach_the_network(image: ImageSource) -> None:
    model = FakeModel()
    settings = PredictionSettings(net_clicks_limit=2, zoom_in=False, flip=False)
    clicks = [Click(10 * i, 10 * i) for i in range(1, 5)]
    Predictor(model, settings).predict(image, clicks)
    assert model.decoded[0]["points"][0, :, 0].tolist() == [10, 20, -1, -1]


def test_second_pass_without_skipped_clicks(image: ImageSource) -> None:
    """skip_clicks=0: the answer on the whole image is followed by a zoom."""
    model = FakeModel()
    predictor = Predictor(model, PredictionSettings(skip_clicks=0, flip=False))
    answer = predictor.predict(image, [Click(240, 320)])
    assert [size[2:] for size in model.encoded] == [SHAPE, (400, 400)]
    assert answer.box == Box(140, 220, 341, 421)
    # What the network is told of the past is the past, not the first pass.
    assert float(model.decoded[1]["previous"].abs().max()) == 0


def test_starting_mask_as_published(image: ImageSource) -> None:
    """The first click on a given mask predicts twice; its number is 1."""
    mask = np.zeros(SHAPE, bool)
    mask[200:260, 300:400] = True
    state = PredictorState.from_mask(mask)
    model = FakeModel()
    predictor = Predictor(model, PredictionSettings(skip_clicks=-1, flip=False))
    answer = predictor.predict(image, [Click(230, 350)], state)
    assert [size[2:] for size in model.encoded] == [(300, 400), (400, 400)]
    for call, box in zip(model.decoded, [WHOLE, answer.box], strict=True):
        assert call["points"][0, 0, 2] == 1
        size = call["previous"].shape[-2:]
        expected = resize_map(mask[box.slices].astype(np.float32), size)
        assert np.array_equal(call["previous"][0, 0].numpy(), expected)
    assert not answer.state.external
    assert answer.state.index_offset == 1
    # The second click is as ever.
    model.decoded.clear()
    predictor.predict(image, [Click(230, 350), Click(235, 350)], answer.state)
    assert len(model.decoded) == 1
    assert model.decoded[0]["points"][0, 1, 2] == 2


def test_painted_mask_keeps_the_window(image: ImageSource) -> None:
    model = FakeModel()
    predictor = Predictor(model, PredictionSettings(flip=False))
    clicks = [Click(100, 200), Click(110, 205)]
    first = predictor.predict(image, clicks[:1])
    second = predictor.predict(image, clicks, first.state)
    roi = second.state.roi
    assert roi is not None
    painted = second.state.with_mask(np.ones((50, 60), bool), Box(80, 170, 130, 230))
    model.decoded.clear()
    third = predictor.predict(image, [*clicks, Click(100, 201)], painted)
    assert third.state.roi == roi
    assert len(model.decoded) == 1
    expected = np.zeros(SHAPE, np.float32)
    expected[80:130, 170:230] = 1
    expected = resize_map(expected[roi.slices], (400, 400))
    assert np.array_equal(model.decoded[0]["previous"][0, 0].numpy(), expected)


def test_cancelled_between_passes(image: ImageSource) -> None:
    model = FakeModel()
    predictor = Predictor(model)
    asked = iter([False, True])
    with pytest.raises(Cancelled):
        predictor.predict(image, [Click(5, 5)], cancelled=lambda: next(asked))
    assert len(model.decoded) == 1
    answer = predictor.predict(image, [Click(5, 5)], cancelled=lambda: False)
    expected = Predictor(FakeModel()).predict(image, [Click(5, 5)])
    assert np.array_equal(answer.probability, expected.probability)
    assert len(model.decoded) == 2  # the first pass was not lost


def test_memory_runs_out(image: ImageSource) -> None:
    """Smaller windows first, then the CPU; told once, and remembered."""
    model = FakeModel(device=torch.device("meta"), memory=200 * 200)

    predictor = Predictor(model, PredictionSettings(skip_clicks=-1))
    # The device is only a name: tensors stay where they are.
    predictor._passes._send = lambda tensor: tensor  # type: ignore[method-assign]
    answer = predictor.predict(image, [Click(240, 320)])
    assert predictor.longest_side == 200
    assert len(answer.notices) == 1
    assert "at most 200 pixels" in answer.notices[0]
    assert answer.box == WHOLE
    assert full(answer)[240, 320] > 0.9
    model.encoded.clear()
    again = predictor.predict(image, [Click(240, 320)] * 2, answer.state)
    assert again.notices == ()
    assert {max(size[2:]) for size in model.encoded} == {200}

    model.memory = 10
    again = predictor.predict(image, [Click(20, 20)])
    assert predictor.model.device.type == "cpu"
    assert predictor.longest_side is None
    assert len(again.notices) == 1
    assert "now runs on the CPU" in again.notices[0]
    assert model.encoded[-1][2:] == (300, 400)
    assert predictor.predict(image, [Click(30, 20)]).notices == ()


def test_memory_does_not_suffice_at_all(
    image: ImageSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: FakeModel, x: torch.Tensor) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(FakeModel, "check_memory", fail)
    predictor = Predictor(FakeModel(), PredictionSettings(skip_clicks=-1))
    with pytest.raises(DeviceError, match="smaller model"):
        predictor.predict(image, [Click(240, 320)])


def test_other_errors_are_not_hidden(
    image: ImageSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: FakeModel, x: torch.Tensor) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(FakeModel, "check_memory", fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        Predictor(FakeModel()).predict(image, [Click(240, 320)])


def test_no_clicks(image: ImageSource) -> None:
    with pytest.raises(ClickError, match="click inside an object"):
        Predictor(FakeModel()).predict(image, [])


def test_states_are_checked() -> None:
    with pytest.raises(MaskError, match="does not fill"):
        PredictorState.from_mask(np.zeros((3, 4)), Box(0, 0, 4, 3))
    with pytest.raises(MaskError, match="together"):
        PredictorState(box=WHOLE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_size": 0}, "target_size"),
        ({"target_size": (400, 0)}, "target_size"),
        ({"first_look": "seach"}, "published, visible, search"),
        ({"min_crop_size": 0}, "min_crop_size"),
        ({"threshold": 49}, "threshold"),
        ({"expansion_ratio": 0.0}, "expansion_ratio"),
    ],
)
def test_settings_are_checked(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PredictionSettings(**changes)  # type: ignore[arg-type]


def test_settings_come_back_from_json() -> None:
    settings = PredictionSettings(target_size=(400, 300))
    assert replace(settings, target_size=[400, 300]) == settings
    assert hash(settings)


def test_giant_image_as_published_looks_at_windows() -> None:
    """100 000 x 100 000 pixels: never read, never allocated as a whole."""
    array = GiantArray((100_000, 100_000), disk=(70_000, 31_000, 90))
    source = ImageSource(array)
    predictor = Predictor(FakeModel(follow_image=True))
    state = None
    clicks = []
    for position in [(70_000.0, 31_000.0), (70_010.0, 31_010.0)]:
        clicks.append(Click(*position))
        answer = predictor.predict(source, clicks, state)
        state = answer.state
        if len(clicks) == 1:
            assert "too large to be seen as a whole" in answer.notices[0]
        assert max(answer.box.shape) <= 2048
        area = (answer.probability > 0.5).sum()
        assert area == pytest.approx(np.pi * 90**2, rel=0.05)
    assert array.most_pixels <= 2048**2
    clicks.append(Click(0, 99_999))
    with pytest.raises(ClickError, match="smaller version"):
        predictor.predict(source, clicks, state)
