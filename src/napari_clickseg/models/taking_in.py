"""A module of the user's: taken in, tried out, and the place of a layer in it."""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from napari_clickseg.errors import ModelError
from napari_clickseg.models.adapter import (
    Adapter,
    find_maps,
    find_multiple,
    probe_image,
    probe_size,
)
from napari_clickseg.refinement.insertion import record
from napari_clickseg.refinement.points import InteractivePoint, interactive_points


def as_module(given: Any) -> nn.Module:
    """Return a copy of the module that shares its tensors, and asks no gradients."""
    if isinstance(given, torch.export.ExportedProgram):
        return _from_export(given)
    if isinstance(given, torch.jit.ScriptModule):
        raise ModelError(
            "A TorchScript module cannot be made interactive: what it calls inside "
            "can be neither seen nor changed, so no layer can be put there. Give the "
            "Python module it was made of, or export that with torch.export."
        )
    if isinstance(given, nn.DataParallel | nn.parallel.DistributedDataParallel):
        given = given.module
    given = getattr(given, "_orig_mod", given)  # what torch.compile wraps
    if not isinstance(given, nn.Module):
        hint = " Call it first: it is a class." if isinstance(given, type) else ""
        raise ModelError(
            f"make_interactive takes a torch.nn.Module, not {given!r}.{hint}"
        )
    if given.training:
        raise ModelError(
            "The module is in training mode, in which dropout and batch norm would "
            "change every answer. Call module.eval() first."
        )
    tensors = [*given.parameters(), *given.buffers()]
    if any(tensor.device.type == "meta" for tensor in tensors):
        raise ModelError("The module has no weights yet: load them first.")
    shared: dict[int, Any] = {}
    for tensor in tensors:
        # Weights elsewhere or of another type are copied; they must be, anyhow.
        plain = tensor.detach()
        if plain.is_floating_point():
            plain = plain.to("cpu", torch.float32)
        parameter = isinstance(tensor, nn.Parameter)
        shared[id(tensor)] = nn.Parameter(plain, False) if parameter else plain
    return copied(given, shared)


def copied(module: nn.Module, shared: dict[int, Any] | None = None) -> nn.Module:
    """Return a copy that shares what ``shared`` says, by the ids of the originals.

    Raises
    ------
    ModelError
        If the module holds something that cannot be copied.
    """
    try:
        return copy.deepcopy(module, shared)
    except Exception as error:
        raise ModelError(
            f"The module cannot be copied ({type(error).__name__}: {error}). Build it "
            "anew and load its weights, then give that. Exported programs run as they "
            "were exported only: on the CPU, in float32."
        ) from error


def _from_export(program: torch.export.ExportedProgram) -> nn.Module:
    """Return the modules of an exported program with their names.

    As one graph, which ``program.module()`` is, its parts have none.
    """
    with warnings.catch_warnings():
        # torch copies parts of itself here that complain about it.
        warnings.simplefilter("ignore", FutureWarning)
        module = torch.export.unflatten(program)
    for part in module.modules():
        part.training = False  # that was decided at the export
    return module.requires_grad_(False)


def first_channels(module: nn.Module) -> int | None:
    """Return how many channels the first convolution takes."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            return part.in_channels
    return None


def fitted(
    module: nn.Module,
    adapter: Adapter,
    probabilities: bool | None,
    multiple: int | None,
) -> Adapter:
    """Try the module out; find what was not told of it."""
    raw = adapter.read if callable(adapter.output) else find_maps

    @torch.inference_mode()
    def run(size: tuple[int, int], batch: int = 1) -> Tensor:
        inputs = adapter.prepare(probe_image(size, batch))
        return raw(adapter.call(module, inputs))

    def trial(size: tuple[int, int], batch: int = 1) -> Tensor:
        try:
            return run(size, batch)
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(_failure(module, adapter, size, batch, error)) from error

    if multiple is None and adapter.size is None:
        found, error = find_multiple(run)
        if not found:
            size = probe_size(64)
            assert error is not None
            raise ModelError(_failure(module, adapter, size, 1, error)) from error
        adapter = replace(adapter, multiple=found)
    size = probe_size(adapter.multiple)
    maps = trial(size, 2)  # an image and its mirror image, as refinement asks
    if len(maps) != 2 or not bool(torch.isfinite(maps).all()):
        what = "answers that are not numbers" if len(maps) == 2 else f"{len(maps)}"
        raise ModelError(f"The module was given two images at once and gave {what}.")
    if probabilities is None and not callable(adapter.output):
        probabilities = _look_like_probabilities(module, adapter, size, maps)
    adapter = replace(adapter, probabilities=bool(probabilities))
    with torch.inference_mode():  # whether the classes fit
        answer = adapter.call(module, adapter.prepare(probe_image(size)))
        adapter.logits(answer, size)
    return adapter


def _failure(
    module: nn.Module,
    adapter: Adapter,
    size: tuple[int, int],
    batch: int,
    error: Exception,
) -> str:
    channels = first_channels(module)
    hint = "" if channels in (None, 1, 3) else f" It takes {channels} channels."
    if isinstance(adapter.preprocess(probe_image(size)), Tensor):
        shape = tuple(adapter.prepare(probe_image(size, batch)).shape)
        what = f"a tensor {shape}"
    else:
        what = "what preprocess returned"
    return (
        f"The module cannot be called with {what}: {type(error).__name__}: {error}."
        f"{hint} Give preprocess=, a function that turns RGB images (N, 3, H, W) in "
        "[0, 1] into what it takes; size=, where it takes one size only; multiple=, "
        "where sides must be multiples of a number."
    )


def _look_like_probabilities(
    module: nn.Module, adapter: Adapter, size: tuple[int, int], maps: Tensor
) -> bool:
    """Whether answers stay in [0, 1] even for images far beyond any real one."""
    if maps.min() < 0 or maps.max() > 1:
        return False
    if maps.shape[1] > 1:
        sums = maps.float().sum(1)
        return bool((sums - 1).abs().max() < 1e-2)
    with torch.inference_mode():
        for gain in (20.0, -20.0):
            inputs = adapter.prepare(gain * (probe_image(size) - 0.5) + 0.5)
            extreme = find_maps(adapter.call(module, inputs))
            if extreme.min() < 0 or extreme.max() > 1:
                return False
    return True


def choose_sites(
    module: nn.Module, adapter: Adapter, at: str | Sequence[str] | None
) -> tuple[tuple[str, ...], int]:
    """Return where layers go, tried out, and the most channels of any place.

    Raises
    ------
    RefinementError
        If there is no such place, or no place at all.
    """
    size = probe_size(adapter.multiple) if adapter.size is None else adapter.size
    inputs = adapter.prepare(probe_image(size))
    if at is None:
        at = choose_place(_points(module, inputs)).site
    sites = (at,) if isinstance(at, str) else tuple(at)

    def run() -> Tensor:
        return adapter.logits(adapter.call(module, inputs), size)

    with torch.inference_mode():
        tail = record(module, sites, run)
    return sites, max(feature.shape[1] for feature in tail.features)


def _points(module: nn.Module, inputs: Any) -> list[InteractivePoint]:
    if isinstance(inputs, Mapping):
        return interactive_points(module, **inputs)
    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    return interactive_points(module, *arguments)


def choose_place(points: Sequence[InteractivePoint]) -> InteractivePoint:
    """Choose a place where a layer can change much and little is computed again.

    Parameters
    ----------
    points : sequence of InteractivePoint
        In the order they are reached.

    Notes
    -----
    As published for networks with a decoder: late, before the last layers that are
    more than one linear map, and coarser than the image, so that a click does more
    than colour its own pixel (G-BRS, 2.2).
    """
    late = [p for p in points if p.site != "input" and p.calls == 1 and p.channels > 3]
    for share, stride in ((0.1, 2), (0.02, 2), (0.0, 2), (0.1, 1), (0.0, 1)):
        found = [p for p in late if p.share >= share and p.stride >= stride]
        if found:
            return min(found, key=lambda p: p.share)
    return points[-1]


def hash_weights(module: nn.Module) -> str:
    """Return a sha256 of a module's parameters and buffers with their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors_of(module).items()):
        values = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(values.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by name, without what is no tensor."""
    named = module.state_dict()
    return {name: x for name, x in named.items() if isinstance(x, Tensor)}
