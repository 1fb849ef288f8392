"""What benchmarks/interformer.py measures: networks, clicks and a picture."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_clickseg.clicks import Click
from napari_clickseg.device import choose_precision
from napari_clickseg.image import ImageSource
from napari_clickseg.models.model import Model
from napari_clickseg.models.registry import ModelInfo, list_models
from napari_clickseg.networks.interformer import InterFormer
from napari_clickseg.networks.interformer_mobilenet import InterFormerMobileNetV2
from napari_clickseg.networks.ritm import RITM as Ritm
from napari_clickseg.prediction import Predictor

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_clickseg.models.features import Features
    from napari_clickseg.prediction.settings import PredictionSettings, PredictorState

RITM = {"RITM HRNet18s": "hrnet18s", "RITM HRNet32": "hrnet32"}
STARTER, LIGHT, TINY = "InterFormer starter", "InterFormer Light", "InterFormer Tiny"
OURS = (STARTER, LIGHT, TINY)
STARTER_NAME = "interformer-mobilenetv2-starter"
CLICKS = 5  #: on an object, then the next one begins


def randomised(network: Any) -> Any:
    """Give numbers to what starts as zeros, so that nothing is trivially right."""
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.endswith(("_bias_table", "pos_embed", "cls_token", "patch_embed")):
                weight.normal_(std=0.5)
    return network.eval()


def build(who: str) -> tuple[Any, str]:
    """Return a network by its name in the table, and where its weights are from."""
    torch.manual_seed(0)
    if who in RITM:
        return Ritm(backbone=RITM[who]).eval(), "random"
    if who != STARTER:
        return randomised(InterFormer.variant(who.split()[-1].lower())), "random"
    if any(info.name == STARTER_NAME for info in list_models()):
        from napari_clickseg.models.checkpoint import build_network, read_checkpoint
        from napari_clickseg.models.fetch import fetch_model

        return build_network(read_checkpoint(fetch_model(STARTER_NAME))), "its own"
    return randomised(InterFormerMobileNetV2()), "random"


def model_of(who: str, network: Any, weights: str, *, ours: bool = True) -> Model:
    """Make a network ready; ``ours`` False: exactly as published."""
    info = ModelInfo(who, "segmentation", "", "", f"none: {weights} weights", "")
    # Said outright: whether random weights answer alike in both says nothing.
    precision = choose_precision("auto", "cpu") if ours else "float32"
    return Model(network, info, "", "cpu", precision, optimise=ours)


def picture(size: int) -> NDArray[np.uint8]:
    """Return an RGB image of waves and noise."""
    rng = np.random.default_rng(0)
    rows, cols = np.mgrid[:size, :size]
    waves = [
        np.sin(rows / f) * np.cos(cols / g) for f, g in ((9, 13), (17, 11), (29, 31))
    ]
    image = 110 * (1 + np.stack(waves, -1)) + rng.uniform(0, 35, (size, size, 3))
    return image.astype(np.uint8)


class Clicker:
    """Makes clicks on objects one after the other, through the predictor.

    ``anew``: as published, with nothing kept between clicks and the mirror image.
    """

    def __init__(
        self, model: Model, size: int, settings: PredictionSettings, *, anew: bool
    ) -> None:
        self.predictor, self.anew = Predictor(model, settings), anew
        self.image = ImageSource(picture(size))
        places = np.random.default_rng(1).uniform(0.2, 0.8, (CLICKS, 2)) * size
        self.clicks = [
            Click(float(r), float(c), i % 3 != 2) for i, (r, c) in enumerate(places)
        ]
        self.made = 0
        self.state: PredictorState | None = None

    def __call__(self) -> None:
        """Make the next click."""
        if self.made == len(self.clicks):
            self.made, self.state = 0, None
        if self.anew:
            self.predictor.forget()
        self.made += 1
        found = self.predictor.predict(
            self.image, self.clicks[: self.made], self.state, settle=self.anew
        )
        self.state = found.state


def decoding(
    model: Model, features: Features, size: int
) -> Callable[[], dict[str, float]]:
    """Return a call that decodes clicks on features, and tells how its time divides.

    Neck: click labels and I-MSA. Head: UPerHead, and resizing to the image's size.
    """
    points = torch.full((1, 2 * 3, 3), -1.0)
    for i, order in ((0, 0), (1, 1), (3, 2)):
        points[0, i] = torch.tensor([size * (0.3 + 0.1 * i), size * 0.45, order])
    previous = torch.zeros(1, 1, size, size)
    previous[..., size // 4 : size // 2, size // 4 : size // 2] = 1.0
    reached = 0.0

    def note(*_: Any) -> None:
        nonlocal reached
        reached = time.perf_counter()

    def run() -> dict[str, float]:
        handle = model.network.get_submodule("decode_head")
        hook = handle.register_forward_pre_hook(note)
        start = time.perf_counter()
        model.decode(features, points, previous)
        end = time.perf_counter()
        hook.remove()
        return {"neck": reached - start, "head": end - reached}

    return run
