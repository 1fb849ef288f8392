"""Images encoded by one command and clicked on by another, with the decoder alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_clickseg.models.checkpoint import save_checkpoint
from napari_clickseg.models.decoder_only import DecoderModel, export_decoder
from napari_clickseg.models.model import load_model
from napari_clickseg.models.registry import STARTER, get_info
from napari_clickseg.networks.interformer_mobilenet import InterFormerMobileNetV2


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    torch.manual_seed(3)
    network = InterFormerMobileNetV2((8, 16, 32, 64), (1, 1, 1, 1), 16, 16).eval()
    path = tmp_path_factory.mktemp("weights") / "whole.safetensors"
    save_checkpoint(path, network, metadata={})
    return path


@pytest.fixture
def decoder(whole, tmp_path):
    export_decoder(whole, tmp_path / "decoder.safetensors")
    return tmp_path / "decoder.safetensors"


@pytest.fixture
def grey(tmp_path):
    """A 16-bit image in which tiles matter."""
    import tifffile

    rng = np.random.default_rng(1)
    path = tmp_path / "images" / "grey.tif"
    path.parent.mkdir()
    tifffile.imwrite(path, rng.integers(0, 4000, (480, 700), np.uint16))
    return path


def test_encode_here_and_click_there(run, whole, decoder, grey, tmp_path):
    store, out = tmp_path / "store", tmp_path / "labels.npy"
    shown = ("--contrast", "0,4000")
    click = ("segment", grey, "--click", "100,200", "--click", "-400,600", "-o", out)
    early = run(*click, *shown, "--model", decoder, "--store", store)
    assert early.code == 3
    assert "no feature store" in early.err
    made = run(
        *("encode", grey.parent, "--model", whole, "--out", store),
        *("--tiles", *shown),
    )
    assert made.code == 0, made.err
    found = run(*click, *shown, "--model", decoder, "--store", store)
    assert found.code == 0, found.err
    labels = np.load(out)
    assert run(*click, *shown, "--model", whole, "--store", store).code == 0
    np.testing.assert_array_equal(labels, np.load(out))
    assert run(*click, *shown, "--model", whole).code == 0
    assert (labels != np.load(out)).mean() < 0.02, "but for the digits that are kept"
    other = run(*click, "--contrast", "0,3000", "--model", decoder, "--store", store)
    assert other.code == 4
    assert "is not prepared" in other.err
    assert "napari-clickseg encode" in other.err


def test_the_whole_image_alone_will_do(run, whole, decoder, grey, tmp_path):
    store, out = tmp_path / "store", tmp_path / "labels.npy"
    shown = ("--contrast", "0,4000", "--store", store, "--first-look", "published")
    click = ("segment", grey, "--click", "100,200", "-o", out, *shown)
    made = run(
        *("encode", grey.parent, "--model", whole, "--out", store),
        *("--contrast", "0,4000"),
    )
    assert made.code == 0, made.err
    found = run(*click, "--model", decoder)
    assert found.code == 0, found.err


def test_a_store_fills_up_as_one_clicks(run, whole, grey, tmp_path):
    store, out = tmp_path / "store", tmp_path / "labels.npy"
    click = ("segment", grey, "-c", "100,200", "-o", out, "--store", store)
    assert run(*click, "--model", whole).code == 0
    info = run("store", "info", store)
    assert info.code == 0
    assert "0 entries" not in info.out


def test_a_store_is_of_no_use_to_other_models(run, weights, grey, tmp_path):
    ended = run(
        *("segment", grey, "-c", "100,200", "--model", weights),
        *("--store", tmp_path / "store"),
    )
    assert ended.code == 4
    assert "looks at every window anew" in ended.err


@pytest.mark.skipif(
    not get_info(STARTER).path.is_file(), reason="the starter model is not there"
)
def test_convert_takes_the_name_of_a_model(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = run("convert", STARTER, "--decoder-only")
    assert ended.code == 0, ended.err
    made = Path(f"{STARTER}-decoder.safetensors")
    assert isinstance(load_model(made, "cpu"), DecoderModel)
    # Of this model little is encoder; but the numbers stay as short as they were.
    assert made.stat().st_size < 1.1 * get_info(STARTER).path.stat().st_size
    assert run("convert", STARTER, "copy.safetensors").code == 0
    wrong = run("convert", "no-such-model", "--decoder-only")
    assert wrong.code == 4
    assert "models list" in wrong.err
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "copy.safetensors",
        made.name,
    ]
