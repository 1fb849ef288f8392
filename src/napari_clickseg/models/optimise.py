"""Make a network cheaper to run without changing what it answers.

Batch norm is folded into the convolution before it; the copy that runs may work in
half precision and with channels last in memory. Pairs to fold are found by watching
one small forward pass, not by names, so that any network will do: a pair is folded
only where the batch norm reads exactly what that convolution has just written, and
nothing else reads it.
"""

from __future__ import annotations

import copy
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode

from napari_clickseg.device import keep_heap
from napari_clickseg.networks.layers import Normalise


class _Reads(TorchFunctionMode):
    """Counts by how many operations each tensor is read."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[int] = Counter()
        # All tensors are held until the pass is over: no two share an id.
        self._held: list[Tensor] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if _holds_tensor(result):  # asking for a shape or dtype is no reading
            read = list(_tensors((args, kwargs)))
            self._held += read
            self.count.update(id(x) for x in read)
        return result


def _tensors(value: Any) -> Iterable[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _holds_tensor(value: Any) -> bool:
    return next(iter(_tensors(value)), None) is not None


def foldable_pairs(
    network: nn.Module, run: Callable[[], object]
) -> list[tuple[str, str]]:
    """Find convolutions whose output only a batch norm reads.

    Parameters
    ----------
    network : nn.Module
        In eval mode.
    run : callable
        Runs the network once on something small.

    Returns
    -------
    list of (str, str)
        Names of the convolution and of its batch norm.
    """
    # One for each call: a network may see an image at several scales.
    outputs: defaultdict[str, list[Tensor]] = defaultdict(list)
    inputs: defaultdict[str, list[Tensor]] = defaultdict(list)
    handles = []

    def watch(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            inputs[name].append(args[0])
            outputs[name].append(output)

        return hook

    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            handles.append(module.register_forward_hook(watch(name)))
    try:
        with torch.no_grad(), _Reads() as reads:
            run()
    finally:
        for handle in handles:
            handle.remove()

    modules = dict(network.named_modules())
    written = {
        id(output): name
        for name in outputs
        if isinstance(modules[name], nn.Conv2d)
        for output in outputs[name]
    }
    pairs = []
    for name, seen in inputs.items():
        module = modules[name]
        if not isinstance(module, nn.BatchNorm2d):
            continue
        ready = not module.training and module.running_mean is not None
        (conv, *others) = {written.get(id(x)) for x in seen}
        if conv is None or others or not ready:
            continue
        alone = all(reads.count[id(x)] == 1 for x in seen)
        if alone and len(outputs[conv]) == len(seen):
            pairs.append((conv, name))
    return pairs


def fold_batch_norm(network: nn.Module, run: Callable[[], object]) -> int:
    """Fold batch norm into convolutions, in place.

    Folded batch norms become :class:`torch.nn.Identity` under their old name, so
    that every module can still be found by its name.

    Parameters
    ----------
    network : nn.Module
        In eval mode; its weights change.
    run : callable
        Runs the network once on something small.

    Returns
    -------
    int
        How many were folded.
    """
    pairs = foldable_pairs(network, run)
    for conv_name, norm_name in pairs:
        conv = network.get_submodule(conv_name)
        norm = network.get_submodule(norm_name)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            _replace(network, conv_name, fuse_conv_bn_eval(conv, norm))
            _replace(network, norm_name, nn.Identity())
    return len(pairs)


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, module)


class _InFullPrecision(nn.Module):
    """A normalisation that works in float32 and answers in the network's dtype."""

    def __init__(self, normalise: Normalise, dtype: torch.dtype) -> None:
        super().__init__()
        self.normalise = normalise
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.normalise(x).to(self.dtype)
        return y


def round_weights(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Round a convolution's weights so that their errors cancel.

    Rounding each weight to its nearest neighbour leaves every filter a little too
    strong or too weak as a whole, and features that are positive all over (as after
    ReLU) feel just that. So the error of each weight is carried to the next one:
    within a kernel, or over eight input channels where the kernel is one pixel.

    Parameters
    ----------
    weight : Tensor, shape (O, I, kh, kw)
        In float32.
    dtype : torch.dtype
        Format to round to.

    Returns
    -------
    Tensor, shape (O, I, kh, kw)
        In ``dtype``. On a starter in training this took away a third of what
        bfloat16 changes in the probabilities.
    """
    filters = weight.reshape(len(weight), -1)
    length = filters.shape[1]
    size = weight[0, 0].numel()
    size = size if size > 1 else 8
    groups = -(-length // size)
    padded = nn.functional.pad(filters, (0, groups * size - length))
    columns = padded.reshape(-1, size)
    rounded = torch.empty_like(columns, dtype=dtype)
    error = columns.new_zeros(len(columns))
    for i in range(size):
        wanted = columns[:, i] + error
        rounded[:, i] = wanted.to(dtype)
        error = wanted - rounded[:, i].float()
    return rounded.reshape(len(weight), -1)[:, :length].reshape(weight.shape)


def working_copy(
    network: nn.Module,
    device: torch.device,
    dtype: torch.dtype,
    channels_last: bool,
) -> nn.Module:
    """Return a copy of a float32 network that is ready to run.

    Parameters
    ----------
    network : nn.Module
        On the CPU, in float32; left as it is.
    device : torch.device
        Where the copy runs.
    dtype : torch.dtype
        What its weights and features are.
    channels_last : bool
        Whether weights lie with channels last, which the CPU's (and in half
        precision the GPU's) convolutions prefer.
    """
    if device.type == "cpu":
        keep_heap()
    result = copy.deepcopy(network)
    if dtype != torch.float32:
        result = result.to(dtype)
        for name, module in list(result.named_modules()):
            if isinstance(module, Normalise):
                # Half precision rounded the constants: put the true ones back.
                original = network.get_submodule(name)
                module.float()
                for key, constant in original.named_buffers():
                    module.get_buffer(key).copy_(constant)
                _replace(result, name, _InFullPrecision(module, dtype))
            elif isinstance(module, nn.Conv2d) and dtype == torch.bfloat16:
                exact = network.get_submodule(name).get_parameter("weight")
                with torch.no_grad():
                    module.weight.copy_(round_weights(exact, dtype))
    if channels_last:
        result.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return result.to(device).eval().requires_grad_(False)
