"""The networks for classes, matting and depth answer as the published ones do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from tests.golden_weights import ROUNDING, fill, settle, worst_checksum
from torch import Tensor, nn

from napari_clickseg.networks.bts import BTS
from napari_clickseg.networks.indexnet import INDEXED, IndexNet
from napari_clickseg.networks.layers import IMAGENET, Normalise
from napari_clickseg.networks.multiscale import MultiScaleHRNet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GUESSES = ("depth_8x8_scaled", "depth_4x4_scaled", "depth_2x2_scaled", "reduc1x1")


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


def normalised(rgb: np.ndarray) -> Tensor:
    """As the golden numbers got their image: in float32."""
    return Normalise(*IMAGENET)(torch.from_numpy(rgb).float() / 255)


def watched(network: nn.Module, name: str) -> list:
    """Collect what a submodule returns."""
    seen: list = []
    module = network.get_submodule(name)
    module.register_forward_hook(lambda _, args, output: seen.append(output))
    return seen


# ------------------------------------------------------------- on any clone


@torch.inference_mode()
def test_indexnet_excerpt(excerpt_dir: Path) -> None:
    golden = load(excerpt_dir, "indexnet_forward")
    network = IndexNet()
    fill(network)
    network.double()
    trimap = torch.from_numpy(golden["trimap"]).float() / 255
    image = torch.cat([normalised(golden["rgb"]), trimap], 1).double()
    settle(network, lambda: network(image))
    coarse, finer = watched(network, "index6"), watched(network, "index4")

    assert distance(network(image)[:1], golden["alpha_raw"]) <= 1e-4
    assert distance(coarse[0][1][:, ::8], golden["index6_dec_sub"]) <= 1e-4
    assert distance(finer[0][1][:, ::8], golden["index4_dec_sub"]) <= 1e-4


@torch.inference_mode()
def test_bts_excerpt(excerpt_dir: Path) -> None:
    golden = load(excerpt_dir, "bts_densenet161_forward")
    network = BTS()
    fill(network)
    network.double()
    image = normalised(golden["rgb"]).double()
    settle(network, lambda: network(image))
    features = watched(network, "encoder.base_model.norm5")

    *guesses, depth = network.guesses(image)
    assert distance(depth[:1], golden["final_depth"]) <= 1e-4
    for name, guess in zip(GUESSES, guesses, strict=True):
        assert distance(guess[..., ::4, ::4], golden[f"{name}_sub"]) <= 1e-4
    assert distance(features[0][:, ::16], golden["feat4_norm5_sub"]) <= 1e-4


@torch.inference_mode()
def test_multiscale_excerpt(excerpt_dir: Path) -> None:
    """In float64; the golden numbers' own rounding is the difference."""
    golden = load(excerpt_dir, "hmsa_cityscapes_forward")
    network = MultiScaleHRNet()
    fill(network)
    network.double()
    image = normalised(golden["rgb"]).double()
    settle(network, lambda: network.at_scale(image))
    branches = watched(network, "backbone.stage4")

    logits, trust, guess = network.at_scale(image)
    means = torch.cat([x.mean((2, 3)).flatten() for x in branches[0]])
    assert distance(means, golden["stage4_means"]) <= 1e-3
    assert distance(guess.mean((2, 3)), golden["aux_1x_mean"]) <= 1e-4
    assert distance(trust[..., ::2, ::2], golden["attn_1x_sub"]) <= 2e-3
    largest = np.abs(golden["cls_out_1x_sub"]).max()
    assert distance(logits[:1, :, ::4, ::8], golden["cls_out_1x_sub"]) <= 1e-3 * largest

    answer = network(image)
    half = nn.functional.interpolate(image, scale_factor=0.5, mode="bilinear")
    trust = network.at_scale(half)[1]
    assert distance(trust[..., ::2, ::2], golden["attn_05_sub"]) <= 1e-3
    largest = np.abs(golden["pred_05_10_sub"]).max()
    assert distance(answer[:1, :, ::4, ::8], golden["pred_05_10_sub"]) <= 1e-3 * largest


# ----------------------------------------------------- where the full set is


@pytest.mark.usefixtures("two_threads")
@torch.inference_mode()
def test_indexnet_in_full(golden_dir: Path) -> None:
    golden = load(golden_dir, "indexnet_forward")
    network = IndexNet()
    fill(network, golden)
    assert worst_checksum(network.state_dict(), golden) < 1e-12
    maps = {layer: watched(network, f"index{layer}") for layer in INDEXED}

    answer = network(torch.from_numpy(golden["x"]))
    assert distance(answer, golden["alpha_raw"]) <= 1e-4
    for layer, ((pooling, spreading),) in maps.items():
        enc, dec = golden[f"index{layer}_enc_mean"], golden[f"index{layer}_dec_mean"]
        assert distance(pooling.mean((2, 3)), enc) <= 1e-5
        assert distance(spreading.mean((2, 3)), dec) <= 1e-5
    assert distance(maps[6][0][1], golden["index6_dec"]) <= 1e-4
    assert distance(maps[4][0][1], golden["index4_dec"]) <= 1e-4


@pytest.mark.usefixtures("two_threads")
@torch.inference_mode()
def test_bts_in_full(golden_dir: Path) -> None:
    golden = load(golden_dir, "bts_densenet161_forward")
    network = BTS()
    fill(network, golden)
    assert worst_checksum(network.state_dict(), golden) < 1e-12
    last = watched(network, "encoder.base_model.norm5")
    image = torch.from_numpy(golden["x"])

    *guesses, depth = network.guesses(image)
    assert torch.equal(network(image), depth)
    assert distance(depth, golden["final_depth"]) <= 1e-4
    for name, guess in zip(GUESSES, guesses, strict=True):
        assert distance(guess, golden[name]) <= 1e-4
    assert distance(last[0], golden["feat4_norm5"]) <= 1e-4


@pytest.mark.usefixtures("two_threads")
@torch.inference_mode()
def test_multiscale_in_full(golden_dir: Path) -> None:
    golden = load(golden_dir, "hmsa_cityscapes_forward")
    network = MultiScaleHRNet()
    fill(network, golden)
    assert worst_checksum(network.state_dict(), golden) < 1e-12
    branches = watched(network, "backbone.stage4")
    image = torch.from_numpy(golden["x"])

    logits, trust, guess = network.at_scale(image)
    assert distance(logits, golden["cls_out_1x"]) <= 1e-4 * ROUNDING
    assert distance(trust, golden["attn_1x"]) <= 1e-4 * ROUNDING
    assert distance(guess.mean((2, 3)), golden["aux_1x_mean"]) <= 1e-4 * ROUNDING
    assert [list(x.shape) for x in branches[0]] == golden["stage4_shapes"].tolist()
    means = torch.cat([x.mean((2, 3)).flatten() for x in branches[0]])
    assert distance(means, golden["stage4_means"]) <= 1e-4 * ROUNDING

    assert distance(network(image), golden["pred_05_10"]) <= 1e-4 * ROUNDING
    half = nn.functional.interpolate(image, scale_factor=0.5, mode="bilinear")
    assert distance(network.at_scale(half)[1], golden["attn_05"]) <= 1e-4 * ROUNDING
