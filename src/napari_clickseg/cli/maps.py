"""``napari-clickseg classes``, ``matte`` and ``depth``: clicks in, a map out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_clickseg.cli.clicks import parse_click
from napari_clickseg.cli.common import (
    DeviceOption,
    ModelOption,
    PrecisionOption,
    check_choice,
    say,
)
from napari_clickseg.cli.images import (
    ChannelAxisOption,
    ChannelsOption,
    ContrastOption,
    ImageArgument,
    PageOption,
    numbers,
    read_pixels,
    source_of,
)
from napari_clickseg.cli.wishes import FORMS, Wish, parse_wish, read_wishes
from napari_clickseg.exporting.kinds import KINDS
from napari_clickseg.exporting.writing import check_suffix
from napari_clickseg.imagefiles import read_labels
from napari_clickseg.models.registry import STARTER

if TYPE_CHECKING:
    from napari_clickseg.image import ImageSource
    from napari_clickseg.session.dense_session import DenseSession

#: The bundled models; named here, since sessions load torch and --help should not.
STARTERS = {
    "semantic": "semantic-cells-starter",
    "matting": "matting-indexnet-starter",
    "depth": "depth-bts-starter",
}
LEGENDS = {"json": "json", "csv": "csv", "both": ("json", "csv"), "none": None}
REFINEMENTS = (
    "none",
    "rgb-brs",
    "g-brs-sb",
    "g-brs-bmsb",
    "g-brs-bmsb-m",
    "g-brs-bmconv",
)

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
    napari-clickseg classes cells.tif -c "cell interior:120,200" -c 1:30,40@25 \
        --out map.tif --legend both
    napari-clickseg classes cells.tif --strokes painted.png
    """
    check_choice(legend, tuple(LEGENDS), "--legend")
    target = _target(image, out, "Classes", "classes")
    wishes = _wishes(click, clicks, "semantic")
    if strokes is not None and wishes:
        raise typer.BadParameter(
            "Clicks and strokes are two ways: give one.", param_hint="--strokes"
        )
    painted = None if strokes is None else read_labels(strokes)
    run, seconds = _begun(
        "semantic",
        _source(image, page, channels, channel_axis, contrast),
        (model, device, precision),
        refinement,
        mode="click" if painted is None else "stroke",
        classes=None if names is None else [n.strip() for n in names.split(",")],
    )
    run.start_from_model(predict=not wishes and painted is None)
    if painted is not None:
        run.paint(painted)
    _answer(run, wishes, "semantic")
    options: dict[str, Any] = {"legend": LEGENDS[legend]}
    written = run.export(target, **options, **_spacing(spacing, spacing_unit))
    counts = {
        name: int((run.result == label).sum())
        for label, name in enumerate(run.task.classes.names, 1)
    }
    _tell(run, seconds, written, session, as_json, {"classes": counts})


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
    target = _target(image, out, "Alpha", "alpha")
    if cutout is not None:
        check_suffix(cutout, KINDS["Cut-out"].suffixes, "A cut-out")
    told = [each for each in (trimap, mask, object_clicks or None) if each is not None]
    if len(told) > 1 or (trimap is not None and band is not None):
        raise typer.BadParameter(
            "Give one of --trimap, --mask and --object; --band goes with the last two.",
            param_hint="--trimap",
        )
    form = "matting" if push is None else "push"
    wishes = _wishes(click, clicks, form)
    source = _source(image, page, channels, channel_axis, contrast)
    given = None if trimap is None else read_labels(trimap)
    found = None if mask is None else read_labels(mask) != 0
    run, seconds = _begun(
        "matting", source, (model, device, precision), refinement, **_pushed(push)
    )
    if object_clicks:
        found = _clicked(source, object_clicks, device, precision)
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
    _answer(run, wishes, form)
    written = run.export(target)
    if cutout is not None:
        written += run.export(cutout, kind="cutout", foreground=not image_colours)
    _tell(run, seconds, written, session, as_json, {"mean": float(run.result.mean())})


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
    target = _target(image, out, "Depth", "depth")
    form = "depth" if push is None else "push"
    wishes = _wishes(click, clicks, form)
    run, seconds = _begun(
        "depth",
        _source(image, page, channels, channel_axis, contrast),
        (model, device, precision),
        refinement,
        unit=unit,
        **_pushed(push),
    )
    run.start_from_model(predict=not wishes)
    _answer(run, wishes, form)
    written = run.export(target, **_spacing(spacing, spacing_unit))
    low, high = float(run.result.min()), float(run.result.max())
    _tell(run, seconds, written, session, as_json, {"range": [low, high], "unit": unit})


# Parts ---------------------------------------------------------------------------


def _target(image: Path, out: Path | None, kind: str, word: str) -> Path:
    """Return where to write; refuse other endings before anything is computed."""
    known = KINDS[kind]
    path = Path(f"{image.stem}-{word}{known.suffix()}") if out is None else out
    return check_suffix(path, known.suffixes, known.title)


def _wishes(click: list[str] | None, clicks: Path | None, form: str) -> list[Wish]:
    """Return all clicks; refuse those of another form before a model is loaded."""
    wishes = [parse_wish(text) for text in click or []]
    if clicks is not None:
        wishes += read_wishes(clicks)
    for wish in wishes:
        wish.click(form)
    return wishes


def _source(
    image: Path,
    page: int | None,
    channels: str | None,
    channel_axis: int | None,
    contrast: str | None,
) -> ImageSource:
    pixels = read_pixels(image, page, channel_axis)
    return source_of(pixels, channels, channel_axis, contrast)


def _pushed(step: float | None) -> dict[str, Any]:
    return {} if step is None else {"mode": "push", "push": step}


def _spacing(spacing: str | None, unit: str) -> dict[str, Any]:
    given = numbers(spacing, "--spacing", float)
    return {} if given is None else {"spacing": given, "spacing_unit": unit}


def _begun(
    task: str,
    source: ImageSource,
    model: tuple[str, str, str],
    refinement: str | None,
    **options: Any,
) -> tuple[DenseSession, float]:
    """Return a session of the image, and the seconds that loading its model took."""
    from napari_clickseg.cli.headless import load
    from napari_clickseg.session import ClickSession
    from napari_clickseg.session.dense_session import DenseSession

    if refinement is not None:
        check_choice(refinement, REFINEMENTS, "--refinement")
    loaded, seconds = load(*model)
    run = ClickSession(loaded, task=task, refinement=refinement, **options)
    assert isinstance(run, DenseSession)
    run.set_image(source)
    return run, seconds


def _answer(run: DenseSession, wishes: list[Wish], form: str) -> None:
    """Make all clicks, one after the other, and say what the model did not follow."""
    from napari_clickseg.clicks import check_inside

    known = run.task.classes if form == "semantic" else None
    made = [wish.click(form, known) for wish in wishes]
    for each in made:
        check_inside(each, run.shape)
    told: set[str] = set()
    for each in made:
        for notice in run.add_click(each).notices:
            if notice not in told:
                say(f"Note: {notice}")
            told.add(notice)


def _clicked(
    source: ImageSource, clicks: list[str], device: str, precision: str
) -> Any:
    """Return the mask of the object, by clicks on it."""
    from napari_clickseg.cli.headless import load
    from napari_clickseg.session import ClickSession

    loaded, _ = load(STARTER, device, precision)
    run = ClickSession(loaded)
    run.set_image(source)
    for text in clicks:
        _, click = parse_click(text)
        run.add_click(click)
    return run.mask


def _tell(
    run: DenseSession,
    seconds: float,
    written: list[Path],
    session: Path | None,
    as_json: bool,
    facts: dict[str, Any],
) -> None:
    """Keep the session if that is wanted, and print what was done."""
    run.commit()
    if session is not None:
        written = [*written, run.save(session)]
    files = [str(path) for path in written]
    took = run.stats.objects[-1].seconds
    count = run.stats.objects[-1].clicks
    dtype = str(run.model.dtype).removeprefix("torch.")
    name = f"{run.model.name} on {run.model.device}, {dtype}"
    if as_json:
        told = {"clicks": count, "seconds": took, "load_seconds": seconds}
        typer.echo(json.dumps({**facts, **told, "model": name, "files": files}))
        return
    noun = "click" if count == 1 else "clicks"
    typer.echo(
        f"{count} {noun} in {took:.2f} s, model loaded in {seconds:.2f} s: {name} -> "
        f"{', '.join(files)}"
    )
