"""Models without their encoder, for machines that get features from elsewhere.

A decoder-only file is safetensors of our own (see
:mod:`napari_clickseg.models.checkpoint`) in which ``config`` says ``decoder_only`` and
the encoder's weights are left out. Its card keeps the encoder's hash, by which features
are found, and its tensors hold what the encoder made of a small test image: with that
the decoder is prepared and checked as the whole model would be.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from napari_clickseg.device import choose_device
from napari_clickseg.errors import CheckpointError, EncoderMissingError, StoreError
from napari_clickseg.models.architectures import ARCHITECTURES, LazyNetwork
from napari_clickseg.models.checkpoint import (
    FORMAT,
    Checkpoint,
    build_network,
    compare,
    on_disk,
    on_meta,
    read_checkpoint,
    write_whole,
)
from napari_clickseg.models.encoders import (
    belongs,
    decoded_view,
    encoded_view,
    encoder_of,
)
from napari_clickseg.models.feature_tree import pack, unpack
from napari_clickseg.models.features import Features
from napari_clickseg.models.given import weight_file
from napari_clickseg.models.model import Model
from napari_clickseg.models.registry import ModelInfo
from napari_clickseg.models.running import fold_carefully
from napari_clickseg.models.weight_files import encode_safetensors

_EXAMPLE = "example."


class Absent(nn.Module):
    """Stands where the encoder was."""

    def forward(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse."""
        raise EncoderMissingError(_missing("This network"))


class DecoderModel(Model):
    """A model that answers clicks on features from elsewhere.

    Parameters
    ----------
    network : nn.Module
        Its encoder's submodules are :class:`Absent`.
    info, sha256, device, precision, optimise
        As for :class:`~napari_clickseg.models.model.Model`.
    example : object
        What the encoder made of the test image, in float32 on the CPU.
    encoder_hash : str
        Of the encoder that features must come from.
    folded : bool
        The network's batch norms have been folded already.
    """

    #: It cannot encode images.
    has_encoder = False

    def __init__(
        self,
        network: nn.Module,
        info: ModelInfo,
        sha256: str = "",
        device: str | torch.device = "auto",
        precision: str | torch.dtype = "auto",
        optimise: bool = True,
        *,
        example: Any,
        encoder_hash: str,
        folded: bool = False,
    ) -> None:
        network.eval().requires_grad_(False)
        self._example, self.encoder_hash = example, encoder_hash
        if optimise and not folded:
            points = torch.tensor([[[56.0, 56.0, 0.0], [-1.0, -1.0, -1.0]]])
            fold_carefully(
                network, info.name, lambda: decoded_view(network, example, points)
            )
        super().__init__(
            network, info, sha256, device, precision, optimise, folded=True
        )

    def encode(self, image: Tensor, *, prepared: bool = False) -> Features:  # noqa: ARG002
        """Refuse: there is no encoder.

        Raises
        ------
        EncoderMissingError
            Always.
        """
        raise EncoderMissingError(_missing(self.name))

    def to(
        self,
        device: str | torch.device | None = None,
        precision: str | torch.dtype | None = None,
    ) -> DecoderModel:
        """Return the model on another device or in another precision."""
        device = self.device if device is None else choose_device(device)
        if device == self.device and precision in (None, self._precision):
            return self
        return DecoderModel(
            self._exact,
            self.info,
            self.sha256,
            device,
            self._precision if precision is None else precision,
            self.optimise,
            example=self._example,
            encoder_hash=self.encoder_hash,
            folded=True,
        )

    @property
    def magnifies(self) -> float:
        """1: it sees what was prepared, and no closer."""
        return 1.0

    # Half precision is tried on the test image, which was encoded beforehand.

    def _answer(self, image: Tensor, points: Tensor, previous: Tensor | None) -> Tensor:
        spec, tensors = pack(self._example)
        tensors = [
            t.to(self.device, self.dtype if t.is_floating_point() else None)
            for t in tensors
        ]
        size = (int(image.shape[2]), int(image.shape[3]))
        return self.decode(Features(unpack(spec, tensors), size, 1), points, previous)

    def _exactly(
        self,
        image: Tensor,  # noqa: ARG002
        points: Tensor,
        previous: Tensor | None,
    ) -> Tensor:
        return decoded_view(self._exact, self._example, points, previous)


def _missing(name: str) -> str:
    return (
        f"{name} holds no encoder: it answers clicks on images that were encoded "
        "before, and this one was not. Encode it elsewhere (napari-clickseg encode) "
        "into the feature store, or load the whole model."
    )


def export_decoder(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    dtype: torch.dtype | None = None,
    overwrite: bool = False,
) -> Checkpoint:
    """Write a model's weights without its encoder.

    Parameters
    ----------
    source : str or path-like
        Any weight file that can be read, or the name of a model.
    target : path-like
        Ends in ``.safetensors``.
    dtype : torch.dtype, optional
        Of the weights on disk; by default as in the source.
    overwrite : bool
        Whether ``target`` may exist.

    Returns
    -------
    Checkpoint
        The target, as read back.

    Raises
    ------
    UnknownModelError
        If there is no such file or name.
    CheckpointError
        If the source cannot be read or has no encoder any more, or the target cannot
        be written.
    ModelError
        If the network does not encode images apart from the clicks.
    """
    target = Path(target).expanduser()
    if target.suffix != ".safetensors":
        raise CheckpointError(f"{target} should end in .safetensors.")
    if target.exists() and not overwrite:
        raise CheckpointError(f"{target} exists already; choose another name.")
    checkpoint = read_checkpoint(weight_file(source))
    if checkpoint.config.get("decoder_only"):
        raise CheckpointError(f"{source} holds a decoder only already.")
    parts, digest = encoder_of(checkpoint)
    network = build_network(checkpoint)
    spec, examples = pack(encoded_view(network))
    stored = checkpoint.state_dict
    weights = {
        name: on_disk(name, tensor, dtype or stored.get(name, tensor).dtype)
        for name, tensor in network.state_dict().items()
        if not belongs(name, parts)
    }
    for number, tensor in enumerate(examples):
        weights[f"{_EXAMPLE}{number}"] = on_disk("example", tensor, torch.bfloat16)
    config: dict[str, Any] = dict(getattr(network, "config", checkpoint.config))
    card = checkpoint.metadata | {
        "decoder_of": checkpoint.path.name,
        "decoder_of_sha256": checkpoint.sha256,
        "encoder": {"parts": list(parts), "hash": digest},
        "example": spec,
    }
    header = {
        "format": FORMAT,
        "architecture": checkpoint.architecture,
        "config": json.dumps(config | {"decoder_only": True}, sort_keys=True),
        "card": json.dumps(card, sort_keys=True),
    }
    write_whole(target, encode_safetensors(weights, header))
    return read_checkpoint(target)


def decoder_model(
    checkpoint: Checkpoint,
    info: ModelInfo,
    device: str | torch.device = "auto",
    precision: str | torch.dtype = "auto",
    optimise: bool = True,
) -> DecoderModel:
    """Make the model of a decoder-only file; no memory is spent on an encoder.

    Raises
    ------
    CheckpointError
        If anything in the file does not fit.
    """
    try:
        network, example, digest = _build(checkpoint)
    except CheckpointError as error:
        raise CheckpointError(f"{checkpoint.path} {error}") from error
    return DecoderModel(
        network,
        info,
        checkpoint.sha256,
        device,
        precision,
        optimise,
        example=example,
        encoder_hash=digest,
    )


def _build(checkpoint: Checkpoint) -> tuple[nn.Module, Any, str]:
    """Return the network without its encoder, the example, and the encoder's hash."""
    builder = ARCHITECTURES.get(checkpoint.architecture)
    if not isinstance(builder, LazyNetwork):
        raise CheckpointError(
            f"is of the architecture {checkpoint.architecture!r}, which is not known "
            "here."
        )
    builder.load()  # not inside the context below
    config = {k: v for k, v in checkpoint.config.items() if k != "decoder_only"}
    card = checkpoint.metadata
    try:
        network = on_meta(builder, config, len(checkpoint.state_dict))
        parts = [str(part) for part in card["encoder"]["parts"]]
        for part in parts:
            network.get_submodule(part)  # it must be there
            network.set_submodule(part, Absent())
        digest = str(card["encoder"]["hash"])
    except Exception as error:  # whatever strange arguments lead to
        raise CheckpointError(f"does not say how it is built: {error}") from error
    weights = dict(checkpoint.state_dict)
    numbers = range(sum(name.startswith(_EXAMPLE) for name in weights))
    try:
        examples = [weights.pop(f"{_EXAMPLE}{number}") for number in numbers]
        example = unpack(card["example"], [tensor.float() for tensor in examples])
    except (KeyError, StoreError) as error:
        raise CheckpointError("holds no example of features.") from error
    compare(checkpoint.architecture, network.state_dict(), weights)
    network.load_state_dict(weights, assign=True)
    if any(buffer.is_meta for buffer in network.buffers()):
        raise CheckpointError("lacks constants that are no part of its weights.")
    return network.float().eval(), example, digest
