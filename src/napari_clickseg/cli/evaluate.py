"""``napari-clickseg evaluate``: the published click benchmark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_clickseg.cli.common import (
    DeviceOption,
    ExitCode,
    ModelOption,
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
    learning_rates,
    refinements,
    weights_sha256,
)
from napari_clickseg.evaluation.datasets import LAYOUTS, OBJECTS
from napari_clickseg.evaluation.options import PROTOCOLS
from napari_clickseg.models.registry import STARTER
from napari_clickseg.prediction.settings import FIRST_LOOKS, PredictionSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_clickseg.evaluation.datasets import Dataset, Sample
    from napari_clickseg.evaluation.metrics import SampleResult
    from napari_clickseg.evaluation.options import MethodOptions
    from napari_clickseg.evaluation.runlog import ResultLog


def evaluate(
    path: PathArgument,
    layout: LayoutOption = "folder",
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Results; the same DIR goes on."
        ),
    ] = Path("evaluation"),
    model: ModelOption = STARTER,
    refinement: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[,NAME...]",
            help="What happens where the model disobeys a click: none, f-brs-a, "
            "f-brs-b, f-brs-c, rgb-brs, distmap-brs, g-brs-sb, g-brs-bmsb, "
            "g-brs-bmsb-m, g-brs-bmconv. Several are compared.",
        ),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="noc: clicks needed to the goal. curve: the mean IoU after each of "
            "20 clicks, and the area under it.",
        ),
    ] = "noc",
    iterations: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Refinement: at most; default 20."),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(metavar="STEP", help="Refinement by Adam; default: the model's."),
    ] = None,
    consistency: Annotated[
        bool,
        typer.Option(
            "--consistency/--no-consistency",
            help="Refinement by Adam: hold on to the answer away from the click.",
        ),
    ] = True,
    at: AtOption = None,
    optimiser: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="adam or l-bfgs; default: as published. rgb-brs and distmap-brs "
            "run with both.",
        ),
    ] = None,
    carry: Annotated[
        bool | None,
        typer.Option(
            "--carry/--no-carry",
            help="Refinement by Adam: begin where the click before ended, or anew; "
            "default: anew for networks that are given the previous mask.",
        ),
    ] = None,
    honour_clicks: Annotated[
        bool,
        typer.Option(
            "--honour-clicks",
            help="Where a click is not obeyed after all, change its surroundings. "
            "Without, numbers compare with the papers.",
        ),
    ] = False,
    first_look: Annotated[
        str,
        typer.Option(
            metavar="RULE",
            help="What the first click sees: published, visible (a field four times "
            "the object) or search.",
        ),
    ] = "published",
    ignore: IgnoreOption = None,
    objects: ObjectsOption = "each",
    min_area: MinAreaOption = 1,
    per_image: PerImageOption = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="The first N samples only.")
    ] = None,
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines",
            help="Also random walker, graph cut and (with OpenCV) GrabCut.",
        ),
    ] = False,
    baseline: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Also this baseline; again for more."),
    ] = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    exact: Annotated[
        bool,
        typer.Option(
            "--exact", help="float32 and no speed-ups, operation by operation."
        ),
    ] = False,
    target_size: TargetSizeOption = None,
    max_clicks: Annotated[int, typer.Option(min=1, metavar="N")] = 20,
    goal: Annotated[
        float,
        typer.Option(min=0.5, max=1.0, metavar="IOU", help="noc: stop at this IoU."),
    ] = 0.90,
    jobs: JobsOption = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Throw away what --out holds.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print summary.json instead of the table.")
    ] = False,
) -> None:
    """Measure how many clicks a model needs, or how good each click makes it.

    A simulated annotator clicks into the middle of the largest error. By the
    protocol noc it stops at an IoU of 0.90, at most after 20 clicks, and clicks are
    counted; by the protocol curve every object gets 20 clicks, and the mean IoU
    after each is reported. Several refinements are compared in one report. Results
    are written sample by sample: after Ctrl+C the same command goes on. --out gets
    samples.csv, summary.json, summary.md and, with matplotlib, plots.

    [bold]Examples[/]
    napari-clickseg evaluate GrabCut --layout grabcut --out results/grabcut
    napari-clickseg evaluate DAVIS --layout davis -m ritm-hrnet18s-cocolvis -j 4
    napari-clickseg evaluate cells --first-look search --per-image 5 --baselines
    napari-clickseg evaluate photos --layout folder --ignore 255 --limit 20
    napari-clickseg evaluate cells --protocol curve --refinement none,g-brs-bmconv
    """
    check_choice(layout, LAYOUTS, "--layout")
    check_choice(first_look, FIRST_LOOKS, "--first-look")
    check_choice(objects, OBJECTS, "--objects")
    check_choice(protocol, PROTOCOLS, "--protocol")
    refined = refinements(
        "none" if refinement is None else refinement,
        iterations=iterations,
        learning_rate=learning_rate,
        consistency=consistency,
        at=at,
        optimiser=optimiser,
        carry=carry,
        correct=honour_clicks,
    )
    from napari_clickseg.evaluation.baselines import available_baselines, make_baseline
    from napari_clickseg.evaluation.datasets import open_dataset
    from napari_clickseg.evaluation.options import MethodOptions
    from napari_clickseg.evaluation.processes import default_jobs

    others = list(available_baselines()) if baselines else []
    for name in baseline or []:
        make_baseline(name)  # complain before anything is read
        others += [name] if name not in others else []
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
        baselines=tuple(others),
        refinements=refined,
        own=refinement is None,
        settings=PredictionSettings(
            first_look=first_look,  # type: ignore[arg-type]
            target_size=target_size or default_size,
        ),
        device=device,
        precision=precision,
        exact=exact,
        protocol=protocol,  # type: ignore[arg-type]
        goal=goal,
        max_clicks=max_clicks,
    )
    with progress_bar() as bars:
        bars.add_task("Looking for objects", total=None, note="")
        samples = dataset.first(limit)
    doubts = dataset.doubts(samples)
    for doubt in doubts:
        say(doubt)
    log = open_log(out, dataset, options, restart=restart)
    jobs = jobs or default_jobs(options.device, len(samples))
    results = run(samples, options, log, jobs)
    summary = report(dataset, options, log, results, jobs, doubts)
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
    else:
        typer.echo((out / "summary.md").read_text(encoding="utf-8").split("\n![")[0])
        typer.echo(f"Written to {out}")


def open_log(
    out: Path, dataset: Dataset, options: MethodOptions, *, restart: bool
) -> ResultLog:
    """Return the log in ``out``, which must belong to the same settings."""
    from napari_clickseg.evaluation.runlog import ResultLog
    from napari_clickseg.models.tuned import learning_rate

    weights = weights_sha256(str(options.model))
    signature = {
        **options.signature,
        "weights": weights,
        "data": data_signature(dataset),
    }
    # A step size that is found later would give other numbers.
    known = learning_rates(str(options.model), weights)
    for values in signature["refinements"].values():
        if values["learning_rate"] is None:
            at = values["at"]
            values["learning_rate"] = learning_rate(known, values["method"], at)
    return ResultLog(out, signature, restart=restart)


def run(
    samples: list[Sample], options: MethodOptions, log: ResultLog, jobs: int
) -> dict[str, list[SampleResult]]:
    """Evaluate with a progress bar; Ctrl+C keeps what is finished."""
    from napari_clickseg.evaluation.benchmark import evaluate
    from napari_clickseg.evaluation.options import method_names

    total = len(samples) * len(method_names(options))
    wanted = {sample.name for sample in samples}
    before = sum(
        name in wanted and method in method_names(options)
        for method, name in log.results
    )
    if before:
        say(f"{before} of {total} results are there already; going on.")
    with progress_bar() as bars:
        bar = bars.add_task("Clicking", total=total, completed=before, note="")

        def show(result: SampleResult) -> None:
            note = (
                f"{result.name}: {len(result.ious)} clicks, IoU {result.ious[-1]:.2f}"
            )
            bars.update(bar, advance=1, note=note)

        try:
            return evaluate(samples, options, log, jobs=jobs, progress=show)
        except KeyboardInterrupt:
            say(
                f"Stopped with {len(log.results)} results kept. Run the same command "
                "again to go on."
            )
            raise typer.Exit(ExitCode.STOPPED) from None


def report(
    dataset: Dataset,
    options: MethodOptions,
    log: ResultLog,
    results: dict[str, list[SampleResult]],
    jobs: int,
    doubts: Sequence[str],
) -> dict[str, Any]:
    """Write the report and return what summary.json holds."""
    from napari_clickseg.evaluation.options import method_names
    from napari_clickseg.evaluation.plots import NO_PLOTS, plots_available
    from napari_clickseg.evaluation.report import write_report

    if not plots_available():
        say(NO_PLOTS)
    notices = list(doubts)
    if options.settings.first_look != "published":
        notices.append(
            f"First look: {options.settings.first_look}, which is not the published "
            "protocol."
        )
    names = method_names(options)[: len(options.refinements)]
    return write_report(
        log.folder,
        results,
        title=dataset.path.resolve().name,
        settings={**log.signature, "jobs": jobs},
        protocol=options.protocol,
        max_clicks=options.max_clicks,
        refinements=names,
        published=published_figures(options, dataset.layout),
        notices=notices,
    )


def published_figures(
    options: MethodOptions, layout: str
) -> dict[str, dict[str, float]]:
    """Return the authors' NoC for this data set: method to ``{"noc@90": 1.68}``."""
    from napari_clickseg.errors import UnknownModelError
    from napari_clickseg.evaluation.options import display_name
    from napari_clickseg.models.registry import get_info

    try:
        figures = get_info(str(options.model)).published
    except UnknownModelError:
        return {}
    prefix = f"{'pascalvoc' if layout == 'voc' else layout}@"
    found = {
        display_name(options.model, refinement): {
            f"noc@{key.removeprefix(prefix)}": value
            for key, value in figures.get(refinement.method, {}).items()
            if key.startswith(prefix)
        }
        for refinement in options.refinements
    }
    return {name: values for name, values in found.items() if values}
