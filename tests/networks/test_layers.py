"""Layers that several networks share."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from napari_clickseg.networks.layers import adaptive_max


@pytest.mark.parametrize(
    ("size", "grid"), [((96, 64), (12, 8)), ((33, 50), (17, 13)), ((7, 5), (7, 5))]
)
def test_pooling_of_exported_programs_is_adaptive_max_pooling(
    size: tuple[int, int], grid: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(2, 3, *size)
    wanted = F.adaptive_max_pool2d(x, grid)
    assert torch.equal(adaptive_max(x, grid), wanted)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    assert torch.equal(adaptive_max(x, grid), wanted)
