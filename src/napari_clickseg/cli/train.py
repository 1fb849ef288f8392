"""``napari-clickseg train``: run a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_clickseg.cli.common import DeviceOption, ExitCode, progress_bar, say

if TYPE_CHECKING:
    from napari_clickseg.training.progress import Progress


def train(
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE", help="A .toml file, see recipes/.")
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder with train/PACK/{images,masks}; default: CLICKSEG_DATA.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Checkpoints, logs, weights; default: runs/NAME."
        ),
    ] = None,
    restart: Annotated[
        bool,
        typer.Option("--restart", help="Begin anew although --out holds a checkpoint."),
    ] = False,
    device: DeviceOption = "auto",
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Stop after this many steps in all, resumably."),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that prepare batches.")
    ] = 1,
) -> None:
    """Train a model by a recipe; run it again to go on.

    State is saved every 45 seconds. After Ctrl+C, a crash or a power cut the
    same command goes on where it stopped. TensorBoard shows the logs in --out.

    [bold]Examples[/]
    napari-clickseg train recipes/ritm-mobilenetv2-starter.toml --data DATA
    tensorboard --logdir runs
    """
    from napari_clickseg.device import choose_device
    from napari_clickseg.training.run import train as run

    chosen = choose_device(device)
    last: list[Progress] = []
    with progress_bar() as bars:
        bar = bars.add_task("Training", total=100, note="")

        def show(step: Progress) -> None:
            last[:] = [step]
            note = f"step {step.step}, loss {step.loss:.3f}, "
            note += f"{step.score_name} {step.iou:.3f}"
            bars.update(bar, completed=round(100 * step.fraction), note=note)

        try:
            weights = run(
                recipe,
                data=data,
                out=out,
                resume=not restart,
                device=str(chosen),
                max_steps=steps,
                workers=workers,
                on_step=show,
            )
        except KeyboardInterrupt:
            say("Stopped. Run the same command again to go on from the last save.")
            raise typer.Exit(ExitCode.STOPPED) from None
    if last and last[0].fraction < 1:
        step = last[0]
        say(
            f"Stopped at step {step.step} ({step.fraction:.0%}). Run the same command "
            "again to go on."
        )
    typer.echo(str(weights))
