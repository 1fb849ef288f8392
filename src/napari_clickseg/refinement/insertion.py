"""Refinement layers behind any submodule of any module, without editing its code.

:func:`record` runs a module once and returns its tail behind the chosen sites: what
depends on the features there, and nothing else, is computed again when they change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from napari_clickseg.errors import RefinementError
from napari_clickseg.refinement.points import InteractivePoint, interactive_points
from napari_clickseg.refinement.recorder import Recorder, plain
from napari_clickseg.refinement.sites import Site, Watch
from napari_clickseg.refinement.tail import Tail

__all__ = ["InteractivePoint", "Site", "Tail", "interactive_points", "record"]


def record(
    module: nn.Module,
    sites: Sequence[str | Site],
    run: Callable[[], Tensor],
    *,
    dtype: torch.dtype | None = torch.float32,
) -> Tail:
    """Run a module once, and return what it does behind some sites.

    Parameters
    ----------
    module : nn.Module
        In eval mode, on any device, in any float precision; left as it is.
    sites : sequence of str
        Where layers shall go, see :class:`~napari_clickseg.refinement.sites.Site`.
        Each call and each tensor there becomes a feature of its own.
    run : callable
        Calls the module and returns its logits; may do so in inference mode. It
        must reach the sites, so what happens before them may not come from a cache.
        It is kept, and called again where the module cannot be taken apart.
    dtype : torch.dtype, optional
        Least precision of the tail, whatever the module works in; None leaves it.

    Returns
    -------
    Tail

    Raises
    ------
    RefinementError
        If a site is unknown, not reached or has no float tensor (N, C, H, W), or if
        nothing can be optimised through this module. The text says what to do.
    """
    parsed = tuple(dict.fromkeys(Site.parse(site) for site in sites))
    _check(module, parsed)
    weights = [*module.parameters(), *module.buffers()]
    recorder = Recorder(dtype, weights)
    labels: list[str] = []
    features: list[Tensor] = []

    def visit(label: str, tensor: Tensor) -> Tensor:
        recorder.paused = True
        labels.append(label)
        features.append(plain(tensor).to(recorder.raised(tensor.dtype)))
        result = recorder.begin(tensor, len(labels) - 1)
        recorder.paused = False
        return result

    with torch.no_grad(), Watch(module, parsed, visit) as watch, recorder:
        answer = run()
    missed = [site for site in parsed if site not in watch.reached]
    if missed:
        raise RefinementError(_missed(module, missed))
    if not isinstance(answer, Tensor):
        raise RefinementError(
            f"run must return the logits as a tensor, not {type(answer).__name__}."
        )
    output = plain(answer).to(recorder.raised(answer.dtype))
    tail = Tail(
        module,
        parsed,
        run,
        tuple(features),
        tuple(labels),
        output,
        exact=not recorder.lower,
    )
    tail.settle(recorder, recorder.slot(answer))
    recorder.forget()
    return tail


def _check(module: Any, sites: Sequence[Site]) -> None:
    """Raise where nothing could come of it."""
    if not isinstance(module, nn.Module):
        hint = " Give exported.module()." if hasattr(module, "module") else ""
        raise RefinementError(
            f"A refinement needs a torch.nn.Module, not {type(module).__name__}.{hint}"
        )
    if not sites:
        raise RefinementError("Name at least one place for a refinement layer.")
    for site in sites:
        site.check(module)
    busy = [n for n, m in module.named_modules() if m.training and _is_restless(m)]
    if busy:
        raise RefinementError(
            f"The module is in training mode ({busy[0]!r}). Call .eval() on it first."
        )


def _is_restless(module: nn.Module) -> bool:
    """Whether it draws random numbers, or changes itself, in training mode."""
    kind = type(module).__name__
    return "BatchNorm" in kind or "Dropout" in kind or kind == "DropPath"


def _missed(module: nn.Module, sites: Sequence[Site]) -> str:
    names = ", ".join(repr(str(site)) for site in sites)
    places = getattr(module, "places", None)
    hint = ""
    if callable(places):
        known = sorted({site for group in places().values() for site in group})
        hint = f" This network's own places: {', '.join(known)}."
    return (
        f"{names} was not reached when the module ran: it is not called there, or not "
        "so often, or its result came from a cache. Choose another place "
        f"(interactive_points(module, ...) lists them).{hint}"
    )
