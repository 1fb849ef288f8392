"""The calls of one forward pass that depend on chosen tensors, to be run again.

A tape is written while any Python code computes with torch: every torch function
that is called with a dependent tensor is kept, and what it returns is dependent in
turn. Whatever else the call was given is a constant. Running the tape again with
other tensors at the start does that work only, with gradients, and nothing of the
code around it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from napari_clickseg.refinement.sites import tensors_in

#: A tensor, or what makes one out of the feature that arrives at the site.
Value = Tensor | Callable[[Tensor], Tensor]


class UnfaithfulError(Exception):
    """The tape would not do what the module does."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Stands for a tensor that is computed anew each time."""

    number: int


@dataclass(slots=True)
class Step:
    """A call on the tape.

    Attributes
    ----------
    function, args, kwargs
        With :class:`Slot` for dependent tensors.
    outputs : list of (int, tuple of int)
        Slot and shape of every tensor that comes out.
    changed : list of int
        Slots that the call changes in place.
    alone : list of int
        Those of them whose memory nothing else needs any more.
    site : int or None
        Not a call, but the site of that number: one slot in (unless the feature
        there is a constant), one out.
    last : list of int
        Slots that nobody reads afterwards.
    """

    function: Callable[..., Any] | None
    args: Any
    kwargs: Any
    outputs: list[tuple[int, tuple[int, ...]]]
    changed: list[int] = field(default_factory=list)
    alone: list[int] = field(default_factory=list)
    site: int | None = None
    last: list[int] = field(default_factory=list)

    @property
    def inputs(self) -> set[int]:
        """Slots that are read."""
        return slots_in((self.args, self.kwargs))


def slots_in(value: Any) -> set[int]:
    """Return the numbers of all slots in a nested structure."""
    found: set[int] = set()

    def look(leaf: Any) -> Any:
        if type(leaf) is Slot:
            found.add(leaf.number)
        return leaf

    _map(value, look)
    return found


def _map(value: Any, change: Callable[[Any], Any]) -> Any:
    """Like map_tensors, but slots are leaves (they are dataclasses)."""
    if type(value) is Slot:
        return change(value)
    if type(value) is tuple:
        return tuple([_map(v, change) for v in value])
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_map(v, change) for v in value))
    if isinstance(value, list):  # that of torch.fx, too
        return [_map(v, change) for v in value]
    if isinstance(value, dict):
        return {k: _map(v, change) for k, v in value.items()}
    if isinstance(value, slice):
        return slice(*(_map(v, change) for v in (value.start, value.stop, value.step)))
    return change(value)


class Tape:
    """A finished recording.

    Parameters
    ----------
    steps : sequence of Step
        What was recorded, in order.
    storages : sequence of int
        Which memory each slot's tensor had: those with the same number share it.
    output : int
        Slot of the result.
    """

    def __init__(
        self, steps: Sequence[Step], storages: Sequence[int], output: int
    ) -> None:
        self.output = output
        self._storages = list(storages)
        self.steps = self._needed(steps)
        written = {self._storages[s] for step in self.steps for s in step.changed}
        self._written = {s for s, at in enumerate(self._storages) if at in written}
        #: Copy what is about to be changed in place: slower, but autograd can
        #: always go back.
        self.careful = False

    @property
    def calls(self) -> int:
        """How many calls a run takes."""
        return sum(step.site is None for step in self.steps)

    @property
    def signature(self) -> tuple[Any, ...]:
        """The same for tapes that do the same to other numbers, of any size."""
        return tuple(
            (
                getattr(step.function, "__name__", ""),
                tuple(slot for slot, _ in step.outputs),
                tuple(sorted(step.inputs)),
            )
            for step in self.steps
        )

    def _needed(self, steps: Sequence[Step]) -> list[Step]:
        """Drop what the output does not depend on, for example other heads."""
        live = {self._storages[self.output]}
        kept: list[Step] = []
        for step in reversed(steps):
            touched = {self._storages[slot] for slot, _ in step.outputs}
            touched |= {self._storages[slot] for slot in step.changed}
            if step.site is None and not touched & live:
                continue
            live |= {self._storages[slot] for slot in step.inputs}
            kept.append(step)
        kept.reverse()
        self._plan(kept)
        return kept

    def _plan(self, steps: Sequence[Step]) -> None:
        """Find out how long each tensor is needed."""
        born: dict[int, int] = {}
        for number, step in enumerate(steps):
            for slot, _ in step.outputs:
                born.setdefault(slot, number)
        later = {self.output}
        for number, step in reversed(list(enumerate(steps))):
            touched = step.inputs | {slot for slot, _ in step.outputs}
            for slot in step.changed:
                others = later | step.inputs
                if not any(
                    self._shares(s, slot) and born[s] < number and s != slot
                    for s in others
                ):
                    step.alone.append(slot)
            step.last = sorted(touched - later)
            later |= touched

    def _shares(self, slot: int, other: int) -> bool:
        return self._storages[slot] == self._storages[other]

    def run(self, values: Sequence[Value], features: Sequence[Tensor]) -> Tensor:
        """Return the output for other values at the sites.

        Raises
        ------
        UnfaithfulError
            Where a shape is another one than in the recording.
        """
        env: dict[int, Any] = {}

        def fetch(leaf: Any) -> Any:
            return env[leaf.number] if type(leaf) is Slot else leaf

        for step in self.steps:
            if step.site is not None:
                arriving = None if step.args is None else env[step.args.number]
                slot, _ = step.outputs[0]
                value = values[step.site]
                feature = features[step.site]
                env[slot] = self._value(value, feature, arriving, slot)
            else:
                self._call(step, env, fetch)
            for slot in step.last:
                del env[slot]
        result: Tensor = env[self.output]
        return result

    def _call(self, step: Step, env: dict[int, Any], fetch: Any) -> None:
        assert step.function is not None
        if self.careful:
            for slot in step.alone:
                env[slot] = env[slot].clone()
        args = _map(step.args, fetch)
        kwargs = _map(step.kwargs, fetch) if step.kwargs else {}
        found = list(tensors_in(step.function(*args, **kwargs)))
        if len(found) != len(step.outputs):
            raise UnfaithfulError("another number of tensors")
        for (slot, shape), tensor in zip(step.outputs, found, strict=True):
            if tensor.shape != shape:
                raise UnfaithfulError("a shape that depends on values")
            env[slot] = tensor

    def _value(
        self, value: Value, feature: Tensor, arriving: Tensor | None, slot: int
    ) -> Tensor:
        """Return what flows on at a site, laid out as it was in the recording."""
        if not isinstance(value, Tensor):
            value = value(feature if arriving is None else arriving)
        result = laid_out(value, feature)
        # What is changed in place must not be the caller's own tensor.
        return result.clone() if slot in self._written else result


def laid_out(value: Tensor, like: Tensor) -> Tensor:
    """Return a value in the dtype and memory layout of the feature it replaces."""
    if value.shape != like.shape:
        raise ValueError(f"{tuple(value.shape)} is not {tuple(like.shape)}")
    value = value.to(like.device, like.dtype)
    last = like.is_contiguous(memory_format=torch.channels_last)
    both = last and like.is_contiguous()
    if both or value.stride() == like.stride():
        return value
    layout = torch.channels_last if last else torch.contiguous_format
    return value.contiguous(memory_format=layout)
