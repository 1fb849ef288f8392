"""Keys, bound to our own layers only, so that nobody else's keys change.

Taken: none of the keys that napari 0.9 gives to Points (1 to 5, A, P, S, Z,
Delete), to Labels (1 to 7, B, E, F, L, M, P, X, Z, -, =, [, ], Escape, Enter) or to
the viewer (V, Space, arrows, Ctrl+C/E/G/R/T/Y). Undo and redo replace those of the
Labels layers, which know nothing of clicks; Enter is left to the polygon tool there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from napari.layers import Layer

#: What Ctrl is called here; on a Mac it is the command key.
CTRL = "Meta" if sys.platform == "darwin" else "Control"

__all__ = ["KEYS", "MAP_KEYS", "Key", "bind_keys", "with_key"]


class Key(NamedTuple):
    """One action and the keys that call it.

    Parameters
    ----------
    action : str
        Method of :class:`napari_clickseg.napari_layers.ViewerClicks`.
    text : str
        What it does, in the words of the dock.
    keys : tuple of str
        As napari writes them; the first is the one that is shown. On all layers
        of ours.
    points_only : tuple of str
        Further keys on the Points layer, where a Labels layer needs them itself.
    """

    action: str
    text: str
    keys: tuple[str, ...]
    points_only: tuple[str, ...] = ()


KEYS = (
    Key("toggle_sign", "Switch add / take away", ("T",)),
    Key("undo", "Undo", (f"{CTRL}-Z",)),
    Key("redo", "Redo", (f"{CTRL}-Shift-Z",)),
    Key("commit", "Commit, start the next", ("N",), ("Enter",)),
    Key("discard", "Discard the unfinished", ("Q",)),
    Key("next_object", "Next object", ("G",)),
    Key("previous_object", "Previous object", ("H",)),
    Key("reopen", "Reopen the one under the mouse", ("R",)),
    Key("accept", "Keep the proposal, show the next", ("K",)),
    Key("reject", "Delete the object, show the next", ("D",)),
    Key("next_unlabelled", "Go to what has no object yet", ("U",)),
    Key("propagate", "Carry through the planes; stop", ("W",)),
    Key("to_stop", "Go to where it stopped", ("J",)),
    # In Labels layers these are the size of the brush.
    Key("grow_radius", "Let the newest click reach farther", (), ("]",)),
    Key("shrink_radius", "Let it reach less far", (), ("[",)),
)

#: Those of classes, alpha and depth.
MAP_KEYS = (
    Key("toggle_sign", "Switch between the two kinds of click", ("T",)),
    Key("undo", "Undo", (f"{CTRL}-Z",)),
    Key("redo", "Redo", (f"{CTRL}-Shift-Z",)),
    Key("commit", "Keep the map, start anew", ("N",), ("Enter",)),
    Key("discard", "Discard what is in work", ("Q",)),
    Key("pick", "Wish for what is under the mouse", ("I",)),
    Key("grow_radius", "Let the newest click reach farther", (), ("]",)),
    Key("shrink_radius", "Let it reach less far", (), ("[",)),
)


def with_key(text: str, action: str, keys: Sequence[Key] = KEYS) -> str:
    """Return what stands on a button, or in its tip, and the key that does the same."""
    return f"{text} ({next(key.keys[0] for key in keys if key.action == action)})"


def bind_keys(
    layer: Layer,
    call: Callable[[str], None],
    *,
    points: bool,
    keys: Sequence[Key] = KEYS,
) -> Callable[[], None]:
    """Bind all keys on one layer instance; returns how to take them off again.

    Parameters
    ----------
    layer : Layer
        One of ours.
    call : callable
        Called with the name of the action. It must not keep the viewer alive.
    points : bool
        Whether this is the Points layer.
    keys : sequence of Key
        Which.
    """
    bound: list[str] = []
    for key in keys:
        for name in (*key.keys, *(key.points_only if points else ())):
            layer.bind_key(name, _presser(call, key), overwrite=True)
            bound.append(name)

    def unbind() -> None:
        for name in bound:
            layer.bind_key(name, None, overwrite=True)

    return unbind


def _presser(
    call: Callable[[str], None], key: Key
) -> Callable[[Layer], Generator[None, None, None] | None]:
    def pressed(_layer: Layer) -> None:
        call(key.action)

    pressed.__name__ = f"clickseg_{key.action}"
    pressed.__doc__ = key.text
    return pressed
