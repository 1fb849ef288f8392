"""The commands put together, and what happens when one fails."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated

import typer

from napari_clickseg import __version__
from napari_clickseg.cli.common import ExitCode, exit_code_of, say
from napari_clickseg.cli.convert import convert
from napari_clickseg.cli.demo import demo
from napari_clickseg.cli.encode import encode
from napari_clickseg.cli.evaluate import evaluate
from napari_clickseg.cli.export import export
from napari_clickseg.cli.finetune import finetune
from napari_clickseg.cli.maps import classes, depth, matte
from napari_clickseg.cli.models import app as models_app
from napari_clickseg.cli.propose import propose
from napari_clickseg.cli.replay import replay
from napari_clickseg.cli.segment import segment
from napari_clickseg.cli.store import app as store_app
from napari_clickseg.cli.train import train
from napari_clickseg.cli.tune_refinement import tune_refinement
from napari_clickseg.errors import ClickSegError

EXIT_CODES = (
    "Exit codes: 0 done, 1 unexpected error, 2 wrong usage, 3 image, mask, click or "
    "data set that cannot be used, 4 model or weights, 5 device or memory, 6 training "
    "recipe or data, 130 stopped with Ctrl+C."
)

app = typer.Typer(
    name="napari-clickseg",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
)
app.command()(demo)
app.command()(segment)
app.command()(propose)
app.command()(replay)
app.command()(export)
app.command()(classes)
app.command()(matte)
app.command()(depth)
app.add_typer(models_app, name="models")
app.command()(finetune)
app.command()(train)
app.command()(evaluate)
app.command()(tune_refinement)
app.command()(encode)
app.add_typer(store_app, name="store")
app.command()(convert)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"napari-clickseg {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Say which version."
        ),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Say more; anywhere in the command.")
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", help="Show tracebacks of errors; anywhere in the command."
        ),
    ] = False,
) -> None:
    """Click an object in an image and get its mask.

    Try [bold]napari-clickseg demo[/], then [bold]napari-clickseg segment --help[/].
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with an exit code.

    Parameters
    ----------
    arguments : list of str, optional
        Instead of what the shell gave.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = _take(given, "--debug") or bool(os.environ.get("NAPARI_CLICKSEG_DEBUG"))
    if _take(given, "--verbose") or debug:
        import logging

        logging.basicConfig(format="%(name)s: %(message)s")
        logging.getLogger("napari_clickseg").setLevel(logging.INFO)
    try:
        app(args=given)
    except (ClickSegError, OSError, KeyboardInterrupt, MemoryError) as error:
        if debug:
            traceback.print_exc()
        else:
            say(f"Error: {_sentence(error)}")
        sys.exit(exit_code_of(error))
    except Exception as error:  # noqa: BLE001 - the last resort
        if debug:
            traceback.print_exc()
        else:
            say(
                f"Unexpected error: {type(error).__name__}: {_sentence(error)}\n"
                "Run the same command with --debug to see where it happened."
            )
        sys.exit(ExitCode.UNEXPECTED)


def _take(arguments: list[str], flag: str) -> bool:
    """Remove a flag that may stand anywhere; say whether it was there."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [word for word in arguments[:end] if word != flag] + arguments[end:]
    found = len(kept) < len(arguments)
    arguments[:] = kept
    return found


def _sentence(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "stopped."
    if isinstance(error, MemoryError):
        return "there is not enough memory for this."
    if isinstance(error, OSError) and not isinstance(error, ClickSegError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}."
    return str(error)
