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
from napari_clickseg.evaluation.datasets import LAYOUTS, OBJECTS
from napari_clickseg.models.registry import STARTER
from napari_clickseg.prediction.settings import FIRST_LOOKS, PredictionSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_clickseg.evaluation.benchmark import MethodOptions
    from napari_clickseg.evaluation.datasets import Dataset, Sample
    from napari_clickseg.evaluation.metrics import SampleResult
    from napari_clickseg.evaluation.runlog import ResultLog

REFINEMENTS = ("none",)
DAVIS_TARGET, TARGET = 600, 400


def evaluate(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Folder of the data set.")
    ],
    layout: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="grabcut, berkeley, davis, coco_mval, sbd, voc, or folder "
            "(images/ and masks/).",
        ),
    ] = "folder",
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="DIR", help="Results; the same DIR goes on."
        ),
    ] = Path("evaluation"),
    model: ModelOption = STARTER,
    refinement: Annotated[
        str,
        typer.Option(metavar="NAME", help="Where the model disobeys a click: none."),
    ] = "none",
    first_look: Annotated[
        str,
        typer.Option(
            metavar="RULE",
            help="What the first click sees: published, visible (a field four times "
            "the object) or search.",
        ),
    ] = "published",
    ignore: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="LABEL", help="folder: label of pixels not scored."
        ),
    ] = None,
    objects: Annotated[
        str,
        typer.Option(metavar="RULE", help="folder: each label a sample, or the union."),
    ] = "each",
    min_area: Annotated[
        int, typer.Option(min=1, metavar="PIXELS", help="Leave out smaller objects.")
    ] = 1,
    per_image: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="At most N objects of an image."),
    ] = None,
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
    target_size: Annotated[
        int | None,
        typer.Option(
            min=32, metavar="PIXELS", help="Zoom-in size; default 400, davis 600."
        ),
    ] = None,
    max_clicks: Annotated[int, typer.Option(min=1, metavar="N")] = 20,
    goal: Annotated[
        float, typer.Option(min=0.5, max=1.0, metavar="IOU", help="Stop at this IoU.")
    ] = 0.90,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs", "-j", min=1, metavar="N", help="Processes; default: cores / 2."
        ),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Throw away what --out holds.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print summary.json instead of the table.")
    ] = False,
) -> None:
    """Measure how many clicks a model needs, by the published protocol.

    A simulated annotator clicks into the middle of the largest error until the
    IoU is 0.90, at most 20 times. Results are written sample by sample: after
    Ctrl+C the same command goes on. --out gets samples.csv, summary.json,
    summary.md and, with matplotlib, plots.

    [bold]Examples[/]
    napari-clickseg evaluate GrabCut --layout grabcut --out results/grabcut
    napari-clickseg evaluate DAVIS --layout davis -m ritm-hrnet18s-cocolvis -j 4
    napari-clickseg evaluate cells --first-look search --per-image 5 --baselines
    napari-clickseg evaluate photos --layout folder --ignore 255 --limit 20
    """
    check_choice(layout, LAYOUTS, "--layout")
    check_choice(first_look, FIRST_LOOKS, "--first-look")
    check_choice(objects, OBJECTS, "--objects")
    check_choice(refinement, REFINEMENTS, "--refinement")
    from napari_clickseg.evaluation.baselines import available_baselines, make_baseline
    from napari_clickseg.evaluation.benchmark import MethodOptions, default_jobs
    from napari_clickseg.evaluation.datasets import open_dataset

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
        refinement=refinement,
        settings=PredictionSettings(
            first_look=first_look,  # type: ignore[arg-type]
            target_size=target_size or default_size,
        ),
        device=device,
        precision=precision,
        exact=exact,
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

    signature = {
        **options.signature,
        "weights": weights_sha256(str(options.model)),
        "data": {
            "folder": dataset.path.resolve().name,
            "layout": dataset.layout,
            "ignore": dataset.ignore,
            "objects": dataset.objects,
            "min_area": dataset.min_area,
            "per_image": dataset.per_image,
        },
    }
    return ResultLog(out, signature, restart=restart)


def weights_sha256(model: str) -> str:
    """Return the hash of a model's weight file, which is fetched if need be."""
    import hashlib

    from napari_clickseg.cli.common import download_bar
    from napari_clickseg.errors import UnknownModelError
    from napari_clickseg.models.fetch import fetch_model

    path = Path(model).expanduser()
    if not path.is_file():
        if path.name != model:
            raise UnknownModelError(f"There is no weight file {path}. Check the path.")
        with download_bar() as show:
            path = fetch_model(model, show)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(
    samples: list[Sample], options: MethodOptions, log: ResultLog, jobs: int
) -> dict[str, list[SampleResult]]:
    """Evaluate with a progress bar; Ctrl+C keeps what is finished."""
    from napari_clickseg.evaluation.benchmark import evaluate, method_names

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
    from napari_clickseg.evaluation.report import (
        NO_PLOTS,
        plots_available,
        write_report,
    )

    if not plots_available():
        say(NO_PLOTS)
    notices = list(doubts)
    if options.settings.first_look != "published":
        notices.append(
            f"First look: {options.settings.first_look}, which is not the published "
            "protocol."
        )
    return write_report(
        log.folder,
        results,
        title=dataset.path.resolve().name,
        settings={**log.signature, "jobs": jobs},
        max_clicks=options.max_clicks,
        published=published_figures(options, dataset.layout),
        notices=notices,
    )


def published_figures(options: MethodOptions, layout: str) -> dict[str, float]:
    """Return the authors' NoC for this data set: ``{"noc@90": 1.68}``."""
    from napari_clickseg.errors import UnknownModelError
    from napari_clickseg.models.registry import get_info

    try:
        figures = get_info(str(options.model)).published
    except UnknownModelError:
        return {}
    prefix = f"{'pascalvoc' if layout == 'voc' else layout}@"
    return {
        f"noc@{key.removeprefix(prefix)}": value
        for key, value in figures.get(options.refinement, {}).items()
        if key.startswith(prefix)
    }
