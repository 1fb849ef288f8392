"""``napari-clickseg replay``: all edits of a session again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from napari_clickseg.cli.common import DeviceOption, PrecisionOption, progress_bar, say
from napari_clickseg.cli.images import read_pixels
from napari_clickseg.imagefiles import check_label_path, write_labels


def replay(
    session: Annotated[
        Path, typer.Argument(metavar="SESSION", help="A .clickseg or .journal file.")
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME|FILE",
            help="Another model; default: the session's own.",
        ),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The image, where SESSION holds none."),
    ] = None,
    page: Annotated[
        int | None, typer.Option(metavar="N", help="Plane of a stack, from 0.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE", help="Label image: .tif, .png or .npy."
        ),
    ] = None,
    keep: Annotated[
        Path | None, typer.Option("--session", metavar="FILE", help="Keep the outcome.")
    ] = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of lines of text.")
    ] = False,
) -> None:
    r"""Make all edits of a session again, and say what is different.

    With the session's own model on the same machine nothing is. With another model it
    shows what that one would have made of the same clicks.

    [bold]Examples[/]
    napari-clickseg replay cells.clickseg
    napari-clickseg replay cells.clickseg --model ritm-hrnet18-cocolvis -o other.tif
    napari-clickseg replay lost.journal --image cells.tif --session found.clickseg
    """
    if out is not None:
        check_label_path(out)
    from napari_clickseg.errors import SessionError
    from napari_clickseg.session import ClickSession

    pixels = None if image is None else read_pixels(image, page, None)
    before: Any = ClickSession.load(session, pixels)
    if before.options["task"] != "segmentation":
        raise SessionError(
            f"{session} is a session for {before.options['task']}: load it in Python "
            "and call replay() there."
        )
    if before.pending:
        before.update()
    with progress_bar() as bar:
        task = bar.add_task("Replaying", total=None, note="")
        again = before.replay(
            model,
            device=device,
            precision=precision,
            progress=lambda done, of: bar.update(task, completed=done, total=of),
        )
    for notice in again.notices:
        say(f"Note: {notice}")
    figures = compared(before.labels, again.labels)
    written = []
    if out is not None:
        written.append(write_labels(out, again.labels))
    if keep is not None:
        written.append(again.save(keep))
    files = [str(path) for path in written]
    if as_json:
        typer.echo(json.dumps({"model": again.model_name, **figures, "files": files}))
        return
    same, pixels_off = figures["same"], figures["pixels"]
    typer.echo(
        f"{len(figures['objects'])} objects by {again.model_name}: "
        + ("the same labels" if same else f"{pixels_off} pixels are different")
        + (f" -> {', '.join(files)}" if files else "")
    )
    if not same:
        for label, overlap in figures["objects"].items():
            typer.echo(f"  object {label}: IoU {overlap:.3f}")


def compared(old: Any, new: Any) -> dict[str, Any]:
    """Return how two label images (H, W) differ.

    Returns
    -------
    dict
        ``same``, ``pixels`` (how many differ) and ``objects``: intersection over union
        of each object of either image.
    """
    labels = [int(n) for n in np.union1d(np.unique(old), np.unique(new)) if n]
    overlaps = {
        n: float(((old == n) & (new == n)).sum() / ((old == n) | (new == n)).sum())
        for n in labels
    }
    different = int((old != new).sum())
    return {"same": not different, "pixels": different, "objects": overlaps}
