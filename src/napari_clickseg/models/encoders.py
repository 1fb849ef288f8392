"""The part of a network that encodes images, told apart from the rest.

Found by watching which modules run in ``encode_image`` and which in
``decode_clicks``, not by names, so that any click network will do.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from napari_clickseg.errors import CheckpointError, ModelError
from napari_clickseg.limits import DAMAGE
from napari_clickseg.models.agreement import synthetic_view
from napari_clickseg.models.cache import cache_folder, write_json
from napari_clickseg.models.checkpoint import (
    Checkpoint,
    build_network,
    read_checkpoint,
)
from napari_clickseg.networks.layers import IMAGENET, Normalise

if TYPE_CHECKING:
    from pathlib import Path

LOG = logging.getLogger("napari_clickseg")
_HASH_BYTES = 16


@torch.inference_mode()
def encoded_view(network: nn.Module) -> Any:
    """Return what a network makes of the test image (batch 1), before any click."""
    image, _ = synthetic_view()
    if not getattr(network, "normalises_input", True):
        image = Normalise(*IMAGENET)(image)
    encode: Callable[[Tensor], Any] = network.encode_image  # type: ignore[assignment]
    return encode(image)


@torch.inference_mode()
def decoded_view(
    network: nn.Module, features: Any, points: Tensor, previous: Tensor | None = None
) -> Tensor:
    """Return logits for clicks on the test image, which was encoded before."""
    if previous is None:
        previous = torch.zeros_like(synthetic_view()[0][:, :1])
    decode: Callable[..., Any] = network.decode_clicks  # type: ignore[assignment]
    columns = int(getattr(network, "point_columns", 3))
    answer = decode(features, points[..., :columns], previous)
    logits: Tensor = answer["instances"]
    return logits


def encoder_parts(network: nn.Module) -> tuple[str, ...]:
    """Name the submodules that only ``encode_image`` uses.

    Parameters
    ----------
    network : nn.Module
        In float32 on the CPU, in evaluation mode; batch norm may be folded.

    Returns
    -------
    tuple of str
        The outermost ones, for example ``("backbone", "pyramid")``. Empty where
        images are not encoded apart from the clicks.
    """
    if not hasattr(network, "encode_image"):
        return ()
    encoding, decoding = set[str](), set[str]()
    features = _watch(network, encoding, lambda: encoded_view(network))
    _, (points, _) = synthetic_view()
    _watch(network, decoding, lambda: decoded_view(network, features, points))
    parts: list[str] = []
    for name, module in network.named_modules():
        inside = {f"{name}.{n}" if n else name for n, _ in module.named_modules()}
        known = any(name == p or name.startswith(f"{p}.") for p in parts)
        if name and not known and inside & encoding and not inside & decoding:
            parts.append(name)
    modules = [(part, network.get_submodule(part)) for part in parts]
    if not any(True for _, module in modules for _ in module.parameters()):
        return ()
    # Constants count, too; what holds nothing at all stays where it is.
    return tuple(part for part, module in modules if _holds(module))


def _holds(module: nn.Module) -> bool:
    return any(True for _ in (*module.parameters(), *module.buffers()))


def _watch(network: nn.Module, ran: set[str], run: Callable[[], Any]) -> Any:
    """Run something and note which modules do."""

    def note(name: str) -> Callable[..., None]:
        return lambda *_: ran.add(name)

    handles = [
        module.register_forward_pre_hook(note(name))
        for name, module in network.named_modules()
    ]
    try:
        return run()
    finally:
        for handle in handles:
            handle.remove()


def belongs(name: str, parts: Iterable[str]) -> bool:
    """Whether a weight of this name lies in one of these submodules."""
    return any(name.startswith(f"{part}.") for part in parts)


def hash_encoder(
    architecture: str,
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    parts: Iterable[str],
) -> str:
    """Return a hash of what features depend on.

    Parameters
    ----------
    architecture : str
        Key of the network's class.
    config : mapping
        Its arguments.
    weights : mapping of str to Tensor
        Of the whole network or of its encoder, as in the file; the same numbers in
        another floating-point type count as the same.
    parts : iterable of str
        From :func:`encoder_parts`.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=_HASH_BYTES)
    parts = sorted(parts)
    digest.update(json.dumps([architecture, config, parts], sort_keys=True).encode())
    for name in sorted(weights):
        if belongs(name, parts) and not name.endswith(".num_batches_tracked"):
            tensor = weights[name].detach().cpu()
            tensor = tensor.float() if tensor.is_floating_point() else tensor.long()
            digest.update(f"\n{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def encoder_of(checkpoint: Checkpoint) -> tuple[tuple[str, ...], str]:
    """Return the encoder's submodules in a checkpoint, and its hash.

    Raises
    ------
    ModelError
        If the network does not encode images apart from the clicks.
    """
    if "encoder" in checkpoint.metadata and checkpoint.config.get("decoder_only"):
        kept = checkpoint.metadata["encoder"]
        return tuple(kept["parts"]), str(kept["hash"])
    known = _read() if checkpoint.sha256 else {}
    found = known.get(checkpoint.sha256)
    if found is None:
        network = build_network(checkpoint)
        parts = encoder_parts(network)
        _check(parts, checkpoint.architecture)
        weights = network.state_dict()
        config = dict(getattr(network, "config", checkpoint.config))
        found = (parts, hash_encoder(checkpoint.architecture, config, weights, parts))
        if checkpoint.sha256:
            _write({**known, checkpoint.sha256: found})
    return found


def encoder_hash(model: Any) -> str:
    """Return the hash of a model's encoder, whatever device and precision it has.

    Parameters
    ----------
    model : Model, Checkpoint or nn.Module
        Models read from a file go by the weights in the file, so that the hash is
        the same on every machine.

    Raises
    ------
    ModelError
        If it does not encode images apart from the clicks.
    """
    if isinstance(model, Checkpoint):
        return encoder_of(model)[1]
    if isinstance(model, nn.Module):
        return _of_network(model)
    kept: str | None = getattr(model, "encoder_hash", None)
    if kept is not None:
        return kept
    network = getattr(model, "_exact", None)  # before half precision
    if not isinstance(network, nn.Module) or not hasattr(network, "encode_image"):
        raise ModelError(
            f"{getattr(model, 'name', 'This model')} does not encode images apart from "
            "the rest: there is nothing to keep. Choose a click model."
        )
    found = _of_file(model.info, model.sha256) or _of_network(network)
    model.encoder_hash = found
    return found


def _of_network(network: nn.Module) -> str:
    parts = encoder_parts(network)
    name = type(network).__name__
    _check(parts, name)
    config = dict(getattr(network, "config", {}))
    return hash_encoder(name, config, network.state_dict(), parts)


def _of_file(info: Any, sha256: str) -> str | None:
    """Return the hash from the file that a model came from, if it is still that."""
    known = _read().get(sha256) if sha256 else None
    if known is not None:
        return known[1]
    path: Path | None = getattr(info, "path", None)
    if not sha256 or path is None or not path.is_file():
        return None
    try:
        checkpoint = read_checkpoint(path)
    except CheckpointError:
        return None
    return encoder_of(checkpoint)[1] if checkpoint.sha256 == sha256 else None


def _check(parts: tuple[str, ...], name: str) -> None:
    if not parts:
        raise ModelError(
            f"{name} takes clicks and image together from its first layer on: there is "
            "no encoder, and nothing to keep. Choose another model, such as an "
            "InterFormer."
        )


# -- what was found before, by the hash of the weight file ----------------------------


def _path() -> Path:
    return cache_folder() / "encoders.json"


def _read() -> dict[str, tuple[tuple[str, ...], str]]:
    try:
        stored = json.loads(_path().read_text(encoding="utf-8"))
        return {k: (tuple(map(str, v[0])), str(v[1])) for k, v in stored.items()}
    except DAMAGE:
        return {}


def _write(known: Mapping[str, Any]) -> None:
    try:
        write_json(_path(), known)
    except OSError as error:  # found again next time
        LOG.debug("%s cannot be written: %s", _path(), error)
