"""Edits of maps of classes, alpha or depth; reports become pixels of layers.

Only the box that changed is written.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clickseg.binding.context import Context
from napari_clickseg.binding.dense_engine import DenseEngine
from napari_clickseg.binding.dense_layers import write_values
from napari_clickseg.binding.dense_reports import DenseOptions, DenseReport
from napari_clickseg.binding.dense_stage import KEPT, DenseStage
from napari_clickseg.binding.planes import Plane, plane_image, visible_box
from napari_clickseg.binding.shelf import ModelChoice, ModelShelf, Tell
from napari_clickseg.binding.writing import write_box
from napari_clickseg.boxes import Box
from napari_clickseg.errors import SessionError
from napari_clickseg.exporting.kinds import kind_of
from napari_clickseg.exporting.layers import export_layer_data
from napari_clickseg.prediction.dense_settings import DenseSettings
from napari_clickseg.preferences import Preferences, preferences

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Layer

    from napari_clickseg.worker import Channel, Job

__all__ = ["DenseController"]

#: One press of a key makes an attention radius larger by this.
RADIUS_STEP = 1.25


class DenseController(DenseStage):
    """Clicks of one task in one viewer; parameters as of ``ImageJobs``."""

    #: Modes of the task, the first one is usual.
    modes = ("click", "push")

    def __init__(
        self, viewer: ViewerModel, channel: Channel, shelf: ModelShelf
    ) -> None:
        chosen = preferences()
        chosen.apply_cache_folder()
        place = chosen.get("model.device"), chosen.get("model.precision")
        self.model_choice = ModelChoice(chosen.get(f"maps.{self.task}_model"), *place)
        self.object_model = ModelChoice(chosen.get("model.name"), *place)
        self.mode = self.modes[0]
        self.settings = DenseSettings(
            method=chosen.get("maps.method"),
            radius=chosen.get("maps.radius") or None,
            time_budget=chosen.get("maps.time_budget") or None,
            max_side=chosen.get("maps.max_side") or None,
        )
        self.band: float | None = chosen.get("maps.band") or None
        self.push: float = chosen.get("maps.push")
        self.autosaves = bool(chosen.get("saving.autosave"))
        super().__init__(viewer, channel, shelf)
        self._preference_stops = self._follow_preferences(chosen)

    def close(self) -> None:
        """Let go of the viewer and of all work."""
        self._stop(self._preference_stops)
        super().close()

    def _follow_preferences(self, kept: Preferences) -> list[Callable[[], None]]:
        this, key = weakref.ref(self), f"maps.{self.task}_model"

        def heed() -> None:
            controller = this()
            if controller is not None:
                name = kept.get(key)
                controller.model_choice = controller.model_choice._replace(name=name)
                controller.changed.emit()

        return [kept.connect(key, heed)]

    # -------------------------------------------------------------------- choosing

    def choose(self, image: Image) -> None:
        """Click on this image from now on."""
        self._guarded(lambda: self.set_image_layer(image))

    def set_model(self, name: str | None = None, device: str | None = None) -> None:
        """Answer with another model, or elsewhere, from the next click on."""
        old = self.model_choice
        self.model_choice = old._replace(
            name=name or old.name, device=device or old.device
        )
        self.changed.emit()
        self._hovered()

    def set_mode(self, mode: str) -> None:
        """Say what a click means from now on."""
        self.mode = mode
        self._restyle()
        self.activate()
        self.changed.emit()

    def set_settings(self, **changes: Any) -> None:
        """Refine in another way, from the next answer on."""

        def use() -> None:
            self.settings = replace(self.settings, **changes)
            for name in ("method", "radius", "time_budget"):
                if name in changes:
                    preferences().set(f"maps.{name}", changes[name] or 0)
            self.changed.emit()

        self._guarded(use)

    def set_sign(self, positive: bool) -> None:
        """Let plain clicks be of the one kind or the other."""
        self.make_ready()
        if self.points is not None:
            self.points.positive = positive
        self.changed.emit()

    @property
    def uses_radius(self) -> bool:
        """Whether attention radii have a meaning: with the consistency loss."""
        active = self.settings.active and self.settings.method != "rgb-brs"
        return active and self.mode == "click" and self.settings.consistency != 0

    def _restyle(self) -> None:
        """Let clicks look as the mode says."""
        style = self.click_style()
        if self.points is not None and type(style) is not type(self.points.style):
            self.points.restyle(style)

    # ----------------------------------------------------------------------- jobs

    def new_engine(self, tell: Tell) -> DenseEngine:
        """Return what works in the worker, for one image."""
        return DenseEngine(self._shelf, tell, self.task)

    def opening(self, engine: DenseEngine, plane: Plane) -> Callable[[], DenseReport]:
        """Return the job that begins with a plane."""
        source = plane_image(self.channel_layers(), plane)
        options = self.current_options()
        return lambda: engine.open(plane, source, options)

    def current_options(self) -> DenseOptions:
        """Return what the dock says now."""
        visible: Box | None = None
        if self.image_layer is not None and self.plane is not None:
            visible = visible_box(self.image_layer, self.plane, self.viewer)
        return DenseOptions(
            self.model_choice,
            self.object_model,
            self.mode if self.mode != "stroke" else "click",
            self.settings,
            self.band,
            self.push,
            visible,
        )

    @property
    def goes_on(self) -> bool:
        """Whether an answer that is not settled is improved when nothing waits."""
        return True

    # --------------------------------------------------------------------- showing

    def apply(self, context: Context[DenseEngine], report: DenseReport) -> None:
        """Show what a job did, perhaps to an image that is not in work any more."""
        context.reports[report.plane] = context.latest = report
        here = context is self.context
        if here and not self.in_view:
            return
        with self._quietly():
            if here:
                self._show_change(report)
            self._show_kept(context, report)
        if here:
            self._restyle()
            self._show_marks()
        self.changed.emit()
        self.keep_on_disk(context.engine, report)

    def _show_change(self, report: DenseReport) -> None:
        change: Any = report.change
        if self.result_layer is None:
            self.make_ready()
        result = getattr(change, "result", None)
        if result is not None and self.result_layer is not None:
            self.write_result(report.plane, change.bbox, result, report)

    def write_result(
        self, plane: Plane, box: Box, values: Any, report: DenseReport
    ) -> None:
        """Put a box of the map into its layer."""
        del report
        if self.task == "semantic":
            write_box(self.result_layer, plane, box, values)
        else:
            write_values(self.result_layer, plane, box, values)

    def _show_kept(self, context: Context[DenseEngine], report: DenseReport) -> None:
        """Write maps that were kept into layers of their own, and take gone ones."""
        for number, values in report.kept.items():
            role = f"{KEPT}{number}"
            layer = context.layer(role)
            if values is None:
                self._take_back(context, role, report)
                continue
            if layer is None or layer not in self.viewer.layers:
                if context is not self.context:
                    continue
                layer = self.add_kept(number, report)
                context.keep(role, layer)
            height, width = values.shape
            box = Box(0, 0, height, width)
            if self.task == "semantic":
                write_box(layer, report.plane, box, values)
            else:
                write_values(layer, report.plane, box, values)

    def _take_back(
        self, context: Context[DenseEngine], role: str, report: DenseReport
    ) -> None:
        """Remove a layer whose map is kept no more, unless other planes are in it."""
        layer, number = context.layer(role), int(role.removeprefix(KEPT))
        if layer is None or layer not in self.viewer.layers:
            return
        others = (r for p, r in context.reports.items() if p != report.plane)
        if any(number in other.numbers for other in others):
            layer.data[report.plane.indexer()] = 0
            layer.refresh()
        else:
            context.keep(role, None)
            self.viewer.layers.remove(layer)

    def add_kept(self, number: int, report: DenseReport) -> Any:
        """Add the layer of a map that is kept, below the one in work."""
        del report
        layer = self.add_result()
        layer.name = self.new_name(f"{self.noun} {number}")
        layers = self.viewer.layers
        if self.result_layer in layers:
            layers.move(layers.index(layer), layers.index(self.result_layer))
        self.activate()
        return layer

    def _show_all(self) -> None:
        context, plane = self.context, self.plane
        if context is not None and plane is not None and plane in context.opened:
            engine, options = context.engine, self.current_options()
            self._channel.chore(
                lambda _: engine.whole(plane, options), partial(self._job_done, context)
            )

    # ---------------------------------------------------------------------- export

    def exportable(self) -> list[Layer]:
        """Return the layers of this image that can be written, the map first."""
        context = self.context
        if context is None:
            return []
        found = [context.layer(role) for role in context.roles()]
        layers = [layer for layer in found if layer in self.viewer.layers]
        return [layer for layer in layers if kind_of({"metadata": layer.metadata})]

    def export(self, layer: Layer, path: Path) -> Job:
        """Write a layer as what it is, in the worker; where it went is told."""
        data, attributes, _kind = layer.as_layer_data_tuple()
        data = np.array(data) if isinstance(data, np.ndarray) else data

        def written(job: Job) -> None:
            if job.error is not None:
                self.failed(job.error)
            else:
                self.say("Saved " + " and ".join(each.name for each in job.value) + ".")

        return self.background(
            lambda: export_layer_data(None, path, data, attributes), written
        )

    def warm(self) -> None:
        """Load the model in the background."""
        self._hovered()

    # ------------------------------------------------------ what happens to the layers

    def _enter_image(self, image: Image) -> None:
        self.context_of(image)
        self.say(self.first_hint)

    def _plane_changed(self) -> None:
        self._show_marks()
        if self.plane is not None and self.image_layer is not None:
            self.say(self._hint(self.report))
        self.changed.emit()
        self.look_for_saved()

    def _points_gone(self) -> None:
        self.say("The click layer is gone: choose a kind of click to go on.")

    def _say_what_next(self, report: DenseReport) -> None:
        change = report.change
        if change is not None and change.notices:
            self.say(change.notices[-1])
        elif change is not None and change.kind == "commit":
            self.say(f"Kept as {self.noun} {change.label}. Go on with the next.")
        elif report.plane == self.plane and report.drafted and not report.settled:
            self.say("Refining: it still gets better. Click on whenever you like.")
        elif report.plane == self.plane:
            self.say(self._hint(report))

    # --------------------------------------------------------------------- actions

    def act(self, action: str) -> None:
        """Do what a key or button asks for, and say what went wrong."""
        self._guarded(getattr(self, f"_act_{action}"))

    def _call(
        self, name: str, *arguments: Any, answer: bool = True, **named: Any
    ) -> Any:
        """Have the session do something, then answer."""
        return self.edit(
            lambda engine, plane, o: engine.call(plane, o, name, *arguments, **named),
            answer=answer,
        )

    def _act_toggle_sign(self) -> None:
        self.set_sign(not self.positive)

    def _act_undo(self) -> None:
        self._call("undo")

    def _act_redo(self) -> None:
        self._call("redo")

    def _act_commit(self) -> None:
        self.commit_job()

    def commit_job(self, label: int | None = None) -> Any:
        """Keep the map under a number."""
        return self._call("commit", label, answer=False)

    def _act_discard(self) -> None:
        self._call("discard", answer=False)

    def _act_start_from_model(self) -> None:
        self._call("start_from_model", predict=False)

    def _act_grow_radius(self) -> None:
        self._scale_radius(RADIUS_STEP)

    def _act_shrink_radius(self) -> None:
        self._scale_radius(1.0 / RADIUS_STEP)

    def _act_pick(self) -> None:
        value = self.value_under_cursor()
        if value is None:
            raise SessionError("There is nothing under the mouse to wish for.")
        self.pick(value)

    def _scale_radius(self, factor: float) -> None:
        if not self.uses_radius:
            raise SessionError(
                "How far a click reaches means something only to the G-BRS "
                "refinements in click mode."
            )
        self.edit(lambda engine, plane, o: engine.scale_radius(plane, o, factor))

    # ------------------------------------------------- what the subclass makes of it

    #: What the status line says first.
    first_hint = ""

    def pick(self, value: Any) -> None:
        """Take what is under the mouse for the wish of the next click."""
        raise NotImplementedError

    def _hint(self, report: DenseReport | None) -> str:
        raise NotImplementedError
