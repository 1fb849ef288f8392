"""Training checkpoints: their weights are read, nothing else is touched."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from napari_clickseg.errors import CheckpointError, FetchError
from napari_clickseg.models.added import add_model_file
from napari_clickseg.models.checkpoint import (
    build_network,
    convert_checkpoint,
    read_checkpoint,
)
from napari_clickseg.models.containers import read_state_dict
from napari_clickseg.models.model import load_model
from napari_clickseg.models.registry import get_info
from napari_clickseg.networks.interformer import InterFormer

SMALL = {"dim": 32, "depth": 2, "heads": 2, "depths": [2, 2, 6, 3]}


class Touch:
    """Would leave a file behind if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.makedirs, (str(self.path), 0o777, True)


class SomethingOfMmcv:
    """Not importable where the file is read, as far as the reader knows."""

    def __init__(self) -> None:
        self.scores = [np.float64(0.5), np.arange(3)]


@pytest.fixture(scope="module")
def network() -> InterFormer:
    torch.manual_seed(0)
    network = InterFormer(**SMALL).eval()
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.1)
    return network


def checkpoint(network: nn.Module, trap: Path) -> dict[str, Any]:
    """Build what mmcv saves: meta, weights, optimiser."""
    state = OrderedDict(network.state_dict())
    optimiser = torch.optim.AdamW(network.parameters())
    return {
        "meta": {
            "epoch": 1,
            "hook_msgs": {"best": np.float64(0.9)},
            "other": SomethingOfMmcv(),
            "trap": Touch(trap),
        },
        "state_dict": state,
        "optimizer": {**optimiser.state_dict(), "more": Touch(trap)},
    }


@pytest.fixture
def file(network: InterFormer, tmp_path: Path) -> Path:
    path = tmp_path / "iter_320000.pth"
    torch.save(checkpoint(network, tmp_path / "trap"), path)
    return path


def test_weights_are_read_and_nothing_is_run(
    network: InterFormer, file: Path, tmp_path: Path
) -> None:
    found = read_checkpoint(file)
    assert not (tmp_path / "trap").exists()
    assert found.architecture == "interformer"
    assert found.config == SMALL
    ours = network.state_dict()
    assert found.state_dict.keys() == ours.keys()
    for name, value in found.state_dict.items():
        assert value.dtype == ours[name].dtype
        assert torch.equal(value, ours[name])


def test_the_trap_works(file: Path, tmp_path: Path) -> None:
    """Otherwise the test above would prove nothing."""
    torch.load(file, weights_only=False)
    assert (tmp_path / "trap").exists()


def test_a_file_fetched_by_hand_takes_the_place_of_the_published_one(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Both published files have the same name; their folder is for browsers."""
    monkeypatch.setenv("NAPARI_CLICKSEG_CACHE", str(tmp_path / "cache"))
    with pytest.raises(FetchError) as caught:
        load_model("interformer-light", "cpu")
    text = str(caught.value)
    assert "interformer_light_coco_lvis_320k/iter_320000.pth by hand" in text
    assert "models add iter_320000.pth --name interformer-light" in text
    info = add_model_file(file, "interformer-light")
    assert (info.name, info.added, info.downloaded) == (
        "interformer-light",
        False,
        True,
    )
    assert not get_info("interformer-tiny").downloaded
    model = load_model("interformer-light", "cpu", "float32")
    assert model.encodes_once
    assert model.remembers
    assert "g-brs" in model.places


@torch.inference_mode()
def test_converted_it_answers_the_same(
    network: InterFormer, file: Path, tmp_path: Path
) -> None:
    target = tmp_path / "interformer.safetensors"
    convert_checkpoint(file, target)
    again = build_network(read_checkpoint(target))
    image = torch.rand(1, 4, 64, 64)
    points = torch.tensor([[[20.0, 30.0, 0.0], [-1.0, -1.0, -1.0]]])
    assert torch.equal(
        again(image, points)["instances"], network(image, points)["instances"]
    )
    assert b"trap" not in target.read_bytes()
    assert b"exp_avg" not in target.read_bytes()


def test_shared_and_strided_weights(tmp_path: Path) -> None:
    base = torch.arange(24.0).view(4, 6)
    state = {
        "whole": base,
        "transposed": base.t(),
        "part": base[1:3, ::2],
        "half": base.to(torch.bfloat16),
        "flags": base > 3,
        "parameter": nn.Parameter(base.clone()),
        "scalar": torch.tensor(7),
    }
    path = tmp_path / "odd.pth"
    torch.save({"state_dict": state, "meta": SomethingOfMmcv()}, path)
    found = read_state_dict(path.read_bytes())
    assert found is not None
    for name, value in state.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value.detach())


@pytest.mark.parametrize(
    "content",
    [
        {"meta": {}, "net": {"w": torch.zeros(2)}},
        {"state_dict": {}},
        {"state_dict": {"w": "no tensor"}},
        {"state_dict": [torch.zeros(2)]},
        [torch.zeros(2)],
    ],
    ids=str,
)
def test_other_content_is_not_taken(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save(content, path)
    assert read_state_dict(path.read_bytes()) is None


def test_weights_that_are_a_trap_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    torch.save({"state_dict": {"w": Touch(tmp_path / "trap")}}, path)
    with pytest.raises(CheckpointError, match="refused"):
        read_checkpoint(path)
    assert not (tmp_path / "trap").exists()


def test_a_bare_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bare.pth"
    path.write_bytes(pickle.dumps({"state_dict": Touch(tmp_path / "trap")}))
    with pytest.raises(CheckpointError, match="refused"):
        read_checkpoint(path)
    assert not (tmp_path / "trap").exists()


@pytest.fixture(scope="module")
def bytes_of_a_small_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("fuzz") / "small.pth"
    state: dict[str, Tensor] = {"a": torch.zeros(3), "b": torch.ones(2, 2)}
    torch.save({"state_dict": state, "meta": SomethingOfMmcv()}, path)
    return path.read_bytes()


@settings(max_examples=60)
@given(data=st.data())
def test_damage_gives_weights_or_none(
    bytes_of_a_small_file: bytes, data: st.DataObject
) -> None:
    """The pickle inside the archive is damaged, past the archive's checksums."""
    import io

    source = zipfile.ZipFile(io.BytesIO(bytes_of_a_small_file))
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            content = bytearray(source.read(name))
            if name.endswith("data.pkl"):
                for _ in range(data.draw(st.integers(1, 4))):
                    at = data.draw(st.integers(0, len(content) - 1))
                    content[at] = data.draw(st.integers(0, 255))
            archive.writestr(name, bytes(content))
    found = read_state_dict(target.getvalue())
    assert found is None or all(isinstance(x, Tensor) for x in found.values())
