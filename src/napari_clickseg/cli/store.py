"""``napari-clickseg store``: look after a feature store."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_clickseg.cli.common import ExitCode, progress_bar, say
from napari_clickseg.cli.encode import duration, parse_bytes

if TYPE_CHECKING:
    from napari_clickseg.encoding.store import FeatureStore

app = typer.Typer(
    help="Look after a feature store: info, prune, verify.", no_args_is_help=True
)
StoreArgument = Annotated[
    Path, typer.Argument(metavar="STORE", help="Folder of the store.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DAY = 86400.0


def _open(path: Path) -> FeatureStore:
    from napari_clickseg.encoding.store import FeatureStore

    return FeatureStore(path, create=False)


@app.command()
def info(store: StoreArgument, as_json: JsonOption = False) -> None:
    """Say how much there is."""
    found = _open(store).info()
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "entries": found.entries,
                    "bytes": found.bytes,
                    "unfinished": found.unfinished,
                    "oldest": found.oldest,
                    "newest": found.newest,
                }
            )
        )
        return
    text = f"{found.entries} entries, {_size(found.bytes)}"
    if found.oldest is not None and found.newest is not None:
        now = time.time()
        text += (
            f", last used {duration(max(0, now - found.oldest))} to "
            f"{duration(max(0, now - found.newest))} ago"
        )
    if found.unfinished:
        text += f"; {found.unfinished} unfinished files (prune takes abandoned ones)"
    typer.echo(text)


@app.command()
def prune(
    store: StoreArgument,
    max_size: Annotated[
        str | None,
        typer.Option(
            metavar="BYTES", help="Remove what is unused for longest: 50GB remain."
        ),
    ] = None,
    unused: Annotated[
        float | None,
        typer.Option(min=0, metavar="DAYS", help="Remove what is unused for so long."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Take away what killed writers left, and what is too old or too much."""
    limit = None if max_size is None else parse_bytes(max_size, "--max-size")
    seconds = None if unused is None else unused * DAY
    gone = _open(store).prune(limit, seconds)
    if as_json:
        counts = {"entries": gone.entries, "bytes": gone.bytes}
        typer.echo(json.dumps({"unfinished": gone.unfinished, **counts}))
    else:
        typer.echo(
            f"removed {gone.entries} entries ({_size(gone.bytes)}) and "
            f"{gone.unfinished} unfinished files"
        )


@app.command()
def verify(
    store: StoreArgument,
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove entries that are damaged.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Read every entry and check every byte; the exit code is 3 where one is damaged.

    Damaged entries are never used anyway: encoding again replaces them.
    """
    kept = _open(store)
    count = [0]
    with progress_bar() as bars:
        bar = bars.add_task("Reading", total=kept.info().entries, note="")

        def show(number: int) -> None:
            count[0] = number
            bars.update(bar, completed=number)

        damaged = kept.verify(show, delete=delete)
    if as_json:
        found = {str(path): why for path, why in damaged.items()}
        typer.echo(json.dumps({"entries": count[0], "damaged": found}))
    else:
        typer.echo(f"{count[0]} entries read, {len(damaged)} damaged")
    for path, why in damaged.items():
        say(f"Damaged{' and removed' if delete else ''}: {path}: {why}")
    if damaged:
        raise typer.Exit(ExitCode.INPUT)


def _size(number: int) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if number >= size:
            return f"{number / size:.4g} {unit}"
    return f"{number / 1e3:.4g} kB"
