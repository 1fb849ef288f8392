"""What a module does behind some sites, as a function of the features there."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from napari_clickseg.device import is_out_of_memory
from napari_clickseg.errors import ClickSegError, RefinementError
from napari_clickseg.refinement.sites import Site, Watch, map_tensors
from napari_clickseg.refinement.tape import (
    READS,
    Recorder,
    Tape,
    UnfaithfulError,
    Value,
    laid_out,
    plain,
)

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
            self._tape = Tape(recorder, slot)
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
        """Try other features and the way back: the expensive part, done once."""
        generator = torch.Generator().manual_seed(0)
        others = []
        for feature in self.features:
            noise = torch.randn(feature.shape, generator=generator)
            spread = feature.std(correction=0).clamp(min=1e-3)
            others.append(feature + 0.1 * spread * noise.to(feature))
        assert self._tape is not None
        with torch.no_grad():
            changes = self._tape.run(others, self.features) - self.output
            expected = self._whole(others) - self.output
        size, gap = expected.abs().max(), (changes - expected).abs().max()
        scale = self.output.abs().max()
        limit = self._tolerance * scale * 3 + (0.01 if self._exact else 0.3) * size
        if not gap <= limit:
            return "not everything that happens could be seen"
        return self._back(others)

    def _back(self, others: Sequence[Tensor]) -> str:
        """Try the gradient, at first without copies before changes in place."""
        assert self._tape is not None
        for careful in (False, True):
            self._tape.careful = careful
            with torch.inference_mode(False), torch.enable_grad():
                values = [plain(x).requires_grad_() for x in others]
                try:
                    answer = self._tape.run(values, self.features)
                    if answer.requires_grad:
                        torch.autograd.grad(answer.sum(), values, allow_unused=True)
                    return ""
                except RuntimeError as error:
                    if is_out_of_memory(error):
                        raise
                    reason = f"no gradient: {error}"
        return reason

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
