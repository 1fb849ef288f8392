"""Notice that the user has painted in a Labels layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari_clickseg.binding.hooks import connected

if TYPE_CHECKING:
    from napari.layers import Labels

__all__ = ["watch_painting"]


def watch_painting(
    layer: Labels,
    look: Callable[[], None],
    *,
    later: Callable[[Callable[[], None]], None],
    defers: Callable[[], bool],
    quiet: Callable[[], bool],
) -> list[Callable[[], None]]:
    """Call ``look`` when the layer may have been painted; returns how to stop.

    napari tells of a brush stroke after its end, but of a filled region, a polygon
    and ``data_setitem`` just before it writes them. So ``look`` is called at the next
    turn of the event loop; without one twice, then and when it is drawn. What was
    seen already is no news to the session.

    Parameters
    ----------
    layer : Labels
    look : callable
        Compares the layer with what is known.
    later : callable
        Runs a function at the next turn of the event loop, or at once.
    defers : callable
        Whether ``later`` waits.
    quiet : callable
        Whether the change is our own.
    """
    waiting = False

    def told(_event: Any = None) -> None:
        nonlocal waiting
        if not quiet():
            waiting = not defers()
            later(look)

    def drawn(_event: Any = None) -> None:
        nonlocal waiting
        if waiting and not quiet():
            waiting = False
            look()

    events = layer.events
    return [
        connected(events.paint, told),
        connected(events.data, told),
        connected(events.labels_update, drawn),
        connected(events.set_data, drawn),
    ]
