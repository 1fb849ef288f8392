"""Files that appear whole, or not at all."""

from __future__ import annotations

import errno
import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_clickseg.errors import ExportError
from napari_clickseg.exporting import (
    save_alpha,
    save_class_map,
    save_cutout,
    save_depth,
)
from napari_clickseg.exporting.writing import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator

RNG = np.random.default_rng(0)
ALPHA = RNG.random((300, 300))
SAVERS = {
    "alpha.png": lambda path: save_alpha(path, ALPHA),
    "alpha.tif": lambda path: save_alpha(path, ALPHA),
    "depth.tif": lambda path: save_depth(path, np.stack([ALPHA] * 5)),
    "cutout.png": lambda path: save_cutout(path, ALPHA, ALPHA),
    "map.tif": lambda path: save_class_map(path, RNG.integers(0, 200, (300, 300))),
}


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """Have the system refuse to write more into a file, as a full disk does."""
    resource = pytest.importorskip("resource", reason="Windows has no such limit")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("name", SAVERS)
def test_no_room(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    SAVERS[name](path)
    whole = path.read_bytes()
    legends = [each.read_bytes() for each in sorted(tmp_path.glob("*.json"))]
    there = sorted(tmp_path.iterdir())
    assert len(whole) > 20000
    with files_no_larger_than(20000), pytest.raises(ExportError, match="no room"):
        SAVERS[name](path)
    assert path.read_bytes() == whole
    assert [each.read_bytes() for each in sorted(tmp_path.glob("*.json"))] == legends
    assert sorted(tmp_path.iterdir()) == there
    path.unlink()
    with files_no_larger_than(20000), pytest.raises(ExportError, match="no room"):
        SAVERS[name](path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.EROFS, "Read-only file system"),
        (errno.EACCES, "Permission denied"),
        (errno.ENOSPC, "Make room"),
        (errno.EDQUOT, "Make room"),
    ],
)
def test_folders_that_cannot_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, says: str
) -> None:
    def refuse(self: Path, *_args: Any, **_options: Any) -> Any:
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ExportError, match=says) as told:
        save_alpha(tmp_path / "a.png", ALPHA)
    assert "a.png" in str(told.value)
    assert "another folder" in str(told.value)


def test_a_folder_that_others_own(tmp_path: Path) -> None:
    """With the system's own refusal, whoever runs the tests."""
    path = tmp_path / "file" / "a.png"
    path.parent.write_text("no folder")
    with pytest.raises(ExportError, match="another folder"):
        save_alpha(path, ALPHA)
    folder = tmp_path / "b.png"
    folder.mkdir()
    with pytest.raises(ExportError, match="another folder or name"):
        save_alpha(folder, ALPHA)
    if sys.platform.startswith("linux"):
        with pytest.raises(ExportError, match="cannot be written"):
            save_alpha("/proc/a.png", ALPHA)
    assert sorted(tmp_path.iterdir()) == [folder, path.parent]


def test_a_protected_file_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"mine")
    path.chmod(0o444)
    # Those who may do everything may write to it, too.
    monkeypatch.setattr(os, "access", lambda *_args, **_options: False)
    with pytest.raises(ExportError, match="read-only"):
        save_alpha(path, ALPHA)
    assert path.read_bytes() == b"mine"


def test_links_folders_and_other_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tmp_path / "real.png"
    save_alpha(real, ALPHA[:9, :9])
    small = real.read_bytes()
    link = tmp_path / "link.png"
    link.symlink_to(real)
    assert save_alpha(link, ALPHA) == [link]
    assert link.is_symlink()
    assert real.read_bytes() != small
    save_alpha(tmp_path / "new" / "folder" / "a.png", ALPHA)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert save_alpha("~/home.png", ALPHA) == [tmp_path / "home.png"]
    monkeypatch.chdir(tmp_path)
    assert save_alpha("here.png", ALPHA) == [Path("here.png")]
    assert (tmp_path / "here.png").is_file()


def test_files_get_their_names_together(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    with replacing(one, two) as files:
        for file in files:
            file.write(b"new")
        assert not one.exists()
        assert len(list(tmp_path.iterdir())) == 2
    assert one.read_bytes() == two.read_bytes() == b"new"


def test_what_goes_wrong_leaves_both_as_they_were(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"older")

    def half() -> None:
        with replacing(one, two) as files:
            files[0].write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert one.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [one]
