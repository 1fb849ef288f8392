"""What was done in a session as a Python script that does it again."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.boxes import Box
from napari_clickseg.clicks import (
    AddClick,
    Click,
    MoveClick,
    RemoveClick,
    ReplaceClicks,
)
from napari_clickseg.errors import SessionError
from napari_clickseg.prediction.settings import PredictionSettings
from napari_clickseg.session.edits import Edit
from napari_clickseg.session.in_blocks import check_small
from napari_clickseg.session.objects import Objects
from napari_clickseg.session.refining import How, as_plain

if TYPE_CHECKING:
    from napari_clickseg.session.keeping import KeptSession

__all__ = ["as_python", "unpacked"]


def as_python(session: KeptSession, image: str = "image") -> str:
    """Return a script that makes all edits of a session again.

    Parameters
    ----------
    session : ClickSession
        For objects. What was undone is left out.
    image : str
        Python for the array that the session works on.

    Returns
    -------
    str
        After it has run, ``s`` is the session and ``s.labels`` are its objects. Without
        a time budget the labels are the same on the same machine.

    Raises
    ------
    SessionError
        If it is a session for classes, alpha or depth.
    """
    if session.options["task"] != "segmentation":
        raise SessionError(
            "Only sessions for objects can be written as Python. Save this one to a "
            "file and load that."
        )
    return "\n".join((*_beginning(session, image), *_edits(session), ""))


def unpacked(text: str, dtype: str, shape: tuple[int, int]) -> NDArray[Any]:
    """Return an array that stands in a script as text.

    Parameters
    ----------
    text : str
        Base 85 of deflated bytes.
    dtype : str
        ``"bool"`` or ``"int32"``.
    shape : (int, int)
    """
    content = zlib.decompress(base64.b85decode(text))
    return np.frombuffer(content, np.dtype(dtype)).reshape(shape)


def _beginning(session: KeptSession, image: str) -> Iterator[str]:
    notes = session.image.describe()
    yield "import napari_clickseg as cs"
    yield "from napari_clickseg.boxes import Box"
    yield "from napari_clickseg.prediction.settings import PredictionSettings"
    yield "from napari_clickseg.session.scripting import unpacked"
    yield ""
    yield f"# An image of shape {session.shape}, {notes['dtype']}."
    options = {**session.options}
    del options["task"]
    yield f"s = cs.ClickSession({session.model_source!r}, **{options!r})"
    given = {name: notes[name] for name in ("channels", "contrast", "channel_axis")}
    given |= {name: notes.get(name) for name in ("gamma", "colormaps")}
    if notes["channel_axis"] is None:
        del given["channels"]  # there is but one
    text = "".join(f", {k}={v!r}" for k, v in given.items() if v is not None)
    origin = session.origin
    if origin:
        check_small(Box.of_shape(session.shape), "A script with the labels of before")
        labels = Objects.labels(origin, Box.of_shape(session.shape)).values
        text += f", labels={_array(labels)}"
    yield f"s.set_image({image}{text})"


def _edits(session: KeptSession) -> Iterator[str]:
    how: How | None = None
    visible: Box | None = None
    for edit in session.edits:
        if edit.how is not None and edit.how != how:
            yield from _how(edit.how, how)
            how = edit.how
        asked = edit.steps[-1] if edit.steps and edit.answered else None
        if asked is not None and asked.visible != visible:
            visible = asked.visible
            yield f"s.visible = {_box(visible)}"
        if edit.on_objects is not None:
            yield edit.on_objects.python()
        else:
            yield from _LINES.get(edit.kind, _click)(edit, asked)


def _how(how: How, before: How | None) -> Iterator[str]:
    if before is None or how.settings != before.settings:
        usual = PredictionSettings()
        changed = [
            f"{each.name}={getattr(how.settings, each.name)!r}"
            for each in fields(usual)
            if getattr(how.settings, each.name) != getattr(usual, each.name)
        ]
        yield f"s.settings = PredictionSettings({', '.join(changed)})"
    if before is None or how.refinement != before.refinement:
        yield f"s.refinement = {as_plain(how.refinement)!r}"


def _click(edit: Edit, asked: Any) -> Iterator[str]:
    how = "predict=False" if asked is None else f"settle={bool(asked.settle)}"
    match edit.click:
        case AddClick(_, click):
            radius = "" if click.radius is None else f", radius={click.radius!r}"
            sign = "" if click.positive else ", positive=False"
            yield f"s.add_click({_at(click)}{sign}{radius}, {how})"
        case MoveClick(index, old, new) if old.radius != new.radius:
            yield f"s.set_radius({index}, {new.radius!r}, {how})"
        case MoveClick(index, _, new):
            yield f"s.move_click({index}, {_at(new)}, {how})"
        case RemoveClick(index):
            yield f"s.remove_click({index}, {how})"
        case ReplaceClicks(_, clicks, together):
            listed = ", ".join(f"({c.row!r}, {c.col!r}, {c.positive})" for c in clicks)
            once = "together=True, " if together else ""
            yield f"s.set_clicks([{listed}], {once}{how})"


def _boxed(edit: Edit, asked: Any) -> Iterator[str]:
    how = "predict=False" if asked is None else f"settle={bool(asked.settle)}"
    yield f"s.add_box({_box(edit.box)}, {how})"


def _automatic(edit: Edit, asked: Any) -> Iterator[str]:
    del edit
    how = "predict=False" if asked is None else f"settle={bool(asked.settle)}"
    yield f"s.start_from_model({how})"


def _commit(edit: Edit, asked: Any) -> Iterator[str]:
    del asked
    yield f"s.commit({edit.label}, overlap={edit.overlap!r})"


def _reopen(edit: Edit, asked: Any) -> Iterator[str]:
    del asked
    yield f"s.reopen({edit.label})"


def _delete(edit: Edit, asked: Any) -> Iterator[str]:
    del asked
    yield f"s.delete({edit.label})"


def _discard(edit: Edit, asked: Any) -> Iterator[str]:
    del edit, asked
    yield "s.discard()"


def _painted(edit: Edit, asked: Any) -> Iterator[str]:
    del asked
    assert edit.patch is not None
    name = "set_mask" if edit.kind == "mask" else "set_labels"
    where = "" if edit.whole else f", box={_box(edit.patch.box)}"
    yield f"s.{name}({_array(edit.patch.values)}{where})"


def _propose(edit: Edit, asked: Any) -> Iterator[str]:
    del asked
    yield "# Objects that a model proposed:"
    for each in edit.objects:
        yield f"s.set_mask({_array(each.mask.values)}, box={_box(each.pixels.box)})"
        yield f"s.commit({each.label}, overlap={each.overlap!r})"


def _carry(edit: Edit, asked: Any) -> Iterator[str]:
    del asked
    assert edit.patch is not None
    assert isinstance(edit.click, AddClick)
    yield (
        f"s.carry({_array(edit.patch.values)}, {edit.label}, {_at(edit.click.click)}, "
        f"box={_box(edit.patch.box)}, overlap={edit.overlap!r})"
    )


def _continue(edit: Edit, asked: Any) -> Iterator[str]:
    if edit.patch is None:
        yield f"s.continue_object({edit.label})"
        return
    assert isinstance(edit.click, AddClick)
    del asked
    where = f"{_at(edit.click.click)}, box={_box(edit.patch.box)}"
    yield f"look = s.look_for({_array(edit.patch.values)}, {where})"
    yield f"s.continue_object({edit.label}, look)"


_LINES = {
    "carry": _carry,
    "continue": _continue,
    "automatic": _automatic,
    "box": _boxed,
    "commit": _commit,
    "reopen": _reopen,
    "delete": _delete,
    "discard": _discard,
    "mask": _painted,
    "labels": _painted,
    "propose": _propose,
}


def _at(click: Click) -> str:
    return f"({click.row!r}, {click.col!r})"


def _box(box: Box | None) -> str:
    return "None" if box is None else f"Box{tuple(int(v) for v in box)}"


def _array(values: NDArray[Any]) -> str:
    kind = "bool" if values.dtype == np.bool_ else "int32"
    content = np.ascontiguousarray(values, kind).tobytes()
    text = base64.b85encode(zlib.compress(content)).decode()
    return f"unpacked({text!r}, {kind!r}, {tuple(values.shape)})"
