"""The figures of docs/encoding.md, from the networks and the formulas themselves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from napari_clickseg.encoding.entry import encode_entry
from napari_clickseg.models.features import Features
from napari_clickseg.networks.interformer import InterFormer
from napari_clickseg.networks.interformer_mobilenet import InterFormerMobileNetV2

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "encoding.md").read_text()


def rows(start: str) -> list[list[str]]:
    table = PAGE.split(start)[1].split("\n\n")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()[2:]
    ]


@pytest.mark.parametrize(
    "row", rows("| model | side |"), ids=lambda row: " ".join(row[:2])
)
def test_storage(row):
    name, side, numbers, entry, million, twice = row
    maps = [
        torch.zeros(1, 32 * 2**i, int(side) >> i + 2, int(side) >> i + 2)
        for i in range(4)
    ]
    if "starter" in name:
        network = InterFormerMobileNetV2().eval()
    else:  # the maps do not depend on the ViT's size
        network = InterFormer(dim=48, depth=1, heads=4).eval()
    if side == "512":
        with torch.inference_mode():
            maps = network.encode_image(torch.rand(1, 3, 512, 512))
    assert sum(m.numel() for m in maps) == int(numbers.replace(",", ""))
    features = Features(list(maps), (int(side), int(side)), 1)
    size = len(encode_entry("ab" * 20, features, "bfloat16"))
    assert entry == f"{size / 1e6:.3g} MB"
    assert million == f"{size / 1e6:.3g} TB"
    assert abs(float(twice.split()[0]) / (2 * size / 1e6) - 1) < 0.005


@pytest.mark.parametrize("row", rows("| encoder | *t*"), ids=lambda row: row[0])
def test_time(row):
    def hours(text: str) -> float:
        number, unit = re.fullmatch(r"([\d.,]+) (h|min)", text).groups()
        return float(number.replace(",", "")) / (60 if unit == "min" else 1)

    seconds = float(row[1].split()[0])
    assert abs(hours(row[2]) / (seconds * 1e6 / 3600) - 1) < 0.03
    assert abs(hours(row[3]) / (seconds * 1e4 / 3600) - 1) < 0.05
