"""``classes``, ``matte`` and ``depth``: from clicks to files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from PIL import Image

import napari_clickseg as cs
from napari_clickseg.cli.maps import STARTERS
from napari_clickseg.cli.wishes import parse_wish, read_wishes
from napari_clickseg.clicks import Click
from napari_clickseg.errors import ClickError, SettingsError
from napari_clickseg.exporting import read_legend
from napari_clickseg.session import dense_base
from napari_clickseg.tasks import Classes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Networks of one layer and a head, whose own answers can be foretold.
SOURCE = """
import torch
from torch import nn
import napari_clickseg as cs


class Small(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        torch.manual_seed(0)
        self.block = nn.Conv2d(inputs, 8, 3, padding=1)
        self.head = nn.Conv2d(8, outputs, 1)

    def features(self, x):
        return self.head(torch.relu(self.block(x)))


class Dark(Small):
    "Class 1 where it is dark, else class 2; class 3 is never first."

    def forward(self, x):
        bright = x.mean(1, keepdim=True)
        maps = torch.cat([0.5 - bright, bright - 0.5, 0 * bright - 1], 1)
        return 10 * maps + 0.01 * self.features(x)


class Alpha(Small):
    "The trimap, and the picture where that is unknown."

    def forward(self, x):
        known, bright = x[:, 3:], x[:, :3].mean(1, keepdim=True)
        alpha = torch.where((known - 0.5).abs() < 0.1, bright, known)
        return alpha + 0.01 * self.features(x)


class Depth(Small):
    def forward(self, x):
        return 1 + 4 * x.mean(1, keepdim=True) + 0.01 * self.features(x).abs()


def make(network, task):
    network.eval()
    return cs.make_interactive(network, at="block", task=task, learning_rate=0.05)


def classes():
    return make(Dark(3, 3), "semantic")


def alpha():
    return make(Alpha(4, 1), "matting")


def depth():
    return make(Depth(3, 1), "depth")


"""
SHAPE = (40, 60)


@pytest.fixture
def nets(tmp_path: Path) -> Callable[[str], str]:
    file = tmp_path / "nets.py"
    file.write_text(SOURCE)
    return lambda name: f"{file}:{name}"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Dark, with a bright square, as a photo of 8 bits."""
    pixels = np.full((*SHAPE, 3), 30, np.uint8)
    pixels[10:30, 15:45] = (220, 200, 210)
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    return path


def bright() -> np.ndarray:
    found = np.zeros(SHAPE, bool)
    found[10:30, 15:45] = True
    return found


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_the_bundled_models_are_named_alike() -> None:
    assert STARTERS == dense_base.STARTERS


def test_classes(run: Callable[..., Any], nets: Any, picture: Path, here: Path) -> None:
    ran = run("classes", picture, "-m", nets("classes"), "--names", "dark, bright,odd")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("0 clicks in ")
    assert ran.out.rstrip().endswith("picture-classes.png, picture-classes.legend.json")
    own = np.asarray(Image.open(here / "picture-classes.png"))
    np.testing.assert_array_equal(own, np.where(bright(), 2, 1))

    ran = run(
        *("classes", picture, "-m", nets("classes"), "--names", "dark,bright,odd"),
        *("-c", "odd:20,30@6", "--click", "2:5,5@3", "-o", here / "m.tif", "--json"),
        *("--legend", "both", "--spacing", "0.5", "--session", here / "s.clickseg"),
    )
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    found = tifffile.imread(here / "m.tif")
    assert (found[20, 30], found[5, 5], found[35, 55]) == (3, 2, 1)
    assert told["clicks"] == 2
    assert told["classes"]["odd"] == (found == 3).sum()
    assert [path.rpartition("/")[2] for path in told["files"]] == [
        "m.tif",
        "m.legend.json",
        "m.legend.csv",
        "s.clickseg",
    ]
    legend = read_legend(here / "m.tif")
    assert legend.entries[2].name == "odd"
    assert legend.entries[2].pixels == told["classes"]["odd"]
    again = cs.ClickSession.load(here / "s.clickseg", image=iio.imread(picture))
    np.testing.assert_array_equal(again.committed[1], found)


def test_strokes(run: Callable[..., Any], nets: Any, picture: Path, here: Path) -> None:
    strokes = np.zeros(SHAPE, np.uint8)
    strokes[20, 20:40] = 3
    Image.fromarray(strokes).save(here / "strokes.png")
    base = ("classes", picture, "-m", nets("classes"), "--strokes", "strokes.png")
    ran = run(*base, "-o", "m.png", "--legend", "none")
    assert ran.code == 0, ran.err
    found = np.asarray(Image.open("m.png"))
    options = {"task": "semantic", "mode": "stroke", "painted": strokes}
    model = cs.load_model(nets("classes"))
    expected = cs.predict(iio.imread(picture), [], model=model, **options)
    np.testing.assert_array_equal(found, expected)
    assert not (here / "m.legend.json").exists()
    assert run(*base, "-c", "1:2,3").code == 2


@pytest.mark.parametrize("by", ["trimap", "mask"])
def test_matte(
    run: Callable[..., Any], nets: Any, picture: Path, here: Path, by: str
) -> None:
    Image.fromarray(bright()).save(here / "mask.png")
    trimap = np.full(SHAPE, 128, np.uint8)
    trimap[15:25, 20:40], trimap[:4] = 255, 0
    Image.fromarray(trimap).save(here / "trimap.png")
    told = ("--trimap", "trimap.png")
    if by == "mask":
        told = ("--mask", "mask.png", "--band", "4")
    ran = run(
        *("matte", picture, "-m", nets("alpha"), *told, "-c", "11,16=0.5@3"),
        *("-o", "a.tif", "--cutout", "c.png", "--json"),
    )
    assert ran.code == 0, ran.err
    found = tifffile.imread("a.tif")
    assert found.dtype == np.uint16
    assert found[20, 30] == 65535
    assert found[2, 2] == 0
    assert found[11, 16] == pytest.approx(65535 / 2, abs=65535 * 0.06)
    told_back = json.loads(ran.out)
    assert told_back["files"] == ["a.tif", "c.png"]
    assert told_back["mean"] == pytest.approx(found.mean() / 65535, abs=1e-3)
    cut = np.asarray(Image.open("c.png"))
    np.testing.assert_allclose(cut[..., 3], found / 257, atol=0.51)
    np.testing.assert_array_equal(cut[20, 30, :3], (220, 200, 210))
    ran = run(
        *("matte", picture, "-m", nets("alpha"), *told, "--push", "0.1"),
        *("-c", "-12,17", "-o", "b.png", "--cutout", "d.png", "--image-colours"),
    )
    assert ran.code == 0, ran.err
    plain = np.asarray(Image.open("d.png"))
    np.testing.assert_array_equal(plain[..., :3], iio.imread(picture))


def test_matte_of_a_clicked_object(
    run: Callable[..., Any],
    nets: Any,
    picture: Path,
    here: Path,
) -> None:
    """The object is clicked with the model for objects that comes with the package."""
    ran = run(
        *("matte", picture, "-m", nets("alpha"), "--object", "20,30"),
        *("--object", "-5,5", "--band", "3", "-o", "a.png"),
    )
    assert ran.code == 0, ran.err
    found = iio.imread("a.png")
    assert (found[20, 30], found[5, 5]) == (65535, 0)
    assert abs(int((found > 32768).sum()) - bright().sum()) < 150


def test_depth(run: Callable[..., Any], nets: Any, picture: Path, here: Path) -> None:
    ran = run("depth", picture, "-m", nets("depth"), "--unit", "mm")
    assert ran.code == 0, ran.err
    own = tifffile.imread("picture-depth.tif")
    assert own[20, 30] > own[5, 5] + 2
    with tifffile.TiffFile("picture-depth.tif") as file:
        assert file.imagej_metadata["vunit"] == "mm"
    (here / "c.csv").write_text("row,col,depth,radius\n20,30,2.5,8\n5,5,3,\n")
    ran = run(
        *("depth", picture, "-m", nets("depth"), "--clicks", "c.csv", "-o", "d.tif"),
        *("--spacing", "2,4", "--spacing-unit", "mm", "--json"),
    )
    assert ran.code == 0, ran.err
    found = tifffile.imread("d.tif")
    assert found[20, 30] == pytest.approx(2.5, rel=0.06)
    assert found[5, 5] == pytest.approx(3, rel=0.06)
    told = json.loads(ran.out)
    assert told["range"] == pytest.approx([found.min(), found.max()])
    assert told["unit"] == "m"
    with tifffile.TiffFile("d.tif") as file:
        assert file.imagej_metadata["unit"] == "mm"
    ran = run(
        *("depth", picture, "-m", nets("depth"), "--push", "0.3", "-c", "20,30"),
        *("-o", "e.tif", "--refinement", "g-brs-sb"),
    )
    assert ran.code == 0, ran.err
    pushed = tifffile.imread("e.tif")[20, 30] - own[20, 30]
    assert pushed == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["classes", "-c", "1"], 2, "'1' is not a click"),
        (["classes", "-c", "1,2"], 3, "CLASS:ROW,COL"),
        (["classes", "-c", "1:1,2=3"], 3, "CLASS:ROW,COL"),
        (["classes", "-c", "nose:1,2"], 3, "no class 'nose'"),
        (["classes", "-c", "9:1,2"], 3, "no class 9"),
        (["classes", "-c", "1:1,200"], 3, "lies outside"),
        (["classes", "-o", "x.jpg"], 3, "end the name in .png"),
        (["classes", "--legend", "xml"], 2, "json, csv, both, none"),
        (["classes", "--names", "a,b"], 3, "knows 3 classes"),
        (["classes", "--refinement", "f-brs-b"], 2, "g-brs-sb"),
        (["classes", "--spacing", "x"], 2, "numbers with commas"),
        (["matte"], 2, "--object ROW,COL"),
        (["matte", "--object", "1"], 2, "not a click"),
        (["matte", "--trimap", "t.png", "--mask", "m.png"], 2, "Give one of"),
        (["matte", "--trimap", "t.png", "--band", "3"], 2, "--band goes"),
        (["matte", "--mask", "none.png"], 3, "no mask file"),
        (["matte", "-c", "-1,2=0.5"], 3, "[-]ROW,COL[=ALPHA]"),
        (["matte", "--cutout", "x.bmp"], 3, "end the name in .png"),
        (["depth", "-c", "1,2"], 3, "ROW,COL=DEPTH"),
        (["depth", "-c", "1,2=3", "--push", "1"], 3, "[-]ROW,COL"),
        (["depth", "-o", "d.png"], 3, "end the name in .tif"),
        (["depth", "--clicks", "none.csv"], 3, "no file of clicks"),
    ],
)
def test_what_cannot_be_done(
    run: Callable[..., Any],
    nets: Any,
    picture: Path,
    here: Path,
    arguments: list[str],
    code: int,
    says: str,
) -> None:
    names = {"matte": "alpha"}
    model = nets(names.get(arguments[0], arguments[0]))
    ran = run(arguments[0], picture, *arguments[1:], "-m", model)
    assert ran.code == code, ran.err
    assert says in " ".join(ran.err.split())
    assert "Traceback" not in ran.err
    assert not list(here.iterdir())


def test_a_model_for_another_task(
    run: Callable[..., Any], nets: Any, picture: Path
) -> None:
    ran = run("depth", picture, "-m", nets("classes"))
    assert ran.code == 4
    assert "semantic, not for depth" in ran.err


# Clicks as text -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "form", "click"),
    [
        ("3:1,2", "semantic", Click(1, 2, label=3)),
        ("cell border : 1.5,2 @ 7", "semantic", Click(1.5, 2, label=2, radius=7)),
        ("1,2", "matting", Click(1, 2)),
        ("-1,2", "matting", Click(1, 2, False)),
        ("1x2=.5@3", "matting", Click(1, 2, value=0.5, radius=3)),
        ("1,2 = 3.25", "depth", Click(1, 2, value=3.25)),
        ("+1,2", "push", Click(1, 2)),
        ("-1,2@9", "push", Click(1, 2, False, radius=9)),
    ],
)
def test_clicks_as_text(text: str, form: str, click: Click) -> None:
    classes = Classes.named(["cell", "cell border", "x"])
    found = parse_wish(text).click(form, classes if form == "semantic" else None)
    assert found == click


def test_clicks_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    path.write_text("index,axis-0,axis-1,label,positive\n0,1,2,3.0,\n1,4,5,x,yes\n")
    first, second = read_wishes(path)
    assert first.click("semantic") == Click(1, 2)
    assert (first.name, first.sign) == ("3", "")
    assert (second.name, second.sign) == ("x", "+")
    for text, says in {
        "row\n1\n": "columns row and col",
        "row,col\n": "no click below",
        "row,col\n1,\n": "Line 2",
        "row,col,value\n1,2,x\n": "Line 2",
        "row,col,positive\n1,2,perhaps\n": "Line 2",
    }.items():
        path.write_text(text)
        with pytest.raises((ClickError, SettingsError), match=says):
            [wish.click("matting") for wish in read_wishes(path)]
