"""Recipes: TOML files that say what a training run does."""

from __future__ import annotations

import itertools
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.random import Generator

from napari_clickseg.errors import TrainingError
from napari_clickseg.limits import DAMAGE, inside
from napari_clickseg.training.packs import PackSpec

#: Most rounds after the first one where their number decays.
MOST_ROUNDS = 20
#: What a network is taught: to answer clicks, or, alone, to find all labelled objects,
#: to tell background, interior and border of cells, or to see alpha or depth.
Teaches = Literal["clicks", "foreground", "classes", "alpha", "depth"]


#: How clicks are taught: as the starters learn, or as RITM or InterFormer did.
Protocol = Literal["own", "ritm", "interformer"]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn.

    Parameters
    ----------
    minutes : float or None
        Time of optimisation after which the learning rate has reached zero.
    steps : int or None
        The same in optimiser steps; the first bound that is reached counts.
    restarts : tuple of float
        Minutes after which the learning rate begins again at its peak and falls anew
        (SGDR: Loshchilov and Hutter, ICLR 2017).
    learning_rate, backbone_factor : float
        Peak of the new layers, and what the pretrained ones get of it.
    weight_decay : float
        AdamW's decoupled decay.
    warmup_steps : int
        Steps of linear rise.
    clicks : tuple of int
        Range of rounds per batch: each round is one optimiser step, followed
        by a corrective click on its answer.
    click_decay : float or None
        Instead of drawing evenly from ``clicks``: further rounds follow the first
        with a probability that falls by this factor for each, and there are at
        most 20 of them (InterFormer: 0.6).
    encoder_until : float
        Share of each fall of the rate after which a pretrained backbone stays as it
        is. It is then run once for all rounds of a batch, by networks that have
        ``taps``.
    ema : float
        Decay of the moving average of weights that is saved.
    seed : int
        Seed of data and initial weights.
    milestones : tuple of int
        RITM's protocol: steps after which the rate is a tenth of what it was.
    layer_decay : float
        InterFormer's protocol: what each layer of a ViT gets of the rate of the next.
    """

    minutes: float | None = None
    steps: int | None = None
    restarts: tuple[float, ...] = ()
    learning_rate: float = 2e-3
    backbone_factor: float = 0.2
    weight_decay: float = 1e-4
    warmup_steps: int = 200
    clicks: tuple[int, int] = (1, 4)
    click_decay: float | None = None
    encoder_until: float = 1.0
    ema: float = 0.998
    seed: int = 0
    milestones: tuple[int, ...] = ()
    layer_decay: float = 1.0

    def since_restart(self, progress: float) -> float:
        """Return how much of the present fall of the rate is over, from 0.

        Parameters
        ----------
        progress : float
            How much of the whole schedule is over.
        """
        at = [0.0, *(minutes / (self.minutes or 1) for minutes in self.restarts), 1.0]
        begun = max(i for i, share in enumerate(at[:-1]) if share <= progress)
        return (progress - at[begun]) / (at[begun + 1] - at[begun])

    def draw_rounds(self, rng: Generator) -> int:
        """Draw how many rounds a batch is kept for, at least one."""
        if self.click_decay is None:
            low, high = self.clicks
            return int(rng.integers(low, high + 1))
        chances = self.click_decay ** np.arange(MOST_ROUNDS + 1.0)
        return 1 + int(rng.choice(MOST_ROUNDS + 1, p=chances / chances.sum()))


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms: normalised focal loss is always 1."""

    auxiliary: float = 0.4
    soft_iou: float = 0.0


@dataclass(frozen=True)
class ClassLosses:
    """Weights for classes: of each in cross-entropy, and of Dice against it."""

    classes: tuple[float, ...] = (1.0, 1.0, 2.0)
    dice: float = 1.0


@dataclass(frozen=True)
class AlphaLosses:
    """Weights of the terms for alpha; its absolute error is always 1."""

    composition: float = 1.0
    laplacian: float = 0.5
    gradient: float = 0.5


@dataclass(frozen=True)
class DepthLosses:
    """For depth: how far a wrong scale is forgiven, and the gradient's weight."""

    forgiven: float = 0.85
    gradient: float = 0.5


Losses = LossWeights | ClassLosses | AlphaLosses | DepthLosses
_LOSSES: dict[str, type[Losses]] = {
    "clicks": LossWeights,
    "foreground": LossWeights,
    "classes": ClassLosses,
    "alpha": AlphaLosses,
    "depth": DepthLosses,
}


@dataclass(frozen=True)
class Recipe:
    """A whole training run.

    Parameters
    ----------
    name : str
        Name of the model that comes out.
    architecture, network : str, dict
        Key of the architecture table and its constructor's arguments.
    start : str or None
        Weight file of the backbone, relative to the data root, or the name of a
        model to take the backbone from.
    packs : tuple of PackSpec
        Data, with held-out images.
    card : dict
        Licence, description and the like, stored with the weights.
    teaches : {"clicks", "foreground", "classes", "alpha", "depth"}
        To answer clicks, or, without any, to tell labelled pixels from the rest,
        classes from one another, or to see alpha or depth.
    protocol : {"own", "ritm", "interformer"}
        Data, clicks and rates as the starters learn, or as these were published.
    """

    name: str
    architecture: str
    network: dict[str, Any]
    start: str | None
    packs: tuple[PackSpec, ...]
    sampling: dict[str, Any]
    schedule: Schedule
    losses: Any
    card: dict[str, Any] = field(default_factory=dict)
    teaches: Teaches = "clicks"
    protocol: Protocol = "own"


def _build(kind: Any, table: dict[str, Any], where: str) -> Any:
    known = {item.name for item in fields(kind)}
    unknown = set(table) - known
    if unknown:
        raise TrainingError(
            f"recipe, [{where}]: unknown keys {sorted(unknown)}; known are "
            f"{sorted(known)}"
        )
    values = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in table.items()
    }
    try:
        return kind(**values)
    except TypeError as error:
        raise TrainingError(f"recipe, [{where}]: {error}") from error


def _read_table(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read a file and what it extends; its own values win, key by key."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise TrainingError(f"recipe {path} is not valid TOML: {error}") from error
    except DAMAGE as error:
        raise TrainingError(f"recipe {path} cannot be read: {error}") from error
    if "extends" not in table:
        return table
    try:
        base = inside(path.parent, table.pop("extends"))
    except ValueError as error:
        raise TrainingError(f"recipe {path}, extends: {error}") from error
    if base in (*above, path):
        raise TrainingError(f"recipe {path}: {base.name} extends itself")
    merged = _read_table(base, (*above, path))
    if table.get("architecture", merged.get("architecture")) != merged.get(
        "architecture"
    ):
        # what was said of another network does not hold for this one
        merged.pop("network", None)
        merged.pop("start", None)
    for key, value in table.items():
        old = merged.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            merged[key] = {**old, **value}
        else:
            merged[key] = value
    return merged


def read_recipe(path: Path) -> Recipe:
    """Read a recipe file.

    A file with the key ``extends`` takes everything from the recipe of that
    name beside it, but what it says itself.

    Raises
    ------
    TrainingError
        If the file is missing, is not TOML, or has unknown or missing keys.
    """
    table = _read_table(path)
    for key in ("name", "architecture", "packs"):
        if key not in table:
            raise TrainingError(f"recipe {path} lacks the key {key!r}")
    teaches = table.get("teaches", "clicks")
    if teaches not in get_args(Teaches):
        raise TrainingError(
            f"recipe {path}: teaches is {teaches!r}; give one of {get_args(Teaches)}"
        )
    protocol = table.get("protocol", "own")
    if protocol not in get_args(Protocol):
        raise TrainingError(
            f"recipe {path}: protocol is {protocol!r}; give one of {get_args(Protocol)}"
        )
    schedule: Schedule = _build(Schedule, table.get("schedule", {}), "schedule")
    if schedule.minutes is None and schedule.steps is None:
        raise TrainingError(
            f"recipe {path}: give schedule.minutes or schedule.steps, or both"
        )
    times = (0.0, *schedule.restarts, schedule.minutes or 0.0)
    if schedule.restarts and any(a >= b for a, b in itertools.pairwise(times)):
        raise TrainingError(
            f"recipe {path}: schedule.restarts are {list(schedule.restarts)}; give "
            "rising minutes above 0 and below schedule.minutes"
        )
    return Recipe(
        name=table["name"],
        architecture=table["architecture"],
        network=table.get("network", {}),
        start=table.get("start"),
        packs=tuple(_build(PackSpec, pack, "packs") for pack in table["packs"]),
        sampling=table.get("sampling", {}),
        schedule=schedule,
        losses=_build(_LOSSES[teaches], table.get("losses", {}), "losses"),
        card=table.get("card", {}),
        teaches=teaches,
        protocol=protocol,
    )
