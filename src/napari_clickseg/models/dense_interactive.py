"""Any module of classes, alpha or depth, corrected by clicks, without retraining."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from napari_clickseg.errors import ModelError
from napari_clickseg.models.adapter import (
    Adapter,
    Preprocess,
    find_maps,
    find_multiple,
    preparation,
    probe_image,
    probe_size,
)
from napari_clickseg.models.dense_model import DENSE_TASKS, DenseModel
from napari_clickseg.models.registry import ModelInfo
from napari_clickseg.models.taking_in import (
    as_module,
    choose_sites,
    first_channels,
    hash_weights,
    tensors_of,
)
from napari_clickseg.models.tuned import read_tuned

if TYPE_CHECKING:
    from napari_clickseg.refinement.settings import RefinementSettings

_EMPTY: Mapping[str, Any] = MappingProxyType({})


class Wrapped(nn.Module):
    """A user's module, called with RGB in [0, 1] and asked for one map.

    Parameters
    ----------
    module : nn.Module
    prepare : callable
        RGB (N, 3, H, W) in [0, 1] to what the module is called with.
    output : callable, optional
        Takes the map (N, C, h, w) out of what the module returns; by default the first
        one there is.
    trimap : bool
        The module takes a trimap as a fourth channel, in [0, 1].
    """

    normalises_input = True

    def __init__(
        self,
        module: nn.Module,
        prepare: Callable[[Tensor], Any],
        output: Callable[[Any], Tensor] | None = None,
        trimap: bool = False,
    ) -> None:
        super().__init__()
        self.module = module
        self.prepare, self.output, self.needs_trimap = prepare, output, trimap
        self.multiple = 1
        self.sites: tuple[str, ...] = ()

    def places(self) -> dict[str, tuple[str, ...]]:
        """Return where refinements change the module."""
        return {"g-brs": self.sites, "rgb": ("input",)}

    def forward(self, image: Tensor) -> Tensor:
        """Return the map for RGB, or RGB and a trimap, (N, 3 or 4, H, W)."""
        inputs = self.prepare(image[:, :3])
        if self.needs_trimap:
            if not isinstance(inputs, Tensor):
                raise ModelError(
                    "preprocess should return a tensor: the trimap becomes its last "
                    "channel."
                )
            inputs = torch.cat([inputs, image[:, 3:].to(inputs)], 1)
        if isinstance(inputs, Mapping):
            answer = self.module(**inputs)
        else:
            given = inputs if isinstance(inputs, tuple) else (inputs,)
            answer = self.module(*given)
        return find_maps(answer) if self.output is None else self.output(answer)


def dense_interactive(
    module: Any,
    task: str,
    at: str | Sequence[str] | None,
    preprocess: Preprocess,
    refinement: RefinementSettings,
    options: tuple[Any, int | None, str | torch.device, str | torch.dtype],
    *,
    unknown: Mapping[str, Any] = _EMPTY,
    card: Mapping[str, str] = _EMPTY,
) -> DenseModel:
    """Make a module that answers every pixel correctable by clicks.

    Parameters
    ----------
    module, at, preprocess, refinement
        See :func:`napari_clickseg.make_interactive`.
    options : tuple
        ``output``, ``multiple``, ``device`` and ``precision`` of the same; ``output``
        is a function that returns logits of classes, alpha in [0, 1], or depths,
        (N, C, h, w).
    task : str
        ``"semantic"``, ``"matting"`` or ``"depth"``.
    unknown : mapping
        Options that there are for objects only; they have to be None.
    card : mapping
        ``licence``, ``source``, ``description``.

    Raises
    ------
    ModelError, RefinementError
        If something does not fit.
    """
    output, multiple, device, precision = options
    if task not in DENSE_TASKS:
        raise ModelError(
            f"There is no task {task!r}. Choose 'segmentation' or one of "
            f"{', '.join(map(repr, DENSE_TASKS))}."
        )
    if given := [key for key, value in unknown.items() if value is not None]:
        raise ModelError(
            f"make_interactive(task={task!r}) takes no {', '.join(given)}: resize in "
            "preprocess and output, and pass the model itself to ClickSession."
        )
    if output is not None and not callable(output):
        raise ModelError(
            f"For {task} output is a function of what the module returns, not "
            f"{output!r}: it gives the map (N, C, h, w)."
        )
    inner = as_module(module)
    trimap = task == "matting" and first_channels(inner) == 4
    wrapped = Wrapped(inner, preparation(preprocess), output, trimap).eval()

    def filled(image: Tensor) -> Tensor:
        unknown = torch.full_like(image[:, :1], 0.5)
        return torch.cat([image, unknown], 1) if trimap else image

    @torch.inference_mode()
    def run(size: tuple[int, int]) -> Tensor:
        answer: Tensor = wrapped(filled(probe_image(size)))
        return answer

    if multiple is None:
        found, error = find_multiple(run)
        if not found:
            raise ModelError(
                f"The module cannot be called: {type(error).__name__}: {error}. Give "
                "preprocess=, a function that turns RGB images (N, 3, H, W) in [0, 1] "
                "into what it takes; multiple=, where sides must be multiples of a "
                "number."
            ) from error
        multiple = found
    wrapped.multiple = multiple
    maps = run(probe_size(multiple))
    if task != "semantic" and maps.shape[1] != 1:
        raise ModelError(
            f"The module answers {maps.shape[1]} channels, but {task} has one. Say "
            "which with output=, a function of what it returns."
        )
    # Names inside the module are those that the user knows.
    adapter = Adapter(filled, lambda answer: answer[:, :1], False, multiple)
    wanted = (at,) if isinstance(at, str) else at
    inside = None if wanted is None else [_inside(site) for site in wanted]
    sites, _ = choose_sites(wrapped, adapter, inside)
    wrapped.sites = sites
    digest = hash_weights(inner)
    rates = dict(read_tuned(digest))
    if refinement.learning_rate is not None:
        rates[refinement.method] = refinement.learning_rate
    kind = type(inner).__name__
    shown = ", ".join(site.removeprefix("module.") for site in sites)
    info = ModelInfo(
        name=kind.lower(),
        task=task,
        architecture=kind,
        file="",
        licence=card.get("licence", "not stated"),
        source=card.get("source", ""),
        description=card.get("description") or f"Made interactive at {shown}",
        size=sum(x.numel() * x.element_size() for x in tensors_of(inner).values()),
        downloaded=True,
        refine_at=sites,
        learning_rates=MappingProxyType(rates),
    )
    # As it came: a user's module is not folded.
    return DenseModel(wrapped, info, digest, device, precision, optimise=False)


def _inside(site: str) -> str:
    return site if site == "input" else f"module.{site}"
