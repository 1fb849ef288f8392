"""What a module does behind some sites, as a function of the features there."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from napari_clickseg.device import is_out_of_memory
from napari_clickseg.errors import ClickSegError, RefinementError
from napari_clickseg.refinement.recorder import READS, Recorder, plain
from napari_clickseg.refinement.sites import Site, Watch, map_tensors
from napari_clickseg.refinement.tape import Tape, UnfaithfulError, Value, laid_out

#: How far a tail may be from the module's own answer, relative to its largest
#: value: in float32, in half precision (which the tail does not share), and where
#: convolutions are allowed to be a little wrong (TF32).
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}
HALF_TOLERANCE = 0.1
GPU_TOLERANCE = 3e-3

# Tapes that were found to follow their module, by what they do, and whether they
# needed care for that (see Tape.careful).
_TRUSTED: weakref.WeakKeyDictionary[nn.Module, dict[int, bool]]
_TRUSTED = weakref.WeakKeyDictionary()


class Tail:
    """Logits as a function of the features at some sites.

    Made by :func:`napari_clickseg.refinement.insertion.record`; may be called any
    number of times.

    Attributes
    ----------
    features : tuple of Tensor, each of shape (N, C, H, W)
        What arrived at each site, detached.
    labels : tuple of str
        Where that was, for example ``"decode4.fuse:input#0[0]"``: the first call,
        the first tensor.
    output : Tensor
        The answer to these features, detached.
    complete : bool
        Every call runs the module as a whole, since it cannot be taken apart.
    reason : str
        Why; empty otherwise.
    """

    def __init__(
        self,
        module: nn.Module,
        sites: Sequence[Site],
        run: Callable[[], Tensor],
        features: tuple[Tensor, ...],
        labels: tuple[str, ...],
        output: Tensor,
        *,
        exact: bool = True,
    ) -> None:
        self.features = features
        self.labels = labels
        self.output = output
        self.reason = ""
        self._module = module
        self._sites = tuple(sites)
        self._run = run
        self._tape: Tape | None = None
        # Whether the module computes in the precision that the tail has.
        self._exact = exact

    def __repr__(self) -> str:
        how = "whole module" if self.complete else f"{self.calls} calls"
        return f"<Tail behind {', '.join(self.labels)}: {how}>"

    @property
    def complete(self) -> bool:
        """Whether every call runs the module as a whole."""
        return self._tape is None

    @property
    def calls(self) -> int | None:
        """How many torch functions a call runs; None where complete."""
        return None if self._tape is None else self._tape.calls

    def __call__(self, *values: Value) -> Tensor:
        """Return the logits for other features.

        Parameters
        ----------
        *values : Tensor or callable
            For each site a tensor in the feature's shape, or what makes one out of
            the feature that arrives there. The latter matters where one site lies
            behind another: its feature changes with the first one's.

        Returns
        -------
        Tensor
            Differentiable with respect to the values, and to what the callables
            use, if gradients are enabled.
        """
        if len(values) != len(self.features):
            raise RefinementError(
                f"There are {len(self.features)} features "
                f"({', '.join(self.labels)}), but {len(values)} values for them."
            )
        for value, feature, label in zip(
            values, self.features, self.labels, strict=True
        ):
            if isinstance(value, Tensor) and value.shape != feature.shape:
                raise RefinementError(
                    f"The feature at {label} has the shape {tuple(feature.shape)}, "
                    f"not {tuple(value.shape)}."
                )
        if self._tape is not None:
            try:
                return self._tape.run(values, self.features)
            except UnfaithfulError as error:
                self._give_up(f"{error} is in the way")
        return self._whole(values)

    def _give_up(self, reason: str) -> None:
        self._tape, self.reason = None, reason

    def _whole(self, values: Sequence[Value]) -> Tensor:
        """Run everything, with these values at the sites."""
        missing = dict(zip(self.labels, range(len(values)), strict=True))

        def visit(label: str, tensor: Tensor) -> Tensor:
            number = missing.pop(label, None)
            if number is None:
                raise RefinementError(
                    f"The module was called in another way than before ({label} was "
                    "not reached then). Its calls must not depend on chance."
                )
            value = values[number]
            if not isinstance(value, Tensor):
                value = value(tensor.to(self.features[number].dtype))
            value = laid_out(value, self.features[number]).to(tensor.dtype)
            return value.clone()  # what follows may work in place

        watch = Watch(self._module, self._sites, visit)
        with _frozen(self._module), watch, _WithGradients():
            result = self._run()
        if missing:
            raise RefinementError(
                f"This time {', '.join(missing)} was not reached. What the module "
                "calls must not depend on chance or on values."
            )
        return result.to(self.output.dtype)

    def settle(self, recorder: Recorder, slot: int | None) -> None:
        """Take the tape if it does what the module does, otherwise none.

        Raises
        ------
        RefinementError
            If the module itself does not give the same answer twice.
        """
        if slot is None:
            recorder.doubts.append("the output could not be followed to the sites")
        reason = recorder.doubts[0] if recorder.doubts else ""
        if slot is not None and not reason:
            self._tape = Tape(recorder.steps, recorder.storages, slot)
            reason = self._why_not()
        if reason:
            self._give_up(reason)
            with torch.no_grad():
                again = self._whole(self.features)
            if not self._close(again, self.output):
                raise RefinementError(
                    "The module answers the same question differently each time, so "
                    "nothing can be optimised through it. Call .eval() on it, and "
                    "take out whatever draws random numbers."
                )

    def _why_not(self) -> str:
        """Return what is wrong with the tape; empty if it follows the module."""
        assert self._tape is not None
        try:
            with torch.no_grad():
                same = self._tape.run(self.features, self.features)
            if not self._close(same, self.output):
                return "running the recorded calls again gives another answer"
            known = _TRUSTED.setdefault(self._module, {})
            key = hash((self.output.dtype, self._tape.signature))
            if key in known:
                self._tape.careful = known[key]
                return ""
            reason = self._follows()
        except Exception as error:
            if isinstance(error, ClickSegError) or is_out_of_memory(error):
                raise  # no fault of the tape
            return f"a recorded call cannot run again ({error})"
        if not reason:
            known[key] = self._tape.careful
        return reason

    def _follows(self) -> str:
        """Compare with the whole module elsewhere, and the way back."""
        tape = self._tape
        assert tape is not None
        generator = torch.Generator().manual_seed(0)
        shifts = []
        for feature in self.features:
            noise = torch.randn(feature.shape, generator=generator).to(feature)
            shifts.append(0.1 * feature.std(correction=0).clamp(min=1e-3) * noise)
        weights = torch.randn(self.output.shape, generator=generator).to(self.output)
        try:
            expected, wanted = _with_slopes(self._whole, shifts, weights)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            with torch.no_grad():  # as it stands, autograd cannot go through
                expected, wanted = self._whole([_Shift(x) for x in shifts]), None
        for tape.careful in (False, True):
            try:
                found, slopes = _with_slopes(
                    lambda values: tape.run(values, self.features), shifts, weights
                )
                break
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                reason = f"no gradient: {error}"
        else:
            return reason
        size, gap = (expected - self.output).abs().max(), (found - expected).abs().max()
        limit = self._tolerance * 3 * self.output.abs().max()
        if not gap <= limit + (0.01 if self._exact else 0.3) * size:
            return "not everything that happens could be seen"
        if wanted is not None and not self._same_way(slopes, wanted):
            return "the module has a gradient of its own"
        return ""

    def _same_way(self, found: Sequence[Tensor], wanted: Sequence[Tensor]) -> bool:
        """Whether gradients agree, as far as the module's precision lets them."""
        limit = 0.05 if self._exact else 0.9
        pairs = list(zip(found, wanted, strict=True))
        size = max(float(w.norm()) for _, w in pairs)
        gap = max(float((f - w).norm()) for f, w in pairs)
        return gap <= limit * size or gap < 1e-6 or not math.isfinite(size)

    @property
    def _tolerance(self) -> float:
        if not self._exact:
            return HALF_TOLERANCE
        if self.output.device.type != "cpu":
            return GPU_TOLERANCE
        return TOLERANCE.get(self.output.dtype, HALF_TOLERANCE)

    def _close(self, found: Tensor, expected: Tensor) -> bool:
        if found.shape != expected.shape:
            return False
        scale = float(expected.abs().nan_to_num(0).max()) if expected.numel() else 0.0
        return torch.allclose(
            found, expected, rtol=0, atol=self._tolerance * scale, equal_nan=True
        )


class _Shift:
    """Adds to whatever arrives at a site."""

    def __init__(self, shift: Tensor) -> None:
        self.shift = shift

    def __call__(self, feature: Tensor) -> Tensor:
        return feature + self.shift


def _with_slopes(
    run: Callable[[Sequence[Value]], Tensor], shifts: Sequence[Tensor], weights: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Return the answer to shifted features, and its gradient by the shifts."""
    with torch.inference_mode(False), torch.enable_grad():
        leaves = [plain(shift).requires_grad_() for shift in shifts]
        answer = run([_Shift(leaf) for leaf in leaves])
        if not answer.requires_grad:
            return answer.detach(), [torch.zeros_like(leaf) for leaf in leaves]
        slopes = torch.autograd.grad(
            answer, leaves, plain(weights), allow_unused=True, materialize_grads=True
        )
    return answer.detach(), list(slopes)


class _WithGradients(TorchFunctionMode):
    """Lets code compute with gradients that asked for inference mode or no_grad."""

    def __init__(self) -> None:
        super().__init__()
        self._wanted = torch.is_grad_enabled()
        self._normal: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if not self._wanted:
            return func(*args, **kwargs)

        reads = getattr(func, "__name__", "") in READS

        def normal(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            if reads:  # what Python sees carries no gradient anyway
                return leaf.detach()
            if not leaf.is_inference():
                return leaf
            if id(leaf) not in self._normal:
                self._normal[id(leaf)] = (leaf, plain(leaf))
            return self._normal[id(leaf)][1]

        with torch.inference_mode(False), torch.enable_grad():
            args, kwargs = map_tensors((args, kwargs), normal)
            return func(*args, **kwargs)


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """Keep weights from collecting gradients."""
    wanted = [p for p in module.parameters() if p.requires_grad]
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)
