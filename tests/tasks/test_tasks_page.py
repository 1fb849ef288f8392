"""The code of the page "Classes, alpha and depth" runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "tasks.md"


def test_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    assert len(blocks) == 2
    names: dict[str, object] = {}
    for code in blocks:
        exec(compile(code, PAGE.name, "exec"), names)
    assert names["first"].result[20, 30] != 2  # type: ignore[attr-defined]
    assert capsys.readouterr().out == "2 ()\n2 ()\n"
