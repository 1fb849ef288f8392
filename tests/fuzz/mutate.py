"""Damage to files: their bytes, the parts they are made of, the fields of their JSON.

Bytes at random do not get past the first check of a reader. What does is a valid file
with something changed deep inside, and with its checksums made good again.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from napari_clickseg.encoding import entry
from napari_clickseg.session import frames

Parts = dict[str, bytes]

#: What a field may hold instead of what belongs there.
NASTY: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 255, 65536, 2**31, -(2**31), 2**60, -(2**63)),
    *(10**30, 0.5, -0.0, 1e308, -1e308, float("nan"), float("inf"), float("-inf")),
    *("", "x", "1", "-1", "nan", "\0", "\ud800", "../../outside", "/etc/passwd"),
    *("a" * 300, [], [[]], {}, [0], [0, 0], [1, 2, 3, 4], [-5, -5, 5, 5]),
    *([0, 0, 2**40, 2**40], [2**60, 2**60], [None], ["x", "y"], {"x": 1}),
    *({"array": "x"}, {"box": [0, 0, 1]}, [float("nan")] * 4, "int64", "|O", "<U99"),
    *([[0.5, 0.5], [1e300, 3], [float("inf"), 2]], "1e999", "a/../../b", "C:\\x"),
)
NASTY_BYTES = (
    *(b"", b"\0", b"\xff" * 8, b"[" * 3000, b'{"a":' * 3000, b"1" * 5000),
    *(b"NaN", b"null", b"[]", b"{}", b'""', b"\xef\xbb\xbf{}", b"\x80\x04]\x94."),
)
NAMES = ("../outside", "/tmp/outside", "a/../../outside", "x\0y", "\udcff", "", "C:/x")


@dataclass(frozen=True)
class Step:
    """One change: what kind, where (0 to 1), and with which number."""

    kind: str
    where: float
    number: int


KINDS = ("flip", "cut", "splice", "insert", "zero", "field", "drop", "again", "swap")
ALL_KINDS = (*KINDS, "key", "part", "lose", "double", "name")
steps = st.builds(
    Step,
    # fields three times as often: most of the sense of a file is there
    st.sampled_from((*ALL_KINDS, "field", "field")),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 2**16),
)
damage = st.tuples(st.booleans(), st.lists(steps, min_size=1, max_size=4))


# -- how files are made of parts ------------------------------------------------------


@dataclass(frozen=True)
class Form:
    """How a file is taken apart, and put together again with its checksums."""

    open: Callable[[bytes], Parts]
    close: Callable[[Parts], bytes]


def _unzipped(data: bytes) -> Parts:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {each.filename: archive.read(each) for each in archive.infolist()}


def _zipped(parts: Parts, kind: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(_writable(name)), content, kind)
    return file.getvalue()


def _writable(name: str) -> str:
    return name.encode("utf-8", "replace").decode()


def _safetensors(data: bytes) -> Parts:
    start = 8 + int.from_bytes(data[:8], "little")
    return {"header.json": data[8:start], "data": data[start:]}


def _as_safetensors(parts: Parts) -> bytes:
    header, rest = parts.get("header.json", b""), parts.get("data", b"")
    return len(header).to_bytes(8, "little") + header + rest


def _frames(data: bytes) -> Parts:
    parts: Parts = {}
    for number, (payload, _, _) in enumerate(frames.read_entries(io.BytesIO(data))):
        (length,) = struct.unpack_from("<Q", payload)
        parts[f"{number}.json"] = payload[8 : 8 + length]
        parts[f"{number}.bin"] = payload[8 + length :]
    return parts


def _as_frames(parts: Parts) -> bytes:
    """Write a journal whose digests are right, whatever is in it."""
    out, digest = [frames.MAGIC], frames._first()
    names = list(parts)
    for name in names:
        if name.endswith(".json"):
            body, rest = parts[name], parts.get(name[:-5] + ".bin", b"")
            payload = struct.pack("<Q", len(body)) + body + rest
            digest = frames._next(digest, payload)
            out.append(struct.pack("<Q", len(payload)) + digest + payload)
    return b"".join(out)


def _as_entry(parts: Parts) -> bytes:
    return entry._seal({_writable(name): content for name, content in parts.items()})


PLAIN = Form(lambda data: {"": data}, lambda parts: next(iter(parts.values()), b""))
ZIP = Form(_unzipped, _zipped)
DEFLATED = Form(_unzipped, lambda parts: _zipped(parts, zipfile.ZIP_DEFLATED))
SAFETENSORS = Form(_safetensors, _as_safetensors)
JOURNAL = Form(_frames, _as_frames)
ENTRY = Form(_unzipped, _as_entry)


# -- changes -------------------------------------------------------------------------


def damaged(data: bytes, form: Form, inside: bool, changes: list[Step]) -> bytes:
    """Return a file with some changes: inside of its parts, or to it as it is."""
    if not inside:
        for step in changes:
            data = changed(data, step)
        return data
    parts = form.open(data)
    for step in changes:
        names = list(parts)
        if not names:
            break
        name = names[int(step.where * len(names))]
        other = names[step.number % len(names)]
        match step.kind:
            case "lose":
                del parts[name]
            case "part":
                parts[name] = NASTY_BYTES[step.number % len(NASTY_BYTES)]
            case "double":
                parts[name] = parts[other]
            case "name":
                parts[NAMES[step.number % len(NAMES)]] = parts.pop(name)
            case _:
                parts[name] = changed(parts[name], step)
    return form.close(parts)


def changed(data: bytes, step: Step) -> bytes:
    """Return some bytes with one change."""
    at, n = int(step.where * len(data)), step.number
    match step.kind:
        case "flip" if data:
            return data[:at] + bytes([data[at] ^ (1 << n % 8)]) + data[at + 1 :]
        case "cut":
            return data[:at]
        case "splice":
            start = n % (len(data) + 1)
            return data[:at] + data[start : start + 1 + n % 64] + data[at:]
        case "insert":
            return data[:at] + NASTY_BYTES[n % len(NASTY_BYTES)] + data[at:]
        case "zero":
            return data[:at] + b"\0" * len(data[at : at + 8]) + data[at + 8 :]
        case "part":
            return NASTY_BYTES[n % len(NASTY_BYTES)]
        case "lose":
            return data[:at] + data[at + 1 + n % 32 :]
        case "swap" if data:
            return data[at:] + data[:at]
        case "field" | "key" | "drop" | "again":
            return _json_changed(data, step)
    return data + data[at:] if step.kind == "double" else data


def _json_changed(data: bytes, step: Step) -> bytes:
    """Change one field of a JSON text, of each line of one, or of JSON within JSON."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        lines = data.split(b"\n")
        at = int(step.where * len(lines))
        try:
            line = json.dumps(_changed_tree(json.loads(lines[at]), step)).encode()
        except (ValueError, RecursionError):
            return _text_changed(data, step)
        return b"\n".join((*lines[:at], line, *lines[at + 1 :]))
    return json.dumps(_changed_tree(content, step)).encode()


def _text_changed(data: bytes, step: Step) -> bytes:
    """Put a nasty value behind a sign, as in TOML, YAML and tables."""
    text = data.decode("utf-8", "replace")
    signs = [at for at, sign in enumerate(text) if sign in "=:,["]
    if not signs:
        return data
    at = signs[int(step.where * len(signs))] + 1
    value = json.dumps(NASTY[step.number % len(NASTY)])
    end = min(
        (text.find(sign, at) for sign in "\n,]" if text.find(sign, at) > 0),
        default=len(text),
    )
    return (text[:at] + value + text[end:]).encode("utf-8", "replace")


def _changed_tree(content: Any, step: Step) -> Any:
    places = list(_places(content, lambda _new: None))
    if not places:
        return NASTY[step.number % len(NASTY)]
    holder, key, write = places[int(step.where * len(places))]
    match step.kind:
        case "drop":
            del holder[key]
        case "again" if isinstance(holder, list):
            holder.insert(0, holder[key])
        case "key" if isinstance(holder, dict):
            holder[str(NASTY[step.number % len(NASTY)])] = holder.pop(key)
        case _:
            holder[key] = NASTY[step.number % len(NASTY)]
    write(None)
    return content


def _places(content: Any, write: Callable[[Any], None]) -> Iterator[tuple]:
    """Yield each container and key of a tree; JSON in texts is opened, too."""
    if not isinstance(content, dict | list):
        return  # a number by itself
    keys = content if isinstance(content, dict) else range(len(content))
    for key in list(keys) if isinstance(content, dict | list) else ():
        yield content, key, write
        value = content[key]
        if isinstance(value, dict | list):
            yield from _places(value, write)
        elif isinstance(value, str) and value[:1] in ("{", "["):
            try:
                inner = json.loads(value)
            except (ValueError, RecursionError):
                continue

            def put_back(
                _new: Any, content: Any = content, key: Any = key, inner: Any = inner
            ) -> None:
                content[key] = json.dumps(inner)
                write(None)

            if isinstance(inner, dict | list):
                yield from _places(inner, put_back)
