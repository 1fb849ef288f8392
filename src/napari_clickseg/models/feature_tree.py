"""Features as a tree of plain containers, described in JSON, and its tensors.

A small, closed language: whoever reads a tree builds lists, tuples, dictionaries,
plain values and the named tuples of one table, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from napari_clickseg.errors import StoreError

#: Named tuples that features may hold, and the modules they come from.
NAMED: dict[str, str] = {"EncodedImage": "napari_clickseg.networks.click_network"}
#: No network nests features deeper.
MAX_DEPTH = 16

Spec = dict[str, Any]


def pack(content: Any) -> tuple[Spec, list[Tensor]]:
    """Take features apart.

    Parameters
    ----------
    content : object
        Tensors, None, bool, int, float, str, and lists, tuples, dictionaries with
        text as keys and named tuples of :data:`NAMED` of these.

    Returns
    -------
    spec : dict
        What is where, ready for JSON; tensors by their number.
    tensors : list of Tensor

    Raises
    ------
    StoreError
        If there is anything else inside.
    """
    tensors: list[Tensor] = []
    return _pack(content, tensors, MAX_DEPTH), tensors


def unpack(spec: Any, tensors: Sequence[Tensor]) -> Any:
    """Put features together again; the inverse of :func:`pack`.

    Raises
    ------
    StoreError
        If the description makes no sense, or its tensors are not all there.
    """
    used = [0] * len(tensors)
    content = _unpack(spec, tensors, used, MAX_DEPTH)
    if any(count != 1 for count in used):
        raise StoreError("Stored features do not use each of their tensors once.")
    return content


def _pack(content: Any, tensors: list[Tensor], depth: int) -> Spec:
    if depth == 0:
        raise StoreError("Features nested so deeply cannot be stored.")
    if isinstance(content, Tensor):
        tensors.append(content)
        return {"tensor": len(tensors) - 1}
    if content is None or isinstance(content, bool | int | str):
        if type(content) not in (type(None), bool, int, str):
            raise _refused(content)
        return {"value": content}
    if isinstance(content, float):
        return {"float": float(content).hex()}  # exact; JSON knows no infinity
    if isinstance(content, list):
        return {"list": [_pack(each, tensors, depth - 1) for each in content]}
    if isinstance(content, tuple):
        items = [_pack(each, tensors, depth - 1) for each in content]
        if not hasattr(content, "_fields"):
            return {"tuple": items}
        name = type(content).__name__
        if NAMED.get(name) != type(content).__module__:
            raise _refused(content)
        return {"named": name, "items": items}
    if isinstance(content, Mapping):
        if not all(type(key) is str for key in content):
            raise StoreError("Features in a dictionary need names (text) as keys.")
        return {"dict": [[k, _pack(v, tensors, depth - 1)] for k, v in content.items()]}
    raise _refused(content)


def _refused(content: object) -> StoreError:
    return StoreError(
        f"Features that hold a {type(content).__name__} cannot be stored: only "
        "tensors, numbers and text in lists, tuples and dictionaries can."
    )


def _unpack(spec: Any, tensors: Sequence[Tensor], used: list[int], depth: int) -> Any:
    if depth == 0 or not isinstance(spec, dict):
        raise _senseless(spec)

    def items(given: Any) -> list[Any]:
        if not isinstance(given, list):
            raise _senseless(spec)
        return [_unpack(each, tensors, used, depth - 1) for each in given]

    match spec:
        case {"tensor": int(number)} if 0 <= number < len(tensors):
            used[number] += 1
            return tensors[number]
        case {"value": None | bool() | int() | str() as value}:
            return value
        case {"float": str(text)}:
            try:
                return float.fromhex(text)
            except (ValueError, OverflowError) as error:
                raise _senseless(spec) from error
        case {"list": given}:
            return items(given)
        case {"tuple": given}:
            return tuple(items(given))
        case {"dict": list(pairs)}:
            names = [_name(pair) for pair in pairs]
            return dict(zip(names, items([p[1] for p in pairs]), strict=True))
        case {"named": str(name), "items": given} if name in NAMED:
            kind = getattr(import_module(NAMED[name]), name)
            values = items(given)
            if len(values) != len(kind._fields):
                raise _senseless(spec)
            return kind(*values)
    raise _senseless(spec)


def _name(pair: Any) -> str:
    if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)):
        raise _senseless(pair)
    return pair[0]


def _senseless(spec: object) -> StoreError:
    return StoreError(f"Stored features have a description without sense: {spec!r:.80}")


def joined(contents: Sequence[Any]) -> Any:
    """Return features of several images as of one batch.

    Parameters
    ----------
    contents : sequence
        Of the same structure; tensors ``(N, ...)``, N the images of each.

    Raises
    ------
    StoreError
        If their structures or shapes differ.
    """
    packed = [pack(content) for content in contents]
    spec = packed[0][0]
    if any(other != spec for other, _ in packed):
        raise StoreError("Features of different structure cannot be joined.")
    rows = zip(*(tensors for _, tensors in packed), strict=True)
    try:
        return unpack(spec, [torch.cat(row) for row in rows])
    except RuntimeError as error:
        raise StoreError(f"Features cannot be joined: {error}") from error
