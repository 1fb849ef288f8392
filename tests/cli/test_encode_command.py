"""encode and store: what they say, and how they end."""

from __future__ import annotations

import json
import os
import time

import numpy as np
import pytest
import torch

from napari_clickseg.cli.encode import duration, parse_bytes
from napari_clickseg.encoding.store import FeatureStore
from napari_clickseg.models.decoder_only import DecoderModel
from napari_clickseg.models.features import Features
from napari_clickseg.models.model import load_model


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (50, 60), np.uint8)
        np.save(folder / f"{number}.npy", pixels)
    return folder


@pytest.fixture
def filled(tmp_path):
    store = FeatureStore(tmp_path / "store")
    for number in range(4):
        features = Features([torch.full((1, 4, 8, 8), float(number))], (32, 32), 1)
        path = store.put(f"{number:032x}", features)
        os.utime(path, (time.time() - 86400 * (4 - number),) * 2)
    return store


def test_encode_then_again(run, images, weights, tmp_path):
    store = tmp_path / "features"
    command = ("encode", images, "-m", weights, "-o", store, "--side", 64)
    first = run(*command, "--workers", 1)
    assert first.code == 0, first.err
    assert "3 windows encoded" in first.out
    assert "0 were there" in first.out
    again = run(*command, "--json")
    assert again.code == 0
    summary = json.loads(again.out)
    assert (summary["encoded"], summary["present"]) == (0, 3)
    assert summary["failures"] == []
    assert summary["side"] == 64


def test_failures_have_an_exit_code(run, images, weights, tmp_path, monkeypatch):
    monkeypatch.setattr("napari_clickseg.cli.encode.TOLD", 1)
    (images / "a.png").write_bytes(b"no")
    (images / "b.png").write_bytes(b"no")
    ended = run("encode", images, "-m", weights, "-o", tmp_path / "s", "--workers", 1)
    assert ended.code == 3
    assert "3 windows encoded" in ended.out
    assert "Not encoded:" in ended.err
    assert "a.png" in ended.err
    assert "and 1 more" in ended.err


def test_progress_where_there_is_no_terminal(
    run, images, weights, tmp_path, monkeypatch
):
    monkeypatch.setattr("napari_clickseg.cli.encode.INTERVAL", 0.0)
    ended = run("encode", images, "-m", weights, "-o", tmp_path / "s", "--workers", 1)
    assert "1 of 3 images, about" in ended.err
    assert "3 of 3 images, about 0 s left" in ended.err


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--dtype", "float8"), 2, "float8"),
        (("--max-size", "much"), 2, "50GB"),
        (("--contrast", "1"), 2, "LOW,HIGH"),
        (("--channels", "red"), 2, "numbers"),
        (("--scheduler", "tcp://x:1", "--workers", "2"), 2, "leave out"),
        (("--side", "5"), 2, "32"),
        (("--out", "FILE"), 3, "is a file"),
        (("--model", "nothing"), 4, "nothing"),
    ],
)
def test_wrong_options(run, images, weights, tmp_path, options, code, message):
    file = tmp_path / "file"
    file.write_text("")
    options = tuple(str(file) if o == "FILE" else o for o in options)
    ended = run("encode", images, "-m", weights, "-o", tmp_path / "s", *options)
    assert ended.code == code, ended.err
    assert message in ended.err


def test_nothing_to_encode(run, weights, tmp_path):
    ended = run("encode", tmp_path / "no", "-m", weights, "-o", tmp_path / "s")
    assert ended.code == 3
    assert "no image or folder" in ended.err
    assert not (tmp_path / "s").exists()


def test_info(run, filled, tmp_path):
    said = run("store", "info", filled.path)
    assert said.code == 0
    assert said.out.startswith("4 entries, ")
    assert "96.0 h to 24.0 h ago" in said.out
    numbers = json.loads(run("store", "info", filled.path, "--json").out)
    assert numbers["entries"] == 4
    assert numbers["bytes"] == filled.info().bytes
    assert run("store", "info", tmp_path / "none").code == 3


def test_prune(run, filled):
    (filled.path / "incoming" / "x.y.1.2.part").write_bytes(b"")
    os.utime(filled.path / "incoming" / "x.y.1.2.part", (0, 0))
    said = run("store", "prune", filled.path)
    assert "removed 0 entries" in said.out
    assert "1 unfinished" in said.out
    assert (
        "removed 1 entries" in run("store", "prune", filled.path, "--unused", 3.5).out
    )
    size = filled.info().bytes // 3
    gone = run("store", "prune", filled.path, "--max-size", size, "--json")
    assert json.loads(gone.out)["entries"] == 2
    assert list(filled.keys()) == [f"{3:032x}"]


def test_verify(run, filled):
    assert run("store", "verify", filled.path).out == "4 entries read, 0 damaged\n"
    (path,) = filled.path.rglob(f"{2:032x}*")
    path.write_bytes(path.read_bytes()[:-5])
    said = run("store", "verify", filled.path, "--json")
    assert said.code == 3
    assert list(json.loads(said.out)["damaged"]) == [str(path)]
    said = run("store", "verify", filled.path, "--delete")
    assert said.code == 3
    assert "Damaged and removed" in said.err
    assert run("store", "verify", filled.path).code == 0


def test_convert_decoder_only(run, weights, tmp_path):
    target = tmp_path / "decoder.safetensors"
    ended = run("convert", weights, target, "--decoder-only", "--dtype", "float16")
    assert ended.code == 0, ended.err
    assert isinstance(load_model(target, "cpu"), DecoderModel)
    again = run("convert", weights, target, "--decoder-only")
    assert again.code == 4
    assert "exists already" in again.err


def test_durations_and_sizes():
    assert [duration(x) for x in (48, 720, 12600)] == ["48 s", "12 min", "3.5 h"]
    assert parse_bytes("50GB", "") == 50 * 10**9
    assert parse_bytes("1.5 TB", "") == 15 * 10**11
    assert parse_bytes("1000", "") == 1000
