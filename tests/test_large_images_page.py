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
