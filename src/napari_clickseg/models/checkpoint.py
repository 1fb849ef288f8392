"""Checkpoints: a network's weights together with what builds it again.

A file of our own is safetensors with four entries of metadata: ``format``,
``architecture`` (a key of :data:`ARCHITECTURES`), ``config`` (JSON, the
arguments of its class) and ``card`` (JSON, whatever was told to
:func:`save_checkpoint`). Published files are read too, see
:mod:`~napari_clickseg.models.published`.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook

from napari_clickseg.errors import CheckpointError
from napari_clickseg.models.architectures import ARCHITECTURES, LazyNetwork
from napari_clickseg.models.gate import ELSEWHERE, GATE
from napari_clickseg.models.published import understand
from napari_clickseg.models.weight_files import (
    WeightFile,
    encode_safetensors,
    read_weight_file,
)

FORMAT = "napari-clickseg"
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A network that was read, not yet built.

    Attributes
    ----------
    architecture : str
        A key of :data:`ARCHITECTURES`.
    config : dict
        Arguments of the network's class.
    state_dict : dict of str to Tensor
        Weights by published name, dtypes as in the file.
    metadata : dict
        The file's card; for published files, what they were published as.
    sha256 : str
        Of the file.
    path : Path
        Where it was read, for messages.
    beside : dict of str to Tensor
        What else it holds, see :mod:`~napari_clickseg.models.gate`.
    """

    architecture: str
    config: dict[str, Any]
    state_dict: dict[str, Tensor]
    metadata: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    path: Path = Path("checkpoint")
    beside: dict[str, Tensor] = field(default_factory=dict)

    @property
    def task(self) -> str:
        """What the network is for: as the card says, else as its class does."""
        network = ARCHITECTURES.get(self.architecture)
        if isinstance(network, LazyNetwork):
            network = network.load()
        usual = getattr(network, "task", "segmentation")
        return str(self.metadata.get("task", usual))


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a weight file; nothing in it is run.

    Parameters
    ----------
    path : path-like
        Safetensors as written by :func:`save_checkpoint`, a ``.pth`` of RITM
        (``{"state_dict", "config"}``), bare weights of f-BRS, or a training
        checkpoint of InterFormer, HMSA, IndexNet or BTS, of which only the weights
        are looked at; also inside a ``.zip``, where it is the only weight file.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, unsafe, or of an unknown network.
    """
    path = Path(path).expanduser()
    weights = read_weight_file(path)
    try:
        if weights.metadata.get("format") == FORMAT:
            return _read_own(path, weights)
        found = understand(weights.content)
    except CheckpointError as error:
        raise CheckpointError(f"{path} {error}") from error
    return Checkpoint(*found, sha256=weights.sha256, path=path)


def build_network(checkpoint: Checkpoint) -> nn.Module:
    """Build the network of a checkpoint.

    Returns
    -------
    nn.Module
        In float32 whatever the file's dtype, in evaluation mode, on the CPU.
        The global random state is as before.

    Raises
    ------
    CheckpointError
        If the architecture is unknown, its arguments do not fit, or the
        weights do not.
    """
    try:
        state_dict = fitting(
            checkpoint.architecture, checkpoint.config, checkpoint.state_dict
        )
    except CheckpointError as error:
        raise CheckpointError(f"{checkpoint.path} {error}") from error
    with torch.random.fork_rng(devices=[]):
        network = ARCHITECTURES[checkpoint.architecture](**checkpoint.config)
    network.load_state_dict(state_dict)
    return network.float().eval()


def save_checkpoint(
    path: str | os.PathLike[str],
    network: nn.Module,
    *,
    metadata: Mapping[str, Any],
    dtype: torch.dtype | None = None,
    beside: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a network as safetensors, all of it or nothing.

    Parameters
    ----------
    path : path-like
        Ends in ``.safetensors``; a file of that name is replaced at the last
        moment, when the new one is complete.
    network : nn.Module
        Of a class in :data:`ARCHITECTURES`, with a ``config``, its weights
        unchanged in name (no folded batch norm).
    metadata : mapping
        What a reader should know (data, licence, date...); must fit JSON.
    dtype : torch.dtype, optional
        Of the floating-point weights on disk, for example ``torch.float16``.
        The same weights and metadata make the same file, byte for byte.
    beside : mapping, optional
        Written as they are, see :func:`~napari_clickseg.models.gate.with_elsewhere`.

    Raises
    ------
    CheckpointError
        If the network is none of ours, was changed, does not fit ``dtype``,
        or the file cannot be written.
    """
    path = Path(path).expanduser()
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path} should end in .safetensors.")
    architecture = _architecture_of(network)
    config = dict(network.config)  # type: ignore[arg-type]
    try:
        header = {
            "format": FORMAT,
            "architecture": architecture,
            "config": json.dumps(config, sort_keys=True, allow_nan=False),
            "card": json.dumps(dict(metadata), sort_keys=True, allow_nan=False),
        }
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be written: config and metadata must fit JSON ({error})."
        ) from error
    try:
        tensors = fitting(architecture, config, network.state_dict())
        tensors = {name: on_disk(name, x, dtype) for name, x in tensors.items()}
    except CheckpointError as error:
        raise CheckpointError(f"The network for {path} {error}") from error
    tensors |= {name: on_disk(name, x, None) for name, x in (beside or {}).items()}
    write_whole(path, encode_safetensors(tensors, header))


def convert_checkpoint(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    dtype: torch.dtype | None = None,
    overwrite: bool = False,
) -> Checkpoint:
    """Rewrite any readable weight file as safetensors of our own.

    Parameters
    ----------
    source, target : path-like
        For example ``model.pth`` and ``model.safetensors``.
    dtype : torch.dtype, optional
        See :func:`save_checkpoint`.
    overwrite : bool
        Whether ``target`` may exist.

    Returns
    -------
    Checkpoint
        The target, as read back.
    """
    target = Path(target).expanduser()
    if target.exists() and not overwrite:
        raise CheckpointError(f"{target} exists already; choose another name.")
    checkpoint = read_checkpoint(source)
    network = build_network(checkpoint)
    origin = {
        "converted_from": checkpoint.path.name,
        "converted_from_sha256": checkpoint.sha256,
    }
    card = checkpoint.metadata | origin
    save_checkpoint(
        target, network, metadata=card, dtype=dtype, beside=checkpoint.beside
    )
    return read_checkpoint(target)


def fitting(
    architecture: str, config: Mapping[str, Any], state_dict: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Check that weights fit a network before memory is spent on it.

    Counters of batch norm, which some converted files lack, are added.

    Raises
    ------
    CheckpointError
        If anything does not fit; the text begins with a verb.
    """
    if config.get("decoder_only"):
        raise CheckpointError(
            "holds a decoder without its encoder: use it with load_model and a store "
            "of features, or take the whole model's file."
        )
    builder = ARCHITECTURES.get(architecture)
    if builder is None:
        raise CheckpointError(
            f"is of the architecture {architecture!r}, which is not known here. "
            f"Known are: {', '.join(ARCHITECTURES)}."
        )
    if isinstance(builder, LazyNetwork):
        builder.load()  # not inside the context below
    try:
        expected = on_meta(builder, config, len(state_dict)).state_dict()
    except Exception as error:  # whatever strange arguments lead to
        raise CheckpointError(
            f"has a configuration that {architecture!r} cannot be built from: {error}"
        ) from error
    state_dict = dict(state_dict)
    for name, tensor in expected.items():
        if name.endswith(".num_batches_tracked") and name not in state_dict:
            state_dict[name] = torch.zeros((), dtype=tensor.dtype)
    compare(architecture, expected, state_dict)
    return state_dict


def on_meta(
    builder: Callable[..., nn.Module], config: Mapping[str, Any], weights: int
) -> nn.Module:
    """Build a network of shapes alone, no larger than its weights are many.

    A configuration may ask for a billion layers: each takes time and memory, though
    its weights take none.

    Raises
    ------
    Exception
        Whatever strange arguments lead to.
    """
    most, made = 1000 + 20 * weights, 0

    def count(*_: Any) -> None:
        nonlocal made
        made += 1
        if made > most:
            raise CheckpointError("it asks for more layers than its weights fill")

    counting = register_module_module_registration_hook(count)
    try:
        with torch.device("meta"):
            return builder(**config)
    finally:
        counting.remove()


def compare(
    architecture: str, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> None:
    """Refuse weights that do not fit a network, with the names of those.

    Raises
    ------
    CheckpointError
        If any is missing, surplus, of another shape or type, or not a number.
    """
    wrong = {
        "missing": [n for n in expected if n not in found],
        "not part of it": [n for n in found if n not in expected],
        "of another shape": [
            f"{n} {tuple(found[n].shape)} instead of {tuple(x.shape)}"
            for n, x in expected.items()
            if n in found and found[n].shape != x.shape
        ],
        "of another type": [
            f"{n} {found[n].dtype}"
            for n, x in expected.items()
            if n in found and (found[n].dtype in _FLOATS) != x.is_floating_point()
        ],
        "not finite": [
            n
            for n, x in found.items()
            if x.dtype in _FLOATS and not bool(torch.isfinite(x).all())
        ],
    }
    lines = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', ...' * (len(names) > 3)})"
        for what, names in wrong.items()
        if names
    ]
    if lines:
        raise CheckpointError(
            f"does not fit the network {architecture!r}: of its weights "
            f"{'; '.join(lines)}. Is it the right file, whole and unchanged?"
        )


def _read_own(path: Path, weights: WeightFile) -> Checkpoint:
    parsed = {}
    for key in ("config", "card"):
        try:
            parsed[key] = json.loads(weights.metadata.get(key, "{}"))
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"has a {key!r} that is no JSON.") from error
        if not isinstance(parsed[key], dict):
            raise CheckpointError(f"has a {key!r} that is no JSON object.")
    beside = {
        name: value
        for name, value in weights.content.items()
        if name.startswith((GATE, ELSEWHERE))
    }
    return Checkpoint(
        weights.metadata.get("architecture", ""),
        parsed["config"],
        {name: x for name, x in weights.content.items() if name not in beside},
        parsed["card"],
        weights.sha256,
        path,
        beside,
    )


def _architecture_of(network: nn.Module) -> str:
    for name, builder in ARCHITECTURES.items():
        if isinstance(builder, LazyNetwork) and builder.made(network):
            return name
    raise CheckpointError(
        f"A {type(network).__name__} cannot be saved: only networks in ARCHITECTURES "
        f"({', '.join(ARCHITECTURES)}) can be built again from a file."
    )


def on_disk(name: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Return a weight as it is written, an own copy in ``dtype``."""
    tensor = tensor.detach().cpu()
    if dtype is not None and tensor.is_floating_point():
        tensor = tensor.to(dtype)
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"has a weight, {name}, too large for {dtype}.")
    return tensor.clone(memory_format=torch.contiguous_format)


def write_whole(path: Path, data: bytes) -> None:
    """Write beside the target, then move: never half a file under its name."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error}.") from error
    finally:
        part.unlink(missing_ok=True)
