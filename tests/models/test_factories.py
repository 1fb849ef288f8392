"""Models built by functions of the user's."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from napari_clickseg.errors import ModelError, UnknownModelError
from napari_clickseg.models.factories import (
    build,
    check_factory,
    factory_name,
    split_factory,
)
from napari_clickseg.models.interactive import InteractiveModel
from napari_clickseg.models.model import load_model
from napari_clickseg.models.registry import get_info

NETS = Path(__file__).with_name("nets.py")

SOURCE = f"""
from dataclasses import dataclass

import torch
import {NETS.stem}_beside as nets
import napari_clickseg as cs


@dataclass
class Options:
    classes: int = 1


ready = nets.Tiny().eval()
number = 3


def module():
    return nets.Tiny(Options().classes).eval()


def model():
    return cs.make_interactive(module(), at="block", layer="sb", licence="MIT")


class Holder:
    make = staticmethod(module)


def fails():
    raise KeyError("weights")


def asks_for_what_is_wrong():
    return cs.make_interactive(module(), at="blok")


def nothing():
    return 5
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my nets.py"
    path.write_text(SOURCE)
    # a neighbour that the file imports, as a script may
    (tmp_path / "nets_beside.py").write_text(NETS.read_text())
    yield path
    sys.modules.pop("nets_beside", None)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a/b.py:make", ("a/b.py", "make")),
        (r"C:\nets\b.py:make", (r"C:\nets\b.py", "make")),
        ("package.module:make", ("package.module", "make")),
        ("module:Class.make", ("module", "Class.make")),
        ("ritm-hrnet18s", None),
        ("model.pth", None),
        (r"C:\weights\model.pth", None),
        ("a/b.txt:make", None),
        ("a.py:", None),
        ("a.py:2", None),
        (Path("a.py:make"), None),
    ],
)
def test_what_names_a_function(text, parts):
    assert split_factory(text) == parts


def test_a_file_of_that_name_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.py:make").touch()
    assert split_factory("a.py:make") is None


def test_modules_and_models(file):
    assert isinstance(build(f"{file}:module"), nn.Module)
    assert isinstance(build(f"{file}:ready"), nn.Module)
    assert isinstance(build(f"{file}:Holder.make"), nn.Module)
    assert isinstance(build(f"{file}:model"), InteractiveModel)
    assert str(file.parent) not in sys.path


def test_by_module(file, monkeypatch):
    (file.parent / "my_package").mkdir()
    file.rename(file.parent / "my_package" / "nets_of_mine.py")
    monkeypatch.chdir(file.parent)
    model = load_model("my_package.nets_of_mine:module", device="cpu")
    assert model.name == "module"
    assert model.info.file == "my_package.nets_of_mine:module"


def test_they_load_like_any_other_model(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    text = f"{file.name}:module"
    model = load_model(text, device="cpu")
    assert model.name == factory_name(text) == "module"
    assert model.automatic
    assert model.decode(model.encode(torch.rand(1, 3, 20, 30))).shape == (1, 1, 20, 30)
    # found again from any folder
    assert model.info.file == f"{file}:module"
    chosen = load_model(f"{file}:model", device="cpu", precision="bfloat16")
    assert chosen.places["g-brs"] == ("block",)
    assert chosen.dtype == torch.bfloat16
    assert chosen.info.licence == "MIT"
    assert chosen.sha256 == model.sha256


def test_what_is_known_without_running_it(file):
    info = get_info(f"{file}:fails")
    assert (info.name, info.task, info.downloaded) == ("fails", "segmentation", True)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("modul", UnknownModelError, "Did you mean 'module'"),
        ("Holder.mak", UnknownModelError, "'make'"),
        ("fails", ModelError, "KeyError: 'weights'"),
        ("asks_for_what_is_wrong", Exception, "'block'"),
        ("nothing", ModelError, "returned a int"),
        ("number", ModelError, "should be a function"),
    ],
)
def test_what_goes_wrong_in_a_file(file, name, kind, words):
    with pytest.raises(kind, match=words):
        load_model(f"{file}:{name}")


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(UnknownModelError, match="no file"):
        check_factory(f"{tmp_path}/none.py:make")
    with pytest.raises(UnknownModelError, match="no file"):
        get_info(f"{tmp_path}/none.py:make")
    broken = tmp_path / "broken.py"
    broken.write_text("import nothing_of_the_kind\n")
    with pytest.raises(ModelError, match="nothing_of_the_kind"):
        build(f"{broken}:make")
    with pytest.raises(UnknownModelError, match=r"no Python module 'nowhere'"):
        build("nowhere.at_all:make")
    with pytest.raises(UnknownModelError, match=r"file\.py:function"):
        build("just-a-name")
