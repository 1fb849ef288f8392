"""Networks that encode once and others: the same session, refinement and benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import napari_clickseg as cs
from napari_clickseg.boxes import Box
from napari_clickseg.clicks import Click
from napari_clickseg.encoding.store import FeatureStore
from napari_clickseg.encoding.with_store import WithStore
from napari_clickseg.evaluation.methods import ModelMethod
from napari_clickseg.models.checkpoint import save_checkpoint
from napari_clickseg.models.decoder_only import export_decoder
from napari_clickseg.networks.click_labels import (
    add_click,
    after_answer,
    start_labels,
)
from napari_clickseg.networks.interformer import InterFormer
from napari_clickseg.networks.interformer_mobilenet import InterFormerMobileNetV2
from napari_clickseg.networks.ritm_mobilenet import RITMMobileNetV2
from napari_clickseg.prediction import PredictionSettings
from napari_clickseg.prediction.tiles import tiles
from napari_clickseg.refinement.settings import RefinementSettings

SHAPE = (150, 200)


def interformer(**changes: Any) -> nn.Module:
    network = InterFormer(dim=32, depth=2, heads=2, **changes)
    with torch.no_grad():
        network.neck.patch_embed.normal_()
        network.decode_head.conv_seg.weight.normal_()
    return network


def mobilenet() -> nn.Module:
    network = InterFormerMobileNetV2(
        channels=(8, 16, 32, 64), width=16, head_channels=16, max_side=96
    )
    with torch.no_grad():
        network.decode_head.conv_seg.weight.normal_(std=3)
    return network


FAMILIES = {
    "light": interformer,
    "tiny": lambda: interformer(depths=(2, 2, 3, 2)),
    "mobilenet": mobilenet,
    "ritm": RITMMobileNetV2,
}
ONCE = [name for name in FAMILIES if name != "ritm"]


@dataclass
class Family:
    name: str
    file: Any
    model: Any
    network: nn.Module


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    folder = tmp_path_factory.mktemp("families")
    found = {}
    for name, make in FAMILIES.items():
        torch.manual_seed(0)
        network = make().eval()
        path = folder / f"{name}.safetensors"
        save_checkpoint(path, network, metadata={"name": name})
        model = cs.load_model(path, "cpu", "float32", optimise=False)
        found[name] = Family(name, path, model, network)
    return found


@pytest.fixture(params=FAMILIES)
def family(request, families):
    return families[request.param]


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 255, (*SHAPE, 3), np.uint8)


# Random networks are sure of nothing: a threshold amid their answers makes masks.
PUBLISHED = PredictionSettings(first_look="published", threshold=0.5, target_size=96)
SEARCH = PredictionSettings(first_look="search", threshold=0.5, tile_side=96, magnify=1)
CLICKS = [((75, 100), True), ((20, 30), False), ((90, 150), True), ((60, 60), False)]


def session_of(model, image, how=PUBLISHED, **options):
    session = cs.ClickSession(model, settings=how, **options)
    session.set_image(image)
    return session


def add(session, clicks=CLICKS):
    for place, positive in clicks:
        session.add_click(place, positive=positive)
    return session


def state_of(session):
    return session.state.draft.newest.state


# -- the released way, click by click ---------------------------------------------


@torch.inference_mode()
def released(network: InterFormer, image, clicks, masks=None) -> list[np.ndarray]:
    """Answer as the released code does: labels, answer, labels."""
    planes = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    pyramid = network.encode_image(planes)
    labels, answers = start_labels(SHAPE), []
    for number, (place, positive) in enumerate(clicks):
        if masks and number in masks:
            labels = after_answer(labels, masks[number])
        labels = add_click(labels, place, positive)
        classes = network.decode_labels(pyramid, torch.from_numpy(labels)[None].long())
        answers.append(classes.softmax(1)[0, 1].numpy())
        labels = after_answer(labels, classes.argmax(1)[0].numpy().astype(bool))
    return answers


@pytest.mark.parametrize("name", ["light", "tiny"])
def test_a_session_answers_as_the_released_code_does(families, name, image):
    family = families[name]
    expected = released(family.network, image, CLICKS)
    assert len({answer.round(3).tobytes() for answer in expected}) == len(CLICKS)
    session = session_of(family.model, image)
    for (place, positive), answer in zip(CLICKS, expected, strict=True):
        session.add_click(place, positive=positive)
        assert session.settled
        np.testing.assert_allclose(session.probability, answer, atol=1e-4)


@pytest.mark.parametrize("name", ["light", "tiny"])
def test_undo_brings_the_memory_back(families, name, image):
    family = families[name]
    session = add(session_of(family.model, image))
    before = state_of(session).memory
    other = [*CLICKS[:2], ((120, 20), True)]
    session.undo()
    session.undo()
    session.add_click(other[2][0])
    np.testing.assert_allclose(
        session.probability, released(family.network, image, other)[-1], atol=1e-4
    )
    session.undo()
    session.redo(0)
    session.redo()
    assert state_of(session).memory is before
    session.add_click((10, 10))
    more = [*CLICKS, ((10, 10), True)]
    np.testing.assert_allclose(
        session.probability, released(family.network, image, more)[-1], atol=1e-4
    )


def test_a_click_that_is_moved_or_removed_is_as_if_it_had_been_so(families, image):
    family = families["light"]
    session = add(session_of(family.model, image))
    session.move_click(1, (30, 180))
    session.remove_click(2)
    session.update(settle=True)
    clicks = [CLICKS[0], ((30, 180), False), CLICKS[3]]
    expected = released(family.network, image, clicks)
    np.testing.assert_allclose(session.probability, expected[-1], atol=1e-4)


@pytest.mark.parametrize("first", [0, 2])
def test_a_mask_is_one_more_answer(families, image, first):
    """Set before the first click, or painted between clicks."""
    family = families["light"]
    mask = np.zeros(SHAPE, bool)
    mask[40:120, 60:140] = True
    expected = released(family.network, image, CLICKS, {first: mask})
    session = session_of(family.model, image)
    for number, (place, positive) in enumerate(CLICKS):
        if number == first:
            session.set_mask(mask)
        session.add_click(place, positive=positive)
    np.testing.assert_allclose(session.probability, expected[-1], atol=1e-4)


def test_what_is_remembered_is_kept_in_session_files(families, image, tmp_path):
    family = families["light"]
    session = add(session_of(family.model, image), CLICKS[:3])
    session.save(tmp_path / "work.clickseg")
    again = cs.ClickSession.load(
        tmp_path / "work.clickseg", image=image, model=family.model
    )
    again.add_click(CLICKS[3][0], positive=False)
    expected = released(family.network, image, CLICKS)
    np.testing.assert_allclose(again.probability, expected[-1], atol=1e-4)


# -- all families alike -------------------------------------------------------------


@pytest.mark.parametrize("how", [PUBLISHED, SEARCH], ids=["published", "search"])
def test_undo_redo_and_the_clicks_alone(family, image, how):
    session = add(session_of(family.model, image, how))
    last = session.probability.copy()
    for _ in CLICKS:
        session.undo()
    assert not session.mask.any()
    for _ in CLICKS:
        session.redo()
    np.testing.assert_array_equal(session.probability, last)
    again = add(session_of(family.model, image, how))
    np.testing.assert_allclose(again.probability, last, atol=1e-6)


@pytest.mark.parametrize("how", [PUBLISHED, SEARCH], ids=["published", "search"])
def test_saved_and_replayed(family, image, how, tmp_path):
    session = add(session_of(family.model, image, how), CLICKS[:3])
    session.commit()
    add(session, [((30, 30), True)])
    session.save(tmp_path / "work.clickseg")
    again = cs.ClickSession.load(
        tmp_path / "work.clickseg", image=image, model=family.model
    )
    np.testing.assert_array_equal(again.labels, session.labels)
    np.testing.assert_array_equal(again.probability, session.probability)
    one, two = state_of(session), state_of(again)
    assert (one.roi, one.box, one.memory_box) == (two.roi, two.box, two.memory_box)
    anew = again.replay()
    np.testing.assert_array_equal(anew.labels, session.labels)
    np.testing.assert_allclose(anew.probability, session.probability, atol=1e-4)


@pytest.mark.parametrize("method", ["g-brs-sb", "g-brs-bmconv", "f-brs-b"])
def test_refined_clicks_hold_or_are_named(family, image, method):
    session = session_of(family.model, image, SEARCH, refinement=method)
    for place, positive in CLICKS:
        change = session.add_click(place, positive=positive)
    named = set(change.unsatisfied) - set(change.corrected)
    for number, (place, positive) in enumerate(CLICKS):
        assert session.mask[place] == positive or number in named
    assert state_of(session).refined is not None
    session.undo()
    session.redo()
    for number, (place, positive) in enumerate(CLICKS):
        assert session.mask[place] == positive or number in named


@pytest.mark.parametrize("name", ["light", "mobilenet"])
@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    clicks=st.lists(
        st.tuples(
            st.tuples(st.integers(0, SHAPE[0] - 1), st.integers(0, SHAPE[1] - 1)),
            st.booleans(),
        ),
        min_size=1,
        max_size=4,
        unique_by=lambda click: click[0],
    ),
    correct=st.booleans(),
)
def test_whatever_is_clicked_holds_or_is_named(families, image, name, clicks, correct):
    refinement = RefinementSettings("g-brs-sb", iterations=4, correct=correct)
    session = session_of(families[name].model, image, SEARCH, refinement=refinement)
    for place, positive in clicks:
        change = session.add_click(place, positive=positive)
        named = set(change.unsatisfied) - set(change.corrected)
        made = [(round(c.row), round(c.col), c.positive) for c in session.clicks]
        for number, (row, col, wanted) in enumerate(made):
            assert session.mask[row, col] == wanted or number in named
        assert not (named and correct) or set(change.contradicted) >= named


@pytest.mark.parametrize("how", [PUBLISHED, SEARCH], ids=["published", "search"])
@pytest.mark.parametrize(
    "refinement",
    [None, RefinementSettings("g-brs-sb", iterations=3)],
    ids=["plain", "refined"],
)
@pytest.mark.parametrize("name", ONCE)
def test_a_decoder_with_a_store_answers_the_same(
    families, image, name, how, refinement, tmp_path
):
    family = families[name]
    whole = add(session_of(family.model, image, how, refinement=refinement))
    filled = WithStore(family.model, FeatureStore(tmp_path / "store", dtype="float16"))
    add(session_of(filled, image, how, refinement=refinement))
    entries = filled.store.info().entries
    if how is SEARCH:
        assert 1 < entries <= len(list(tiles(SHAPE, 96)))
    else:
        assert entries == 1
    export_decoder(family.file, tmp_path / "half.safetensors")
    half = cs.load_model(
        tmp_path / "half.safetensors", "cpu", "float32", optimise=False
    )
    assert (half.encodes_once, half.tile_side) == (True, family.model.tile_side)
    assert half.remembers == family.model.remembers
    assert half.magnifies == 1, "no closer than what was prepared"
    decoder = WithStore(half, filled.store)
    session = add(session_of(decoder, image, how, refinement=refinement))
    assert decoder.store.info().entries == entries
    # Stored in half precision; refinement and hard labels make much of rounding.
    apart = np.abs(session.probability - whole.probability)
    assert np.median(apart) < 0.01
    again = add(session_of(filled, image, how, refinement=refinement))
    np.testing.assert_allclose(session.probability, again.probability, atol=1e-4)


def test_the_benchmark_runs(family, image):
    method = ModelMethod(family.model, SEARCH)
    method.open_image(image)
    method.start_object()
    clicks: list[Click] = []
    for place, positive in CLICKS:
        clicks.append(Click(*place, positive=positive))
        mask = method.answer(clicks)
        assert mask.shape == SHAPE
        assert 0 < method.pixels <= 400 * 400
        if family.name != "ritm":
            assert method.pixels <= 96 * 96


@pytest.mark.parametrize("name", ONCE)
def test_a_tile_of_another_image_part_is_seen_after_the_object(families, name, image):
    """Zoom-in: windows are tiles, and change with the object."""
    model = families[name].model
    session = session_of(model, image, SEARCH)
    mask = np.zeros(SHAPE, bool)
    mask[10:30, 10:40] = True
    session.set_mask(mask)
    session.add_click((20, 20))
    known = {tile.box for tile in tiles(SHAPE, 96)}
    assert state_of(session).roi in known
    assert max(state_of(session).roi.shape) == 96
    session.set_mask(np.ones(SHAPE, bool))
    session.add_click((100, 180))
    assert state_of(session).roi == Box(0, 0, *SHAPE)
