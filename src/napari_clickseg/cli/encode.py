"""``napari-clickseg encode``: images ahead of time, into a feature store."""

from __future__ import annotations

import json
import re
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_clickseg.cli.common import (
    DeviceOption,
    ExitCode,
    PrecisionOption,
    check_choice,
    progress_bar,
    say,
)

if TYPE_CHECKING:
    from rich.progress import Progress

    from napari_clickseg.encoding.batch import Summary
    from napari_clickseg.encoding.work import Done

DTYPES = ("bfloat16", "float16")
#: So many failures are told one by one.
TOLD = 20
#: Where there is no terminal, a line after so many seconds.
INTERVAL = 30.0
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def encode(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER|ZARR|IMAGE...",
            help="Image files, folders with all in them, zarr arrays, OME-Zarr.",
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", metavar="NAME|FILE", help="Whose encoder is to be run."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="STORE", help="Folder of the store."),
    ],
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Have the workers of this dask scheduler do it: tcp://HOST:8786.",
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Images at once, here; 0: as suits."),
    ] = 0,
    processes: Annotated[
        bool,
        typer.Option(
            "--processes/--threads",
            help="Workers with a model each, or threads around one model.",
        ),
    ] = False,
    side: Annotated[
        int | None,
        typer.Option(
            min=32,
            metavar="PIXELS",
            help="Longest side of the whole image; default: what the model works at.",
        ),
    ] = None,
    tiles: Annotated[
        bool,
        typer.Option("--tiles", help="Also tiles of that side at full resolution."),
    ] = False,
    flip: Annotated[
        bool,
        typer.Option("--flip", help="Also mirror images, for averaged answers."),
    ] = False,
    channels: Annotated[
        str | None,
        typer.Option(metavar="A[,B[,C]]", help="Channels to show the model, from 0."),
    ] = None,
    channel_axis: Annotated[
        int | None,
        typer.Option(min=0, max=2, metavar="N", help="Axis of them, if not the last."),
    ] = None,
    contrast: Annotated[
        str | None,
        typer.Option(metavar="LOW,HIGH", help="Values shown as black and white."),
    ] = None,
    dtype: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="How features are kept: bfloat16 or float16."
        ),
    ] = DTYPES[0],
    max_size: Annotated[
        str | None,
        typer.Option(
            metavar="BYTES",
            help="Limit of the store, such as 50GB: what is unused for longest goes.",
        ),
    ] = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with all failures.")
    ] = False,
) -> None:
    r"""Encode images ahead of time, so that clicks on them are fast.

    What is in the store already is not encoded again: after Ctrl+C, a crash or with
    more images, run the same command. An image that cannot be encoded is told of at
    the end, and the exit code is 3.

    [bold]Examples[/]
    napari-clickseg encode photos/ --model interformer.safetensors --out features
    napari-clickseg encode plate.zarr -m interformer.safetensors -o features --tiles
    napari-clickseg encode photos/ -m interformer.safetensors -o features \
        --scheduler tcp://10.0.0.1:8786
    """
    check_choice(dtype, DTYPES, "--dtype")
    if scheduler is not None and (workers or processes):
        raise typer.BadParameter(
            "the cluster's workers do it; leave out --workers and --processes.",
            param_hint="--scheduler",
        )
    limit = None if max_size is None else parse_bytes(max_size, "--max-size")

    from napari_clickseg.encoding.batch import Where, encode_images
    from napari_clickseg.encoding.sources import Shown

    shown = Shown(
        None if channels is None else tuple(int(n) for n in _numbers(channels, int)),
        channel_axis,
        None if contrast is None else _pair(contrast),
    )
    with progress_bar() as bars:
        try:
            summary = encode_images(
                images,
                model,
                out,
                where=Where(scheduler, workers, processes),
                side=side,
                tiles=tiles,
                flip=flip,
                shown=shown,
                dtype=dtype,
                max_bytes=limit,
                device=device,
                precision=precision,
                on_done=_Told(bars),
            )
        except KeyboardInterrupt:
            say("Stopped; what was encoded is kept. Run the same command to go on.")
            raise typer.Exit(ExitCode.STOPPED) from None
    _report(summary, out, as_json)
    if summary.failures:
        raise typer.Exit(ExitCode.INPUT)


class _Told:
    """Shows how far it is: a bar, or now and then a line where that is a file."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._bar = bars.add_task("Encoding", total=None, note="")
        self._failed = 0
        self._last = (time.monotonic(), 0)

    def __call__(self, done: Done, count: int, total: int) -> None:
        self._failed += bool(done.error)
        note = f"{self._failed} failed" if self._failed else ""
        self._bars.update(self._bar, completed=count, total=total, note=note)
        now = time.monotonic()
        seconds, before = now - self._last[0], self._last[1]
        if self._bars.disable and seconds > INTERVAL:
            left = duration((total - count) * seconds / max(1, count - before))
            failed = f", {note}" if note else ""
            say(f"{count} of {total} images{failed}, about {left} left")
            self._last = (now, count)


def _report(summary: Summary, out: Path, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**asdict(summary), "store": str(out)}))
    else:
        each = summary.encode_seconds / max(1, summary.encoded)
        typer.echo(
            f"{out}: {summary.encoded} windows encoded ({1000 * each:.0f} ms each), "
            f"{summary.present} were there, of {summary.images} images, in "
            f"{duration(summary.seconds)}; side {summary.side}"
        )
    for source, error in summary.failures[:TOLD]:
        say(f"Not encoded: {source}: {error}")
    if len(summary.failures) > TOLD:
        say(f"... and {len(summary.failures) - TOLD} more; --json names all of them.")


def duration(seconds: float) -> str:
    """Return a time for people: ``"48 s"``, ``"12 min"``, ``"3.5 h"``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def parse_bytes(text: str, option: str) -> int:
    """Return the bytes of ``"50GB"``, ``"1.5 TB"`` or ``"1000000"``."""
    found = re.fullmatch(r"\s*([0-9.]+)\s*([kmgt]?)b?\s*", text.lower())
    try:
        number = float(found[1]) if found else 0.0
    except ValueError:
        number = 0.0
    if not found or not number > 0:
        raise typer.BadParameter(
            f"{text!r} is no size. Give one such as 50GB.", param_hint=option
        )
    return int(number * _UNITS[found[2]])


def _numbers(text: str, kind: type) -> list[float]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} should be numbers with commas between them."
        ) from None


def _pair(text: str) -> tuple[float, float]:
    values = _numbers(text, float)
    if len(values) != 2:
        raise typer.BadParameter("Give two numbers: LOW,HIGH.", param_hint="--contrast")
    return values[0], values[1]
