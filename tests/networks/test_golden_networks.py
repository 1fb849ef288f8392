"""The networks answer as the published implementations do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from tests.golden_weights import ROUNDING, fill, worst_checksum
from torch import Tensor, nn

from napari_clickseg.networks.click_encoding import DistMaps
from napari_clickseg.networks.fbrs import FBRS
from napari_clickseg.networks.layers import IMAGENET, Normalise
from napari_clickseg.networks.ritm import RITM

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FBRS_FILES = {
    "fbrs_r34_dh128_forward": "resnet34",
    "fbrs_hrnet18_ocr64_forward": "hrnet18",
}


@pytest.fixture
def two_threads() -> Iterator[None]:
    """As many as the golden numbers were made with; fewer round differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def load(folder: Path, name: str) -> dict[str, np.ndarray]:
    with np.load(folder / f"{name}.npz") as file:
        return dict(file)


def distance(ours: Tensor, golden: np.ndarray) -> float:
    assert tuple(ours.shape) == golden.shape
    return float((ours.detach() - torch.from_numpy(golden)).abs().max())


class Taps:
    """Keep what goes in and out of named modules."""

    def __init__(self, network: nn.Module, *names: str) -> None:
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}
        for name in names:
            network.get_submodule(name).register_forward_hook(self._hook(name))

    def _hook(self, name: str):
        def keep(_: nn.Module, args: tuple, output: Tensor) -> None:
            self.inputs[name] = args[0].clone()
            if isinstance(output, Tensor):
                self.outputs[name] = output.clone()

        return keep


# ------------------------------------------------------------- on any clone


@torch.inference_mode()
def test_ritm_excerpt(excerpt_dir: Path) -> None:
    golden = load(excerpt_dir, "ritm_h18s_forward")
    network = RITM("hrnet18s")
    fill(network, golden)
    network.double()
    taps = Taps(
        network,
        "maps_transform",
        "feature_extractor.layer1",
        "feature_extractor.aux_head",
    )
    # In float32 first: that is how the golden numbers got their input.
    rgb = (torch.from_numpy(golden["rgb"]).float() / 255).double()
    image = torch.cat([rgb, torch.from_numpy(golden["previous"]).double()], 1)
    points = torch.from_numpy(golden["points"])

    answer = network(image, points)
    assert distance(answer["instances"], golden["logits"]) <= 1e-4
    assert distance(answer["instances_aux"][:1], golden["logits_aux"]) <= 1e-4

    maps = taps.inputs["maps_transform"][..., ::4, ::4]
    assert distance(maps, golden["coord_features_sub4"]) == 0
    joined = taps.outputs["maps_transform"][:, ::4, ::8, ::8]
    assert distance(joined, golden["maps_transform_sub"]) <= 1e-5
    pre_stage = taps.inputs["feature_extractor.layer1"][:, ::8, ::4, ::4]
    assert distance(pre_stage, golden["pre_stage_sub"]) <= 1e-5
    features = taps.inputs["feature_extractor.aux_head"][:, ::9, ::4, ::4]
    assert distance(features, golden["hrnet_feats_sub"]) <= 2e-4

    between = torch.from_numpy(golden["points_frac"])
    answer = network(image[:1], between[:1])
    assert distance(answer["instances"], golden["logits_frac"]) <= 1e-4
    image[:, 3] = 0
    answer = network(image[:1], points[:1])
    assert distance(answer["instances"], golden["logits_zero_prev"]) <= 1e-4


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("fbrs_r34_dh128_forward", 1e-4), ("fbrs_hrnet18_ocr64_forward", 2e-4)],
)
@torch.inference_mode()
def test_fbrs_excerpt(excerpt_dir: Path, name: str, tolerance: float) -> None:
    golden = load(excerpt_dir, name)
    network = FBRS(FBRS_FILES[name])
    fill(network, golden)
    network.double()
    rgb = torch.from_numpy(golden["rgb"]).float() / 255
    image = Normalise(*IMAGENET)(rgb).double()

    answer = network(image, torch.from_numpy(golden["points"]))
    assert distance(answer["instances"], golden["logits"]) <= tolerance
    if "logits_aux" in golden:
        aux = answer["instances_aux"]
        assert distance(aux, golden["logits_aux"]) <= tolerance


@torch.inference_mode()
def test_fbrs_excerpt_inside(excerpt_dir: Path) -> None:
    golden = load(excerpt_dir, "fbrs_r34_dh128_forward")
    network = FBRS("resnet34")
    fill(network, golden)
    network.double()
    trunk = "feature_extractor"
    taps = Taps(
        network,
        "rgb_conv",
        f"{trunk}.backbone.layer1",
        f"{trunk}.backbone.layer4",
        f"{trunk}.aspp",
    )
    rgb = torch.from_numpy(golden["rgb"]).float() / 255
    network(Normalise(*IMAGENET)(rgb).double(), torch.from_numpy(golden["points"]))

    maps = taps.inputs["rgb_conv"][:, 3:, ::4, ::4]
    assert distance(maps, golden["dist_maps_sub4"]) <= 1e-6
    mixed = taps.outputs["rgb_conv"][:, :, ::4, ::4]
    assert distance(mixed, golden["rgb_conv_sub4"]) <= 1e-5
    fine = taps.outputs[f"{trunk}.backbone.layer1"].mean((2, 3))
    assert distance(fine, golden["c1_mean"]) <= 1e-5
    coarse = taps.outputs[f"{trunk}.backbone.layer4"][:, ::16, ::2, ::2]
    assert distance(coarse, golden["c4_sub"]) <= 1e-4
    context = taps.outputs[f"{trunk}.aspp"][:, ::8]
    assert distance(context, golden["aspp_sub"]) <= 1e-4


@pytest.mark.parametrize(
    ("key", "radius", "disks"),
    [
        ("disk_r5", 5, True),
        ("disk_r3", 3, True),
        ("tanh_r260", 260, False),
        ("tanh_r20", 20, False),
    ],
)
def test_click_maps(excerpt_dir: Path, key: str, radius: int, disks: bool) -> None:
    golden = load(excerpt_dir, "distmaps")
    maps = DistMaps(radius, disks)
    drawn = maps(torch.empty(2, 1, 40, 60), torch.from_numpy(golden["points"]))
    assert distance(drawn, golden[key]) <= (0 if disks else 1e-6)


# ----------------------------------------------------- where the full set is


@pytest.mark.usefixtures("two_threads")
@torch.inference_mode()
def test_ritm_in_full(golden_dir: Path) -> None:
    golden = load(golden_dir, "ritm_h18s_forward")
    network = RITM("hrnet18s")
    fill(network, golden)
    assert worst_checksum(network.state_dict(), golden) < 1e-12
    taps = Taps(
        network,
        "normalization",
        "maps_transform",
        "feature_extractor.layer1",
        "feature_extractor.aux_head",
    )
    image = torch.from_numpy(golden["image4"])
    points = torch.from_numpy(golden["points"])

    answer = network(image, points)
    assert distance(answer["instances"], golden["logits"]) <= 1e-4 * ROUNDING
    assert distance(answer["instances_aux"], golden["logits_aux"]) <= 1e-4 * ROUNDING
    seen = {
        "norm_rgb": taps.outputs["normalization"],
        "coord_features": taps.inputs["maps_transform"],
        "maps_transform": taps.outputs["maps_transform"],
        "pre_stage": taps.inputs["feature_extractor.layer1"],
        "hrnet_feats": taps.inputs["feature_extractor.aux_head"],
    }
    for name, features in seen.items():
        assert distance(features, golden[name]) <= 1e-4 * ROUNDING, name

    between = torch.from_numpy(golden["points_frac"])
    answer = network(image, between)
    assert distance(answer["instances"], golden["logits_frac"]) <= 1e-4 * ROUNDING
    image[:, 3] = 0
    answer = network(image, points)
    assert distance(answer["instances"], golden["logits_zero_prev"]) <= 1e-4 * ROUNDING


@pytest.mark.parametrize("name", FBRS_FILES)
@pytest.mark.usefixtures("two_threads")
@torch.inference_mode()
def test_fbrs_in_full(golden_dir: Path, name: str) -> None:
    golden = load(golden_dir, name)
    network = FBRS(FBRS_FILES[name])
    fill(network, golden)
    assert worst_checksum(network.state_dict(), golden) < 1e-12
    answer = network(
        torch.from_numpy(golden["image_norm"]), torch.from_numpy(golden["points"])
    )
    assert distance(answer["instances"], golden["logits"]) <= 1e-4 * ROUNDING
    if "logits_aux" in golden:
        assert (
            distance(answer["instances_aux"], golden["logits_aux"]) <= 1e-4 * ROUNDING
        )
