"""What a user wishes a model to learn from, and what is known of that so far."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from napari_clickseg.binding.annotated import likely_pairs
from napari_clickseg.binding.background import Background
from napari_clickseg.binding.learning import Curve, State, Wishes
from napari_clickseg.errors import ClickSegError, SessionError, TrainingError
from napari_clickseg.models.registry import STARTER, ModelInfo, get_info, list_models
from napari_clickseg.preferences import preferences

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_clickseg.training.finetuning.job import DataReport, FinetuneJob
    from napari_clickseg.training.finetuning.report import (
        Example,
        FinetuneProgress,
        FinetuneResult,
        Forecast,
    )
    from napari_clickseg.worker import Channel

__all__ = ["FinetuneWishes"]

TASKS = ("segmentation", "semantic", "matting", "depth")
HINT = (
    "Choose images with labels, then check what there is. Nothing is changed until you "
    "start."
)


class FinetuneWishes(Background):
    """Layers or a folder, model, name, effort and device.

    Parameters
    ----------
    viewer : ViewerModel
        Held weakly.
    channel : Channel
        The line to the worker that learns.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        channel: Channel,
    ) -> None:
        super().__init__(channel)
        self._viewer = weakref.ref(viewer)
        kept = preferences()
        self.wishes = Wishes(
            model=str(kept.get("finetuning.model")),
            effort=str(kept.get("finetuning.effort")),
            device=str(kept.get("finetuning.device")),
        )
        if self.wishes.model not in {info.name for info in self.models()}:
            self.wishes.model = STARTER
        self.more: dict[str, Any] = {}
        self.hint = (HINT, "hint")
        self._chosen = False
        self._start_over()
        layers = viewer.layers.events
        for event in (layers.inserted, layers.removed):
            event.connect(self._layers_changed, position="last")
        self._pair_up()

    def _start_over(self) -> None:
        self.state: State = "idle"
        self.job: FinetuneJob | None = None
        self.forecast: Forecast | None = None
        self.earlier = 0
        self.progress: FinetuneProgress | None = None
        self.curve = Curve()
        self.examples: tuple[Example, ...] = ()
        self.result: FinetuneResult | None = None
        self.error: Exception | None = None

    # ------------------------------------------------------------------- choosing

    @property
    def viewer(self) -> ViewerModel:
        """The viewer.

        Raises
        ------
        SessionError
            If it is closed.
        """
        viewer = self._viewer()
        if viewer is None:
            raise SessionError("The viewer is closed: open another.")
        return viewer

    @property
    def working(self) -> bool:
        """Whether something is being done."""
        return self.state in ("checking", "running", "stopping", "finishing")

    @property
    def data(self) -> DataReport | None:
        """What was found; None before the data were checked."""
        return None if self.job is None else self.job.data

    @property
    def task(self) -> str:
        """What the chosen model is for."""
        try:
            return get_info(self.wishes.model).task
        except ClickSegError:
            return "segmentation"

    @staticmethod
    def models() -> list[ModelInfo]:
        """Return the models that can be finetuned: those of weight files."""
        return [
            info
            for info in list_models()
            if info.task in TASKS and info.file and info.architecture != "module"
        ]

    def choose(self, **wishes: Any) -> None:
        """Choose ``pairs``, ``folder``, ``model``, ``name``, ``effort`` or ``device``.

        What was checked before is dropped; what was learned and not finished is kept on
        disk, and gone on with when the same is chosen again.

        Raises
        ------
        TrainingError
            While something is being done.
        """
        if self.working and self.state != "checking":
            raise TrainingError("Stop first, then choose something else.")
        task = self.task
        for name, value in wishes.items():
            if not hasattr(self.wishes, name):
                raise TrainingError(f"There is nothing called {name!r} to choose.")
            setattr(self.wishes, name, value)
        for name in {"model", "effort", "device"} & set(wishes):
            preferences().set(f"finetuning.{name}", wishes[name])
        if "pairs" in wishes:
            self._chosen = True
        if self.task != task and "pairs" not in wishes:
            self._chosen = False  # other tasks have other labels
            self._pair_up()
        self._drop()

    def _drop(self) -> None:
        """Forget what was found: something else is chosen."""
        self._abandon()
        self._start_over()
        self.say(HINT)

    def _pair_up(self) -> None:
        """Choose layers that seem to belong together, as long as nobody has chosen."""
        viewer = self._viewer()
        if self._chosen or viewer is None:
            return
        pairs: list[list[Any]] = [list(p) for p in likely_pairs(viewer, self.task)]
        self.wishes.pairs = pairs or [[None, None]]

    def _layers_changed(self, _event: Any = None) -> None:
        viewer = self._viewer()
        if viewer is None or self.working:
            return
        before = [list(pair) for pair in self.wishes.pairs]
        self._pair_up()
        for pair in self.wishes.pairs:
            pair[:] = [layer if layer in viewer.layers else None for layer in pair]
        same = len(before) == len(self.wishes.pairs) and all(
            a is b
            for old, new in zip(before, self.wishes.pairs, strict=True)
            for a, b in zip(old, new, strict=True)
        )
        if not same and self.state in ("ready", "idle") and not self.wishes.folder:
            self._drop()
        self.changed.emit()
