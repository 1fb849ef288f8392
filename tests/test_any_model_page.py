"""The first pieces of code of the page "Any model" run as they stand."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from napari_clickseg.models import in_process

PAGE = Path(__file__).parents[1] / "docs" / "any-model.md"


@pytest.mark.filterwarnings("ignore:.*:FutureWarning:skimage")
def test_the_page_runs(capsys):
    found = re.findall(
        r"^( *)```python\n(.*?)```", PAGE.read_text("utf-8"), re.S | re.M
    )
    blocks = [textwrap.dedent(code) for _, code in found]
    assert [block.startswith("# nets.py") for block in blocks] == [False, False, True]
    names: dict[str, object] = {}
    try:
        for block in blocks[:2]:
            exec(compile(block, f"{PAGE.name}: {block[:40]!r}", "exec"), names)
    finally:
        in_process.forget("my-network")
    session = names["session"]
    assert len(session.clicks) == 2
    assert session.mask[40, 50]
    assert not session.mask[10, 90]
    printed = capsys.readouterr().out
    assert "clicks act at" in printed
    assert "of the work behind it" in printed
