"""The code of the page "Many objects" runs as it stands, from top to bottom."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel

PAGE = Path(__file__).parents[1] / "docs" / "editing.md"


def test_the_page_runs(tmp_path, monkeypatch):
    from napari_clickseg.models.registry import STARTER, get_info

    if not get_info(STARTER).downloaded:
        pytest.skip("the bundled model is not there")
    monkeypatch.setenv("NAPARI_CLICKSEG_CACHE", str(tmp_path / "cache"))
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(blocks) >= 5
    monkeypatch.chdir(tmp_path)
    viewer = ViewerModel()
    image = np.full((240, 320), 20, np.uint8)
    image[100:150, 180:240] = 220
    viewer.add_image(image)
    theirs = np.zeros(image.shape, np.uint16)
    theirs[105:130, 185:220] = 12
    layer = viewer.add_labels(theirs, name="Cellpose labels")
    names: dict[str, object] = {"viewer": viewer}
    for block in blocks:
        exec(compile(block, f"{PAGE.name}: {block[:40]!r}", "exec"), names)
    assert set(names["s"].objects) == {1, 30}
    assert set(np.unique(layer.data)) == {0, 12}
    assert names["effort"].idle_limit == 30
    assert (tmp_path / "study.csv").read_text().startswith("time,plane,label")
