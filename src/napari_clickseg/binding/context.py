"""What belongs to one image: its sessions, their reports, its layers."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from napari_clickseg.binding.planes import Plane

if TYPE_CHECKING:
    from napari.layers import Layer

__all__ = ["Context", "E"]

#: What works in the worker, for one image.
E = TypeVar("E")


@dataclass(eq=False)
class Context(Generic[E]):
    """What belongs to one image, kept while the user looks at another one.

    Attributes
    ----------
    engine
        The sessions of the image, used in the worker.
    opened : set of Plane
        Planes that it was told to open; ``opening`` holds how, until it has.
    reports : dict
        The newest report of each plane; ``latest`` of all.
    saved : dict
        What was found on disk of planes that are not open, in words.
    """

    engine: E
    opened: set[Plane] = field(default_factory=set)
    reports: dict[Plane, Any] = field(default_factory=dict)
    saved: dict[Plane, str] = field(default_factory=dict)
    opening: dict[Plane, Callable[[], Any]] = field(default_factory=dict)
    latest: Any = None
    _layers: dict[str, weakref.ref[Layer]] = field(default_factory=dict)

    def layer(self, role: str) -> Any:
        """Return the layer that plays a part for this image; None: there is none."""
        held = self._layers.get(role)
        return None if held is None else held()

    def keep(self, role: str, layer: Layer | None) -> None:
        """Remember which layer plays a part; None: none does any more."""
        self._layers.pop(role, None)
        if layer is not None:
            self._layers[role] = weakref.ref(layer)

    def roles(self) -> list[str]:
        """Return which parts are played."""
        return list(self._layers)
