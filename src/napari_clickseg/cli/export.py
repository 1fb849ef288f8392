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
        Path,
        typer.Argument(
            metavar="TARGET",
            help=".tif, .png (a picture), .json (COCO), .geojson (QuPath) or .zarr.",
        ),
    ],
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
) -> None:
    r"""Write objects so that other programs read them, or read theirs.

    [bold]Examples[/]
    napari-clickseg export cells.clickseg cells.geojson
    napari-clickseg export cells.clickseg cells.json --shapes polygons
    napari-clickseg export qupath.geojson labels.tif --size 1024 1360
    """
    check_choice(shapes, ("rle", "polygons"), "--shapes")
    from napari_clickseg.exporting import load_objects, save_objects
    from napari_clickseg.label_blocks import masks_of

    if source.suffix in (".clickseg", ".journal"):
        from napari_clickseg.session import ClickSession

        labels: Any = ClickSession.load(source).labels
    else:
        labels = load_objects(source, size)
    options: dict[str, Any] = {}
    if target.suffix.lower() == ".json":
        options["shapes"] = shapes
        if file_name is not None:
            options["file_name"] = file_name
    written = save_objects(target, labels, spacing=spacing, **options)
    count = len(masks_of(labels))
    typer.echo(f"{count} objects -> {', '.join(str(path) for path in written)}")
