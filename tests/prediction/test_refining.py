"""Refinement in the predictor: the promise, and what it does with time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from napari_clickseg.boxes import Box
from napari_clickseg.clicks import Click
from napari_clickseg.errors import Cancelled, ClickError, RefinementError
from napari_clickseg.image import ImageSource
from napari_clickseg.models.model import Model
from napari_clickseg.models.registry import ModelInfo
from napari_clickseg.networks.click_encoding import DistMaps
from napari_clickseg.prediction import PredictionSettings, Predictor
from napari_clickseg.refinement.settings import METHODS, RefinementSettings

INFO = ModelInfo(
    name="tiny",
    task="segmentation",
    architecture="tiny",
    file="tiny.safetensors",
    licence="none",
    source="test",
)


class Tiny(nn.Module):
    """A click network of four convolutions, with random weights."""

    with_prev_mask = True
    normalises_input = True
    point_columns = 3

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.scaled = nn.Identity()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.dist_maps = DistMaps(5, use_disks=True)
        self.clicks = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.body = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.ReLU())
        self.head = nn.Conv2d(8, 1, 1)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
                parameter /= max(1, parameter[0].numel()) ** 0.5

    def places(self) -> dict[str, tuple[str, ...]]:
        return {
            "rgb": ("scaled",),
            "distmap": ("dist_maps",),
            "f-brs-a": ("stem",),
            "f-brs-b": ("body",),
            "f-brs-c": ("body",),
            "g-brs": ("body",),
        }

    def encode_image(self, image: Tensor) -> Tensor:
        return self.stem(self.scaled(image))

    def decode_clicks(
        self, features: Tensor, points: Tensor, previous: Tensor
    ) -> dict[str, Tensor]:
        maps = torch.cat([previous, self.dist_maps(previous, points)], 1)
        x = self.head(self.body(features + self.clicks(maps)))
        size = (previous.shape[-2], previous.shape[-1])
        x = nn.functional.interpolate(x, size, mode="bilinear", align_corners=True)
        return {"instances": x}

    def forward(self, image: Tensor, points: Tensor) -> dict[str, Tensor]:
        features = self.encode_image(image[:, :3])
        return self.decode_clicks(features, points, image[:, 3:])


class Automatic(Model):
    """The same, without clicks: those it is given are dropped."""

    automatic = True
    refinement = RefinementSettings("g-brs-bmconv")

    def decode(self, features: Any, points: Tensor, previous: Any = None) -> Tensor:
        return super().decode(features, torch.full_like(points, -1.0), None)


def tiny(seed: int = 0, kind: type[Model] = Model) -> Model:
    return kind(Tiny(seed), INFO, device="cpu", optimise=False)


def noise(seed: int = 0, shape: tuple[int, int] = (40, 52)) -> ImageSource:
    random = np.random.default_rng(seed)
    return ImageSource(random.integers(0, 256, (*shape, 3), dtype=np.uint8))


REFINED = [method for method in METHODS if method != "none"]
SMALL = PredictionSettings(target_size=48, min_crop_size=20, skip_clicks=1)

clicks_made = st.lists(
    st.builds(
        Click,
        st.integers(0, 39),
        st.integers(0, 51),
        st.booleans(),
        radius=st.one_of(st.none(), st.floats(0.5, 30)),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=40)
@given(
    method=st.sampled_from(REFINED),
    adam=st.booleans(),
    made=clicks_made,
    seed=st.integers(0, 1000),
    look=st.sampled_from(["published", "search"]),
    threshold=st.sampled_from([0.49, 0.3, 0.8]),
    flip=st.booleans(),
    automatic=st.booleans(),
)
def test_a_click_always_wins(
    method: Any,
    adam: bool,
    made: list[Click],
    seed: int,
    look: Any,
    threshold: float,
    flip: bool,
    automatic: bool,
) -> None:
    """Random networks, images and clicks that contradict each other."""
    adam = adam and not method.startswith("f-brs")
    wanted = RefinementSettings(
        method, optimiser="adam" if adam else None, iterations=4
    )
    looks = replace(SMALL, first_look=look, threshold=threshold, flip=flip)
    model = tiny(seed, Automatic if automatic else Model)
    predictor = Predictor(model, looks, wanted)
    image, state = noise(seed), None
    for count in range(1, len(made) + 1):
        clicks = made[:count]
        for settle in (False, True):
            answer = predictor.predict(image, clicks, state, settle=settle)
            assert answer.settled == settle
            newest = {(click.row, click.col): click.positive for click in clicks}
            whole = np.zeros(image.shape, np.float32)
            whole[answer.box.slices] = answer.probability
            for (row, col), positive in newest.items():
                found = whole[int(row), int(col)] > np.float32(threshold)
                assert found == positive
            taken_back = {
                i
                for i, click in enumerate(clicks)
                if newest[click.row, click.col] != click.positive
            }
            assert set(answer.contradicted) == taken_back
            assert taken_back <= set(answer.unsatisfied)
            assert set(answer.corrected) == set(answer.unsatisfied) - taken_back
            # What says otherwise is the network's own answer, kept in the state.
            own = answer.state.window(Box.of_shape(image.shape)) > np.float32(threshold)
            for i in answer.corrected:
                assert own[int(clicks[i].row), int(clicks[i].col)] != clicks[i].positive
        state = answer.state


@pytest.mark.parametrize("method", ["f-brs-b", "rgb-brs", "g-brs-bmconv"])
def test_unsettled_answers_go_on_to_the_same_end(method: str) -> None:
    """A time budget costs nothing but patience, and cancelling loses nothing."""
    clicks = [Click(10, 12), Click(30, 40, positive=False), Click(11, 40)]
    image = noise(3)

    def start(budget: float | None) -> tuple[Predictor, Any]:
        wanted = RefinementSettings(method, time_budget=budget, learning_rate=0.05)
        predictor = Predictor(tiny(3), SMALL, wanted)
        predictor.early_stop = False
        state = None
        for count in (1, 2):
            while True:
                answer = predictor.predict(image, clicks[:count], state)
                if answer.settled:
                    break
            state = answer.state
        return predictor, state

    predictor, state = start(None)
    expected = predictor.predict(image, clicks, state)
    assert expected.settled
    assert expected.evaluations >= 20

    predictor, state = start(1e-9)
    answers = []
    while not answers or not answers[-1].settled:
        answers.append(predictor.predict(image, clicks, state))
    assert len(answers) >= 20
    assert [each.settled for each in answers[:-1]] == [False] * (len(answers) - 1)
    assert answers[-1].evaluations == expected.evaluations
    assert np.array_equal(answers[-1].probability, expected.probability)

    predictor, state = start(None)
    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked == 9

    with pytest.raises(Cancelled):
        predictor.predict(image, clicks, state, cancelled=cancelled)
    assert predictor._last is not None
    done = next(iter(predictor._last.works.values())).run.evaluations
    assert 0 < done < 9
    again = predictor.predict(image, clicks, state)
    assert np.array_equal(again.probability, expected.probability)


def test_states_are_enough_for_undo() -> None:
    """The same clicks from the same state give the same, whatever was in between."""
    image, predictor = noise(1), Predictor(tiny(1), SMALL, "g-brs-bmsb-m")
    clicks = [Click(9, 9), Click(30, 30, positive=False), Click(20, 40)]
    states: list[Any] = [None]
    answers = []
    for count in (1, 2, 3):
        answers.append(predictor.predict(image, clicks[:count], states[-1]))
        states.append(answers[-1].state)
    other = [*clicks[:1], Click(35, 5)]
    predictor.predict(image, other, states[1])
    for count in (2, 3):
        again = predictor.predict(image, clicks[:count], states[count - 1])
        assert np.array_equal(again.probability, answers[count - 1].probability)
    arrays = states[3].refined.arrays[0]
    assert set(arrays) == {"scale", "bias", "map", "map_weight", "mix"}
    with pytest.raises(ValueError, match="read-only"):
        arrays["bias"][0] = 1


def test_published_refinement_starts_at_the_second_click() -> None:
    predictor = Predictor(tiny(), SMALL, "f-brs-b")
    first = predictor.predict(noise(), [Click(5, 5)])
    assert first.evaluations == 0
    assert first.settled
    assert first.state.refined is None
    clicks = [Click(5, 5), Click(30, 30, positive=False)]
    second = predictor.predict(noise(), clicks, first.state)
    assert second.evaluations > 0
    every = Predictor(tiny(), SMALL, "g-brs-sb")
    assert every.predict(noise(), [Click(5, 5)]).evaluations > 0


def test_an_answer_that_obeys_costs_one_evaluation() -> None:
    image, looks = noise(), replace(SMALL, threshold=0.5)
    predictor = Predictor(tiny(0, Automatic), looks)
    plain = predictor.predict(image, []).probability
    logits = np.log(plain / (1 - plain))
    row, col = np.unravel_index(np.abs(logits).argmax(), logits.shape)
    assert abs(logits[row, col]) > 0.2  # a distance of 0.8 to the target
    obeyed = Click(int(row), int(col), bool(logits[row, col] > 0))
    answer = predictor.predict(image, [obeyed])
    assert (answer.evaluations, answer.unsatisfied) == (1, ())
    # The mean of both copies at once is that of one after the other, but for rounding.
    np.testing.assert_allclose(answer.probability, plain, atol=1e-6)
    opposite = replace(obeyed, positive=not obeyed.positive)
    assert predictor.predict(image, [opposite]).evaluations > 1


def test_clicks_beyond_the_limit_act_through_the_loss_alone() -> None:
    image = noise(2)
    wanted = RefinementSettings("f-brs-b", net_clicks_limit=2, correct=False)
    looks = PredictionSettings(zoom_in=False)
    predictor = Predictor(tiny(2), looks, wanted)
    clicks = [Click(8, 8), Click(30, 12), Click(12, 40), Click(33, 44)]
    state = None
    given: list[Any] = []
    points = predictor._passes.points

    def watched(*args: Any, **kwargs: Any) -> Tensor:
        given.append(points(*args, **kwargs))
        return given[-1]

    predictor._passes.points = watched  # type: ignore[method-assign]
    kept = []
    for count in range(1, 5):
        state = predictor.predict(image, clicks[:count], state).state
        kept.append(None if state.refined is None else state.refined.previous)
    assert [int((p[0, :, 0] >= 0).sum()) for p in given] == [1, 2, 2, 2]
    # From the third click on, the network sees what it saw at the second.
    assert kept[0] is None
    assert np.array_equal(kept[1], kept[2])
    assert np.array_equal(kept[1], kept[3])


def test_automatic_models_answer_without_clicks() -> None:
    image = noise(4)
    predictor = Predictor(tiny(4, Automatic), SMALL)
    assert predictor.refinement.method == "none"
    assert predictor.refinement_in_use.method == "g-brs-bmconv"
    first = predictor.predict(image, [])
    assert first.box == Box.of_shape(image.shape)
    assert first.settled
    assert (first.unsatisfied, first.evaluations) == ((), 0)
    with pytest.raises(ClickError, match="no click yet"):
        Predictor(tiny(4), SMALL).predict(image, [])

    encoded = 0
    encode = predictor.model.network.encode_image

    def counted(x: Tensor) -> Tensor:
        nonlocal encoded
        encoded += 1
        return encode(x)

    predictor.model.network.encode_image = counted
    state = None
    made = [Click(4, 4), Click(20, 20, positive=False), Click(30, 44)]
    for count in (1, 2, 3):
        state = predictor.predict(image, made[:count], state).state
    # The network's part before the layer ran once for all three clicks.
    assert encoded == 1


def test_a_refinement_that_does_not_fit_is_told() -> None:
    model = tiny()
    model.network.places = dict  # type: ignore[assignment]
    with pytest.raises(RefinementError, match="does not say where g-brs-sb"):
        Predictor(model, SMALL, "g-brs-sb").predict(noise(), [Click(5, 5)])
    wanted = RefinementSettings("g-brs-sb", at=("nowhere",))
    with pytest.raises(RefinementError, match="nowhere"):
        Predictor(model, SMALL, wanted).predict(noise(), [Click(5, 5)])


def test_several_places_at_once_and_few_channels() -> None:
    wanted = RefinementSettings(
        "g-brs-bmconv", at=("stem", "body"), top_k=4, learning_rate=0.05
    )
    predictor = Predictor(tiny(5), replace(SMALL, threshold=0.5), wanted)
    clicks, state = [Click(9, 9), Click(9, 30, positive=False)], None
    for count in (1, 2):
        answer = predictor.predict(noise(5), clicks[:count], state)
        state = answer.state
    assert state is not None
    assert state.refined is not None
    assert [arrays["conv"].shape for arrays in state.refined.arrays] == [(4, 4)] * 2


def test_memory_that_runs_out_ends_in_a_smaller_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from napari_clickseg.refinement.optimise import Variables

    predictor = Predictor(tiny(), PredictionSettings(zoom_in=False), "g-brs-sb")
    logits = Variables.logits

    def limited(self: Variables) -> Tensor:
        if self.tail.output.shape[-1] > 200:
            raise torch.OutOfMemoryError("out of memory")
        return logits(self)

    monkeypatch.setattr(Variables, "logits", limited)
    predictor.early_stop = False
    answer = predictor.predict(noise(0, (300, 400)), [Click(5, 5)])
    assert predictor.longest_side == 200
    assert "at most 200 pixels" in answer.notices[0]
    assert answer.settled
