"""Where in a module a refinement layer is put, and how tensors there are reached.

A site is written as the submodule's dotted name, for its output, or the name and
``:input``, for what it is called with. ``#1`` behind it means only the second call
(a module may be called several times), ``[1]`` only the second tensor (outputs may
be lists). ``"input"`` is what the module as a whole is called with.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from napari_clickseg.errors import RefinementError

_GRAMMAR = re.compile(r"(?P<path>[^:#\[\]\s]+)(?P<input>:input|:output)?(?P<rest>.*)")
_PARTS = re.compile(r"#(\d+)|\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Site:
    """One place in a module, see :meth:`parse`.

    Attributes
    ----------
    path : str
        Name of the submodule; empty for the module itself.
    before : bool
        Its input, not its output.
    call : int or None
        Which call; None: every call.
    index : int or None
        Which tensor of the input or output, counted through nested lists; None:
        every float tensor with four axes.
    """

    path: str
    before: bool = False
    call: int | None = None
    index: int | None = None

    @classmethod
    def parse(cls, text: str | Site) -> Site:
        """Read ``"name"``, ``"name:input"``, ``"name#1[0]"`` or ``"input"``.

        Raises
        ------
        RefinementError
            Where the text has another form.
        """
        if isinstance(text, Site):
            return text
        found = _GRAMMAR.fullmatch(str(text).strip())
        rest = found["rest"] if found else "?"
        if found is None or _PARTS.sub("", rest):
            raise RefinementError(
                f"{text!r} names no place in a module. Write the submodule's name "
                "('decoder.block2'), name:input for what it is called with, and "
                "#1 for its second call or [1] for the second tensor of a list."
            )
        numbers: dict[str, int] = {}
        for part in _PARTS.finditer(rest):
            numbers["call" if part[1] else "index"] = int(part[1] or part[2])
        path, before = found["path"], found["input"] == ":input"
        if path == "input" and found["input"] is None:
            path, before = "", True
        return cls(path, before, **numbers)

    def __str__(self) -> str:
        call = "" if self.call is None else f"#{self.call}"
        index = "" if self.index is None else f"[{self.index}]"
        return f"{self.name}{call}{index}"

    @property
    def name(self) -> str:
        """The place without call and index."""
        if not self.path:
            return "input" if self.before else "output"
        return f"{self.path}:input" if self.before else self.path

    def check(self, module: nn.Module) -> None:
        """Raise where the module has no such place that Python could see.

        Raises
        ------
        RefinementError
            If the submodule is unknown, or lies inside a TorchScript module.
        """
        names = dict(module.named_modules())
        if self.path not in names:
            known = [name for name in names if name]
            near = difflib.get_close_matches(self.path, known, n=3, cutoff=0.4)
            last = self.path.rpartition(".")[2]
            near += [n for n in known if n.rpartition(".")[2] == last and n not in near]
            hint = f" Did you mean {', '.join(map(repr, near[:4]))}?" if near else ""
            raise RefinementError(
                f"The module has no submodule {self.path!r}.{hint} "
                "interactive_points(module, ...) lists sensible places."
            )
        parts = self.path.split(".") if self.path else []
        for length in range(len(parts)):
            outer = names[".".join(parts[:length])]
            if isinstance(outer, torch.jit.ScriptModule):
                where = ".".join(parts[:length]) or "The module"
                raise RefinementError(
                    f"{where} is a TorchScript module: what it calls inside cannot "
                    f"be seen or changed, so no layer can go to {self.path!r}. Give "
                    "the Python module that the script was made of, or put the "
                    "layer on 'input'."
                )


def is_feature(value: Any) -> bool:
    """Whether this is a float tensor with four axes."""
    return isinstance(value, Tensor) and value.ndim == 4 and value.is_floating_point()


def map_tensors(value: Any, change: Callable[[Any], Any]) -> Any:
    """Rebuild nested lists, tuples, dicts, slices and dataclasses.

    ``change`` gets every leaf, tensors and others alike.
    """
    if isinstance(value, Tensor | torch.Size):
        return change(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(v, change) for v in value))
    if isinstance(value, list | tuple):
        return type(value)([map_tensors(v, change) for v in value])
    if isinstance(value, dict):
        result = copy.copy(value)
        for key, item in value.items():
            result[key] = map_tensors(item, change)
        return result
    if isinstance(value, slice):
        parts = (value.start, value.stop, value.step)
        return slice(*(map_tensors(v, change) for v in parts))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed: Any = copy.copy(value)
        for field in dataclasses.fields(value):
            item = map_tensors(getattr(value, field.name), change)
            object.__setattr__(changed, field.name, item)
        return changed
    return change(value)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors of nested structures, in the order of map_tensors."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, torch.Size):
        return
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, slice):
        yield from tensors_in((value.start, value.stop, value.step))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from tensors_in(getattr(value, field.name))


class Watch:
    """While this is entered, ``visit`` replaces every tensor that passes a site.

    Parameters
    ----------
    module : nn.Module
    sites : sequence of Site
    visit : callable
        Given the label (``"head:input#0[0]"``) and the tensor, returns the tensor
        that goes on instead.
    """

    def __init__(
        self,
        module: nn.Module,
        sites: Sequence[Site],
        visit: Callable[[str, Tensor], Tensor],
    ) -> None:
        self.module = module
        self.sites = tuple(sites)
        self.visit = visit
        self.reached: set[Site] = set()
        self._calls: Counter[tuple[str, bool]] = Counter()
        self._handles: list[Any] = []

    def __enter__(self) -> Self:
        for path, before in dict.fromkeys((s.path, s.before) for s in self.sites):
            module = self.module.get_submodule(path)
            hook = self._hook(path, before)
            if before:
                handle = module.register_forward_pre_hook(hook, with_kwargs=True)
            else:
                handle = module.register_forward_hook(hook)
            self._handles.append(handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def _hook(self, path: str, before: bool) -> Callable[..., Any]:
        def on_input(_: nn.Module, args: Any, kwargs: Any) -> Any:
            return self._replaced(path, True, (args, kwargs))

        def on_output(_: nn.Module, args: Any, output: Any) -> Any:  # noqa: ARG001
            return self._replaced(path, False, output)

        return on_input if before else on_output

    def _replaced(self, path: str, before: bool, value: Any) -> Any:
        call = self._calls[path, before]
        self._calls[path, before] += 1
        here = [
            site
            for site in self.sites
            if (site.path, site.before) == (path, before) and site.call in (None, call)
        ]
        if not here:
            return value
        name = Site(path, before).name
        indices = {site.index for site in here}
        count = -1
        found: set[int | None] = set()

        def change(leaf: Any) -> Any:
            nonlocal count
            if not isinstance(leaf, Tensor):
                return leaf
            count += 1
            if not is_feature(leaf) or not indices & {None, count}:
                return leaf
            found.update({None, count})
            return self.visit(f"{name}#{call}[{count}]", leaf)

        result = map_tensors(value, change)
        for site in here:
            if site.index not in found:
                shapes = [f"{tuple(x.shape)} {x.dtype}" for x in tensors_in(value)]
                raise RefinementError(
                    f"At {str(site)!r} there is no float tensor with four axes "
                    f"(N, C, H, W), only {', '.join(shapes) or 'no tensor at all'}. "
                    "Choose another place: interactive_points(module, ...) lists them."
                )
        self.reached.update(here)
        return result
