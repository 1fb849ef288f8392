"""Bytes to tensors: the only place where a weight file is opened.

Files come from strangers. Safetensors cannot carry code; a PyTorch file is a
pickle, and is read with ``weights_only=True`` or not at all.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from napari_clickseg.errors import CheckpointError
from napari_clickseg.limits import DAMAGE, check_members, damage
from napari_clickseg.models.containers import read_state_dict

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
#: Bytes; archives can claim to be far larger than they are.
_MOST_UNPACKED = 1 << 32


@dataclass(frozen=True, slots=True)
class WeightFile:
    """What was in a file, not yet understood.

    Attributes
    ----------
    content : object
        Tensors by name, or whatever plain containers a PyTorch file held.
    sha256 : str
        Of exactly the bytes that were read.
    metadata : dict of str to str
        Of a safetensors file.
    """

    content: Any
    sha256: str
    metadata: dict[str, str] = field(default_factory=dict)


def read_weight_file(path: Path) -> WeightFile:
    """Read a ``.safetensors``, ``.pth`` or ``.pt`` file without running any of it.

    The content decides how it is read, not the name.

    Raises
    ------
    CheckpointError
        If there is no such file, or it is empty, damaged, of another kind, or
        holds more than tensors and plain containers (of a training checkpoint
        only the ``state_dict`` or ``model`` is read, and has to be such). A zip
        archive may hold one PyTorch file, beside files of other kinds.
    """
    data = _read_bytes(path)
    digest = hashlib.sha256(data).hexdigest()
    # Safetensors begin with the header's length, whose first byte may be that of
    # a pickle: their ninth byte tells them apart.
    safetensors_like = data[8:9] == b"{" and not data.startswith(_ZIP)
    if data.startswith((_ZIP, _PICKLE)) and not safetensors_like:
        inner = _unpacked(path, data) if data.startswith(_ZIP) else None
        return WeightFile(_read_torch(path, inner or data), digest)
    if path.suffix == ".safetensors" or safetensors_like:
        return WeightFile(*_read_safetensors(path, data, digest))
    raise CheckpointError(f"{path} is no weight file: {_looks_like(data)}.")


def encode_safetensors(
    tensors: dict[str, torch.Tensor], metadata: dict[str, str]
) -> bytes:
    """Encode tensors so that the same weights make the same bytes.

    The library writes metadata in a random order, so the header is written
    again, sorted.
    """
    data = safetensors.torch.save(tensors, metadata)
    start = 8 + int.from_bytes(data[:8], "little")
    parts = json.loads(data[8:start])
    parts["__metadata__"] = dict(sorted(metadata.items()))
    header = json.dumps(parts, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[start:]


def _read_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise CheckpointError(
            f"{path} is a folder. Give the weight file in it (.safetensors or .pth)."
        )
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"There is no weight file {path}.") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from error
    if not data:
        raise CheckpointError(
            f"{path} is empty, as an interrupted download leaves it. Delete it and "
            "get it again."
        )
    return data


def _unpacked(path: Path, data: bytes) -> bytes | None:
    """Return the one PyTorch file in an archive.

    None where the archive is a PyTorch file itself, or no archive that can be read.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            try:
                check_members(archive)
            except ValueError as error:
                raise CheckpointError(
                    f"{path} is refused: {error}. Get it from where it was published."
                ) from error
            parts = {entry.filename.rpartition("/")[2] for entry in entries}
            if parts & {"data.pkl", "constants.pkl"}:
                return None
            inside = []
            for entry in entries:
                with archive.open(entry) as file:
                    if file.read(4).startswith((_ZIP, _PICKLE)):
                        inside.append(entry)
            names = ", ".join(entry.filename for entry in inside)
            if not inside:
                raise CheckpointError(f"{path} is an archive without a weight file.")
            if len(inside) > 1:
                raise CheckpointError(
                    f"{path} is an archive with {len(inside)} weight files ({names}): "
                    "unpack it and give the one you want."
                )
            if inside[0].file_size > _MOST_UNPACKED:
                raise CheckpointError(
                    f"{names} in {path} would take {inside[0].file_size / 2**30:.1f} "
                    "GiB of memory; unpack the archive and give that file."
                )
            return archive.read(inside[0])
    except CheckpointError:
        raise
    except DAMAGE:
        return None  # reading it as a PyTorch file says what is wrong


def _looks_like(data: bytes) -> str:
    """Say what a file may be that is neither safetensors nor PyTorch."""
    start = data[:200].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page, saved in its place. Download the file itself"
    if start.startswith(b"version https://git-lfs"):
        return "it only points to a file in Git LFS. Download the file itself"
    return "it starts neither like a .safetensors nor like a PyTorch file"


def _read_safetensors(
    path: Path, data: bytes, digest: str
) -> tuple[dict[str, torch.Tensor], str, dict[str, str]]:
    try:
        tensors = safetensors.torch.load(data)
    except damage(SafetensorError) as error:
        raise CheckpointError(
            f"{path} is no intact safetensors file ({error}). Delete it and get it "
            "again."
        ) from error
    # The header is known to be valid by now.
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except RecursionError as error:
        raise CheckpointError(f"{path} has a header without sense.") from error
    return tensors, digest, header.get("__metadata__") or {}


def _read_torch(path: Path, data: bytes) -> Any:
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        # Training checkpoints of mmcv: only their weights are looked at.
        weights = read_state_dict(data)
        if weights is not None:
            return {"state_dict": weights}
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        asks = f"asks for {named[1]}" if named else "is not made of tensors only"
        raise CheckpointError(
            f"{path} was refused: it {asks}, and reading more than tensors could run "
            "a program hidden in the file. Nothing of it was run. Get the weights as "
            ".safetensors, or have their author save the bare state_dict."
        ) from error
    except Exception as error:  # damage shows in many ways
        if "TorchScript" in str(error):
            raise CheckpointError(
                f"{path} is a TorchScript program, not a file of weights. Ask its "
                "author for the weights (state_dict)."
            ) from error
        raise CheckpointError(
            f"{path} is damaged or cut short ({len(data)} bytes): "
            f"{_first_sentence(error)}. Delete it and get it again."
        ) from error


def _first_sentence(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0].split(". ")[0].rstrip(".") if text else type(error).__name__
