"""What is to be evaluated, and how; plain values that travel to processes."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from napari_clickseg.errors import ClickSegError
from napari_clickseg.evaluation.metrics import MAX_CLICKS
from napari_clickseg.models.factories import factory_name, split_factory
from napari_clickseg.prediction.settings import PredictionSettings
from napari_clickseg.refinement.settings import RefinementSettings

VERSION = 1  # raised whenever the same settings would give other numbers
GOAL = 0.90

Protocol = Literal["noc", "curve"]
#: ``noc``: clicks needed to a goal, as RITM and f-BRS are evaluated. ``curve``: the
#: same number of clicks for every object and the mean IoU after each, as G-BRS is.
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)


@dataclass(frozen=True)
class MethodOptions:
    """What is to be evaluated, and how.

    Parameters
    ----------
    model : str or None
        Name or path of the model; None for baselines only.
    baselines : tuple of str
        Names of baselines that run beside it.
    refinements : tuple of RefinementSettings
        The model runs with each of them; the network alone by default.
    own : bool
        A model that knows no clicks brings a refinement of its own, which runs where
        none is asked for. False: none is none.
    settings : PredictionSettings
        Views, flip and thresholds; the defaults are the published protocol.
    device, precision : str
        As for ``load_model``.
    exact : bool
        float32 without folded normalisation or channels-last, as published.
    protocol : {"noc", "curve"}
        See :data:`PROTOCOLS`.
    goal : float
        IoU at which a sample stops (``noc`` only).
    max_clicks : int
        Clicks after which it stops anyway.
    """

    model: str | None
    baselines: tuple[str, ...] = ()
    refinements: tuple[RefinementSettings, ...] = (RefinementSettings(),)
    own: bool = True
    settings: PredictionSettings = field(default_factory=PredictionSettings)
    device: str = "auto"
    precision: str = "auto"
    exact: bool = False
    protocol: Protocol = "noc"
    goal: float = GOAL
    max_clicks: int = MAX_CLICKS

    def __post_init__(self) -> None:
        if self.model is None and not self.baselines:
            raise ClickSegError("There is nothing to evaluate: give a model.")
        if self.protocol not in PROTOCOLS:
            raise ClickSegError(
                f"There is no protocol {self.protocol!r}. Choose 'noc' or 'curve'."
            )
        if not 0 < self.goal <= 1:
            raise ClickSegError(f"The IoU to reach lies in (0, 1], not {self.goal}.")
        if self.max_clicks < 1:
            raise ClickSegError("At least one click is needed.")
        names = [refinement_name(refinement) for refinement in self.refinements]
        if self.model is not None and not names:
            raise ClickSegError("Name at least one refinement; 'none' is one.")
        if len(set(names)) < len(names):
            raise ClickSegError("The same refinement is named twice: name it once.")

    @property
    def signature(self) -> dict[str, Any]:
        """What numbers depend on, without the baselines and the device.

        Under ``refinements`` each method has its own settings, so that one can be
        added to a run later.
        """
        values = asdict(self)
        for name in ("baselines", "device", "refinements"):
            del values[name]
        if self.protocol != "noc":
            values["goal"] = None  # plays no part
        values["model"] = None if self.model is None else model_name(self.model)
        values["refinements"] = {
            display_name(self.model, refinement): refinement.to_dict()
            for refinement in self.refinements
            if self.model is not None
        }
        # JSON knows no tuples: compare what comes back from the file.
        return dict(json.loads(json.dumps({**values, "version": VERSION})))


def model_name(model: str) -> str:
    """Return a model's name in tables: a file gives its stem, a function its name."""
    if split_factory(model):
        return factory_name(model)
    if os.sep in model or model.endswith((".pth", ".pt", ".safetensors")):
        return os.path.splitext(os.path.basename(model))[0]  # noqa: PTH119, PTH122
    return model


def refinement_name(refinement: RefinementSettings) -> str:
    """Return a refinement's name in tables, with what differs from its defaults."""
    usual = RefinementSettings(refinement.method)
    tags = []
    if refinement.at is not None:
        tags.append("at " + " ".join(refinement.at))
    if refinement.optimiser is not None:
        tags.append(refinement.optimiser)
    if refinement.learning_rate is not None:
        tags.append(f"lr {refinement.learning_rate:.4g}")
    if refinement.iterations != usual.iterations:
        tags.append(f"{refinement.iterations} iterations")
    if refinement.consistency != usual.consistency:
        tags.append(
            f"consistency {refinement.consistency:g}"
            if refinement.consistency
            else "no consistency"
        )
    if refinement.carry is not None:
        tags.append("carried" if refinement.carry else "each click anew")
    return f"{refinement.method} ({', '.join(tags)})" if tags else refinement.method


def display_name(model: str | None, refinement: RefinementSettings) -> str:
    """Return the name of a model with a refinement, ``"starter+g-brs-sb"``."""
    name = model_name(str(model))
    return f"{name}+{refinement_name(refinement)}" if refinement.active else name


def method_names(options: MethodOptions) -> list[str]:
    """Return the methods' names in tables, the model first."""
    model = options.model
    refined = [display_name(model, refinement) for refinement in options.refinements]
    return [*(refined if model is not None else []), *options.baselines]
