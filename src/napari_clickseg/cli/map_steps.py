"""What the commands for classes, alpha and depth do alike, step by step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from napari_clickseg.cli.clicks import parse_click
from napari_clickseg.cli.common import check_choice, say
from napari_clickseg.cli.images import numbers, read_pixels, source_of
from napari_clickseg.cli.wishes import Wish, parse_wish, read_wishes
from napari_clickseg.exporting.kinds import KINDS
from napari_clickseg.exporting.writing import check_suffix
from napari_clickseg.models.registry import STARTER

if TYPE_CHECKING:
    from napari_clickseg.image import ImageSource
    from napari_clickseg.session.dense_session import DenseSession

REFINEMENTS = (
    "none",
    "rgb-brs",
    "g-brs-sb",
    "g-brs-bmsb",
    "g-brs-bmsb-m",
    "g-brs-bmconv",
)


def target_of(image: Path, out: Path | None, kind: str, word: str) -> Path:
    """Return where to write; refuse other endings before anything is computed."""
    known = KINDS[kind]
    path = Path(f"{image.stem}-{word}{known.suffix()}") if out is None else out
    return check_suffix(path, known.suffixes, known.title)


def wishes_of(click: list[str] | None, clicks: Path | None, form: str) -> list[Wish]:
    """Return all clicks; refuse those of another form before a model is loaded."""
    wishes = [parse_wish(text) for text in click or []]
    if clicks is not None:
        wishes += read_wishes(clicks)
    for wish in wishes:
        wish.click(form)
    return wishes


def image_of(
    image: Path,
    page: int | None,
    channels: str | None,
    channel_axis: int | None,
    contrast: str | None,
) -> ImageSource:
    """Read the image as the model is to see it."""
    pixels = read_pixels(image, page, channel_axis)
    return source_of(pixels, channels, channel_axis, contrast)


def pushed(step: float | None) -> dict[str, Any]:
    """Return the options of a session whose clicks push by so much."""
    return {} if step is None else {"mode": "push", "push": step}


def spaced(spacing: str | None, unit: str) -> dict[str, Any]:
    """Return the options of an export with a distance of pixels."""
    given = numbers(spacing, "--spacing", float)
    return {} if given is None else {"spacing": given, "spacing_unit": unit}


def begun(
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


def answer(run: DenseSession, wishes: list[Wish], form: str) -> None:
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


def clicked_mask(
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


def tell(
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
