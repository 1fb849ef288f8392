"""The code of the page "From Python" runs as it stands, from top to bottom."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from napari_clickseg.errors import ClickSegError

PAGE = Path(__file__).parents[1] / "docs" / "scripting.md"


def test_the_page_runs(tmp_path, monkeypatch, capsys):
    from napari_clickseg.models.registry import STARTER, get_info

    if not get_info(STARTER).downloaded:
        pytest.skip("the bundled model is not there")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(blocks) >= 10
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, f"{PAGE.name}: {block[:40]!r}", "exec"), names)
    assert names["mask"].any()
    assert names["s"].stats.objects
    printed = capsys.readouterr().out
    assert "clicks each" in printed
    assert "lies outside" in printed
    assert issubclass(names["cs"].ClickSegError, ClickSegError)
