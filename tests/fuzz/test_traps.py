"""Traps that are known: names that lead out, bombs, sizes that nothing holds."""

from __future__ import annotations

import io
import json
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.fuzz.subjects import LABELS, SUBJECTS, png, read_session, worked
from tests.fuzz.watch import Watch

from napari_clickseg import limits
from napari_clickseg.errors import (
    CheckpointError,
    ClickSegError,
    ExportError,
    ImageError,
    SessionError,
    TrainingError,
)
from napari_clickseg.exporting.objects import load_objects
from napari_clickseg.imagefiles import read_image
from napari_clickseg.models.checkpoint import build_network, read_checkpoint
from napari_clickseg.models.weight_files import encode_safetensors, read_weight_file
from napari_clickseg.session import ClickSession
from napari_clickseg.training.readers.opening import open_reader

MIB = 2**20


def rewritten(path: Path, change) -> None:
    """Write a zip again with its members changed."""
    with zipfile.ZipFile(path) as archive:
        parts = [(each, archive.read(each)) for each in archive.infolist()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names twice
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in change([(e.filename, c) for e, c in parts]):
                archive.writestr(name, content)


@pytest.fixture
def session_file(tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    return worked().save(folder / "work.clickseg")


@pytest.mark.parametrize(
    "name", ["../outside", "/tmp/outside-of-all", "a/../../outside"]
)
def test_names_that_lead_out_of_a_zip(session_file, name, tmp_path):
    """Nothing is ever unpacked: such a member lies there and does nothing."""
    rewritten(session_file, lambda parts: [*parts, (name, b"x")])
    with Watch(session_file.parent) as watch:
        read_session(session_file.parent)
    assert not watch.wrong
    assert [p.name for p in tmp_path.iterdir()] == ["here"]


def test_a_name_twice(session_file):
    rewritten(session_file, lambda parts: [*parts, (parts[0][0], b"{}")])
    with pytest.raises(SessionError, match="same name"):
        ClickSession.load(session_file)


def test_an_array_that_claims_more_than_it_has(session_file):
    def change(parts):
        for name, content in parts:
            if name.endswith(".npy"):
                file = io.BytesIO()
                shape = (2**30, 2**30)
                head = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, head)
                content = file.getvalue() + b"\0" * 8
            yield name, content

    rewritten(session_file, change)
    with Watch(session_file.parent) as watch, pytest.raises(SessionError):
        ClickSession.load(session_file)
    assert watch.peak < 16 * MIB


def test_bombs(session_file, monkeypatch):
    """A small file that unfolds to more than there is to spare is not unfolded."""
    monkeypatch.setattr(limits, "most_bytes", lambda: 32 * MIB)
    bomb = b"\0" * (64 * MIB)
    rewritten(session_file, lambda parts: [*parts, ("arrays/x.npy", bomb)])
    assert session_file.stat().st_size < MIB
    with Watch(session_file.parent) as watch, pytest.raises(SessionError, match="GiB"):
        ClickSession.load(session_file)
    assert watch.peak < 16 * MIB
    weights = session_file.with_name("w.zip")
    with zipfile.ZipFile(weights, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.pth", b"PK\x03\x04" + bomb)
    with (
        Watch(session_file.parent) as watch,
        pytest.raises(CheckpointError, match="GiB"),
    ):
        read_weight_file(weights)
    assert watch.peak < 16 * MIB


def test_sizes_that_nothing_holds(tmp_path):
    """Claimed sides of 2^60 and of 2^20: refused before memory is asked for."""
    image = {"id": 1, "file_name": "a.png", "height": 2**60, "width": 2**60}
    shape = {"size": [2**60, 2**60], "counts": [2**120]}
    drawn = {"id": 1, "image_id": 1, "segmentation": shape}
    coco = tmp_path / "objects.json"
    coco.write_text(json.dumps({"images": [image], "annotations": [drawn]}))
    array = tmp_path / "a.npy"
    with array.open("wb") as file:
        head = {"descr": "<u2", "fortran_order": False, "shape": (2**20, 2**20)}
        np.lib.format.write_array_header_1_0(file, head)
        file.write(b"\0" * 100)
    header = json.dumps(
        {"x": {"dtype": "F32", "shape": [2**30, 2**30], "data_offsets": [0, 8]}}
    ).encode()
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 8)
    (tmp_path / "a.png").write_bytes(png(LABELS.astype(np.uint8)))
    cases = (
        (ExportError, lambda: load_objects(coco)),
        (ImageError, lambda: read_image(array)),
        (CheckpointError, lambda: read_weight_file(weights)),
        (TrainingError, lambda: open_reader(coco).labels(0)),
    )
    for error, read in cases:
        with Watch(tmp_path) as watch, pytest.raises(error):
            read()
        assert watch.peak < 8 * MIB
        assert not watch.wrong


def test_a_tensor_that_repeats_one_number(tmp_path):
    """A stride of 0 makes 2^40 numbers of one; cloning them would take 4 TiB."""
    from napari_clickseg.models.containers import read_state_dict

    file = io.BytesIO()
    huge = torch.zeros(1).expand(2**20, 2**20)
    torch.save({"state_dict": {"x": huge}}, file)
    assert read_state_dict(file.getvalue()) is None


def test_a_network_of_a_billion_layers(tmp_path):
    config = {"channels": [8, 16, 32, 64], "depths": [2**30, 1, 1, 1]}
    header = {
        "format": "napari-clickseg",
        "architecture": "interformer-mobilenetv2",
        "config": json.dumps(config),
        "card": "{}",
    }
    path = tmp_path / "w.safetensors"
    path.write_bytes(encode_safetensors({"x": torch.zeros(1)}, header))
    with pytest.raises(CheckpointError, match="more layers"):
        build_network(read_checkpoint(path))


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "C:/secret.png"])
def test_names_that_lead_out_of_a_data_set(tmp_path, name):
    folder = tmp_path / "data"
    SUBJECTS["coco to learn"].lay_out(folder, "", b"")
    (tmp_path / "secret.png").write_bytes(png(LABELS.astype(np.uint8)))
    content = json.loads((folder / "coco.json").read_text())
    content["images"][0]["file_name"] = name
    (folder / "coco.json").write_text(json.dumps(content))
    with (
        Watch(folder) as watch,
        pytest.raises(ClickSegError, match="out of the folder"),
    ):
        open_reader(folder / "coco.json").image(0)
    assert not watch.wrong


def test_the_list_of_own_models_leads_nowhere_else(tmp_path, monkeypatch):
    """Else taking such a model away would delete whatever file it names."""
    from napari_clickseg.models.registry import list_models

    monkeypatch.setenv("NAPARI_CLICKSEG_CACHE", str(tmp_path))
    entry = {"task": "depth", "architecture": "bts", "licence": "x", "source": "x"}
    (tmp_path / "models").mkdir()
    index = {
        "good": {**entry, "file": "added/good.safetensors"},
        "up": {**entry, "file": "../../home/thesis.tex"},
        "absolute": {**entry, "file": "/home/thesis.tex"},
        "number": {**entry, "file": 3},
    }
    (tmp_path / "models" / "added-models.json").write_text(json.dumps(index))
    assert [info.name for info in list_models() if info.added] == ["good"]


def test_an_array_whose_header_ends_in_brackets(tmp_path):
    """NumPy parses it as Python, and says so in Python's words."""
    path = worked().save(tmp_path / "work.clickseg")

    def bracketed(parts):
        for name, content in parts:
            if name.endswith(".npy"):
                (length,) = struct.unpack_from("<H", content, 8)
                end = 10 + length
                yield name, content[: end - 16] + b"[" * 16 + content[end:]
            else:
                yield name, content

    rewritten(path, bracketed)
    with pytest.raises(SessionError, match="damaged"):
        ClickSession.load(path)


def lose(name):
    """Return a change that loses what is said of the image."""
    return lambda text: text["image"].pop(name)


def put_into(edges):
    """Return a change of the place of an object's pixels."""
    return lambda text: text["objects"][0]["pixels"].update(box=edges)


@pytest.mark.parametrize(
    "change",
    [
        *map(lose, ("shape", "dtype", "signature")),
        *map(lose, ("channels", "contrast", "channel_axis")),
        *map(put_into, ([None, 0, 4, 4], [0, 0, 4.5, 4], [1, 2, 3], [0, 0, 1, 1])),
    ],
)
def test_damage_that_thousands_of_files_have_shown(tmp_path, change):
    path = worked().save(tmp_path / "work.clickseg")

    def changed(parts):
        for name, content in parts:
            if name.endswith(".json"):
                text = json.loads(content)
                change(text)
                content = json.dumps(text)
            yield name, content

    rewritten(path, changed)
    with pytest.raises(SessionError, match="damaged"):
        ClickSession.load(path)
