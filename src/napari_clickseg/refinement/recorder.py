"""Writing a tape: every torch function that is called with a dependent tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from napari_clickseg.refinement.sites import map_tensors, tensors_in
from napari_clickseg.refinement.tape import Slot, Step


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What makes Python depend on the values in a tensor: a tape cannot follow.
READS = _names("""
    item tolist numpy __array__ __bool__ __int__ __float__ __complex__ __index__
    __contains__ __iter__ __set__ equal allclose is_nonzero __dlpack__ data_ptr storage
    untyped_storage share_memory_
""")
# What has no part in the computation.
_IGNORED = _names("requires_grad_ retain_grad register_hook __repr__ __format__")
_INPLACE_OPERATORS = _names("""
    __setitem__ __iadd__ __isub__ __imul__ __itruediv__ __ifloordiv__ __imod__ __ipow__
    __iand__ __ior__ __ixor__ __ilshift__ __irshift__
""")
_CASTS = {
    "half": torch.float16,
    "bfloat16": torch.bfloat16,
    "float": torch.float32,
    "double": torch.float64,
}


def plain(tensor: Tensor) -> Tensor:
    """Return a detached copy that autograd may use, even of an inference tensor."""
    with torch.inference_mode(False), torch.no_grad():
        return tensor.detach().clone()


class Recorder(TorchFunctionMode):
    """Writes a tape while it is entered.

    Parameters
    ----------
    dtype : torch.dtype or None
        Constants in a lower precision are raised to it; None leaves all as it is.
    weights : iterable of Tensor
        Tensors that stay as they are: used, not copied.
    """

    def __init__(
        self, dtype: torch.dtype | None, weights: Iterable[Tensor] = ()
    ) -> None:
        super().__init__()
        self.dtype = dtype
        self.steps: list[Step] = []
        self.doubts: list[str] = []
        self.paused = False
        #: Whether some of the recorded work was done in a lower precision.
        self.lower = False
        #: Storage of each slot's tensor, to know which ones share it.
        self.storages: list[int] = []
        self._slots: dict[int, int] = {}
        self._held: list[Tensor] = []  # so that no id is used twice
        self._weights = {id(w) for w in weights}
        self._constants: dict[int, tuple[Tensor, Tensor]] = {}
        self._tainted: set[int] = set()

    def raised(self, dtype: torch.dtype) -> torch.dtype:
        """Return the dtype that the tape has instead of this one."""
        if self.dtype is None or not dtype.is_floating_point:
            return dtype
        return torch.promote_types(dtype, self.dtype)

    def constant(self, tensor: Tensor) -> Tensor:
        """Return a constant as it is now, in the tape's dtype."""
        kept = self._constants.get(id(tensor))
        weight = id(tensor) in self._weights
        if kept is not None and weight:
            return kept[1]
        with torch.inference_mode(False), torch.no_grad():
            value = tensor.detach()
            raised = self.raised(value.dtype)
            if raised != value.dtype:
                value = value.to(raised)
            elif not weight or value.is_inference():
                value = value.clone()
            if kept is not None and torch.equal(kept[1], value):
                return kept[1]
        self._constants[id(tensor)] = (tensor, value)
        return value

    def begin(self, tensor: Tensor, site: int) -> Tensor:
        """Let a tensor be dependent from here on; return what goes on instead."""
        with torch.no_grad():
            result = tensor.detach().clone()
        before = self._slots.get(id(tensor))
        args = None if before is None else Slot(before)
        out = [(self._mark(result), tuple(result.shape))]
        self.steps.append(Step(None, args, None, out, site=site))
        return result

    def slot(self, tensor: Any) -> int | None:
        """Return the slot of a dependent tensor."""
        return self._slots.get(id(tensor))

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if self.paused:
            return func(*args, **kwargs)
        given = list(tensors_in((args, kwargs)))
        if self._tainted and any(self._is_tainted(x) for x in given):
            self.doubts.append("a tensor shares memory with one that was written to")
        if not any(id(x) in self._slots for x in given):
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if name in _IGNORED:
            return func(*args, **kwargs)
        if name in READS:
            self.doubts.append(f"Python reads values ({name})")
            return func(*args, **kwargs)
        if self.dtype is None and torch.is_autocast_enabled(given[0].device.type):
            self.doubts.append("automatic mixed precision inside")
        return self._recorded(func, name, args, kwargs)

    def _recorded(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        changed = list(tensors_in(_changed(name, args, kwargs)))
        for tensor in changed:
            if id(tensor) not in self._slots:
                self._adopt(tensor)
        function, new_args, new_kwargs = self._rewritten(func, name, args, kwargs)
        result = func(*args, **kwargs)
        outputs = list(tensors_in(result))
        if not outputs and not changed:
            if result is not None and not isinstance(result, _HARMLESS):
                self.doubts.append(f"{name} returns {type(result).__name__}")
            return result
        self.lower |= any(self.raised(x.dtype) != x.dtype for x in outputs)
        out = [(self._mark(x), tuple(x.shape)) for x in outputs]
        targets = [self._slots[id(x)] for x in changed]
        if new_kwargs.pop("out", None) is not None:  # autograd knows no out=
            if any(self.storages.count(self.storages[slot]) > 1 for slot in targets):
                self.doubts.append("out= was given a tensor that others share")
            targets = []
        self.steps.append(Step(function, new_args, new_kwargs, out, targets))
        return result

    def _rewritten(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        """Return the call for the tape: slots, constants, and its precision."""
        raised = False

        def change(leaf: Any) -> Any:
            nonlocal raised
            if isinstance(leaf, Tensor):
                slot = self._slots.get(id(leaf))
                return self.constant(leaf) if slot is None else Slot(slot)
            if isinstance(leaf, torch.dtype) and self.raised(leaf) != leaf:
                raised = True
                return self.raised(leaf)
            return leaf

        new_args, new_kwargs = map_tensors((args, kwargs), change)
        if name in _CASTS and func is getattr(Tensor, name, None):
            to = self.raised(_CASTS[name])
            # Where nothing is left to convert, the copy must still be a copy.
            copy = args[0].dtype != _CASTS[name]
            return Tensor.to, (new_args[0], to), {"copy": copy}
        if raised and func is Tensor.to:
            new_kwargs["copy"] = True
        if func is Tensor.view and not any(
            isinstance(x, torch.dtype) for x in (*args, *kwargs.values())
        ):
            func = Tensor.reshape  # strides may differ in another precision
        return func, new_args, new_kwargs

    def _adopt(self, tensor: Tensor) -> None:
        """Make a constant dependent, since a dependent tensor is written into it."""
        value = self.constant(tensor)
        slot = self._mark(tensor)
        self._tainted.add(self.storages[slot])
        self.steps.append(
            Step(torch.clone, (value,), {}, [(slot, tuple(tensor.shape))])
        )

    def _mark(self, tensor: Tensor) -> int:
        """Return the tensor's slot, a new one if it has none."""
        slot = self._slots.get(id(tensor))
        if slot is None:
            slot = len(self.storages)
            self._slots[id(tensor)] = slot
            self._held.append(tensor)
            self.storages.append(_storage(tensor))
        return slot

    def _is_tainted(self, tensor: Tensor) -> bool:
        return id(tensor) not in self._slots and _storage(tensor) in self._tainted

    def forget(self) -> None:
        """Let go of the tensors of the recording."""
        self._slots.clear()
        self._held.clear()
        self._constants.clear()


_HARMLESS = (bool, int, float, str, torch.dtype, torch.device, torch.Size, torch.layout)
_HARMLESS += (tuple, list, torch.memory_format, type)  # type: ignore[assignment]


def _storage(tensor: Tensor) -> int:
    try:
        return int(tensor.untyped_storage()._cdata)  # noqa: SLF001
    except (RuntimeError, NotImplementedError):  # sparse and other exotic tensors
        return -1


def _changed(name: str, args: Any, kwargs: Any) -> Any:
    """Return the arguments that a call changes in place."""
    changed = []
    dunder = name.startswith("__")
    bare = name.partition(".")[0]  # "add_.Tensor" where torch.ops is called
    if name in _INPLACE_OPERATORS or (not dunder and bare.endswith("_")):
        changed.append(args[0] if args else next(iter(kwargs.values()), None))
    elif kwargs.get("inplace") is True:
        changed.append(args[0] if args else kwargs.get("input"))
    if kwargs.get("out") is not None:
        changed.append(kwargs["out"])
    return changed
