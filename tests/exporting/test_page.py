"""What docs/exporting.md shows works as it is shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "exporting.md"


def test_the_example_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    [block] = [block for block in blocks if "import" in block]
    monkeypatch.chdir(tmp_path)
    exec(compile(block, PAGE.name, "exec"), {})
    assert "name='cell'" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "alpha.png",
        "cat.png",
        "depth.tif",
        "map.legend.json",
        "map.png",
    ]
