"""``napari-clickseg export``: objects in files of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from napari_clickseg.cli.common import check_choice


def export(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="A session (.clickseg, .journal), or objects: .tif, .png, .npy, "
            ".json (COCO), .geojson, .zarr.",
        ),
    ],
    target: Annotated[
        Path | None,
        typer.Argument(
            metavar="TARGET",
            help=".tif, .png (picture), .json (COCO), .geojson (QuPath), .zarr, .csv.",
        ),
    ] = None,
    shapes: Annotated[
        str, typer.Option(metavar="KIND", help="For COCO: rle or polygons.")
    ] = "rle",
    file_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="For COCO: of the image.")
    ] = None,
    spacing: Annotated[
        float | None,
        typer.Option(metavar="UM", help="Distance of pixels in micrometres."),
    ] = None,
    size: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="ROWS COLS", help="Of the image, to read GeoJSON."),
    ] = None,
    effort: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Clicks and seconds of each object: .csv or .json."
        ),
    ] = None,
    idle: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="Longer pauses do not count as work."),
    ] = 30.0,
) -> None:
    r"""Write objects so that other programs read them, or read theirs.

    [bold]Examples[/]
    napari-clickseg export cells.clickseg cells.geojson
    napari-clickseg export cells.clickseg cells.json --shapes polygons
    napari-clickseg export cells.clickseg --effort cells.csv
    napari-clickseg export qupath.geojson labels.tif --size 1024 1360
    """
    classes: dict[int, str] = {}
    check_choice(shapes, ("rle", "polygons"), "--shapes")
    from napari_clickseg.errors import ExportError
    from napari_clickseg.exporting import load_objects, save_objects
    from napari_clickseg.label_blocks import masks_of
    from napari_clickseg.session.effort import save_effort

    if source.suffix in (".clickseg", ".journal"):
        from napari_clickseg.session import ClickSession

        session = ClickSession.load(source)
        labels: Any = session.labels
        if effort is not None:
            save_effort(session.effort(idle_limit=idle), effort)
            typer.echo(
                f"{len(session.objects)} objects' clicks and seconds -> {effort}"
            )
        classes = {n: each.category for n, each in session.objects.items()}
    elif effort is not None:
        raise ExportError(f"{source} is no session: it knows no clicks and seconds.")
    else:
        labels = load_objects(source, size)
    if target is None:
        if effort is None:
            raise ExportError(
                "Where to? Give a file, such as objects.tif, or --effort."
            )
        return
    options: dict[str, Any] = {}
    if target.suffix.lower() == ".json":
        options["shapes"] = shapes
        if file_name is not None:
            options["file_name"] = file_name
    written = save_objects(target, labels, spacing=spacing, classes=classes, **options)
    count = len(masks_of(labels))
    typer.echo(f"{count} objects -> {', '.join(str(path) for path in written)}")
