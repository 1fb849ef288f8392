"""Many images at once: with threads, processes, and a cluster that loses a worker."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from distributed import Client, LocalCluster
from PIL import Image

from napari_clickseg.boxes import Box
from napari_clickseg.clicks import Click
from napari_clickseg.encoding import work
from napari_clickseg.encoding.batch import Where, encode_images
from napari_clickseg.encoding.keys import key_for
from napari_clickseg.encoding.sources import Shown, find_sources, planes_of
from napari_clickseg.encoding.store import FeatureStore
from napari_clickseg.encoding.windows import prepared_settings, windows_of
from napari_clickseg.encoding.with_store import WithStore
from napari_clickseg.errors import (
    ClickSegError,
    EncoderMissingError,
    ModelError,
)
from napari_clickseg.image import ImageSource
from napari_clickseg.models.decoder_only import export_decoder
from napari_clickseg.models.model import load_model
from napari_clickseg.prediction.passes import Passes
from napari_clickseg.prediction.predictor import Predictor

ONE = Where(workers=1)


def encode(photos, small_file, folder, **options):
    options = {"where": ONE, "side": 64, "precision": "float32"} | options
    return encode_images([photos], small_file, folder, **options)


def many(folder, count):
    rng = np.random.default_rng(1)
    folder.mkdir()
    for number in range(count):
        pixels = rng.integers(0, 255, (80, 100, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return folder


def test_features_are_those_that_the_model_makes(photos, small_file, tmp_path):
    told = []
    summary = encode(
        photos, small_file, tmp_path / "s", on_done=lambda *a: told.append(a)
    )
    assert (summary.images, summary.encoded, summary.present) == (6, 7, 0)
    assert summary.failures == ()
    assert [(count, total) for _, count, total in told] == [(n, 6) for n in range(1, 7)]
    assert 0 < summary.encode_seconds < summary.seconds
    model = load_model(small_file, "cpu", "float32")
    store = FeatureStore(tmp_path / "s")
    for source in find_sources([photos]):
        for name, image in planes_of(source, Shown()):
            (window,) = windows_of(image.shape, 64)
            key = key_for(model, image, window.box, window.size)
            with torch.inference_mode():
                expected = Passes(model).encode(
                    image, window.box, window.size, (False,)
                )
            for a, b in zip(expected.content, store.get(key).content, strict=True):
                assert torch.allclose(a.bfloat16().float(), b, atol=1e-2, rtol=1e-2)
            assert store.about(key)["about"]["source"] == name


def test_what_is_there_is_not_encoded_again(photos, small_file, tmp_path, monkeypatch):
    encode(photos, small_file, tmp_path / "s")

    def refuse(*_):
        raise AssertionError("nothing is left to encode")

    monkeypatch.setattr(work, "engine_of", refuse)
    again = encode(photos, small_file, tmp_path / "s")
    assert (again.encoded, again.present, again.failures) == (0, 7, ())


def test_damaged_and_missing_entries_are_made_again(photos, small_file, tmp_path):
    encode(photos, small_file, tmp_path / "s")
    store = FeatureStore(tmp_path / "s")
    one, two = list(store.keys())[:2]
    store.remove(one)
    (path,) = [p for p in store.path.rglob("*.zip") if two in p.name]
    path.write_bytes(path.read_bytes()[:-1])
    again = encode(photos, small_file, tmp_path / "s")
    assert (again.encoded, again.present) == (2, 5)
    assert store.verify() == {}


def test_the_same_picture_twice_is_encoded_once(photos, small_file, tmp_path):
    (photos / "again.png").write_bytes((photos / "photo1.png").read_bytes())
    summary = encode(photos, small_file, tmp_path / "s")
    assert (summary.images, summary.encoded, summary.present) == (7, 7, 1)


def test_failures_are_told_at_the_end(photos, small_file, tmp_path):
    (photos / "broken.png").write_bytes(b"\x89PNG nothing")
    np.save(photos / "words.npy", np.array(["a", "b"]))
    np.save(photos / "nothing.npy", np.zeros((0, 5)))
    summary = encode(photos, small_file, tmp_path / "s")
    assert summary.encoded == 7
    failed = {Path(source).name: why for source, why in summary.failures}
    assert set(failed) == {"broken.png", "words.npy", "nothing.npy"}
    assert "cannot be read as an image" in failed["broken.png"]


def test_tiles_and_mirror_images(small_file, tmp_path):
    np.save(tmp_path / "large.npy", np.random.default_rng(0).random((100, 150)))
    summary = encode(
        tmp_path / "large.npy", small_file, tmp_path / "s", tiles=True, flip=True
    )
    expected = list(windows_of((100, 150), 64, tiles=True, flip=True))
    assert summary.encoded == len(expected) == 2 * (1 + 3 * 4)


def test_clicks_on_what_was_encoded_need_no_encoder(photos, small_file, tmp_path):
    encode(photos, small_file, tmp_path / "s", side=None)
    export_decoder(small_file, tmp_path / "decoder.safetensors")
    decoder = load_model(tmp_path / "decoder.safetensors", "cpu")
    model = WithStore(decoder, FeatureStore(tmp_path / "s"))
    image = ImageSource(np.asarray(Image.open(photos / "photo1.png")))
    settings = prepared_settings(448)
    answer = Predictor(model, settings).predict(image, [Click(30, 30)])
    whole = Predictor(load_model(small_file, "cpu"), settings)
    expected = whole.predict(image, [Click(30, 30)])
    assert np.abs(answer.probability - expected.probability).max() < 0.03
    assert answer.box == Box(0, 0, 71, 90)


def test_what_stops_the_whole_run(photos, small_file, tmp_path, monkeypatch):
    half = export_decoder(small_file, tmp_path / "half.safetensors").path
    with pytest.raises(EncoderMissingError, match="whole model"):
        encode(photos, half, tmp_path / "s")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(FeatureStore, "put", full)
        with pytest.raises(ClickSegError, match="No space left"):
            encode(photos, small_file, tmp_path / "s")

    with monkeypatch.context() as patch:
        patch.setattr(work, "encoder_hash", lambda _: "0" * 32)
        with pytest.raises(ClickSegError, match="other weights"):
            encode(photos, small_file, tmp_path / "s")
    with pytest.raises(ModelError):
        encode(photos, "no-such-model", tmp_path / "s")
    where = Where(scheduler="nonsense://nowhere:1")
    with pytest.raises(ClickSegError, match="no dask scheduler"):
        encode(photos, small_file, tmp_path / "s", where=where)


def test_without_dask_it_says_what_to_install(
    photos, small_file, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"distributed.*napari-clickseg\[encode\]"):
        encode(photos, small_file, tmp_path / "s")


# -- processes and clusters -----------------------------------------------------------


@pytest.fixture
def cluster():
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address="127.0.0.1:0",
        memory_limit=0,
        silence_logs=logging.CRITICAL,
    ) as made:
        yield made


def pids(address):
    with Client(address) as client:
        return set(client.run(os.getpid).values())


def test_a_cluster_that_loses_a_worker_midway(cluster, small_file, tmp_path):
    photos = many(tmp_path / "photos", 40)
    before = pids(cluster.scheduler_address)
    victim = min(before)
    killed = []

    def kill(done, count, total):
        if count == 5:
            assert count < total
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)

    where = Where(scheduler=cluster.scheduler_address)
    summary = encode(photos, small_file, tmp_path / "s", where=where, on_done=kill)
    assert killed
    assert (summary.images, summary.failures) == (40, ())
    store = FeatureStore(tmp_path / "s")
    assert store.info().entries == 40
    assert store.info().unfinished == 0
    assert store.verify() == {}
    # What the dead worker had finished and not told is found in the store.
    assert summary.encoded + summary.present == 40
    assert victim not in pids(cluster.scheduler_address)
    again = encode(photos, small_file, tmp_path / "s", where=where)
    assert (again.encoded, again.present) == (0, 40)


def test_an_image_that_kills_its_workers_is_one_failure(small_file, tmp_path):
    """Told as such, while the others are done; and tried again the next time."""
    import dask

    photos = many(tmp_path / "photos", 30)
    victims = []

    def kill(done, count, total):
        if count == 3:
            victims.append(min(pids(address)))
            os.kill(victims[0], signal.SIGKILL)

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",
            memory_limit=0,
            silence_logs=logging.CRITICAL,
        ) as cluster,
    ):
        address = cluster.scheduler_address
        where = Where(scheduler=address)
        summary = encode(photos, small_file, tmp_path / "s", where=where, on_done=kill)
        assert victims
        assert summary.images == 30
        assert all("memory" in why for _, why in summary.failures)
        assert summary.encoded + len(summary.failures) >= 30 - summary.present
        again = encode(photos, small_file, tmp_path / "s", where=where)
    assert again.failures == ()
    assert again.encoded + again.present == 30


def test_processes_here(photos, small_file, tmp_path):
    where = Where(workers=2, processes=True)
    summary = encode(photos, small_file, tmp_path / "s", where=where)
    assert (summary.encoded, summary.failures) == (7, ())
    assert FeatureStore(tmp_path / "s").verify() == {}


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize("how", ["--threads", "--processes"])
def test_ctrl_c_keeps_what_is_done(small_file, tmp_path, how):
    photos = many(tmp_path / "photos", 60)
    command = [
        *(sys.executable, "-m", "napari_clickseg.cli", "encode", str(photos)),
        *("-m", str(small_file), "-o", str(tmp_path / "s"), how, "--workers", "1"),
        *("--side", "320", "--precision", "float32"),
    ]
    run = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    entries = tmp_path / "s" / "entries"
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and run.poll() is None:
        if len(list(entries.rglob("*.zip"))) >= 3:
            break
        time.sleep(0.01)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, err = run.communicate(timeout=200)
    assert run.returncode == 130, err
    assert err.strip().endswith("Run the same command to go on.")
    assert "Traceback" not in err
    store = FeatureStore(tmp_path / "s")
    count = store.info().entries
    assert 3 <= count < 60
    assert store.verify() == {}
    if how == "--processes":
        return  # going on is the same
    done = subprocess.run(
        [*command, "--json"], capture_output=True, text=True, check=True
    )
    summary = json.loads(done.stdout)
    assert summary["present"] >= count
    assert summary["encoded"] + summary["present"] == 60
