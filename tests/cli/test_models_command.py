"""``models``: lists, folders, files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from napari_clickseg.models.registry import list_models

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_list(run: Callable[..., Any]) -> None:
    ran = run("models", "list")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert len(lines) == len(list_models()) + 1
    assert lines[1].startswith("ritm-mobilenetv2-starter ")
    assert run("models").out == ran.out


def test_list_for_scripts(run: Callable[..., Any]) -> None:
    entries = json.loads(run("models", "list", "--json").out)
    by_name = {entry["name"]: entry for entry in entries}
    entry = by_name["ritm-hrnet18s-cocolvis"]
    assert entry["published"]["none"]["grabcut@90"] == 1.68
    assert entry["path"].endswith(entry["file"])
    assert not json.loads(run("models", "list", "--task", "none", "--json").out)


def test_info(run: Callable[..., Any]) -> None:
    ran = run("models", "info", "ritm-hrnet18s-cocolvis")
    assert "COCO+LVIS" in ran.out
    assert "clicks needed, as published" in ran.out
    assert json.loads(run("models", "info", "ritm-hrnet18s-cocolvis", "--json").out)


@pytest.mark.parametrize("command", ["info", "fetch", "path", "remove"])
def test_unknown_name(run: Callable[..., Any], command: str) -> None:
    ran = run("models", command, "ritm-hrnet18s")
    assert ran.code == 4
    assert "ritm-hrnet18s-cocolvis" in ran.err


def test_path(run: Callable[..., Any]) -> None:
    folder = run("models", "path").out.strip()
    file = run("models", "path", "ritm-hrnet18s-cocolvis").out.strip()
    assert file.startswith(folder)


def test_add_and_remove(run: Callable[..., Any], weights: Path) -> None:
    ran = run("models", "add", weights, "--name", "mine")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("mine: ")
    assert "added" in run("models", "info", "mine").out
    assert run("models", "fetch", "mine").code == 0
    ran = run("models", "remove", "mine")
    assert ran.code == 0
    assert ran.out == ""
    assert run("models", "info", "mine").code == 4


def test_terms_are_shown_and_asked_about(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """This model has no address, so nothing is downloaded in any case."""
    monkeypatch.setenv("NAPARI_CLICKSEG_CACHE", str(tmp_path))
    name = "hmsa-hrnet48-mapillary"
    shown = run("models", "info", name).out
    assert "non-commercial purposes only" in shown
    assert "agreed to     no" in shown
    assert json.loads(run("models", "info", name, "--json").out)["terms"]

    ran = run("models", "fetch", name)
    assert ran.code == 4
    assert "non-commercial purposes only" in ran.err
    assert "--accept-licence" in ran.err
    assert not (tmp_path / "consents.json").exists()

    ran = run("models", "fetch", name, "--accept-licence")
    assert ran.code == 4
    assert "non-commercial purposes only" in ran.err
    assert "could not be fetched" in ran.err
    assert "agreed to     yes" in run("models", "info", name).out
    assert "--accept-licence" not in run("models", "fetch", name).err
    assert run("models", "remove", name).code == 0
    assert "agreed to     no" in run("models", "info", name).out


def test_add_what_is_no_weight_file(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"nothing")
    ran = run("models", "add", tmp_path / "a.pth")
    assert ran.code == 4
    assert "Traceback" not in ran.err


def test_convert(run: Callable[..., Any], weights: Path, tmp_path: Path) -> None:
    target = tmp_path / "half.safetensors"
    ran = run("convert", weights, target, "--dtype", "float16")
    assert ran.code == 0, ran.err
    assert "ritm-mobilenetv2" in ran.out
    assert target.stat().st_size < 0.6 * weights.stat().st_size
    assert run("convert", weights, target).code == 4  # it is there already
    assert run("convert", weights, target, "--overwrite").code == 0
    assert run("convert", weights, target, "--dtype", "int8").code == 2
