"""The code of the page "Large images" runs as it stands, from top to bottom."""

from __future__ import annotations

import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "large-images.md"


def test_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from napari_clickseg.models.registry import STARTER, get_info

    if not get_info(STARTER).downloaded:
        pytest.skip("the bundled model is not there")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(blocks) >= 6
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NAPARI_CLICKSEG_CACHE", str(tmp_path / "cache"))
    names: dict[str, Any] = {}
    tracemalloc.start()
    for block in blocks:
        exec(compile(block, f"{PAGE.name}: {block[:40]!r}", "exec"), names)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    names["ui"].close()
    assert peak < 400e6
    assert "2 objects, 1.0 clicks each" in capsys.readouterr().out
    assert list(names["s"].objects) == [1]


def test_answers_are_those_of_a_small_image() -> None:
    """The page's image is made of copies of one tile: pixel by pixel the same masks."""
    from napari_clickseg import ClickSession
    from napari_clickseg.boxes import Box
    from napari_clickseg.image import ImageSource
    from napari_clickseg.models.registry import STARTER, get_info

    if not get_info(STARTER).downloaded:
        pytest.skip("the bundled model is not there")
    block = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[0]
    names: dict[str, Any] = {}
    exec(compile(block, PAGE.name, "exec"), names)
    masks = []
    levels = names["levels"]
    for array, coarser, corner in (
        (names["nuclei"], (), (0, 0)),
        (levels[0], levels[1:], (40_960, 24_576)),
    ):
        session = ClickSession()
        session.set_image(ImageSource(array, contrast=(200, 2700), coarser=coarser))
        row, col = corner
        session.visible = Box(row + 350, col + 400, row + 690, col + 640)
        session.add_click((row + 530, col + 536))
        session.add_click((row + 560, col + 536), positive=False)
        masks.append(session.mask[row : row + 1_024, col : col + 1_024])
    assert masks[0].sum() > 500
    assert (masks[0] == masks[1]).all()
