"""Files of the networks for classes, matting and depth, as they were released."""

from __future__ import annotations

import io
import os
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.networks.tables import skeleton
from torch import Tensor, nn

import napari_clickseg as cs
from napari_clickseg.errors import CheckpointError, ModelError
from napari_clickseg.models.checkpoint import (
    build_network,
    convert_checkpoint,
    read_checkpoint,
)
from napari_clickseg.models.containers import read_state_dict
from napari_clickseg.models.fetch import add_model_file
from napari_clickseg.models.model import load_model
from napari_clickseg.models.published import understand
from napari_clickseg.models.registry import list_models
from napari_clickseg.networks.bts import BTS
from napari_clickseg.networks.indexnet import IndexNet
from napari_clickseg.networks.multiscale import MultiScaleHRNet

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "multiscale-hrnet": lambda: MultiScaleHRNet(4, width=4, ocr_width=8, small=True),
    "indexnet": lambda: IndexNet("o2o", separable=True, context=16),
    "bts": lambda: BTS("densenet121", 32),
}


class Touch:
    """Would leave a file behind if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.makedirs, (str(self.path), 0o777, True)


def released(
    network: nn.Module, holder: str = "state_dict", **extra: Any
) -> dict[str, Any]:
    """Build what training on several GPUs saves."""
    state = network.state_dict()
    wrapped = OrderedDict((f"module.{name}", value) for name, value in state.items())
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    return {holder: wrapped, "optimizer": optimiser.state_dict(), "epoch": 3, **extra}


def encoded(content: Any, *, old: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not old)
    return buffer.getvalue()


def assert_is(path: Path, architecture: str, network: nn.Module) -> None:
    found = read_checkpoint(path)
    assert found.architecture == architecture
    again = build_network(found)
    assert again.config == network.config
    ours = network.state_dict()
    assert again.state_dict().keys() == ours.keys()
    for name, value in again.state_dict().items():
        assert torch.equal(value, ours[name])


@pytest.mark.parametrize("old", [False, True], ids=["zip", "pickles"])
@pytest.mark.parametrize("plain", [True, False], ids=["plain", "with objects"])
@pytest.mark.parametrize("holder", ["state_dict", "model"])
@pytest.mark.parametrize("name", NETWORKS)
def test_training_checkpoints(
    name: str, holder: str, plain: bool, old: bool, tmp_path: Path
) -> None:
    """With an optimiser, a log of numpy's numbers and a trap: only weights count."""
    torch.manual_seed(0)
    network = NETWORKS[name]()
    extra: dict[str, Any] = {}
    if not plain:
        log = {"loss": np.float64(0.5), "curve": np.arange(3)}
        extra = {"log": log, "trap": Touch(tmp_path / "trap")}
    path = tmp_path / "checkpoint.pth.tar"
    path.write_bytes(encoded(released(network, holder, **extra), old=old))
    assert_is(path, name, network)
    assert not (tmp_path / "trap").exists()


def test_depth_comes_in_an_archive(tmp_path: Path) -> None:
    """One weight file without a suffix, beside others of the training."""
    torch.manual_seed(0)
    network = NETWORKS["bts"]()
    path = tmp_path / "bts_nyu_v2_pytorch_densenet161.zip"
    folder = "bts_nyu_v2_pytorch_densenet161"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{folder}/arguments.txt", "--max_depth 10")
        archive.writestr(f"{folder}/model", encoded(released(network, "model")))
    assert_is(path, "bts", network)


def test_an_archive_of_several(tmp_path: Path) -> None:
    path = tmp_path / "models.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("first", "second"):
            archive.writestr(name, encoded({"w": torch.zeros(2)}))
    with pytest.raises(CheckpointError, match=r"2 weight files \(first, second\)"):
        read_checkpoint(path)


def test_an_archive_that_claims_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model", encoded({"w": torch.zeros(100_000)}))
    limit = "napari_clickseg.models.weight_files._MOST_UNPACKED"
    monkeypatch.setattr(limit, 100_000)
    with pytest.raises(CheckpointError, match="GiB of memory"):
        read_checkpoint(path)


@torch.inference_mode()
def test_converted_it_answers_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = NETWORKS["indexnet"]().eval()
    path = tmp_path / "indexnet_matting.pth.tar"
    path.write_bytes(encoded(released(network)))
    again = build_network(convert_checkpoint(path, tmp_path / "indexnet.safetensors"))
    image = torch.rand(1, 4, 32, 64)
    assert torch.equal(again(image), network(image))


@pytest.mark.parametrize(
    ("name", "task"),
    [("multiscale-hrnet", "semantic"), ("indexnet", "matting"), ("bts", "depth")],
)
def test_they_are_not_taken_for_click_networks(
    name: str, task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAPARI_CLICKSEG_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "mine.pth"
    path.write_bytes(encoded(released(NETWORKS[name]())))
    assert read_checkpoint(path).task == task
    with pytest.raises(ModelError, match=f"for the task '{task}'"):
        cs.ClickSession(load_model(path))
    added = add_model_file(path)
    assert added.task == task
    assert added in list_models(task)
    assert added not in list_models("segmentation")
    assert load_model("mine").info.task == task
    session = cs.ClickSession("mine")
    session.set_image(np.zeros((32, 32), np.uint8))
    with pytest.raises(ModelError, match=rf"ClickSession\(model, task='{task}'\)"):
        session.add_click((3, 4))


PUBLISHED = {
    "hmsa_hrnet48_ocr_cityscapes": ("multiscale-hrnet", "HMSA"),
    "hmsa_hrnet48_ocr_mapillary": ("multiscale-hrnet", "HMSA"),
    "indexnet_mbv2": ("indexnet", "IndexNet Matting"),
    "bts_densenet161": ("bts", "BTS"),
}


@pytest.mark.parametrize("counters", [True, False])
@pytest.mark.parametrize("name", PUBLISHED)
def test_released_names_and_shapes_are_recognised(name: str, counters: bool) -> None:
    network = skeleton(name)
    state = {
        f"module.{key}": torch.zeros(()).expand(value.shape)
        for key, value in network.state_dict().items()
        if counters or not key.endswith("num_batches_tracked")
    }
    found = understand({"state_dict": state})
    assert (found.architecture, found.metadata["published_as"]) == PUBLISHED[name]
    with torch.device("meta"):
        again = type(network)(**found.config)
    assert again.config == network.config


def test_other_weights_are_not_taken_for_them() -> None:
    kinds: dict[str, Any] = {
        "hmsa_hrnet48_ocr_cityscapes": MultiScaleHRNet,
        "indexnet_mbv2": IndexNet,
        "bts_densenet161": BTS,
        "ritm_h18s": None,
    }
    for name, right in kinds.items():
        state = skeleton(name).state_dict()
        others = [kind for kind in kinds.values() if kind not in (right, None)]
        assert all(kind.recognise(state) is None for kind in others)


def test_a_densenet_that_is_not_supported() -> None:
    state = {
        "encoder.base_model.norm5.weight": torch.zeros(1664),
        "decoder.upconv5.conv.weight": torch.zeros(64, 1664, 3, 3),
        "decoder.daspp_conv.0.weight": torch.zeros(16, 112, 3, 3),
    }
    assert BTS.recognise(state) is None
    with pytest.raises(CheckpointError, match="no network known here"):
        understand({"model": state})


# ----------------------------------------------------- the format before 1.6


def test_shared_and_strided_weights_of_the_old_format() -> None:
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
    found = read_state_dict(encoded({"state_dict": state, "log": Touch}, old=True))
    assert found is not None
    for name, value in state.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value.detach())


@settings(max_examples=60)
@given(data=st.data())
def test_damage_of_the_old_format_gives_weights_or_none(data: st.DataObject) -> None:
    state = {"a": torch.zeros(3), "b": torch.ones(2, 2)}
    content = bytearray(encoded({"model": state, "log": Touch}, old=True))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(
            st.integers(0, 255)
        )
    cut = data.draw(st.integers(0, len(content)))
    for damaged in (bytes(content), bytes(content[:cut])):
        found = read_state_dict(damaged)
        assert found is None or all(isinstance(x, Tensor) for x in found.values())
