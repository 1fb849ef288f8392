"""The starter's network and its starting weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from napari_clickseg.errors import ModelError, TrainingError
from napari_clickseg.models.model import load_model
from napari_clickseg.networks.mobilenet import MobileNetV2
from napari_clickseg.networks.ritm_mobilenet import RITMMobileNetV2, scale_points
from napari_clickseg.training.start import load_backbone


@pytest.fixture(scope="module")
def network() -> RITMMobileNetV2:
    torch.manual_seed(0)
    return RITMMobileNetV2(max_side=96).eval()


def _points(*rows: tuple[float, float], capacity: int = 2) -> Tensor:
    points = torch.full((1, 2 * capacity, 3), -1.0)
    for index, (row, col) in enumerate(rows):
        points[0, index] = torch.tensor([row, col, index])
    return points


@settings(max_examples=15)
@given(st.integers(1, 150), st.integers(1, 150))
def test_any_size_comes_back(network: RITMMobileNetV2, height: int, width: int) -> None:
    with torch.no_grad():
        answer = network(torch.rand(1, 4, height, width), _points((0.0, 0.0)))
    assert answer["instances"].shape == (1, 1, height, width)
    assert torch.isfinite(answer["instances"]).all()


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_working_size(network: RITMMobileNetV2, height: int, width: int) -> None:
    tall, wide = network.working_size(height, width)
    assert tall % 16 == 1
    assert wide % 16 == 1
    assert max(tall, wide) <= 96 + 9
    if max(height, width) <= 96:
        assert abs(tall - height) <= max(8, 17 - height)
        assert abs(wide - width) <= max(8, 17 - width)


def test_encoding_once_is_the_same_as_forward(network: RITMMobileNetV2) -> None:
    image, points = torch.rand(2, 4, 70, 90), _points((20, 30), (50, 60))
    points = points.expand(2, -1, -1)
    with torch.no_grad():
        whole = network(image, points)["instances"]
        features = network.encode_image(image[:, :3])
        parts = network.decode_clicks(features, points, image[:, 3:])["instances"]
    assert torch.equal(whole, parts)


def test_clicks_and_previous_mask_matter(network: RITMMobileNetV2) -> None:
    image = torch.rand(1, 4, 65, 65)
    with torch.no_grad():
        one = network(image, _points((20, 20)))["instances"]
        other = network(image, _points((50, 50)))["instances"]
        blank = network(
            torch.cat([image[:, :3], torch.zeros(1, 1, 65, 65)], 1), _points((20, 20))
        )["instances"]
    assert not torch.allclose(one, other)
    assert not torch.allclose(one, blank)


def test_unused_points_stay_unused() -> None:
    points = _points((63.0, 31.0))
    moved = scale_points(points, (64, 32), (128, 63))
    assert moved[0, 0].tolist() == pytest.approx([127.0, 62.0, 0.0])
    assert (moved[0, 1:] == -1).all()


def test_default_size_fits_the_bundle() -> None:
    count = sum(value.numel() for value in RITMMobileNetV2().state_dict().values())
    assert 2 * count <= 10_000_000  # bytes in float16


def _source_features(pack: dict[str, object], image: Tensor) -> Tensor:
    """Run the source network's own list of layers up to its last block."""
    layers = json.loads(str(pack["layers"]))
    state = pack["state"]
    assert isinstance(state, dict)
    tensors = {layers[0]["inp"][0]: image}
    for layer in layers:
        x = tensors[layer["inp"][0]]
        if layer["op"] == "AVERAGE_POOL_2D":
            return x
        if layer["op"] == "ADD":
            tensors[layer["out"]] = x + tensors[layer["inp"][1]]
            continue
        weight, bias = (state[f"L{layer['i']}.{part}"] for part in ("weight", "bias"))
        padding = layer["dil"] * (layer["k"] // 2)  # "same", for odd sizes
        y = F.conv2d(
            x, weight, bias, layer["stride"], padding, layer["dil"], layer["groups"]
        )
        if layer["act"] == "relu6":
            y = y.clamp(0, 6)
        tensors[layer["out"]] = y
    raise AssertionError("no pooling layer found")


def test_start_reproduces_the_source_network(data_dir: Path) -> None:
    path = data_dir / "init" / "deeplabv3_mnv2_pascal_quant_dequant.pt"
    pack = torch.load(path, weights_only=True)
    backbone = MobileNetV2().eval()
    assert load_backbone(backbone, path.parent, path.name) == 51
    image = torch.rand(1, 3, 129, 97) * 2 - 1
    with torch.no_grad():
        expected = _source_features(pack, image)
        _, found = backbone.deep(backbone.shallow(image))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_pack_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    weights = {"L0.weight": torch.zeros(8, 3, 5, 5), "L0.bias": torch.zeros(8)}
    torch.save({"state": weights}, path)
    with pytest.raises(TrainingError, match="not a MobileNetV2"):
        load_backbone(MobileNetV2(), tmp_path, path.name)
    with pytest.raises(TrainingError, match="cannot be read"):
        load_backbone(MobileNetV2(), tmp_path, "missing.pt")


def test_start_from_a_model_that_is_known(tmp_path: Path) -> None:
    backbone = MobileNetV2()
    assert load_backbone(backbone, tmp_path, "ritm-mobilenetv2-starter") == 51
    model = load_model("ritm-mobilenetv2-starter", device="cpu", optimise=False)
    expected = model.network.backbone.state_dict()
    for name, weight in backbone.state_dict().items():
        assert torch.equal(weight, expected[name])
    with pytest.raises(ModelError, match="no-such-model"):
        load_backbone(backbone, tmp_path, "no-such-model")
