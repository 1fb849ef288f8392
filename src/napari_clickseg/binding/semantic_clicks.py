"""Semantic classes in a viewer: clicks and strokes of a brush carry a class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from napari_clickseg.binding.click_styles import ClassStyle, ClickStyle
from napari_clickseg.binding.context import Context
from napari_clickseg.binding.dense_console import DenseConsole
from napari_clickseg.binding.dense_engine import DenseEngine
from napari_clickseg.binding.dense_layers import add_classes, show_classes
from napari_clickseg.binding.dense_reports import DenseReport
from napari_clickseg.binding.writing import read_box
from napari_clickseg.errors import SessionError
from napari_clickseg.tasks.class_lists import CELLS, Classes

if TYPE_CHECKING:
    from napari.layers import Labels

__all__ = ["ViewerClasses"]


class ViewerClasses(DenseConsole):
    """The classes of one viewer: layers, jobs, and the names for scripts.

    Made by ``napari_clickseg.attach(viewer, task="semantic")``. ``result_layer`` is the
    map of classes, a Labels layer: painting in it with napari's own brush is a stroke,
    by which the network learns what is meant, and answers anew.
    """

    task: ClassVar[str] = "semantic"
    noun: ClassVar[str] = "classes"
    modes = ("click", "stroke")
    first_hint = "Press 'Classify', then click where a class is wrong. Or just click."

    #: Of the model; until it is loaded, those of the starter.
    classes: Classes = CELLS
    #: Label of the class that a click or a stroke wishes for.
    wished = 1

    # -------------------------------------------------------------------- choosing

    def choose_class(self, label: int | str) -> None:
        """Wish for this class from now on, by its label or name."""
        if isinstance(label, str):
            label = self.classes.label(label)
        self.classes.of(label)  # says which there are
        self.wished = label
        if self.result_layer is not None:
            self.result_layer.selected_label = label
        self.changed.emit()

    def set_mode(self, mode: str) -> None:
        """Click (the click layer is active) or paint (the map is)."""
        super().set_mode(mode)
        layer = self.result_layer
        if layer is None:
            return
        if mode == "stroke":
            layer.selected_label = self.wished
            self.viewer.layers.selection.active = layer
            layer.mode = "paint"
        else:
            layer.mode = "pan_zoom"

    def pick(self, value: Any) -> None:
        """Wish for the class under the mouse."""
        if not int(value):
            raise SessionError("There is no class under the mouse yet.")
        self.choose_class(int(value))

    # --------------------------------------------------------------------- layers

    def add_result(self) -> Labels:
        """Add the empty map of classes."""
        assert self.image_layer is not None
        layer = add_classes(self.viewer, self.image_layer, self.new_name(self.noun))
        show_classes(layer, self.classes)
        return layer

    def click_style(self) -> ClickStyle:
        """Return how clicks look: in the colours of their classes."""
        return ClassStyle(self.classes, lambda: self.wished)

    def _take_result(self, layer: Labels) -> None:
        super()._take_result(layer)
        layer.selected_label = self.wished
        self._result_stops += self._watch_painting(layer, self._painted)

    def painted_layers(self) -> list[Labels | None]:
        """Return the layers in which painting means something now."""
        return [self.result_layer]

    def _painted(self) -> None:
        plane, layer = self.plane, self.result_layer
        if plane is None or layer is None:
            return
        drawn = read_box(layer, plane)
        self._edit_quietly(lambda engine, plane, o: engine.paint(plane, o, drawn))

    # --------------------------------------------------------------------- showing

    def apply(self, context: Context[DenseEngine], report: DenseReport) -> None:
        """Show what a job did."""
        if context is self.context and report.classes not in (None, self.classes):
            self._use_classes(report.classes)
        super().apply(context, report)

    def _use_classes(self, classes: Classes | None) -> None:
        assert classes is not None
        self.classes = classes
        self.wished = min(self.wished, len(classes))
        with self._quietly():
            if self.result_layer is not None:
                show_classes(self.result_layer, classes)
            if self.points is not None:
                self.points.restyle(self.click_style())

    def _warm_done(self, job: Any) -> None:
        super()._warm_done(job)
        known = self._shelf.classes(self.model_choice)
        if known is not None and known != self.classes:
            self._use_classes(known)
            self.changed.emit()

    def _hint(self, report: DenseReport | None) -> str:
        if report is None or not report.drafted:
            return self.first_hint
        if self.mode == "stroke":
            return "Paint the class that is right; what it means elsewhere follows."
        return "Click where a class is wrong. Drag out to say how far it reaches."
