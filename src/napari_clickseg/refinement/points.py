"""Which places of a module are worth a refinement layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from napari_clickseg.errors import RefinementError
from napari_clickseg.refinement.sites import is_feature, tensors_in

#: Deeper levels of submodules are left out once there are so many places.
ENOUGH = 24


@dataclass(frozen=True, slots=True)
class InteractivePoint:
    """A place for a refinement layer.

    Attributes
    ----------
    site : str
        What to give as ``at``.
    channels : int
    stride : int
        Pixels of the input per pixel of the feature.
    shape : tuple of int
        Of the feature at the first call: N, C, H, W.
    calls : int
        How often the place is passed in one run.
    share : float
        Part of the network's work that depends on it, 0 to 1: what every iteration
        of a refinement has to do again.
    """

    site: str
    channels: int
    stride: int
    shape: tuple[int, int, int, int]
    calls: int
    share: float

    def __str__(self) -> str:
        often = f", {self.calls} calls" if self.calls > 1 else ""
        return (
            f"{self.site}: {self.channels} channels, stride {self.stride}{often}, "
            f"{self.share:.0%} of the work behind it"
        )


@dataclass(slots=True)
class _Seen:
    """A feature that passed: a bit of its own, and the names it goes by."""

    bit: int
    shape: tuple[int, int, int, int]
    names: list[tuple[str, nn.Module]] = field(default_factory=list)


def interactive_points(
    module: nn.Module, *inputs: Any, **keywords: Any
) -> list[InteractivePoint]:
    """List sensible places for refinement layers, in the order they are reached.

    Those are where submodules that have submodules end, where the channels or the
    stride change, what functional calls (such as a concatenation) hand to such a
    submodule, and the input; strictly before the output.

    Parameters
    ----------
    module : nn.Module
        In eval mode.
    *inputs, **keywords
        What to call it with, for example an image of the usual size.

    Raises
    ------
    RefinementError
        If nothing suits: no float tensor (N, C, H, W) on the way to the output.
    """
    work = _Work()
    with _Observer(module, work) as observer, torch.no_grad(), work:
        answer = module(*inputs, **keywords)
    seen = observer.seen
    outputs = list(tensors_in(answer))
    ends = {id(tensor) for tensor in outputs}
    reached = 0
    for tensor in outputs:
        reached |= work.mask(tensor)
    if not reached:  # compiled code in between, which cannot be looked into
        reached, work.blind = -1, True
    useful = [
        feature
        for key, feature in seen.items()
        if feature.bit & reached and key not in ends and _is_wide(feature.shape)
    ]
    images = (x for x in tensors_in((inputs, keywords)) if x.ndim == 4)
    height = next((int(x.shape[2]) for x in images), 0)
    points = _chosen(module, useful, work, height)
    if not points:
        raise RefinementError(
            "There is no place for a refinement layer: no float tensor with four "
            "axes (N, C, H, W) passes between submodules on the way to the output."
        )
    return points


class _Observer:
    """Notes the features that pass submodules' outputs, and some inputs."""

    def __init__(self, module: nn.Module, work: _Work) -> None:
        self.seen: dict[int, _Seen] = {}
        self._module = module
        self._work = work
        self._handles: list[Any] = []

    def __enter__(self) -> Self:
        for name, place in self._module.named_modules():
            if name:
                hook = self._on_output(name)
                self._handles.append(place.register_forward_hook(hook))
            if not name or _is_container(place):
                hook = self._on_input(f"{name}:input" if name else "input")
                handle = place.register_forward_pre_hook(hook, with_kwargs=True)
                self._handles.append(handle)
        return self

    def __exit__(self, *error: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _on_output(self, name: str) -> Callable[..., None]:
        def hook(place: nn.Module, args: Any, output: Any) -> None:  # noqa: ARG001
            self._note(name, place, output, new=True)

        return hook

    def _on_input(self, name: str) -> Callable[..., None]:
        def hook(place: nn.Module, args: Any, kwargs: Any) -> None:
            self._note(name, place, (args, kwargs), new=False)

        return hook

    def _note(self, name: str, place: nn.Module, value: Any, *, new: bool) -> None:
        found = list(tensors_in(value))
        for index, tensor in enumerate(found):
            if not is_feature(tensor) or (not new and self._work.known(tensor)):
                continue
            if id(tensor) not in self.seen:
                shape: Any = tuple(tensor.shape)
                self.seen[id(tensor)] = _Seen(self._work.begin(tensor), shape)
            site = name if len(found) == 1 else f"{name}[{index}]"
            self.seen[id(tensor)].names.append((site, place))


def _is_container(module: nn.Module) -> bool:
    return any(True for _ in module.children())


def _is_wide(shape: tuple[int, int, int, int]) -> bool:
    """Whether there is room to refine: several channels, several places."""
    return shape[1] > 1 and shape[2] * shape[3] > 1


def _stride(height: int, after: int) -> int:
    """Return by what a height was divided, rounded up or not."""
    for stride in (1, 2, 4, 8, 16, 32, 64):
        if -(-height // stride) == after:
            return stride
    return max(1, round(height / after))


def _chosen(
    module: nn.Module, seen: list[_Seen], work: _Work, height: int
) -> list[InteractivePoint]:
    """Name the features, and leave out the less interesting ones."""
    ranked: list[tuple[int, str, _Seen]] = []
    for number, feature in enumerate(seen):
        after = seen[number + 1].shape if number + 1 < len(seen) else None
        name = _name(module, feature, changes=after != feature.shape)
        if name is not None:
            ranked.append((name.count("."), name, feature))
    kept: dict[str, list[_Seen]] = {}
    for level in sorted({depth for depth, _, _ in ranked}):
        here = [(n, f) for depth, n, f in ranked if depth == level]
        if kept and len(kept) + len({n for n, _ in here}) > ENOUGH:
            break
        for name, feature in here:
            kept.setdefault(name, []).append(feature)
    order = sorted(kept, key=lambda name: kept[name][0].bit)
    # Of the blocks of a stage only the last one.
    alike = [
        name
        for name, following in pairwise(order)
        if _parent(name) == _parent(following)
        and name.rpartition(".")[2].isdigit()
        and kept[name][0].shape == kept[following][0].shape
        and ":" not in following
    ]
    points = []
    for name in order:
        if name in alike:
            continue
        shape = kept[name][0].shape
        stride = _stride(height, shape[2])
        mask = sum(feature.bit for feature in kept[name])
        points.append(
            InteractivePoint(
                name, shape[1], stride, shape, len(kept[name]), work.share(mask)
            )
        )
    return points


def _name(module: nn.Module, feature: _Seen, *, changes: bool) -> str | None:
    """Return the feature's best name, or None where it is an inner detail."""
    containers = [n for n, m in feature.names if _is_container(m)]
    if containers:
        return min(containers, key=lambda n: ("[" in n, n.count("."), ":" in n))
    name, place = feature.names[-1]
    first = feature.names[0][1]
    own = not type(first).__module__.startswith("torch.nn")
    if own or isinstance(first, nn.Identity):
        return feature.names[0][0]
    flat = _parent(name) == "" or not any(map(_is_container, module.children()))
    return name if flat and changes and not isinstance(place, nn.Dropout) else None


def _parent(name: str) -> str:
    return name.partition("[")[0].partition(":")[0].rpartition(".")[0]


class _Flops(TorchDispatchMode):
    """Counts multiplications of convolutions and matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        count = flop_registry.get(getattr(func, "_overloadpacket", None))
        if count is not None:
            self.total += int(count(*args, **(kwargs or {}), out_val=result))
        return result


class _Work(TorchFunctionMode):
    """Follows which features every call depends on, and what it costs."""

    def __init__(self) -> None:
        super().__init__()
        self._masks: dict[int, int] = {}
        self._known: set[int] = set()
        self._held: list[Tensor] = []  # so that no id is used twice
        self._costs: dict[int, int] = {}
        self._bits = 0
        #: Nothing could be followed: all work counts as behind everything.
        self.blind = False

    def __torch_function__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        given = list(tensors_in((args, kwargs)))
        mask = 0
        for tensor in given:
            mask |= self.mask(tensor)
        with _Flops() as flops:
            result = func(*args, **kwargs)
        outputs = list(tensors_in(result))
        cost = flops.total + sum(tensor.numel() for tensor in outputs)
        self._costs[mask] = self._costs.get(mask, 0) + cost
        # Where nothing comes out, the first argument may have been written to.
        for tensor in outputs or given[:1]:
            self._add(tensor, mask)
        return result

    def _add(self, tensor: Tensor, mask: int) -> None:
        if id(tensor) not in self._masks:
            self._held.append(tensor)
        self._masks[id(tensor)] = self.mask(tensor) | mask

    def mask(self, tensor: Tensor) -> int:
        """Return the bits of the features that a tensor depends on."""
        return self._masks.get(id(tensor), 0)

    def known(self, tensor: Tensor) -> bool:
        """Whether a submodule has returned it."""
        return id(tensor) in self._known

    def begin(self, tensor: Tensor) -> int:
        """Give a feature a bit of its own."""
        bit = 1 << self._bits
        self._bits += 1
        self._add(tensor, bit)
        self._known.add(id(tensor))
        return bit

    def share(self, mask: int) -> float:
        """Return the part of the work that depends on these features."""
        if self.blind:
            return 1.0
        total = sum(self._costs.values())
        behind = sum(cost for of, cost in self._costs.items() if of & mask)
        return behind / total if total else 0.0
