"""Preparing one image: nothing is encoded twice, and the share is known at once."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

import napari_clickseg as cs
from napari_clickseg.boxes import Box
from napari_clickseg.encoding.prepared_store import PreparedStore
from napari_clickseg.encoding.preparing import (
    Preparation,
    prepare,
    share_prepared,
    with_features,
)
from napari_clickseg.encoding.store import FeatureStore
from napari_clickseg.encoding.windows import windows_of
from napari_clickseg.encoding.with_store import WithStore
from napari_clickseg.errors import Cancelled, EncoderMissingError, ModelError
from napari_clickseg.image import ImageSource
from napari_clickseg.models.decoder_only import export_decoder
from napari_clickseg.models.model import load_model
from napari_clickseg.prediction.settings import PredictionSettings

SIDE = 448


@pytest.fixture(scope="module")
def pixels():
    rng = np.random.default_rng(7)
    return rng.integers(0, 4000, (500, 900), np.uint16)


@pytest.fixture
def image(pixels):
    return ImageSource(pixels, contrast=(0, 4000))


@pytest.fixture
def model(small_file):
    return load_model(small_file, precision="float32")


@pytest.fixture
def encodings(monkeypatch, model):
    """How often the encoder ran."""
    calls = []
    encode = type(model).encode

    def counted(self, image, **options):
        calls.append(tuple(image.shape))
        return encode(self, image, **options)

    monkeypatch.setattr(type(model), "encode", counted)
    return calls


def test_everything_is_encoded_once_and_can_be_taken_up(
    model, store, image, encodings, pixels
):
    windows = list(windows_of(image.shape, SIDE, tiles=True))
    seen = []

    def progress(done, total):
        seen.append((done, total))

    with pytest.raises(Cancelled):
        prepare(
            model,
            store,
            image,
            progress=progress,
            cancelled=lambda: len(encodings) >= 2,
        )
    assert len(encodings) == 2
    assert seen == [(1, len(windows)), (2, len(windows))]
    first = prepare(model, store, image)
    assert (first.done, first.total) == (len(windows), len(windows))
    assert first.encoded == len(windows) - 2
    assert first.seconds > 0
    # Also by another process, which knows only the pixels.
    again = prepare(
        model, FeatureStore(store.path), ImageSource(pixels, None, (0, 4000))
    )
    assert again.encoded == 0
    assert len(encodings) == len(windows) == store.info().entries


def test_the_share_is_what_a_field_needs(model, store, image):
    work = Preparation(WithStore(model, store), image)
    corner = Box(0, 0, 40, 50)
    assert work.share() == work.share(corner) == 0.0
    assert not work.checked()
    needed = work.left(corner)
    assert 1 < needed < work.total
    for _ in range(needed):
        work.step(first=corner)
    assert work.share(corner) == 1.0
    assert 0.0 < work.share() < 1.0
    assert work.seconds_left(corner) == 0.0
    assert work.seconds_left() > 0.0
    assert share_prepared(model, store, image, corner) == 1.0
    assert share_prepared(model, store, image) == work.share()
    while work.step():
        pass
    assert work.share() == 1.0
    assert work.done == work.total == work.encoded


def test_the_share_reads_no_pixel_and_takes_no_time(model, store, pixels):
    class Counted(ImageSource):
        read = 0

        def window(self, box):
            Counted.read += 1
            return super().window(box)

    big = np.lib.stride_tricks.as_strided(
        np.zeros(1, np.uint16), (60_000, 60_000), (0, 0)
    )
    work = Preparation(WithStore(model, store), Counted(big, contrast=(0, 1)))
    assert work.total > 50_000
    start = time.perf_counter()
    for _ in range(20):
        work.share(Box(100, 100, 2000, 3000))
    assert (time.perf_counter() - start) / 20 < 0.05
    assert Counted.read == 0


def test_looking_finds_what_others_have_prepared(model, store, image, encodings):
    prepare(model, store, image, within=Box(0, 0, 20, 20))
    count = len(encodings)
    work = Preparation(WithStore(model, store), image)
    assert work.share(Box(0, 0, 20, 20)) == 0.0
    while not work.look(seconds=0.0):
        pass
    assert work.share(Box(0, 0, 20, 20)) == 1.0
    assert work.share() < 1.0
    assert len(encodings) == count


def test_another_contrast_is_another_image(model, store, image):
    prepare(model, store, image)
    assert share_prepared(model, store, image) == 1.0
    assert share_prepared(model, store, image.shown((0, 3000))) == 0.0


def test_only_models_that_encode_once(store, image):
    class Anew:
        name = "anew"

    with pytest.raises(ModelError, match="anew looks at every window anew"):
        prepare(Anew(), store, image)


def test_a_decoder_alone_says_what_to_do(model, store, image, small_file, tmp_path):
    export_decoder(small_file, tmp_path / "decoder.safetensors")
    decoder = load_model(tmp_path / "decoder.safetensors")
    assert not decoder.has_encoder
    with pytest.raises(EncoderMissingError, match="napari-clickseg encode"):
        prepare(decoder, store, image)
    prepare(model, store, image)
    assert prepare(decoder, store, image).encoded == 0


def test_memory_keeps_what_is_not_to_go_to_disk(model, image, tmp_path, encodings):
    store = PreparedStore(tmp_path / "features", keep=False)
    assert store.empty
    total = prepare(model, store, image).total
    assert not store.empty
    assert not (tmp_path / "features").exists()
    assert share_prepared(model, store, image) == 1.0
    store.configure(tmp_path / "features", None, keep=True)
    assert share_prepared(model, store, image) == 1.0
    store.forget()
    assert store.empty
    assert share_prepared(model, store, image) == 0.0
    prepare(model, store, image)
    assert len(encodings) == 2 * total
    assert FeatureStore(tmp_path / "features").info().entries == total
    store.configure(tmp_path / "features", None, keep=False)
    assert share_prepared(model, store, image) == 1.0, "what is on disk is read"


def test_memory_is_limited(model, image):
    every = PreparedStore()
    prepare(model, every, image)
    sizes = [size for _, size in every._memory.values()]
    assert every._held == sum(sizes)
    small = PreparedStore(memory_bytes=2 * max(sizes))
    prepare(model, small, image)
    assert len(small._memory) == 2
    assert small._held <= small.memory_bytes


def test_memory_and_disk_give_the_same(model, image, store):
    window = next(windows_of(image.shape, SIDE))
    answers = []
    for kept in (PreparedStore(), store):
        stored = with_features(model, kept)
        assert stored.ensure(image, window.box, window.size)
        assert not stored.ensure(image, window.box, window.size)
        features = stored.encode_view(
            image, window.box, window.size, [False], lambda: pytest.fail("encoded")
        )
        points = torch.tensor([[[50.0, 60.0, 0.0], [-1.0, -1.0, -1.0]]])
        with torch.inference_mode():
            answers.append(stored.decode(features, points))
    assert torch.equal(*answers)


def test_a_folder_that_is_no_store_keeps_nothing_on_disk(model, image, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    store = PreparedStore(tmp_path)
    done = prepare(model, store, image)
    assert done.done == done.total
    assert "other files" in store.trouble
    assert share_prepared(model, store, image) == 1.0


@pytest.mark.parametrize("look", ["search", "published", "visible"])
def test_a_session_prepares_and_clicks_without_the_encoder(
    model, image, encodings, look, tmp_path
):
    settings = PredictionSettings(first_look=look, magnify=1)
    session = cs.ClickSession(model, settings=settings)
    session.set_image(image)
    session.add_click((200, 300))
    before = session.probability
    seen = []
    done = session.prepare(progress=lambda *counts: seen.append(counts))
    assert done.done == done.total == seen[-1][0]
    count = len(encodings)
    session.discard()
    session.visible = Box(100, 100, 300, 400)
    session.add_click((200, 300))
    session.add_click((20, 850))
    session.commit()
    session.add_click((450, 40))
    assert len(encodings) == count
    if look == "search":
        session.visible = None
        session.discard()
        session.add_click((200, 300))
        np.testing.assert_allclose(session.probability, before, atol=0.05)
    again = session.prepare(tmp_path / "store")
    assert again.encoded == again.total
    assert session.model.store.info().entries == again.total
