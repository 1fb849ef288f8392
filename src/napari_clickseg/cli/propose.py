"""``napari-clickseg propose``: a label image without a click."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from napari_clickseg.cli.common import (
    DeviceOption,
    PrecisionOption,
    progress_bar,
    say,
)
from napari_clickseg.cli.images import (
    ChannelAxisOption,
    ChannelsOption,
    ContrastOption,
    ImageArgument,
    PageOption,
    read_pixels,
    source_of,
)
from napari_clickseg.imagefiles import check_label_path, write_labels

PROPOSER = "semantic-cells-starter"


def propose(
    image: ImageArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Label image: .tif, .png or .npy; default: IMAGE-labels.tif here.",
        ),
    ] = None,
    overlay: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Picture with outlines."),
    ] = None,
    diameter: Annotated[
        float | None,
        typer.Option(
            metavar="PIXELS", help="Usual diameter of the objects, if not found out."
        ),
    ] = None,
    page: PageOption = None,
    channels: ChannelsOption = None,
    channel_axis: ChannelAxisOption = None,
    contrast: ContrastOption = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME|FILE",
            help="One for the classes background, interior and border.",
        ),
    ] = PROPOSER,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    session: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep a session, to correct by clicks."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of a line of text.")
    ] = False,
) -> None:
    r"""Find the cells or nuclei of an image without a click.

    Each is a label of the label image. What is wrong is then corrected by clicks: in
    napari, or with [bold]segment --labels[/].

    [bold]Examples[/]
    napari-clickseg propose nuclei.tif --overlay overlay.png
    napari-clickseg propose large.tif --diameter 40 --out labels.tif
    napari-clickseg propose stack.tif --page 12 --contrast 100,4000 --json
    """
    target = Path(f"{image.stem}-labels.tif") if out is None else out
    check_label_path(target)
    pixels = read_pixels(image, page, channel_axis)

    from napari_clickseg.session import ClickSession

    run = ClickSession()
    run.set_image(source_of(pixels, channels, channel_axis, contrast))
    begin = time.perf_counter()
    with progress_bar() as bar:
        task = bar.add_task("Looking for objects", total=None, note="")

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        change = run.propose_objects(
            model, diameter=diameter, device=device, precision=precision, progress=show
        )
    seconds = time.perf_counter() - begin
    for notice in change.notices:
        say(f"Note: {notice}")
    write_labels(target, run.labels)
    written = [target]
    if overlay is not None:
        from napari_clickseg.overlay import write_overlay

        written.append(write_overlay(overlay, run.image, run.labels))
    if session is not None:
        written.append(run.save(session))
    count = len(change.proposed)
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "objects": {each: run.objects[each].area for each in run.objects},
                    "seconds": seconds,
                    "model": model,
                    "files": [str(path) for path in written],
                }
            )
        )
        return
    noun = "object" if count == 1 else "objects"
    typer.echo(
        f"{count} {noun} in {seconds:.2f} s: {model} -> {', '.join(map(str, written))}"
    )
