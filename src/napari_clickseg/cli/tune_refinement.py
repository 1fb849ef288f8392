"""``napari-clickseg tune-refinement``: step sizes that suit a model."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_clickseg.cli.common import (
    DeviceOption,
    ExitCode,
    PrecisionOption,
    check_choice,
    progress_bar,
    say,
)
from napari_clickseg.cli.measuring import (
    DAVIS_TARGET,
    TARGET,
    AtOption,
    IgnoreOption,
    JobsOption,
    LayoutOption,
    MinAreaOption,
    ObjectsOption,
    PathArgument,
    PerImageOption,
    TargetSizeOption,
    data_signature,
    refinements,
    weights_sha256,
)
from napari_clickseg.evaluation.datasets import LAYOUTS, OBJECTS
from napari_clickseg.prediction.settings import FIRST_LOOKS, PredictionSettings
from napari_clickseg.refinement.settings import RefinementSettings

if TYPE_CHECKING:
    from napari_clickseg.evaluation.datasets import Dataset, Sample
    from napari_clickseg.evaluation.metrics import SampleResult
    from napari_clickseg.evaluation.options import MethodOptions
    from napari_clickseg.evaluation.runlog import ResultLog
    from napari_clickseg.evaluation.tuning import Trial

LAYERS = "g-brs-sb,g-brs-bmsb,g-brs-bmsb-m,g-brs-bmconv"


def tune_refinement(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A name from `napari-clickseg models`, or a weight file.",
        ),
    ],
    path: PathArgument,
    layers: Annotated[
        str,
        typer.Option(
            metavar="NAME[,NAME...]",
            help="Which refinements: g-brs-sb, ...; also rgb-brs and distmap-brs, "
            "by Adam.",
        ),
    ] = LAYERS,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Try on so many objects, spread evenly."),
    ] = 12,
    clicks: Annotated[
        int, typer.Option(min=1, metavar="N", help="Clicks on each of them.")
    ] = 20,
    iterations: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Of Adam; default 20.")
    ] = None,
    consistency: Annotated[
        bool,
        typer.Option(
            "--consistency/--no-consistency",
            help="Hold on to the answer away from the click.",
        ),
    ] = True,
    at: AtOption = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help="Try all ten step sizes, not only those next to the best.",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE", help="Lines for registry.toml, also."
        ),
    ] = None,
    keep: Annotated[
        bool,
        typer.Option("--keep/--no-keep", help="Remember the result for this model."),
    ] = True,
    layout: LayoutOption = "folder",
    first_look: Annotated[
        str,
        typer.Option(
            metavar="RULE",
            help="What the first click sees: published, visible or search.",
        ),
    ] = "published",
    ignore: IgnoreOption = None,
    objects: ObjectsOption = "each",
    min_area: MinAreaOption = 1,
    per_image: PerImageOption = None,
    target_size: TargetSizeOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    jobs: JobsOption = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget what was tried before.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of the table.")
    ] = False,
) -> None:
    """Find the step size of refinement that suits a model.

    The simulated annotator makes 20 clicks on each object, once for each step size
    (0.1, 0.05, 0.025, ... 0.0002) and layer; the one with the best mean IoU over all
    clicks wins. It is remembered for these weights, and used whenever they are
    refined. Use images that are not the ones you measure on later. After Ctrl+C the
    same command goes on.

    [bold]Examples[/]
    napari-clickseg tune-refinement ritm-mobilenetv2-starter cells --limit 10
    napari-clickseg tune-refinement my.safetensors photos --layers g-brs-bmconv --full
    napari-clickseg tune-refinement my.safetensors photos --out rates.toml --no-keep
    """
    check_choice(layout, LAYOUTS, "--layout")
    check_choice(first_look, FIRST_LOOKS, "--first-look")
    check_choice(objects, OBJECTS, "--objects")
    tuned = layers_by_adam(
        refinements(layers, iterations=iterations, consistency=consistency, at=at)
    )
    from napari_clickseg.evaluation.datasets import open_dataset
    from napari_clickseg.evaluation.options import MethodOptions
    from napari_clickseg.evaluation.processes import default_jobs
    from napari_clickseg.evaluation.tuning import registry_snippet, spread, tuning_table

    dataset = open_dataset(
        path,
        layout,
        ignore=ignore,
        objects=objects,
        min_area=min_area,
        per_image=per_image,
    )
    default_size = DAVIS_TARGET if layout == "davis" else TARGET
    options = MethodOptions(
        model=model,
        refinements=tuned,
        settings=PredictionSettings(
            first_look=first_look,  # type: ignore[arg-type]
            target_size=target_size or default_size,
        ),
        device=device,
        precision=precision,
        protocol="curve",
        max_clicks=clicks,
    )
    samples = spread(dataset.first(), limit)
    weights = weights_sha256(model)
    log = open_log(dataset, options, weights, restart=restart)
    jobs = jobs or default_jobs(device, len(samples))
    keeping = weights if keep else None
    trials, best, stopped = run(samples, options, log, keeping, full=full, jobs=jobs)
    if out is not None and best:
        out.write_text(registry_snippet(best), encoding="utf-8")
        say(f"Written to {out}")
    if as_json:
        found = {rate_key_of(trial): trial.rate for trial in best}
        tried = [
            {"refinement": rate_key_of(trial), "learning_rate": trial.rate}
            | {"auc": trial.auc, "best": trial.best, "spc": trial.seconds}
            for trial in trials
        ]
        typer.echo(json.dumps({"learning_rates": found, "trials": tried}, indent=2))
    elif trials:
        typer.echo(tuning_table(trials))
    if stopped:
        say(
            f"Stopped with {len(best)} of {len(tuned)} layers done. Run the same "
            "command again to go on."
        )
        raise typer.Exit(ExitCode.STOPPED)
    if keep:
        say(f"{model} is refined with these step sizes from now on.")


def layers_by_adam(
    given: tuple[RefinementSettings, ...],
) -> tuple[RefinementSettings, ...]:
    """Return the refinements with Adam, which is what has a step size."""
    wrong = [r.method for r in given if not (r.active and not _quasi_newton(r))]
    if wrong:
        raise typer.BadParameter(
            f"{wrong[0]} has no step size. Choose among {LAYERS}, rgb-brs and "
            "distmap-brs.",
            param_hint="--layers",
        )
    return tuple(r if r.by_adam else r.updated({"optimiser": "adam"}) for r in given)


def _quasi_newton(refinement: RefinementSettings) -> bool:
    """Whether only L-BFGS-B runs it."""
    return refinement.method.startswith("f-brs")


def open_log(
    dataset: Dataset, options: MethodOptions, weights: str, *, restart: bool
) -> ResultLog:
    """Return the record of what was tried before with the same settings."""
    from napari_clickseg.evaluation.runlog import ResultLog
    from napari_clickseg.evaluation.tuning import tuning_signature
    from napari_clickseg.models.cache import cache_folder

    signature = {
        **tuning_signature(options.signature),
        "weights": weights,
        "data": {**data_signature(dataset), "folder": str(dataset.path.resolve())},
    }
    name = hashlib.sha256(json.dumps(signature, sort_keys=True).encode()).hexdigest()
    folder = cache_folder() / "tuning" / name[:16]
    return ResultLog(folder, signature, restart=restart)


def rate_key_of(trial: Trial) -> str:
    """Return the name under which a step size is kept."""
    from napari_clickseg.models.tuned import rate_key

    return rate_key(trial.refinement.method, trial.refinement.at)


def run(
    samples: list[Sample],
    options: MethodOptions,
    log: ResultLog,
    weights: str | None,
    *,
    full: bool,
    jobs: int,
) -> tuple[list[Trial], list[Trial], bool]:
    """Search with a progress bar; Ctrl+C keeps what is finished.

    Returns
    -------
    trials, best : list of Trial
        All that were tried; the best of each refinement that was finished.
    stopped : bool
        By Ctrl+C.
    """
    from napari_clickseg.evaluation.tuning import tune
    from napari_clickseg.models.tuned import save_tuned

    trials: list[Trial] = []
    best: list[Trial] = []
    with progress_bar() as bars:
        bar = bars.add_task("Clicking", total=None, note="")

        def show(result: SampleResult) -> None:
            note = f"{result.method}, {result.name}: IoU {result.ious[-1]:.2f}"
            bars.update(bar, advance=1, note=note)

        def tell(trial: Trial) -> None:
            trials.append(trial)
            method = trial.refinement.method
            bars.print(f"{method}, step size {trial.rate:.4g}: AUC {trial.auc:.4f}")

        try:
            for trial in tune(
                samples, options, log, full=full, jobs=jobs, progress=show, tried=tell
            ):
                best.append(trial)
                if weights:
                    save_tuned(
                        weights,
                        str(options.model),
                        rate_key_of(trial),
                        trial.rate,
                        auc=round(trial.auc, 4),
                        data=Path(log.signature["data"]["folder"]).name,
                        objects=len(samples),
                    )
        except KeyboardInterrupt:
            return trials, best, True
    return trials, best, False
