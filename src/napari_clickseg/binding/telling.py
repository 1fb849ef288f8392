"""What the status line says: hints, what takes a while, and what went wrong."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari_clickseg.binding.image_stage import ImageStage
from napari_clickseg.device import is_out_of_memory
from napari_clickseg.errors import Cancelled, ClickSegError

if TYPE_CHECKING:
    from napari_clickseg.worker import Channel

__all__ = ["HINT_OPEN", "OUT_OF_MEMORY", "Telling"]

LOG = logging.getLogger("napari_clickseg")

#: Where no smaller step was left to try.
OUT_OF_MEMORY = (
    "Memory ran out, so this was not done; your clicks and objects are kept. Close "
    "other programs, or choose a smaller model or another device, and try again."
)
HINT_OPEN = "Open an image, then click inside an object."


class Telling(ImageStage):
    """Clicks of one viewer, as far as they are spoken of."""

    _channel: Channel
    #: What is going on ("" for nothing) and how far it is.
    busy: tuple[str, float | None] = ("", None)
    #: The sentence in the status line, and its kind.
    hint: tuple[str, str] = (HINT_OPEN, "hint")

    def say(self, text: str, kind: str = "hint") -> None:
        """Put a sentence into the status line."""
        self.hint = (text, kind)
        self.message.emit(text, kind)

    def _guarded(self, function: Callable[[], Any]) -> None:
        """Call, and tell what went wrong in the status line."""
        try:
            function()
        except ClickSegError as error:
            self.failed(error)

    def failed(self, error: Exception) -> None:
        """Tell what went wrong in one sentence, and show what still stands."""
        if isinstance(error, Cancelled):
            self.say(str(error) or "Stopped.")
        elif isinstance(error, ClickSegError):
            self.say(str(error), "error")
        elif is_out_of_memory(error):
            LOG.warning("Memory ran out", exc_info=error)
            self.say(OUT_OF_MEMORY, "error")
        else:
            LOG.error("Unexpected error", exc_info=error)
            self.say(
                f"Something went wrong that should not ({type(error).__name__}: "
                f"{error}). The log has the details; please report it.",
                "error",
            )
        self._show_marks()
        self.changed.emit()

    def tell_busy(self, text: str, part: float | None) -> None:
        """Show that something takes a while (called from the worker)."""
        this = weakref.ref(self)

        def show() -> None:
            controller = this()
            if controller is not None:
                controller.busy = (text, part)
                controller.changed.emit()

        self._channel.tell(show)

    def _show_marks(self) -> None:
        raise NotImplementedError
