"""What ``evaluate`` and ``tune-refinement`` share: data, weights, refinements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_clickseg.cli.common import check_choice
from napari_clickseg.refinement.settings import (
    METHODS,
    OPTIMISERS,
    RefinementSettings,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_clickseg.evaluation.datasets import Dataset

DAVIS_TARGET, TARGET = 600, 400

PathArgument = Annotated[
    Path, typer.Argument(metavar="PATH", help="Folder of the data set.")
]
LayoutOption = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="grabcut, berkeley, davis, coco_mval, sbd, voc, or folder "
        "(images/ and masks/).",
    ),
]
IgnoreOption = Annotated[
    int | None,
    typer.Option(min=0, metavar="LABEL", help="folder: label of pixels not scored."),
]
ObjectsOption = Annotated[
    str,
    typer.Option(metavar="RULE", help="folder: each label a sample, or the union."),
]
MinAreaOption = Annotated[
    int, typer.Option(min=1, metavar="PIXELS", help="Leave out smaller objects.")
]
PerImageOption = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="At most N objects of an image."),
]
TargetSizeOption = Annotated[
    int | None,
    typer.Option(
        min=32, metavar="PIXELS", help="Zoom-in size; default 400, davis 600."
    ),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs", "-j", min=1, metavar="N", help="Processes; default: cores / 2."
    ),
]
AtOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PLACE",
        help="Where the layer goes, such as decode4.fuse:input; again for more. "
        "Default: where it suits the model.",
    ),
]


def refinements(
    names: str,
    *,
    iterations: int | None = None,
    learning_rate: float | None = None,
    consistency: bool | None = None,
    at: Sequence[str] | None = None,
    optimiser: str | None = None,
    carry: bool | None = None,
    correct: bool = False,
) -> tuple[RefinementSettings, ...]:
    """Return the refinements that a command names, ``none`` first.

    Parameters
    ----------
    names : str
        Comma-separated.
    iterations, learning_rate, consistency, at, optimiser, carry
        For all of them, where given. ``consistency`` False turns that loss off.
    correct : bool
        Whether clicks that are not obeyed after all are honoured by a local change.

    Raises
    ------
    BadParameter, SettingsError
        A name that is none, or options that do not go together.
    """
    if optimiser is not None:
        check_choice(optimiser, OPTIMISERS, "--optimiser")
    wanted = list(dict.fromkeys(filter(None, (n.strip() for n in names.split(",")))))
    if not wanted:
        raise typer.BadParameter(
            f"Name at least one of {', '.join(METHODS)}.", param_hint="--refinement"
        )
    for name in wanted:
        check_choice(name, METHODS, "--refinement")
    given: dict[str, Any] = {
        "iterations": iterations,
        "learning_rate": learning_rate,
        "consistency": 0.0 if consistency is False else None,
        "at": tuple(at) if at else None,
        "optimiser": optimiser,
        "carry": carry,
        "correct": correct,
    }
    changes = {key: value for key, value in given.items() if value is not None}
    return tuple(
        RefinementSettings()
        if name == "none"
        else RefinementSettings(method=name, **changes)  # type: ignore[arg-type]
        for name in sorted(wanted, key=lambda name: name != "none")
    )


def data_signature(dataset: Dataset) -> dict[str, Any]:
    """Return what of a data set its numbers depend on."""
    return {
        "folder": dataset.path.resolve().name,
        "layout": dataset.layout,
        "ignore": dataset.ignore,
        "objects": dataset.objects,
        "min_area": dataset.min_area,
        "per_image": dataset.per_image,
    }


def weights_sha256(model: str) -> str:
    """Return the hash of a model's weights; a file is fetched if need be.

    A model built by a function of the user's is built once, to hash its weights.
    """
    import hashlib

    from napari_clickseg.cli.common import download_bar
    from napari_clickseg.errors import UnknownModelError
    from napari_clickseg.models.factories import split_factory
    from napari_clickseg.models.fetch import fetch_model

    if split_factory(model) is not None:
        from napari_clickseg.models.model import load_model

        return load_model(model, "cpu", "float32").sha256
    path = Path(model).expanduser()
    if not path.is_file():
        if path.name != model:
            raise UnknownModelError(f"There is no weight file {path}. Check the path.")
        with download_bar() as show:
            path = fetch_model(model, show)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def learning_rates(model: str, sha256: str) -> Mapping[str, float]:
    """Return the step sizes known for a model: the registry's, then the user's."""
    from napari_clickseg.errors import UnknownModelError
    from napari_clickseg.models.registry import get_info
    from napari_clickseg.models.tuned import read_tuned

    try:
        known = dict(get_info(model).learning_rates)
    except UnknownModelError:
        known = {}
    return {**known, **read_tuned(sha256)}
