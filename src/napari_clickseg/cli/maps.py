"""``napari-clickseg classes``, ``matte`` and ``depth``: clicks in, a map out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

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
)
from napari_clickseg.cli.map_steps import (
    answer,
    begun,
    clicked_mask,
    image_of,
    pushed,
    spaced,
    target_of,
    tell,
    wishes_of,
)
from napari_clickseg.cli.wishes import FORMS
from napari_clickseg.exporting.kinds import KINDS
from napari_clickseg.exporting.writing import check_suffix
from napari_clickseg.imagefiles import read_labels

#: The bundled models; named here, since sessions load torch and --help should not.
STARTERS = {
    "semantic": "semantic-cells-starter",
    "matting": "matting-indexnet-starter",
    "depth": "depth-bts-starter",
}
LEGENDS = {"json": "json", "csv": "csv", "both": ("json", "csv"), "none": None}

ClicksOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.csv", help="Clicks from a file: row, col, class or value, radius."
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FILE", help="Default: beside you, by name."),
]
RefinementOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="How clicks are obeyed: g-brs-bmconv, ..."),
]
PushOption = Annotated[
    float | None,
    typer.Option(
        metavar="STEP", help="Clicks push by so much: ROW,COL up, -ROW,COL down."
    ),
]
SpacingOption = Annotated[
    str | None,
    typer.Option(metavar="N|ROW,COL", help="Distance of pixels, kept in a TIFF."),
]
SpacingUnitOption = Annotated[str, typer.Option(metavar="UNIT", help="Its unit.")]
SessionOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Keep the session, to go on or to replay."),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON instead of a line of text.")
]


def _click_option(form: str) -> Any:
    return typer.Option(
        "--click", "-c", metavar=FORMS[form], help="A click; again for each."
    )


def classes(
    image: ImageArgument,
    click: Annotated[list[str] | None, _click_option("semantic")] = None,
    clicks: ClicksOption = None,
    strokes: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Painted labels of classes, 0 elsewhere."),
    ] = None,
    out: OutOption = None,
    legend: Annotated[
        str, typer.Option(metavar="KIND", help="json, csv, both or none.")
    ] = "json",
    names: Annotated[
        str | None,
        typer.Option(metavar="A,B,...", help="Names of the model's classes, in order."),
    ] = None,
    page: PageOption = None,
    channels: ChannelsOption = None,
    channel_axis: ChannelAxisOption = None,
    contrast: ContrastOption = None,
    model: ModelOption = STARTERS["semantic"],
    refinement: RefinementOption = None,
    spacing: SpacingOption = None,
    spacing_unit: SpacingUnitOption = "um",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    session: SessionOption = None,
    as_json: JsonOption = False,
) -> None:
    r"""Give every pixel of an image a class, and correct that by clicks.

    The model answers by itself; each click says which class its pixel has, by name or
    number. A legend with names, colours and numbers of pixels is written beside it.

    [bold]Examples[/]
    napari-clickseg classes cells.tif
    napari-clickseg classes cells.tif -c interior:120,200 -c 1:30,40@25 \
        --out map.tif --legend both
    napari-clickseg classes cells.tif --strokes painted.png
    """
    check_choice(legend, tuple(LEGENDS), "--legend")
    target = target_of(image, out, "Classes", "classes")
    wishes = wishes_of(click, clicks, "semantic")
    if strokes is not None and wishes:
        raise typer.BadParameter(
            "Clicks and strokes are two ways: give one.", param_hint="--strokes"
        )
    painted = None if strokes is None else read_labels(strokes)
    run, seconds = begun(
        "semantic",
        image_of(image, page, channels, channel_axis, contrast),
        (model, device, precision),
        refinement,
        mode="click" if painted is None else "stroke",
        classes=None if names is None else [n.strip() for n in names.split(",")],
    )
    run.start_from_model(predict=not wishes and painted is None)
    if painted is not None:
        run.paint(painted)
    answer(run, wishes, "semantic")
    options: dict[str, Any] = {"legend": LEGENDS[legend]}
    written = run.export(target, **options, **spaced(spacing, spacing_unit))
    counts = {
        name: int((run.result == label).sum())
        for label, name in enumerate(run.task.classes.names, 1)
    }
    tell(run, seconds, written, session, as_json, {"classes": counts})


def matte(
    image: ImageArgument,
    click: Annotated[list[str] | None, _click_option("matting")] = None,
    clicks: ClicksOption = None,
    trimap: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="0 background, 128 unknown, 255 object, as an image."
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The object roughly; its edge is unknown."),
    ] = None,
    object_clicks: Annotated[
        list[str] | None,
        typer.Option(
            "--object", metavar="[-]ROW,COL", help="Click the object itself first."
        ),
    ] = None,
    band: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="N", help="Half the width of the unknown band, in pixels."
        ),
    ] = None,
    out: OutOption = None,
    cutout: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Also the object, cut out (RGBA)."),
    ] = None,
    image_colours: Annotated[
        bool,
        typer.Option(
            "--image-colours",
            help="Cut out with the image's colours, the background's fringe included.",
        ),
    ] = False,
    push: PushOption = None,
    page: PageOption = None,
    channels: ChannelsOption = None,
    channel_axis: ChannelAxisOption = None,
    contrast: ContrastOption = None,
    model: ModelOption = STARTERS["matting"],
    refinement: RefinementOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    session: SessionOption = None,
    as_json: JsonOption = False,
) -> None:
    r"""Find how much of each pixel is the object: hair, fur, glass, soft edges.

    Say where the object is: with a trimap, with a mask of it, or with clicks on it
    (--object). Clicks then correct alpha: 120,200=0.5 asks for one half there,
    120,200 for 1 and -120,200 for 0.

    [bold]Examples[/]
    napari-clickseg matte cat.jpg --object 300,400 --cutout cat.png
    napari-clickseg matte cat.jpg --trimap trimap.png -c 120,200=0.4@30 -o alpha.png
    napari-clickseg matte cat.jpg --mask mask.png --band 20 --out alpha.tif
    """
    target = target_of(image, out, "Alpha", "alpha")
    if cutout is not None:
        check_suffix(cutout, KINDS["Cut-out"].suffixes, "A cut-out")
    told = [each for each in (trimap, mask, object_clicks or None) if each is not None]
    if len(told) > 1 or (trimap is not None and band is not None):
        raise typer.BadParameter(
            "Give one of --trimap, --mask and --object; --band goes with the last two.",
            param_hint="--trimap",
        )
    form = "matting" if push is None else "push"
    wishes = wishes_of(click, clicks, form)
    source = image_of(image, page, channels, channel_axis, contrast)
    given = None if trimap is None else read_labels(trimap)
    found = None if mask is None else read_labels(mask) != 0
    run, seconds = begun(
        "matting", source, (model, device, precision), refinement, **pushed(push)
    )
    if object_clicks:
        found = clicked_mask(source, object_clicks, device, precision)
    if found is not None:
        run.trimap_from_mask(found, band, predict=not wishes)
    elif given is not None:
        run.set_trimap(given, predict=not wishes)
    elif getattr(run.model, "needs_trimap", False):
        raise typer.BadParameter(
            "Say where the object is: --trimap FILE, --mask FILE or --object ROW,COL.",
            param_hint="--trimap",
        )
    else:
        run.start_from_model(predict=not wishes)
    answer(run, wishes, form)
    written = run.export(target)
    if cutout is not None:
        written += run.export(cutout, kind="cutout", foreground=not image_colours)
    tell(run, seconds, written, session, as_json, {"mean": float(run.result.mean())})


def depth(
    image: ImageArgument,
    click: Annotated[list[str] | None, _click_option("depth")] = None,
    clicks: ClicksOption = None,
    out: OutOption = None,
    unit: Annotated[
        str, typer.Option(metavar="UNIT", help="Of depths, as the model answers them.")
    ] = "m",
    push: PushOption = None,
    page: PageOption = None,
    channels: ChannelsOption = None,
    channel_axis: ChannelAxisOption = None,
    contrast: ContrastOption = None,
    model: ModelOption = STARTERS["depth"],
    refinement: RefinementOption = None,
    spacing: SpacingOption = None,
    spacing_unit: SpacingUnitOption = "um",
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    session: SessionOption = None,
    as_json: JsonOption = False,
) -> None:
    r"""Estimate how far away every pixel is, and correct that by clicks.

    120,200=3.5 says that the pixel at row 120, column 200 is 3.5 m away.

    [bold]Examples[/]
    napari-clickseg depth room.jpg
    napari-clickseg depth room.jpg -c 120,200=3.5 -c 400,80=1.2@60 --out room.tif
    napari-clickseg depth room.jpg --push 0.2 -c 120,200 -c -400,80
    """
    target = target_of(image, out, "Depth", "depth")
    form = "depth" if push is None else "push"
    wishes = wishes_of(click, clicks, form)
    run, seconds = begun(
        "depth",
        image_of(image, page, channels, channel_axis, contrast),
        (model, device, precision),
        refinement,
        unit=unit,
        **pushed(push),
    )
    run.start_from_model(predict=not wishes)
    answer(run, wishes, form)
    written = run.export(target, **spaced(spacing, spacing_unit))
    low, high = float(run.result.min()), float(run.result.max())
    tell(run, seconds, written, session, as_json, {"range": [low, high], "unit": unit})
