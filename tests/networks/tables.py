"""The published names and shapes, and which network has which."""

from __future__ import annotations

import lzma
from ast import literal_eval
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import nn

from napari_clickseg.networks.bts import BTS
from napari_clickseg.networks.fbrs import FBRS
from napari_clickseg.networks.indexnet import IndexNet
from napari_clickseg.networks.interformer import InterFormer
from napari_clickseg.networks.multiscale import MultiScaleHRNet
from napari_clickseg.networks.ritm import RITM

EXCERPT = Path(__file__).parents[1] / "golden" / "network_keys.txt.xz"

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "ritm_h18s": lambda: RITM("hrnet18s"),
    "ritm_h18": lambda: RITM("hrnet18"),
    "ritm_h32": lambda: RITM("hrnet32"),
    "ritm_h18_baseline_noprev": lambda: RITM("hrnet18", with_prev_mask=False),
    "ritm_deeplab_r34": lambda: RITM("resnet34"),
    "fbrs_r34_dh128": lambda: FBRS("resnet34"),
    "fbrs_r50_dh128": lambda: FBRS("resnet50"),
    "fbrs_r101_dh256": lambda: FBRS("resnet101"),
    "fbrs_hrnet18_ocr64": lambda: FBRS("hrnet18"),
    "fbrs_hrnet32_ocr128": lambda: FBRS("hrnet32"),
    "interformer_light": lambda: InterFormer.variant("light"),
    "interformer_tiny": lambda: InterFormer.variant("tiny"),
    "hmsa_hrnet48_ocr_cityscapes": MultiScaleHRNet,
    "hmsa_hrnet48_ocr_mapillary": lambda: MultiScaleHRNet(65),
    "indexnet_mbv2": IndexNet,
    "bts_densenet161": BTS,
}

Table = dict[str, tuple[str, tuple[int, ...]]]


def parse(lines: list[str]) -> Table:
    """Read ``name, dtype, shape`` lines."""
    rows = (line.split("\t") for line in lines if line and not line.startswith("#"))
    return {name: (dtype, literal_eval(shape)) for name, dtype, shape in rows}


@cache
def tables() -> dict[str, Table]:
    """All published tables."""
    text = lzma.decompress(EXCERPT.read_bytes()).decode()
    parts = (part.splitlines() for part in text.split("## ")[1:])
    return {lines[0]: parse(lines[1:]) for lines in parts}


def table_of(network: nn.Module) -> Table:
    """Describe a network's weights as the published tables do."""
    return {
        name: (str(x.dtype).removeprefix("torch."), tuple(x.shape))
        for name, x in network.state_dict().items()
    }


@cache
def skeleton(name: str) -> nn.Module:
    """Build a published network without memory for its weights."""
    with torch.device("meta"):
        return NETWORKS[name]()
