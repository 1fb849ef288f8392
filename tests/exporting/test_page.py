"""What docs/exporting.md shows works as it is shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "exporting.md"


def test_the_examples_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    runnable = [block for block in blocks if "import" in block]
    assert len(runnable) == 2
    monkeypatch.chdir(tmp_path)
    for block in runnable:
        exec(compile(block, PAGE.name, "exec"), {})
    assert "name='cell'" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "alpha.png",
        "cat.png",
        "cells.geojson",
        "depth.tif",
        "map.legend.json",
        "map.png",
    ]
