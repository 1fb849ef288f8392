"""Files that are damaged, of another kind, or out to do harm."""

from __future__ import annotations

import contextlib
import os
import pickle
import zipfile
from collections import OrderedDict
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.golden_weights import fill
from torch import nn

from napari_clickseg.errors import CheckpointError
from napari_clickseg.models.checkpoint import read_checkpoint
from napari_clickseg.models.weight_files import encode_safetensors, read_weight_file
from napari_clickseg.networks.fbrs import FBRS


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


class EvilByEval(Evil):
    """The same by way of a builtin."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (f"__import__('os').mkdir({str(self.marker)!r})",)


class EvilState(Evil):
    """The same, disguised as an ordinary dict with a state."""

    def __reduce__(self) -> tuple[Any, ...]:
        return OrderedDict, (), None, None, iter([("weights", Evil(self.marker))])


def as_zip(thing: object) -> bytes:
    stream = BytesIO()
    torch.save({"state_dict": {}, "config": thing}, stream)
    return stream.getvalue()


def as_old_format(thing: object) -> bytes:
    stream = BytesIO()
    torch.save({"config": thing}, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


def inside_a_fbrs_file(thing: object) -> bytes:
    """Weights that would be fine, and one entry more."""
    stream = BytesIO()
    torch.save(dict(fbrs_weights()) | {"x": thing}, stream)
    return stream.getvalue()


@cache
def fbrs_weights() -> dict[str, torch.Tensor]:
    network = FBRS("hrnet2s", ocr_width=2)
    fill(network)
    return network.state_dict()


HIDING_PLACES = {
    "zip": as_zip,
    "old format": as_old_format,
    "among weights": inside_a_fbrs_file,
    **{f"pickle {n}": lambda thing, n=n: pickle.dumps(thing, n) for n in range(6)},
}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
@pytest.mark.parametrize("place", HIDING_PLACES)
@pytest.mark.parametrize("kind", [Evil, EvilByEval, EvilState])
@pytest.mark.parametrize(
    "name", ["model.pth", "model.pt", "model.safetensors", "model"]
)
def test_a_hostile_pickle_is_refused_and_nothing_of_it_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[Evil],
    place: str,
    name: str,
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    marker = tmp_path / "was_here"
    path = tmp_path / name
    path.write_bytes(HIDING_PLACES[place](kind(marker)))
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert not marker.exists()
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kind", [Evil, EvilByEval, EvilState])
def test_those_pickles_are_hostile(tmp_path: Path, kind: type[Evil]) -> None:
    """Otherwise the test above would prove nothing."""
    marker = tmp_path / "was_here"
    pickle.loads(pickle.dumps(kind(marker)))
    assert marker.exists()


def test_the_refusal_says_what_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(as_zip(Evil(tmp_path / "was_here")))
    with pytest.raises(
        CheckpointError, match=r"asks for .*mkdir.*Nothing of it was run"
    ):
        read_checkpoint(path)


@cache
def intact() -> dict[str, bytes]:
    """Small readable files, one per format."""
    tensors = {"a": torch.arange(5.0), "b": torch.ones(2, 2).half()}
    new, old = BytesIO(), BytesIO()
    torch.save(tensors, new)
    torch.save(tensors, old, _use_new_zipfile_serialization=False)
    return {
        "new": new.getvalue(),
        "old": old.getvalue(),
        "safetensors": encode_safetensors(tensors, {"format": "pt"}),
    }


FORMATS = ("new", "old", "safetensors")


@pytest.mark.parametrize("kind", FORMATS)
def test_the_files_below_are_readable_before_they_are_damaged(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "model"
    path.write_bytes(intact()[kind])
    content = read_weight_file(path).content
    assert torch.equal(content["a"], torch.arange(5.0))
    assert content["b"].dtype == torch.float16


@pytest.mark.parametrize("kind", FORMATS)
@given(data=st.data())
def test_cut_anywhere(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    whole = intact()[kind]
    length = data.draw(st.integers(0, len(whole) - 1))
    path = tmp_path_factory.getbasetemp() / f"cut.{kind}"
    path.write_bytes(whole[:length])
    with pytest.raises(CheckpointError, match=r"again|no weight file|refused"):
        read_weight_file(path)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", FORMATS)
@given(data=st.data())
def test_bytes_turned(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    """A damaged file may still be read, or is refused; nothing else happens."""
    damaged = bytearray(intact()[kind])
    at = data.draw(st.integers(0, len(damaged) - 1))
    damaged[at] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / f"turned.{kind}"
    path.write_bytes(bytes(damaged))
    with contextlib.suppress(CheckpointError):
        read_weight_file(path)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_directory_of_an_archive_is_damaged(tmp_path: Path) -> None:
    whole = intact()["new"]
    path = tmp_path / "turned.pth"
    for at in range(whole.index(b"PK\x01\x02"), len(whole)):
        for bit in (1, 8, 128):
            damaged = bytearray(whole)
            damaged[at] ^= bit
            path.write_bytes(bytes(damaged))
            with contextlib.suppress(CheckpointError):
                read_weight_file(path)


@given(st.binary(max_size=200))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.safetensors"
    path.write_bytes(noise)
    with pytest.raises(CheckpointError):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>Sign in</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "Git LFS"),
        (b"GIF89a and so on", "neither like"),
        (b"\xff" * 8 + b"{", "no intact safetensors"),
        ((2**40).to_bytes(8, "little") + b'{"a": 1}', "no intact safetensors"),
        ((8).to_bytes(8, "little") + b'{"a": 1}', "no intact safetensors"),
        (b"PK\x03\x04 no archive", "damaged or cut short"),
    ],
)
def test_other_kinds_of_files(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=complaint):
        read_checkpoint(path)


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is a folder"):
        read_checkpoint(tmp_path)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no weight file .*gone\.pth"):
        read_checkpoint(tmp_path / "gone.pth")


def test_an_archive_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "weights are elsewhere")
    with pytest.raises(CheckpointError, match="archive without a weight file"):
        read_checkpoint(path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_torchscript_program(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)
    with pytest.raises(CheckpointError, match="TorchScript program"):
        read_checkpoint(path)


def test_the_header_is_sorted_and_aligned() -> None:
    """Readers may map the file into memory: data must begin at a multiple of 8."""
    for n in range(8):
        data = encode_safetensors({"a": torch.zeros(1)}, {"b": "1" * n, "a": "2"})
        length = int.from_bytes(data[:8], "little")
        assert length % 8 == 0
        assert data[8:].startswith(b'{"__metadata__":{"a":"2","b":')
