"""``segment``: from clicks to a label image."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from napari_clickseg.imagefiles import read_image, read_labels

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("fake_model")


def test_a_16_bit_tiff(run: Callable[..., Any], cells: Path, tmp_path: Path) -> None:
    labels, overlay = tmp_path / "labels.tif", tmp_path / "new" / "overlay.png"
    ran = run(
        *("segment", cells, "--click", "20,20", "--click", "-50,70"),
        *("--out", labels, "--overlay", overlay),
    )
    assert ran.code == 0, ran.err
    assert ran.out.startswith("1 object, 2 clicks in ")
    assert f"-> {labels}, {overlay}\n" in ran.out
    assert ran.out.count("\n") == 1
    found = read_labels(labels)
    assert found.dtype == np.uint8
    expected = np.zeros((70, 100), bool)
    expected[10:30, 10:40] = True
    assert (found == expected).mean() > 0.98
    picture = read_image(overlay)
    assert picture.shape == (70, 100, 3)
    assert (picture[20, 20] == 255).all()  # the plus of the click
    assert picture[50, 66, 0] > picture[50, 66, 1]  # the negative one is red


def test_several_objects(
    run: Callable[..., Any], cells: Path, tmp_path: Path, fake_model: list[Any]
) -> None:
    out = tmp_path / "labels.png"
    ran = run(
        *("segment", cells, "-c", "7:20,20", "-c", "300:50,70", "-c", "7:-50,70"),
        *("--out", out, "--json", "--model", "some", "--precision", "float32"),
    )
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert told["clicks"] == 3
    assert told["objects"].keys() == {"7", "300"}
    assert told["files"] == [str(out)]
    found = read_labels(out)
    assert (found[20, 20], found[50, 70]) == (7, 300)
    assert found.dtype == np.uint16
    assert fake_model == [("some", "auto", "float32")]


def test_names_by_default(
    run: Callable[..., Any],
    cells: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert run("segment", cells, "--click=20,20").code == 0
    assert (tmp_path / "here" / "cells-labels.tif").is_file()


def test_clicks_from_a_file_and_a_session(
    run: Callable[..., Any], cells: Path, tmp_path: Path
) -> None:
    clicks, session = tmp_path / "clicks.csv", tmp_path / "kept.clickseg"
    clicks.write_text("row,col,object\n20,20,1\n50,70,2\n")
    out = tmp_path / "labels.npy"
    ran = run(
        *("segment", cells, "--clicks", clicks, "-o", out, "--session", session),
    )
    assert ran.code == 0, ran.err
    assert np.load(out)[50, 70] == 2
    from napari_clickseg import ClickSession

    again = ClickSession.load(session, image=read_image(cells))
    np.testing.assert_array_equal(again.labels, np.load(out))


def test_refinement_and_radii_reach_the_session(
    run: Callable[..., Any],
    cells: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from napari_clickseg import ClickSession
    from napari_clickseg.refinement.settings import RefinementSettings

    made: list[ClickSession] = []
    add = ClickSession.add_click

    def first_without_model(self: ClickSession, click: Any, **options: Any) -> Any:
        made.append(self)
        return add(self, click, predict=False)

    monkeypatch.setattr(ClickSession, "add_click", first_without_model)
    monkeypatch.setattr(ClickSession, "commit", lambda *_: 1)
    ran = run(
        *("segment", cells, "-c", "20,20", "-c", "-50,70@30", "-o", tmp_path / "o.tif"),
        *("--refinement", "g-brs-bmsb-m", "--max-iterations", 7),
    )
    assert ran.code == 0, ran.err
    session = made[0]
    assert session.refinement == RefinementSettings("g-brs-bmsb-m", iterations=7)
    assert [click.radius for click in session.clicks] == [None, 30]


def test_what_the_model_did_not_follow_goes_to_stderr(
    run: Callable[..., Any], cells: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    from napari_clickseg.prediction.predictor import Predictor

    predict = Predictor.predict

    def disobedient(self: Predictor, *args: Any, **options: Any) -> Any:
        from dataclasses import replace

        return replace(predict(self, *args, **options), corrected=(0,))

    monkeypatch.setattr(Predictor, "predict", disobedient)
    ran = run("segment", cells, "-c", "20,20", "-o", tmp_path / "o.tif")
    assert ran.code == 0, ran.err
    assert "Note: The model does not follow the click at (20, 20)" in ran.err
    assert "Note" not in ran.out


def test_objects_that_are_there_already(
    run: Callable[..., Any], cells: Path, tmp_path: Path
) -> None:
    older = np.zeros((70, 100), np.uint8)
    older[15:25, 15:25] = 5
    Image.fromarray(older).save(tmp_path / "older.png")
    found = {}
    for overlap in ("keep", "overwrite"):
        ran = run(
            *("segment", cells, "-c", "6:12,30", "--labels", tmp_path / "older.png"),
            *("--overlap", overlap, "-o", tmp_path / "out.tif"),
        )
        assert ran.code == 0, ran.err
        found[overlap] = read_labels(tmp_path / "out.tif")
    assert found["keep"][20, 20] == 5
    assert found["overwrite"][20, 20] == 6


def test_a_plane_of_a_stack_and_channels(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    import tifffile

    stack = np.zeros((5, 40, 60), np.uint16)
    stack[3, 10:30, 10:30] = 1000
    tifffile.imwrite(tmp_path / "stack.tif", stack)
    out = tmp_path / "out.tif"
    base = ("segment", tmp_path / "stack.tif", "-c", "20,20", "-o", out)
    ran = run(*base)
    assert ran.code == 3
    assert "--page" in ran.err
    assert run(*base, "--page", "3").code == 0
    assert 300 < (read_labels(out) > 0).sum() < 500
    assert run(*base, "--page", "9").code == 3
    ran = run(*base, "--channel-axis", "0", "--channels", "3", "--contrast", "0,1000")
    assert ran.code == 0, ran.err
    assert 300 < (read_labels(out) > 0).sum() < 500


def test_a_mask_to_start_from(
    run: Callable[..., Any], cells: Path, tmp_path: Path
) -> None:
    start = np.zeros((70, 100), bool)
    start[12:28, 12:38] = True
    Image.fromarray(start).save(tmp_path / "start.png")
    ran = run(
        *("segment", cells, "-c", "20,20", "--mask", tmp_path / "start.png"),
        *("-o", tmp_path / "out.tif"),
    )
    assert ran.code == 0, ran.err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "Give at least one"),
        (["--click", "20"], 2, "'20' is not a click"),
        (["--click", "0:1,2"], 2, "counted from 1"),
        (["--click", "20,200"], 3, "lies outside"),
        (["--click", "1,1", "--out", "labels.jpg"], 3, "end the name in .tif"),
        (["--click", "1,1", "--overlap", "maybe"], 2, "keep, overwrite, probability"),
        (["--click", "1,1", "--first-look", "maybe"], 2, "published, visible, search"),
        (["--click", "1,1", "--refinement", "magic"], 2, "none, f-brs-a"),
        (["--click", "1,1", "--max-iterations", "0"], 2, "max-iterations"),
        (["--click", "1,1@0"], 2, "is 0"),
        (["--click", "1,1", "--contrast", "5"], 2, "two numbers"),
        (["--click", "1,1", "--channels", "a"], 2, "numbers with commas"),
        (["--clicks", "none.csv"], 3, "no file of clicks"),
        (["--click", "1,1", "--labels", "none.tif"], 3, "no mask file"),
    ],
)
def test_what_cannot_be_done(
    run: Callable[..., Any],
    cells: Path,
    arguments: list[str],
    code: int,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("segment", cells, *arguments)
    assert ran.code == code, ran.err
    assert says in ran.err
    assert "Traceback" not in ran.err
    assert not list(tmp_path.glob("*labels*"))


def test_no_such_image(run: Callable[..., Any], tmp_path: Path) -> None:
    ran = run("segment", tmp_path / "none.tif", "--click", "1,1")
    assert ran.code == 3
    assert "There is no image file" in ran.err
    (tmp_path / "text.png").write_text("no picture")
    ran = run("segment", tmp_path / "text.png", "--click", "1,1")
    assert ran.code == 3
    assert "cannot be read as an image" in ran.err
