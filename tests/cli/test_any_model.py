"""A network of the user's, given as file.py:function, through the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from tests.evaluation.conftest import make_dataset

from napari_clickseg.imagefiles import read_labels

if TYPE_CHECKING:
    from collections.abc import Callable

# Bright is object; what a click says is learned by the layer behind `block`.
SOURCE = """
import torch
from torch import nn
import napari_clickseg as cs


class Bright(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Conv2d(8, 1, 1)
        nn.init.constant_(self.block.weight, 0.05)
        nn.init.constant_(self.block.bias, 0.0)
        nn.init.constant_(self.head.weight, 2.0)
        nn.init.constant_(self.head.bias, -8.0)

    def forward(self, x):
        return self.head(torch.relu(self.block(x)))


def bright():
    return cs.make_interactive(Bright().eval(), at="block", learning_rate=0.01)
"""


@pytest.fixture
def factory(tmp_path: Path) -> str:
    file = tmp_path / "nets.py"
    file.write_text(SOURCE)
    return f"{file}:bright"


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    """A bright square, and one that the network takes for background."""
    pixels = np.full((60, 80), 20, np.uint8)
    pixels[10:30, 10:40] = 250
    pixels[40:55, 50:70] = 90
    path = tmp_path / "squares.png"
    Image.fromarray(pixels).save(path)
    return path


def test_segment(
    run: Callable[..., Any], factory: str, squares: Path, tmp_path: Path
) -> None:
    out = tmp_path / "labels.png"
    command = ("segment", squares, "--model", factory, "--device", "cpu", "--out", out)
    ran = run(*command, "--click", "20,20")
    assert ran.code == 0, ran.err
    first = read_labels(out)
    assert first[20, 20]
    assert not first[47, 60]
    ran = run(*command, "--click", "20,20", "--click", "47,60", "--click", "-35,20")
    assert ran.code == 0, ran.err
    second = read_labels(out)
    assert second[20, 20]
    assert second[47, 60]
    assert not second[35, 20]
    assert second[40:55, 50:70].mean() > 0.5


def test_segment_without_that_file(run: Callable[..., Any], squares: Path) -> None:
    ran = run("segment", squares, "--model", "nowhere.py:net", "--click", "20,20")
    assert ran.code == 4
    assert "no file nowhere.py" in ran.err.replace("\n", " ")


def test_evaluate_in_other_processes(
    run: Callable[..., Any], factory: str, tmp_path: Path
) -> None:
    discs = make_dataset(tmp_path / "discs")
    ran = run(
        *("evaluate", discs, "--model", factory, "--out", tmp_path / "results"),
        *("--max-clicks", "2", "--limit", "2", "--device", "cpu", "--json"),
        *("--jobs", "2", "--protocol", "curve"),
    )
    assert ran.code == 0, ran.err
    summary = json.loads(ran.out)
    assert summary["n"] == 2
    assert "bright" in json.dumps(summary)
