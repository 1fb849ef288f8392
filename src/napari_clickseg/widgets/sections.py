"""The folded sections of the segmentation dock."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QWidget,
)

from napari_clickseg.binding.keys import with_key
from napari_clickseg.preferences import preferences
from napari_clickseg.widgets.parts import Choice, button, form, number, switch

if TYPE_CHECKING:
    from napari_clickseg.napari_layers import ViewerClicks

__all__ = ["ModelSection", "ObjectsSection", "ViewSection"]

NEW_LAYER = "New layer"
NOTHING = "Nothing: clicks begin new objects"
PROPOSE, STOP = "Propose objects", "Stop proposing"
PROPOSE_TIP = (
    "Find cells and nuclei on this plane without a click; then correct by clicks those "
    "that are wrong. Objects that are there stay as they are"
)
OVERLAPS = [
    ("The older one keeps them", "keep"),
    ("The newer one takes them", "overwrite"),
    ("Whoever is surer", "probability"),
]
FIRST_LOOKS = [
    ("By itself", "auto"),
    ("What is on screen", "visible"),
    ("Several windows around the click", "search"),
    ("The whole image", "published"),
]
#: Kinds of files for objects. OME-Zarr is a folder: by script, or the command line.
FILES = "Objects (*.tif *.tiff *.png *.json *.geojson *.csv)"
DEVICES = ["auto", "cpu", "cuda", "mps"]
PRECISIONS = ["auto", "float32", "bfloat16", "float16"]


def _plain(names: list[str]) -> list[tuple[str, Any]]:
    return [(name, name) for name in names]


class ObjectsSection(QWidget):
    """Where committed objects go, and the way back to them."""

    def __init__(self, clicks: ViewerClicks) -> None:
        super().__init__()
        self._clicks = clicks
        self.layer = Choice(self._choose, "The Labels layer that takes the objects")
        self.overlap = Choice(
            self._overlap, "Pixels that a new object shares with an older one"
        )
        self.take_up = Choice(
            clicks.choose_take_up,
            "A first click inside an object of this layer takes it up: correct it by "
            "clicks, and N puts it back under its number",
        )
        steps = QWidget()
        row = QHBoxLayout(steps)
        row.setContentsMargins(0, 0, 0, 0)
        for text, tip, action in (
            (
                "\N{LEFTWARDS ARROW}",
                with_key("Previous object", "previous_object"),
                "previous_object",
            ),
            (
                "\N{RIGHTWARDS ARROW}",
                with_key("Next object", "next_object"),
                "next_object",
            ),
            ("Reopen", with_key("Correct this object by clicks", "reopen"), "reopen"),
            ("Delete", "Remove this object", "delete"),
            ("List\N{HORIZONTAL ELLIPSIS}", "All objects, to work on", "list_objects"),
        ):
            row.addWidget(button(text, tip, partial(clicks.act, action)))
        self.propose = button(PROPOSE, PROPOSE_TIP, partial(clicks.act, "propose"))
        self.diameter = number(
            "Usual diameter of what is looked for, in pixels of the image",
            (0, 2000),
            1,
            self._diameter,
            unit="pixels",
            at_lowest="found out",
        )
        files = QWidget()
        row = QHBoxLayout(files)
        row.setContentsMargins(0, 0, 0, 0)
        for text, tip, action in (
            (
                "Export\N{HORIZONTAL ELLIPSIS}",
                "Write this plane's objects",
                "_export",
            ),
            ("Import\N{HORIZONTAL ELLIPSIS}", "Objects from a file", "_import"),
        ):
            row.addWidget(button(text, tip, getattr(self, action)))
        form_widget = form(
            ("Into", self.layer),
            ("Take up from", self.take_up),
            ("Shared pixels", self.overlap),
            ("", steps),
            ("", self.propose),
            ("Diameter", self.diameter.native),
            ("", files),
        )
        self.setLayout(form_widget.layout())

    def refresh(self) -> None:
        """Show how things are."""
        clicks = self._clicks
        layers: list[tuple[str, Any]] = [
            (layer.name, layer) for layer in clicks.objects_choices()
        ]
        self.layer.offer([*layers, (NEW_LAYER, None)], clicks.objects_layer)
        taken: list[tuple[str, Any]] = [(x.name, x) for x in clicks.take_up_choices()]
        self.take_up.offer([(NOTHING, None), *taken], clicks.take_up_layer)
        self.overlap.offer(OVERLAPS, clicks.overlap)
        self.propose.setText(STOP if clicks.proposing.running else PROPOSE)
        self.propose.setEnabled(clicks.image_layer is not None)

    def _export(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Export objects", "", FILES)
        if path:
            self._clicks.export_objects_to(path)

    def _import(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Import objects", "", FILES)
        if path:
            self._clicks.import_objects_from(path)

    def _diameter(self, pixels: int) -> None:
        self._clicks.proposing.diameter = pixels or None

    def _choose(self, layer: Any) -> None:
        self._clicks.choose_objects(layer)

    def _overlap(self, policy: str) -> None:
        self._clicks.overlap = policy
        preferences().set("clicks.overlap", policy)


class ViewSection(QWidget):
    """How the model looks at the image."""

    def __init__(self, clicks: ViewerClicks) -> None:
        super().__init__()
        self._clicks = clicks
        self.first_look = Choice(
            self._look, "What the model sees at the first click of an object"
        )
        self.channels = switch(
            "Visible images as channels",
            "Show the model up to three visible grey images of one shape together, in "
            "the colors of their layers",
            self._channels,
        )
        self.settle = switch(
            "Improve answers with a second look",
            "Average with the answer on the mirror image when there is time",
            self._settle,
        )
        inside = form(
            ("First look", self.first_look),
            ("", self.channels.native),
            ("", self.settle.native),
        )
        self.setLayout(inside.layout())

    def refresh(self) -> None:
        """Show how things are."""
        self.first_look.offer(FIRST_LOOKS, self._clicks.first_look)
        for box, state in (
            (self.channels, self._clicks.use_channels),
            (self.settle, self._clicks.settles),
        ):
            with box.changed.blocked():
                box.value = state

    def _look(self, policy: str) -> None:
        self._clicks.first_look = policy
        preferences().set("clicks.first_look", policy)

    def _settle(self, on: bool) -> None:
        self._clicks.settles = on
        preferences().set("clicks.settle", on)

    def _channels(self, on: bool) -> None:
        self._clicks.set_use_channels(on)


class ModelSection(QWidget):
    """Where the model runs, and models of one's own."""

    def __init__(self, clicks: ViewerClicks, added: Callable[[], Any]) -> None:
        super().__init__()
        self._clicks, self._added = clicks, added
        self.device = Choice(self._device, "Where the model runs")
        self.precision = Choice(self._precision, "Arithmetic of the model")
        self.autosave = switch(
            "Keep every edit on disk",
            "Offered again when the same image is opened",
            self._autosave,
        )
        inside = form(
            ("Device", self.device),
            ("Precision", self.precision),
            (
                "",
                button(
                    "Weight file\N{HORIZONTAL ELLIPSIS}",
                    "Use weights of your own (.safetensors, .pth)",
                    self._file,
                ),
            ),
            ("", self.autosave.native),
            (
                "",
                button(
                    "Copy as Python",
                    "A script that does again what was done on this plane",
                    partial(clicks.act, "copy_as_python"),
                ),
            ),
        )
        self.setLayout(inside.layout())

    def refresh(self) -> None:
        """Show how things are."""
        model = self._clicks.model_choice
        devices = [*DEVICES, *({model.device} - set(DEVICES))]
        self.device.offer(_plain(devices), model.device)
        self.precision.offer(_plain(PRECISIONS), model.precision)
        with self.autosave.changed.blocked():
            self.autosave.value = self._clicks.autosaves

    def _device(self, device: str) -> None:
        self._clicks.set_model(device=device)
        preferences().set("model.device", device)

    def _precision(self, precision: str) -> None:
        self._clicks.set_model(precision=precision)
        preferences().set("model.precision", precision)

    def _autosave(self, on: bool) -> None:
        self._clicks.autosaves = on
        preferences().set("saving.autosave", on)

    def _file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "Weights of a click model", "", "Weights (*.safetensors *.pth *.pt)"
        )
        if path:
            self._clicks.set_model(path)
            self._added()
