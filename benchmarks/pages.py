"""Put what was measured into a page of the docs, between its marks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def fill(page: Path, parts: Mapping[str, str]) -> None:
    """Replace what stands between ``<!-- NAME:start -->`` and ``<!-- NAME:end -->``.

    Raises
    ------
    ValueError
        If the page has no such marks.
    """
    text = page.read_text(encoding="utf-8")
    for name, part in parts.items():
        marks = re.compile(rf"(<!-- {name}:start -->\n).*?(<!-- {name}:end -->)", re.S)
        if len(marks.findall(text)) != 1:
            raise ValueError(f"{page.name} has no place for {name!r}.")
        text = marks.sub(lambda m, part=part: f"{m[1]}{part.strip()}\n{m[2]}", text)
    page.write_text(text, encoding="utf-8")
