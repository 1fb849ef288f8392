"""What the session asks of a task."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray

from napari_clickseg.clicks import Click


class Task(Protocol):
    """Meaning of clicks and answers."""

    name: str

    def check_click(self, click: Click) -> None:
        """Refuse a click that asks for something this task does not know.

        Raises
        ------
        ClickError
            With what the click should carry instead.
        """
        ...  # pragma: no cover

    def mask(self, answer: NDArray[Any], threshold: float) -> NDArray[Any]:
        """Return which pixels an answer calls object: boolean, same shape."""
        ...  # pragma: no cover

    def result(self, answer: NDArray[Any], threshold: float) -> NDArray[Any]:
        """Return what the user wants of an answer ``(H, W)``."""
        ...  # pragma: no cover
