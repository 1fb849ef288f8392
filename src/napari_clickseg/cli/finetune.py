"""``napari-clickseg finetune``: a model that knows one's own images."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_clickseg.cli.common import (
    DeviceOption,
    ModelOption,
    PrecisionOption,
    check_choice,
    progress_bar,
    say,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_clickseg.training.finetune import FinetuneJob
    from napari_clickseg.training.finetuning.report import FinetuneProgress

#: Problems told one by one.
TOLD = 8


def finetune(
    images: Annotated[
        Path,
        typer.Argument(
            metavar="IMAGES",
            help="Folder with images/ and masks/, COCO .json, COCO+LVIS, SBD, or "
            "OME-Zarr with labels.",
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Argument(metavar="[LABELS]", help="Where the labels are, if elsewhere."),
    ] = None,
    model: ModelOption = "ritm-mobilenetv2-starter",
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of the new model; default: NAME-finetuned."),
    ] = None,
    effort: Annotated[
        str,
        typer.Option(metavar="EFFORT", help="quick (minutes) or thorough (longer)."),
    ] = "quick",
    parts: Annotated[
        str,
        typer.Option(
            metavar="PARTS",
            help="What may change: head, adapters, all; auto goes by the number of "
            "images.",
        ),
    ] = "auto",
    kind: Annotated[
        str,
        typer.Option(metavar="KIND", help="photo or microscopy; auto looks."),
    ] = "auto",
    layout: Annotated[
        str, typer.Option(metavar="NAME", help="auto, folder, coco, coco_lvis, ...")
    ] = "auto",
    ignore: Annotated[
        int | None,
        typer.Option(metavar="LABEL", help="Label of pixels that do not count."),
    ] = None,
    validation: Annotated[
        float,
        typer.Option(min=0.0, max=0.9, metavar="SHARE", help="Held aside to measure."),
    ] = 0.2,
    rehearsal: Annotated[
        str,
        typer.Option(
            metavar="DIR",
            help="The starters' training packs, so that nothing is forgotten; auto "
            "looks in CLICKSEG_DATA; none.",
        ),
    ] = "auto",
    reference: Annotated[
        bool,
        typer.Option(help="Keep the model from forgetting other images."),
    ] = True,
    measure: Annotated[
        bool, typer.Option(help="Count clicks before and after.")
    ] = True,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Instead of what the effort says.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Windows in a batch.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(metavar="RATE", help="Peak for the head.")
    ] = None,
    accumulate: Annotated[
        int,
        typer.Option(min=1, help="Pieces a batch is cut into, to save memory."),
    ] = 1,
    device: DeviceOption = "auto",
    devices: Annotated[
        int, typer.Option(min=1, help="Processes, each with a GPU of its own.")
    ] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines (with torchrun).")] = 1,
    precision: PrecisionOption = "auto",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Checkpoints and logs."),
    ] = None,
    restart: Annotated[
        bool,
        typer.Option("--restart", help="Begin anew although --out has a checkpoint."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of everything drawn at random.")] = 0,
    forecast: Annotated[
        bool,
        typer.Option("--forecast", help="Only tell what it will take."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the new model's card.")
    ] = False,
) -> None:
    """Finetune a model on your own images: fewer clicks on the next ones.

    Some objects are held aside, and clicks on them are counted before and after. The
    new model is in the list of models by its name. Stopped by Ctrl+C or a power cut,
    the same command goes on where it was.

    [bold]Examples[/]
    napari-clickseg finetune cells --name my-cells
    napari-clickseg finetune cells --effort thorough --device cuda
    napari-clickseg segment new.tif --model my-cells --click 120,80
    """
    from napari_clickseg.training.finetune import plan_finetune
    from napari_clickseg.training.finetuning.parts import PARTS
    from napari_clickseg.training.finetuning.settings import EFFORTS, KINDS
    from napari_clickseg.training.readers.opening import LAYOUTS

    check_choice(effort, EFFORTS, "--effort")
    check_choice(parts, PARTS, "--parts")
    check_choice(kind, KINDS, "--kind")
    check_choice(layout, LAYOUTS, "--layout")
    choices: dict[str, Any] = {"effort": effort, "parts": parts, "layout": layout}
    job = plan_finetune(
        images,
        labels,
        model=model,
        name=name,
        kind=kind,
        ignore=ignore,
        validation=validation,
        rehearsal=rehearsal,
        reference=reference,
        measure=measure,
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        accumulate=accumulate,
        device=device,
        devices=devices,
        nodes=nodes,
        precision=precision,
        out=out,
        resume=not restart,
        seed=seed,
        **choices,
    )
    _introduce(job)
    if forecast:
        typer.echo(job.forecast().text)
        return
    with _bar() as show:
        result = job.run(show)
    say(result.text)
    say(f"Checkpoints and logs: {job.folder}")
    typer.echo(json.dumps(result.card, indent=2) if as_json else result.name)


def _introduce(job: FinetuneJob) -> None:
    """Say what there is, what is wrong with it and what will be trained."""
    for problem in job.data.problems[:TOLD]:
        say(f"  {problem}")
    if len(job.data.problems) > TOLD:
        say(f"  and {len(job.data.problems) - TOLD} more")
    what = {
        "head": "its head",
        "adapters": "its head, and adapters in its encoder",
        "all": "all but what comes before the clicks",
    }
    say(job.data.text)
    say(f"{job.name}: of {job.parent}, {what[job.parts]} will learn.")


@contextmanager
def _bar() -> Iterator[Any]:
    """Yield what shows the progress: a bar, or a line now and then in a file."""
    with progress_bar() as bars:
        bar = bars.add_task("Finetuning", total=100, note="")

        def show(progress: FinetuneProgress) -> None:
            note = progress.text
            if progress.validation is not None and progress.validation.noc is not None:
                say(
                    f"Step {progress.step}: {progress.validation.noc:.2f} clicks on "
                    "windows held aside"
                )
            bars.update(bar, completed=round(100 * progress.fraction), note=note)

        yield show
