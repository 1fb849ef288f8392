"""Networks without clicks, corrected by simulated clicks and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import napari_clickseg as cs
from napari_clickseg.evaluation.methods import ModelMethod
from napari_clickseg.evaluation.protocol import run_sample
from napari_clickseg.models.interactive import make_interactive
from napari_clickseg.networks.unet import UNet
from napari_clickseg.prediction import PredictionSettings

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ONE_PASS = PredictionSettings(flip=False)


def clicked(model, image, truth, clicks):
    """IoU before the first click and after each one."""
    method = ModelMethod(model, ONE_PASS)
    method.open_image(image)
    run = run_sample(method, truth, goal=None, max_clicks=clicks, radii=True)
    return np.array([run.start, *run.ious])


# ------------------------------------------------------------------ a small U-Net


def cells(seed: int, brightness: float, size: int = 64):
    """Discs on noise, and where they are."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:size, :size]
    truth = np.zeros((size, size), bool)
    for _ in range(4):
        row, col = rng.uniform(8, size - 8, 2)
        truth |= (rows - row) ** 2 + (cols - col) ** 2 < rng.uniform(25, 60)
    image = 0.2 + brightness * truth + rng.normal(0, 0.05, truth.shape)
    return np.clip(255 * image, 0, 255).astype(np.uint8), truth


@pytest.fixture(scope="module")
def unet():
    """A U-Net that has learned, for some seconds, to find bright discs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = UNet((8, 16, 24), in_channels=1, normalise=False)
        optimiser = torch.optim.Adam(network.parameters(), 1e-2)
        for step in range(60):
            pairs = [cells(4 * step + i, 0.6) for i in range(4)]
            images, truths = (
                torch.from_numpy(np.stack(each)).float()[:, None]
                for each in zip(*pairs, strict=True)
            )
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                network(images / 255), truths
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return network.eval()


def test_it_finds_what_it_was_trained_for(unet):
    model = make_interactive(unet, preprocess="grey", device="cpu")
    image, truth = cells(9000, 0.6)
    assert clicked(model, image, truth.astype(np.int8), 1)[0] > 0.9


def test_clicks_show_it_what_it_was_not_trained_for(unet):
    """Discs that are much dimmer: it misses most, until it is told."""
    model = make_interactive(unet, preprocess="grey", device="cpu")
    curves = []
    for seed in (9001, 9002, 9003):
        image, truth = cells(seed, 0.22)
        ious = clicked(model, image, truth.astype(np.int8), 6)
        curves.append(np.pad(ious, (0, 7 - len(ious)), mode="edge"))
    mean = np.mean(curves, 0)
    assert mean[0] < 0.6
    assert mean[-1] > mean[0] + 0.2
    assert all(curve[-1] > curve[0] for curve in curves)


# ------------------------------------------------------------------ a published one


@pytest.fixture
def deeplab(data_dir, monkeypatch):
    monkeypatch.setenv("CLICKSEG_DATA", str(data_dir))
    return lambda name: cs.load_model(f"{EXAMPLES / 'deeplab.py'}:{name}", "cpu")


@pytest.mark.parametrize("stem", ["person4", "153077"])
def test_a_published_network_for_one_of_its_classes(deeplab, data_dir, stem):
    model = deeplab("person")
    assert model.adapter.output == 15
    grabcut = data_dir / "eval" / "grabcut"
    image = np.asarray(Image.open(grabcut / "images" / f"{stem}.jpg").convert("RGB"))
    labels = np.asarray(Image.open(grabcut / "masks" / f"{stem}.png"))
    truth = np.where(labels == 255, -1, labels == 1).astype(np.int8)
    ious = clicked(model, image, truth, 6)
    assert ious[0] < 0.6
    assert ious[-1] > ious[0] + 0.1


def test_classes_together(deeplab, data_dir):
    model = deeplab("animal")
    image = Image.open(data_dir / "eval" / "grabcut" / "images" / "llama.jpg")
    labels = np.asarray(
        Image.open(data_dir / "eval" / "grabcut" / "masks" / "llama.png")
    )
    session = cs.ClickSession(model=model)
    session.set_image(np.asarray(image.convert("RGB")))
    session.start_from_model(settle=False)
    truth = labels == 1
    assert (session.mask & truth).sum() / (session.mask | truth).sum() > 0.8


def test_another_network_of_the_same_form(deeplab, data_dir, monkeypatch):
    """19 classes of street scenes; other operations, other activations."""
    import sys

    monkeypatch.syspath_prepend(str(EXAMPLES))
    module = __import__("deeplab")
    try:
        network = module.network(
            "init/deeplab_mobilenet_edgetpu_slim_cityscapes_quant_dequant.pt"
        )
    finally:
        del sys.modules["deeplab"]
    scene = next((data_dir / "eval" / "camvid" / "test" / "images").iterdir())
    pixels = np.asarray(Image.open(scene).convert("RGB"))[::2, ::2]
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255
    road = make_interactive(
        network, at="L79", preprocess=network.prepare, output=0, device="cpu"
    )
    with torch.inference_mode():
        logits = road.decode(road.encode(image))[0, 0]
    assert logits.shape == pixels.shape[:2]
    height = len(logits)
    assert (logits[-height // 5 :] > 0).float().mean() > 0.5  # the road is below
    assert (logits[: height // 5] > 0).float().mean() < 0.1
