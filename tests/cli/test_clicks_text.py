"""Clicks as text and as CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from napari_clickseg.cli.clicks import by_object, parse_click, read_clicks
from napari_clickseg.clicks import Click
from napari_clickseg.errors import ClickError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "label", "click"),
    [
        ("120,200", 1, Click(120, 200)),
        ("-120,200", 1, Click(120, 200, positive=False)),
        ("-0,5", 1, Click(0, 5, positive=False)),
        ("+0,5", 1, Click(0, 5)),
        ("12.5,.25", 1, Click(12.5, 0.25)),
        ("3:-7,8", 3, Click(7, 8, positive=False)),
        (" 2 : - 7 , 8 ", 2, Click(7, 8, positive=False)),
        ("+120,80@30", 1, Click(120, 80, radius=30)),
        ("2:-7,8 @ 2.5", 2, Click(7, 8, positive=False, radius=2.5)),
    ],
)
def test_text(text: str, label: int, click: Click) -> None:
    assert parse_click(text) == (label, click)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "120",
        "1,2,3",
        "1,-2",
        "a,b",
        "0:1,2",
        "-1:1,2",
        "1e3,2",
        "nan,1",
        "1,2@",
        "1,2@0",
        "1,2@-3",
        "1,2@x",
        "1,2@3@4",
    ],
)
def test_text_that_is_no_click(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_click(text)


@given(
    st.integers(0, 10**6), st.integers(0, 10**6), st.booleans(), st.integers(1, 9999)
)
def test_text_there_and_back(row: int, col: int, positive: bool, label: int) -> None:
    text = f"{label}:{'' if positive else '-'}{row},{col}"
    assert parse_click(text) == (label, Click(row, col, positive))


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    path.write_text(
        "row, col, positive, object\n1,2,1,1\n3,4,0,1\n5,6,true,2\n7,8,negative,\n"
    )
    assert by_object(read_clicks(path)) == {
        1: [Click(1, 2), Click(3, 4, False), Click(7, 8, False)],
        2: [Click(5, 6)],
    }


def test_csv_with_radii(tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    path.write_text("row,col,radius\n1,2,30\n3,4,\n5,6,nan\n7,8,1.5\n")
    assert [click.radius for _, click in read_clicks(path)] == [30, None, None, 1.5]


def test_csv_as_napari_saves_points(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("\ufeffindex,axis-0,axis-1\n0.0,1.5,2.5\n1.0,3.0,4.0\n")
    assert read_clicks(path) == [(1, Click(1.5, 2.5)), (1, Click(3, 4))]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("row,col\n", "no click below"),
        ("a,b\n1,2\n", "needs a heading .* has a, b"),
        ("row,col\n1,x\n", "Line 2 of clicks.csv is not a click"),
        ("row,col\n1,2\n3\n", "Line 3"),
        ("row,col,positive\n1,2,maybe\n", "neither positive nor negative"),
        ("row,col,object\n1,2,0\n", "counted from 1"),
        ("row,col,radius\n1,2,0\n", "Line 2 .* greater than 0"),
    ],
)
def test_csv_that_cannot_be_used(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "clicks.csv"
    path.write_text(text)
    with pytest.raises(ClickError, match=says):
        read_clicks(path)
    with pytest.raises(ClickError, match="no file of clicks"):
        read_clicks(tmp_path / "none.csv")
