"""Weights between two models."""

from __future__ import annotations

import torch

from napari_clickseg.training.finetuning.blending import blended


def test_a_share_of_the_way() -> None:
    parent = {"w": torch.tensor([0.0, 2.0]), "n": torch.tensor(3)}
    learned = {"w": torch.tensor([1.0, 4.0]), "n": torch.tensor(5)}
    assert blended(parent, learned, 0.0)["w"].tolist() == [0.0, 2.0]
    assert blended(parent, learned, 1.0)["w"].tolist() == [1.0, 4.0]
    half = blended(parent, learned, 0.5)
    assert half["w"].tolist() == [0.5, 3.0]
    assert half["n"] == 5
    assert parent["w"].tolist() == [0.0, 2.0]
