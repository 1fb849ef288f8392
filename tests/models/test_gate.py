"""Files with a gate: two experts in one model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from napari_clickseg.errors import CheckpointError
from napari_clickseg.models.checkpoint import (
    convert_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from napari_clickseg.models.gate import (
    ELSEWHERE,
    GATE,
    Gate,
    read_gate,
    shortest,
    summary,
    with_elsewhere,
)
from napari_clickseg.models.model import load_model
from napari_clickseg.networks.ritm_mobilenet import RITMMobileNetV2

CHANNELS = 24


def network(seed: int) -> RITMMobileNetV2:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RITMMobileNetV2(
            context_channels=16, decoder_channels=(16, 8), max_side=64
        ).eval()


def brightness(of: RITMMobileNetV2, middle: float = 0.5) -> Gate:
    """A gate that lets bright images pass, after the channel that tells them best."""
    with torch.no_grad():
        seen = [
            summary(of.encode_image(torch.full((1, 3, 64, 64), level)))
            for level in (0.0, 1.0)
        ]
    dark, bright = (x[0] for x in seen)
    channel = int((bright - dark).abs().argmax())
    weights = torch.zeros(2 * CHANNELS)
    weights[channel] = 1 / (bright - dark)[channel]
    return Gate(weights, -(weights @ dark) - middle)


@pytest.fixture
def gated(tmp_path: Path) -> Path:
    """Weights of two networks, the second for dark images."""
    own, other = network(1), network(2)
    path = tmp_path / "gated.safetensors"
    beside = with_elsewhere(brightness(other), other.state_dict())
    save_checkpoint(path, own, metadata={"name": "gated"}, beside=beside)
    return path


def test_bright_images_and_others(gated: Path) -> None:
    model = load_model(gated, "cpu", "float32")
    assert model.suited(torch.full((1, 3, 64, 64), 0.95)) is model
    other = model.suited(torch.full((1, 3, 64, 64), 0.05))
    assert other is model.elsewhere
    assert other.gate is None
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    points = torch.tensor([[[30.0, 30.0, 0.0], [-1.0, -1.0, -1.0]]])
    for found, seed in ((model, 1), (other, 2)):
        answer = found.decode(found.encode(image), points)
        with torch.no_grad():
            plain = network(seed)(
                torch.cat([image, torch.zeros_like(image[:, :1])], 1), points
            )["instances"]
        torch.testing.assert_close(answer, plain, rtol=1e-3, atol=1e-3)


def test_both_move_to_another_precision(gated: Path) -> None:
    model = load_model(gated, "cpu", "float32").to(precision="bfloat16")
    assert model.gate is not None
    assert model.elsewhere is not None
    assert model.elsewhere.dtype == torch.bfloat16
    assert model.suited(torch.zeros(1, 3, 64, 64)) is model.elsewhere


def test_a_file_without_one(tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    save_checkpoint(path, network(1), metadata={})
    assert read_gate(read_checkpoint(path)) is None
    model = load_model(path, "cpu", "float32")
    assert model.suited(torch.zeros(1, 3, 64, 64)) is model


def test_converted_files_keep_it(gated: Path, tmp_path: Path) -> None:
    target = tmp_path / "half.safetensors"
    convert_checkpoint(gated, target, dtype=torch.float16)
    assert load_model(target, "cpu").gate is not None
    old, new = (read_checkpoint(path).beside for path in (gated, target))
    assert set(old) == set(new)


def test_numbers_are_as_short_as_they_can_be() -> None:
    assert shortest(torch.tensor([0.5, 0.25])).dtype == torch.float16
    assert shortest(torch.tensor([0.1])).dtype == torch.float32
    assert shortest(torch.tensor([1e9])).dtype == torch.float32
    assert shortest(torch.tensor([3])).dtype == torch.int64


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({f"{GATE}bias": None}, "missing"),
        ({f"{GATE}weights": torch.zeros(5)}, "no sense"),
        ({f"{GATE}weights": torch.full((48,), torch.nan)}, "no sense"),
        ({f"{GATE}bias": torch.zeros(3)}, "no sense"),
        ({f"{ELSEWHERE}strange": torch.zeros(2)}, "unknown weights"),
        ({f"{ELSEWHERE}head.weight": torch.zeros(2)}, "another shape"),
    ],
)
def test_damaged_ones_are_refused(
    change: dict[str, Tensor | None], what: str, tmp_path: Path
) -> None:
    beside = with_elsewhere(Gate(torch.zeros(48), torch.zeros(())), {})
    beside |= {f"{ELSEWHERE}head.bias": torch.zeros(1)}
    for name, value in change.items():
        if value is None:
            del beside[name]
        else:
            beside[name] = value
    path = tmp_path / "damaged.safetensors"
    save_checkpoint(path, network(1), metadata={}, beside=beside)
    with pytest.raises(CheckpointError, match=what):
        load_model(path, "cpu", "float32")


def test_a_gate_for_other_features_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    gate = Gate(torch.zeros(6), torch.zeros(()))
    beside = with_elsewhere(gate, {"head.bias": torch.zeros(1)})
    save_checkpoint(path, network(1), metadata={}, beside=beside)
    model = load_model(path, "cpu", "float32")
    with pytest.raises(CheckpointError, match="3 feature channels"):
        model.suited(torch.zeros(1, 3, 64, 64))
