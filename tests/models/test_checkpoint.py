"""Weight files: ours, the published ones, and those that must be refused."""

from __future__ import annotations

import copy
import json
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from tests.golden_weights import fill
from tests.networks.tables import skeleton
from torch import Tensor, nn

from napari_clickseg.errors import CheckpointError, ModelError
from napari_clickseg.models import checkpoint as checkpoint_module
from napari_clickseg.models.architectures import ARCHITECTURES
from napari_clickseg.models.checkpoint import (
    build_network,
    convert_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from napari_clickseg.networks.fbrs import FBRS
from napari_clickseg.networks.ritm import RITM

TINY = {"backbone": "hrnet2s", "ocr_width": 2}


def tiny(kind: type[RITM | FBRS] = RITM, **options: Any) -> RITM | FBRS:
    network = kind(**TINY, **options)
    fill(network)
    return network


def container(network: nn.Module, **changes: Any) -> dict[str, Any]:
    """What RITM's release writes for a network like ``tiny()``."""
    values = {
        "width": 2,
        "ocr_width": 2,
        "small": True,
        "with_prev_mask": True,
        "with_aux_output": True,
        "use_leaky_relu": True,
        "use_rgb_conv": False,
        "use_disks": True,
        "norm_radius": 5,
    } | changes
    params = {
        key: {"type": "builtin", "value": value, "specified": True}
        for key, value in values.items()
    }
    return {
        "state_dict": network.state_dict(),
        "config": {
            "class": "isegm.model.is_hrnet_model.HRNetModel",
            "params": params,
        },
    }


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(
        torch.equal(ours[key], theirs[key]) for key in ours
    )


def saved(tmp_path: Path, content: Any, name: str = "model.pth") -> Path:
    torch.save(content, tmp_path / name)
    return tmp_path / name


# ---------------------------------------------------------------- our own


@pytest.mark.parametrize(
    ("kind", "options"),
    [(RITM, {}), (FBRS, {}), (RITM, {"use_rgb_conv": True, "with_prev_mask": False})],
)
def test_there_and_back(
    tmp_path: Path, kind: type[RITM | FBRS], options: dict[str, Any]
) -> None:
    network = tiny(kind, **options)
    path = tmp_path / "model.safetensors"
    card = {"licence": "BSD-3-Clause", "data": ["a", "b"]}
    save_checkpoint(path, network, metadata=card)
    checkpoint = read_checkpoint(path)
    again = build_network(checkpoint)
    assert type(again) is type(network)
    assert again.config == network.config
    assert same_weights(again, network)
    assert checkpoint.metadata == card
    assert not again.training
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_can_be_saved(tmp_path: Path, name: str) -> None:
    options = TINY if name in ("ritm", "fbrs") else {}
    network = ARCHITECTURES[name](**options)
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, network, metadata={})
    checkpoint = read_checkpoint(path)
    assert checkpoint.architecture == name
    assert same_weights(build_network(checkpoint), network)


def test_half_on_disk_is_whole_in_memory(tmp_path: Path) -> None:
    network = tiny()
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    save_checkpoint(whole, network, metadata={})
    save_checkpoint(half, network, metadata={}, dtype=torch.float16)
    weights = sum(p.numel() for p in network.parameters())
    assert whole.stat().st_size - half.stat().st_size > 2 * weights
    built = build_network(read_checkpoint(half))
    for name, value in network.state_dict().items():
        expected = value.half().float() if value.is_floating_point() else value
        assert torch.equal(built.state_dict()[name], expected)


def test_what_does_not_fit_half_precision_is_refused(tmp_path: Path) -> None:
    network = tiny()
    network.feature_extractor.bn1.running_var.fill_(1e6)
    with pytest.raises(CheckpointError, match=r"bn1\.running_var"):
        save_checkpoint(
            tmp_path / "m.safetensors", network, metadata={}, dtype=torch.float16
        )
    assert not list(tmp_path.iterdir())


def test_same_weights_same_file(tmp_path: Path) -> None:
    """However the library orders its header: the hash of a file is pinned."""
    paths = [tmp_path / f"{i}.safetensors" for i in range(6)]
    for path in paths:
        save_checkpoint(path, tiny(), metadata={"b": 1, "a": 2})
    assert len({path.read_bytes() for path in paths}) == 1
    assert len({read_checkpoint(path).sha256 for path in paths}) == 1


def test_a_failing_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("the old one")

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(checkpoint_module.os, "fsync", fail)
    with pytest.raises(CheckpointError, match="no space left"):
        save_checkpoint(path, tiny(), metadata={})
    assert path.read_text() == "the old one"
    assert len(list(tmp_path.iterdir())) == 1


def test_saving_where_there_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_checkpoint(tmp_path / "no" / "m.safetensors", tiny(), metadata={})


@pytest.mark.parametrize(
    ("build", "metadata", "name", "complaint"),
    [
        (lambda: nn.Linear(2, 2), {}, "m.safetensors", "Linear cannot be saved"),
        (tiny, {"when": object()}, "m.safetensors", "must fit JSON"),
        (tiny, {"score": float("nan")}, "m.safetensors", "must fit JSON"),
        (tiny, {}, "m.pth", r"\.safetensors"),
    ],
)
def test_what_cannot_be_saved(
    tmp_path: Path,
    build: Callable[[], nn.Module],
    metadata: dict,
    name: str,
    complaint: str,
) -> None:
    with pytest.raises(CheckpointError, match=complaint):
        save_checkpoint(tmp_path / name, build(), metadata=metadata)
    assert not list(tmp_path.iterdir())


def test_a_folded_network_is_not_saved(tmp_path: Path) -> None:
    network = tiny()
    network.feature_extractor.bn1 = nn.Identity()
    with pytest.raises(CheckpointError, match=r"missing.*bn1"):
        save_checkpoint(tmp_path / "m.safetensors", network, metadata={})


def test_building_leaves_the_random_state(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "m.safetensors", tiny(), metadata={})
    checkpoint = read_checkpoint(tmp_path / "m.safetensors")
    before = torch.get_rng_state()
    build_network(checkpoint)
    assert torch.equal(torch.get_rng_state(), before)


# ------------------------------------------------------------ published ones


@pytest.mark.parametrize("prefix", ["", "module."])
def test_ritm_container(tmp_path: Path, prefix: str) -> None:
    network = tiny()
    content = container(network)
    content["state_dict"] = OrderedDict(
        (prefix + key, value) for key, value in content["state_dict"].items()
    )
    checkpoint = read_checkpoint(saved(tmp_path, content))
    assert checkpoint.architecture == "ritm"
    built = build_network(checkpoint)
    assert built.config == network.config
    assert same_weights(built, network)


@pytest.mark.parametrize(
    ("example", "network"),
    [
        ("ritm_h18s_config_example", "ritm_h18s"),
        ("ritm_deeplab_r34_config_example", "ritm_deeplab_r34"),
    ],
)
def test_configurations_as_released(
    tmp_path: Path, excerpt_dir: Path, example: str, network: str
) -> None:
    config = json.loads((excerpt_dir / f"{example}.json").read_text())
    content = {"state_dict": {"any": torch.zeros(1)}, "config": config}
    checkpoint = read_checkpoint(saved(tmp_path, content))
    with torch.device("meta"):
        built = ARCHITECTURES[checkpoint.architecture](**checkpoint.config)
    assert built.config == skeleton(network).config


def test_a_released_network_answers(tmp_path: Path, excerpt_dir: Path) -> None:
    """From the file to the answer, as a user would have it."""
    config = json.loads((excerpt_dir / "ritm_h18s_config_example.json").read_text())
    network = RITM("hrnet18s")
    fill(network)
    content = {"state_dict": network.state_dict(), "config": config}
    built = build_network(read_checkpoint(saved(tmp_path, content)))
    image, points = torch.rand(1, 4, 32, 32), torch.tensor([[[9.0, 9, 0], [-1] * 3]])
    with torch.inference_mode():
        expected = network(image, points)["instances"]
        assert torch.equal(built(image, points)["instances"], expected)


def test_left_out_parameters_have_the_published_defaults(tmp_path: Path) -> None:
    content = container(tiny())
    content["config"]["params"] = {}
    config = read_checkpoint(saved(tmp_path, content)).config
    assert config["backbone"] == "hrnet48"
    assert config["ocr_width"] == 256
    assert (config["use_disks"], config["norm_radius"]) == (False, 260)
    assert config["use_rgb_conv"]
    assert not config["with_prev_mask"]


def test_unknown_parameters_matter_only_if_they_were_set(tmp_path: Path) -> None:
    content = container(tiny())
    novelty = {"type": "builtin", "value": 3, "specified": False}
    content["config"]["params"]["novelty"] = novelty
    build_network(read_checkpoint(saved(tmp_path, content)))
    novelty["specified"] = True
    with pytest.raises(CheckpointError, match="novelty"):
        read_checkpoint(saved(tmp_path, content))


def test_batch_norm_may_be_named(tmp_path: Path) -> None:
    content = container(tiny())
    norm = {"type": "class", "specified": False}
    norm["value"] = "torch.nn.modules.batchnorm.BatchNorm2d"
    content["config"]["params"]["norm_layer"] = norm
    build_network(read_checkpoint(saved(tmp_path, content)))
    norm["value"] = "torch.nn.modules.instancenorm.InstanceNorm2d"
    with pytest.raises(CheckpointError, match="InstanceNorm2d"):
        read_checkpoint(saved(tmp_path, content))


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapped", [False, True])
def test_bare_fbrs(tmp_path: Path, prefix: str, wrapped: bool) -> None:
    """With the counters of batch norm missing, as in converted files."""
    network = tiny(FBRS)
    state = {
        prefix + key: value
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    checkpoint = read_checkpoint(
        saved(tmp_path, {"state_dict": state} if wrapped else state)
    )
    built = build_network(checkpoint)
    assert checkpoint.architecture == "fbrs"
    assert built.config == network.config
    assert same_weights(built, network)


def test_bare_fbrs_as_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    safetensors.torch.save_file(tiny(FBRS).state_dict(), path, {"format": "pt"})
    assert same_weights(build_network(read_checkpoint(path)), tiny(FBRS))


def test_the_old_pytorch_format(tmp_path: Path) -> None:
    torch.save(
        container(tiny()),
        tmp_path / "m.pth",
        _use_new_zipfile_serialization=False,
    )
    built = build_network(read_checkpoint(tmp_path / "m.pth"))
    assert same_weights(built, tiny())


def test_converting(tmp_path: Path) -> None:
    source = saved(tmp_path, container(tiny()), "released.pth")
    target = tmp_path / "ours.safetensors"
    converted = convert_checkpoint(source, target)
    assert same_weights(build_network(read_checkpoint(target)), tiny())
    assert converted.metadata["converted_from"] == "released.pth"
    origin = converted.metadata["converted_from_sha256"]
    assert origin == read_checkpoint(source).sha256
    with pytest.raises(CheckpointError, match="exists already"):
        convert_checkpoint(source, target)
    convert_checkpoint(source, target, overwrite=True, dtype=torch.float16)


# --------------------------------------------------- what cannot be understood


def refused(path: Path) -> str:
    """Read and build; return what the error says, which must name the file."""
    with pytest.raises(CheckpointError) as caught:
        build_network(read_checkpoint(path))
    assert isinstance(caught.value, ModelError)
    assert str(path) in str(caught.value)
    return str(caught.value)


def without(state: dict[str, Tensor], *names: str) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if key not in names}


def test_a_classifier_is_not_taken_for_a_click_network(tmp_path: Path) -> None:
    start = "feature_extractor."
    state = {
        key.removeprefix(start): value
        for key, value in tiny().state_dict().items()
        if key.startswith(start)
    }
    assert "image classifier" in refused(saved(tmp_path, state))


def test_weights_without_config(tmp_path: Path) -> None:
    assert "no 'config'" in refused(saved(tmp_path, tiny().state_dict()))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ([{"state_dict": {}, "config": {}}] * 2, "multi-stage"),
        ({}, "no weights"),
        ({"weight": torch.zeros(2)}, "begin with 'weight'"),
        ({"epoch": 3, "optimizer": {"lr": 0.1}}, "'epoch', 'optimizer'"),
        ({"state_dict": [1, 2], "config": {}}, "no weights"),
        (torch.zeros(3), "holds a Tensor"),
        ("weights", "holds a str"),
    ],
)
def test_other_contents(tmp_path: Path, content: Any, complaint: str) -> None:
    assert complaint in refused(saved(tmp_path, content))


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ("HRNetModel", "without a 'class'"),
        ({"params": {}}, "without a 'class'"),
        ({"class": "isegm.model.is_hrnet_model.HRNetModel", "params": 3}, "class"),
        ({"class": "isegm.model.is_plainvit_model.PlainVitModel"}, "PlainVitModel"),
    ],
)
def test_other_configurations(tmp_path: Path, config: Any, complaint: str) -> None:
    content = container(tiny()) | {"config": config}
    assert complaint in refused(saved(tmp_path, content))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"clicks_groups": [3, 5]}, "clicks_groups"),
        ({"width": "two"}, "cannot be built"),
        ({"ocr_width": 0}, "OCR head"),
        ({"norm_radius": "five"}, "cannot be built"),
        ({"width": torch.ones(2)}, "no plain value"),
        ({"width": 4}, "of another shape"),
        ({"width": 9999, "ocr_width": 10**6}, "of another shape"),  # no memory spent
        ({"small": False}, "missing"),
        ({"with_prev_mask": False}, r"(16, 3, 1, 1) instead of (16, 2, 1, 1)"),
        ({"use_rgb_conv": True}, "not part of it (maps_transform.0.weight"),
    ],
)
def test_a_configuration_that_does_not_fit(
    tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    assert complaint in refused(saved(tmp_path, container(tiny(), **changes)))


def test_few_of_many_missing_weights_are_named(tmp_path: Path) -> None:
    content = container(tiny())
    content["state_dict"] = without(
        content["state_dict"],
        *(f"feature_extractor.layer1.0.conv{i}.weight" for i in (1, 2, 3)),
        "feature_extractor.cls_head.bias",
    )
    text = refused(saved(tmp_path, content))
    assert "4 missing (feature_extractor.layer1.0.conv1.weight" in text
    assert "cls_head" not in text


def test_weights_that_are_no_numbers(tmp_path: Path) -> None:
    content = container(tiny())
    name = "feature_extractor.cls_head.weight"
    content["state_dict"][name].fill_(float("nan"))
    assert f"1 not finite ({name})" in refused(saved(tmp_path, content))


def test_weights_of_another_type(tmp_path: Path) -> None:
    content = container(tiny())
    name = "feature_extractor.cls_head.weight"
    content["state_dict"][name] = content["state_dict"][name].long()
    assert f"({name} torch.int64)" in refused(saved(tmp_path, content))


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    """Sparse and empty-handed (meta) tensors are no weights."""
    for odd in (torch.eye(2).to_sparse(), torch.zeros(2, device="meta")):
        content = container(tiny())
        content["state_dict"]["odd"] = odd
        assert "'odd'" in refused(saved(tmp_path, content))


def own_header(**changes: str) -> dict[str, str]:
    network = tiny()
    return {
        "format": "napari-clickseg",
        "architecture": "ritm",
        "config": json.dumps(network.config),
        "card": "{}",
    } | changes


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"architecture": "os.system"}, "'os.system', which is not known"),
        ({"architecture": ""}, "Known are"),
        ({"config": "not JSON"}, "'config' that is no JSON"),
        ({"config": "[" * 100_000}, "'config' that is no JSON"),
        ({"config": "[1]"}, "no JSON object"),
        ({"card": "{"}, "'card' that is no JSON"),
        ({"config": '{"evil": 1}'}, "cannot be built"),
        ({"config": '{"backbone": ["hrnet18s"]}'}, "cannot be built"),
        ({"config": "{}"}, "does not fit"),
    ],
)
def test_strange_headers(
    tmp_path: Path, changes: dict[str, str], complaint: str
) -> None:
    path = tmp_path / "m.safetensors"
    safetensors.torch.save_file(tiny().state_dict(), path, own_header(**changes))
    assert complaint in refused(path)


def test_a_class_is_never_imported_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "was_here"
    module = tmp_path / "evil_module.py"
    module.write_text(f"open({str(marker)!r}, 'w')\nclass Evil: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    content = container(tiny())
    content["config"]["class"] = "evil_module.Evil"
    assert "evil_module.Evil" in refused(saved(tmp_path, content))
    content = container(tiny())
    content["config"]["params"]["norm_layer"] = {
        "type": "class",
        "value": "evil_module.Evil",
        "specified": True,
    }
    assert "evil_module.Evil" in refused(saved(tmp_path, content))
    assert "evil_module" not in sys.modules
    assert not marker.exists()


def test_reading_does_not_change_what_it_read(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(saved(tmp_path, container(tiny())))
    before = copy.deepcopy(checkpoint.state_dict)
    network = build_network(checkpoint)
    for parameter in network.parameters():
        parameter.data.zero_()
    assert all(torch.equal(before[k], v) for k, v in checkpoint.state_dict.items())
