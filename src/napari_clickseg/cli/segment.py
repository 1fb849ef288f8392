"""``napari-clickseg segment``: clicks in, label image out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_clickseg.cli.clicks import by_object, parse_click, read_clicks
from napari_clickseg.cli.common import (
    DeviceOption,
    ModelOption,
    PrecisionOption,
    check_choice,
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
from napari_clickseg.imagefiles import check_label_path, read_labels
from napari_clickseg.models.registry import STARTER
from napari_clickseg.prediction.settings import FIRST_LOOKS, PredictionSettings
from napari_clickseg.refinement.settings import METHODS, RefinementSettings

OVERLAPS = ("keep", "overwrite", "probability")


def segment(
    image: ImageArgument,
    click: Annotated[
        list[str] | None,
        typer.Option(
            "--click",
            "-c",
            metavar="[ID:][-]ROW,COL[@RADIUS]",
            help="A click; again for each. A minus makes it negative.",
        ),
    ] = None,
    clicks: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help="Clicks from a file: row, col; if you like positive, object, radius.",
        ),
    ] = None,
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
        typer.Option(metavar="FILE.png", help="Picture with outlines and clicks."),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Start the first object from this mask (not 0)."
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Objects that are there already."),
    ] = None,
    overlap: Annotated[
        str,
        typer.Option(
            metavar="RULE",
            help="Pixels of two objects: keep, overwrite or probability.",
        ),
    ] = "keep",
    page: PageOption = None,
    channels: ChannelsOption = None,
    channel_axis: ChannelAxisOption = None,
    contrast: ContrastOption = None,
    model: ModelOption = STARTER,
    first_look: Annotated[
        str,
        typer.Option(
            metavar="RULE", help="What the first click sees: search or published."
        ),
    ] = "search",
    refinement: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Make the model obey the clicks: none, f-brs-b, g-brs-bmconv, ...",
        ),
    ] = "none",
    max_iterations: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Most steps of the refinement for a click: 20."
        ),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Use images that encode has prepared, and keep what was not.",
        ),
    ] = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    session: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep the session, to go on or to replay."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of a line of text.")
    ] = False,
) -> None:
    r"""Segment objects of an image by clicks, without a window.

    A click is ROW,COLUMN, counted from 0 at the top left, as napari shows it.
    A leading minus makes it negative: "this pixel does not belong". A number and
    a colon say which object it is on; without, it is object 1. These numbers are
    the labels in the label image.

    [bold]Examples[/]
    napari-clickseg segment cells.tif --click 120,200
    napari-clickseg segment cells.tif --click 120,200 --click -140,230 \
        --out labels.tif --overlay overlay.png
    napari-clickseg segment cells.tif -c 1:120,200 -c 2:40,50 -c 2:-60,80
    napari-clickseg segment stack.tif --page 12 --contrast 100,4000 -c 80,90
    napari-clickseg segment cells.tif --clicks clicks.csv --json
    napari-clickseg segment cells.tif -c 120,200 -c -140,230@25 \
        --refinement g-brs-bmconv
    napari-clickseg segment cells.tif -c 120,200 --store features \
        --model decoder.safetensors --contrast 100,4000
    """
    check_choice(overlap, OVERLAPS, "--overlap")
    check_choice(first_look, FIRST_LOOKS, "--first-look")
    check_choice(refinement, METHODS, "--refinement")
    given = [parse_click(text) for text in click or []]
    if clicks is not None:
        given += read_clicks(clicks)
    if not given:
        raise typer.BadParameter(
            "Give at least one, such as --click 120,200 (row, column).",
            param_hint="--click",
        )
    target = Path(f"{image.stem}-labels.tif") if out is None else out
    check_label_path(target)
    pixels = read_pixels(image, page, channel_axis)

    from napari_clickseg.cli.headless import answer_clicks, load, write_outcome
    from napari_clickseg.clicks import check_inside
    from napari_clickseg.session import ClickSession

    source = source_of(pixels, channels, channel_axis, contrast)
    for _, one in given:
        check_inside(one, source.shape)
    existing = None if labels is None else read_labels(labels)
    start = None if mask is None else read_labels(mask) != 0
    loaded, seconds = load(model, device, precision)
    settings = PredictionSettings(first_look=first_look)  # type: ignore[arg-type]
    if store is not None:
        loaded, settings = _with_store(loaded, store, settings)
    run = ClickSession(
        loaded,
        overlap=overlap,  # type: ignore[arg-type]
        settings=settings,
        refinement=_refinement(refinement, max_iterations),
    )
    run.set_image(source, labels=existing)
    if start is not None:
        run.set_mask(start)
    objects = by_object(given)
    outcome = answer_clicks(run, objects, seconds)
    write_outcome(outcome, objects, target, overlay)
    written = [target, *([overlay] if overlay else [])]
    if session is not None:
        written.append(run.save(session))
    if as_json:
        files = {"files": [str(path) for path in written]}
        typer.echo(json.dumps({**outcome.to_json(), **files}))
    else:
        typer.echo(f"{outcome.line} -> {', '.join(str(path) for path in written)}")


def _with_store(
    model: Any, folder: Path, settings: PredictionSettings
) -> tuple[Any, PredictionSettings]:
    """Return the model with a store, and settings that ask for what is in it."""
    from napari_clickseg.encoding.store import FeatureStore
    from napari_clickseg.encoding.windows import prepared_settings, side_of
    from napari_clickseg.encoding.with_store import WithStore
    from napari_clickseg.errors import ModelError

    if not getattr(model, "encodes_once", False):
        raise ModelError(
            f"{model.name} looks at every window anew, so a store is of no use to it. "
            "Leave --store out, or choose an InterFormer."
        )
    # Without an encoder nothing could ever come into a new one.
    kept = FeatureStore(folder, create=getattr(model, "has_encoder", True))
    tiles = settings.first_look != "published"
    settings = prepared_settings(side_of(model), settings, tiles=tiles)
    return WithStore(model, kept), settings


def _refinement(name: str, iterations: int | None) -> RefinementSettings:
    settings = RefinementSettings.of(name)
    return settings if iterations is None else replace(settings, iterations=iterations)
