"""The section of the dock that prepares images, and its lamp."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.compat import isalive
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QVBoxLayout,
    QWidget,
)

from napari_clickseg.preferences import preferences
from napari_clickseg.widgets.parts import GREEN, Choice, button, form, switch

if TYPE_CHECKING:
    from napari_clickseg.binding.lamp import Light
    from napari_clickseg.napari_layers import ViewerClicks

__all__ = ["LampLabel", "PrepareSection"]

GREY, AMBER = "#909090", "#e0a020"
#: A sign and a colour for each state: nobody needs to tell the colours apart.
SIGNS = {
    "none": ("\N{EN DASH}", GREY),
    "off": ("\N{WHITE CIRCLE}", GREY),
    "half": ("\N{CIRCLE WITH LEFT HALF BLACK}", AMBER),
    "on": ("\N{BLACK CIRCLE}", GREEN),
}
WORDS = {
    "none": "Not to be prepared",
    "off": "Not prepared",
    "half": "Prepared in part",
    "on": "Prepared",
}
#: The lamp follows the camera when that has stood still for so many milliseconds.
STILL = 150
USUAL = "Usual place"
OTHER = "Other folder\N{HORIZONTAL ELLIPSIS}"


class LampLabel(QLabel):
    """A lamp: a sign with a colour, and what it means in the tooltip."""

    def __init__(self) -> None:
        super().__init__()
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.light: Light | None = None

    def show_light(self, light: Light) -> None:
        """Shine like this."""
        if light == self.light:
            return
        self.light = light
        sign, color = SIGNS[light.state]
        self.setText(sign)
        self.setToolTip(f"{WORDS[light.state]}. {light.text}")
        self.setStyleSheet(f"QLabel {{ color: {color}; font-size: 16px; }}")


class PrepareSection(QWidget):
    """Buttons that prepare images, how far that is, and where they are kept.

    Parameters
    ----------
    clicks : ViewerClicks
    """

    def __init__(self, clicks: ViewerClicks) -> None:
        super().__init__()
        self._clicks, self._preparing = clicks, clicks.preparing
        #: The same lamp where it is seen when the section is folded.
        self.small = LampLabel()
        self.lamp = LampLabel()
        self.lamp.setFixedWidth(20)
        self.sentence = QLabel()
        self.sentence.setWordWrap(True)
        self.sentence.setMinimumHeight(2 * self.sentence.fontMetrics().height())
        self.image = button(
            "Prepare image",
            "Encode this image now, what is on screen first; clicks on it are then "
            "answered by the decoder alone",
            lambda: clicks.act("prepare_image"),
        )
        self.all = button(
            "All images",
            "Prepare one image after the other in the background, this one first; "
            "clicks go before",
            lambda: clicks.act("prepare_all"),
        )
        self.view = button(
            "Only what is on screen",
            "For an image that is too large to be prepared as a whole",
            lambda: clicks.act("prepare_view"),
        )
        self.doing = QLabel()
        self.doing.setWordWrap(True)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(6)
        self.stop = button(
            "Cancel", "What is prepared stays so", lambda: clicks.preparing.cancel()
        )
        self.planes = switch(
            "All planes of a stack",
            "The plane on screen first, then all that are parallel to it",
            self._use_all_planes,
        )
        self.closer = switch(
            "Look closer at small objects",
            "Enlarged windows are not prepared: a click on a small object may wait for "
            "the encoder, a fraction of a second, and finds its outline better",
            self._look_closer,
        )
        self.keep = switch(
            "Keep on disk",
            "Prepared images stay so after a restart; otherwise until napari is closed",
            self._keep_on_disk,
        )
        self.folder = Choice(
            self._choose_folder,
            "Where prepared images are kept and found: also a store that "
            "'napari-clickseg encode' has written",
        )
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(STILL)
        self._timer.timeout.connect(self._look)
        self._lay_out()
        self._preparing.changed.connect(self._refresh)
        self._preparing.moved.connect(self._moved)
        self.refresh()

    def refresh(self) -> None:
        """Show how things are."""
        self._preparing.advance()  # perhaps there is something new to look at
        self._refresh()

    def _refresh(self) -> None:
        if not isalive(self):  # closed; preparing goes on
            self._preparing.changed.disconnect(self._refresh)
            return
        preparing = self._preparing
        light, progress = preparing.light(), preparing.progress
        self.lamp.show_light(light)
        self.small.show_light(light)
        self.small.setVisible(light.state != "none")
        text = preparing.sentence if light.state != "on" else ""
        self.sentence.setText(text or light.text)
        possible = not preparing.sentence
        for each in (self.image, self.all, self.view):
            each.setEnabled(possible and progress is None)
        for part in (self.doing, self.bar, self.stop):
            part.setVisible(progress is not None)
        if progress is not None:
            self.doing.setText(progress.text)
            self.bar.setRange(0, 0 if progress.part is None else 1000)
            self.bar.setValue(int(1000 * (progress.part or 0.0)))
        for box, state in (
            (self.planes, preparing.all_planes),
            (self.closer, preparing.closer),
            (self.keep, bool(preferences().get("preparing.keep"))),
        ):
            with box.changed.blocked():
                box.value = state
        folder = str(preferences().get("preparing.folder")).strip()
        choices = [(USUAL, ""), *([(Path(folder).name, folder)] if folder else [])]
        self.folder.offer([*choices, (OTHER, None)], folder)

    def _moved(self) -> None:
        if isalive(self):
            self._timer.start()
        else:
            self._preparing.moved.disconnect(self._moved)

    def _look(self) -> None:
        self.refresh()

    def _use_all_planes(self, on: bool) -> None:
        self._preparing.use_all_planes(on)

    def _look_closer(self, on: bool) -> None:
        self._preparing.look_closer(on)

    def _keep_on_disk(self, on: bool) -> None:
        self._preparing.keep_on_disk(on)

    def _choose_folder(self, folder: str | None) -> None:
        if folder is None:
            folder = QFileDialog.getExistingDirectory(self, "Folder of a feature store")
            if not folder:
                self._refresh()
                return
        self._preparing.use_folder(folder)

    def _lay_out(self) -> None:
        state = QWidget()
        row = QHBoxLayout(state)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.lamp)
        row.addWidget(self.sentence, 1)
        buttons = QWidget()
        row = QHBoxLayout(buttons)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.image)
        row.addWidget(self.all)
        work = QWidget()
        row = QHBoxLayout(work)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.bar, 1)
        row.addWidget(self.stop)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        choices = form(
            ("", self.planes.native),
            ("", self.closer.native),
            ("", self.keep.native),
            ("Kept in", self.folder),
        )
        for each in (state, buttons, self.view, self.doing, work, choices):
            layout.addWidget(each)
