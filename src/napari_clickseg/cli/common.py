"""What commands share: exit codes, errors as sentences, progress bars."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated

import typer

from napari_clickseg.errors import (
    Cancelled,
    ClickSegError,
    DeviceError,
    ModelError,
    TrainingError,
)

if TYPE_CHECKING:
    from rich.progress import Progress


class ExitCode(IntEnum):
    """What the command says to the script that called it."""

    OK = 0
    UNEXPECTED = 1  #: a bug, or a machine in trouble; --debug shows where
    USAGE = 2  #: an option or argument that does not exist or makes no sense
    INPUT = 3  #: an image, mask, click, data set or file that cannot be used
    MODEL = 4  #: an unknown model, weights that cannot be fetched or read
    DEVICE = 5  #: a device or precision that is not there, or ran out of memory
    TRAINING = 6  #: a recipe or its data that cannot be used
    STOPPED = 130  #: stopped by Ctrl+C; what was finished is kept


def exit_code_of(error: BaseException) -> ExitCode:
    """Return the exit code for an error."""
    kinds: tuple[tuple[type[BaseException], ExitCode], ...] = (
        (Cancelled, ExitCode.STOPPED),
        (DeviceError, ExitCode.DEVICE),
        (TrainingError, ExitCode.TRAINING),
        (ModelError, ExitCode.MODEL),
        (ClickSegError, ExitCode.INPUT),
        (MemoryError, ExitCode.DEVICE),
        (OSError, ExitCode.INPUT),
        (KeyboardInterrupt, ExitCode.STOPPED),
    )
    for kind, code in kinds:
        if isinstance(error, kind):
            return code
    return ExitCode.UNEXPECTED


def say(text: str) -> None:
    """Write a line for people, on stderr: stdout belongs to results."""
    typer.echo(text, err=True)


@contextmanager
def progress_bar(*, transient: bool = True) -> Iterator[Progress]:
    """Yield a progress display on stderr; plain and quiet where that is a file."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=transient,
        disable=not sys.stderr.isatty(),
    ) as progress:
        yield progress


@contextmanager
def download_bar() -> Iterator[Callable[[int, int], object]]:
    """Yield a function for bytes done and in total, shown as a bar on stderr."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TransferSpeedColumn,
    )

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as progress:
        task = progress.add_task("Downloading", total=None, visible=False)

        def show(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total or None, visible=True)

        yield show


ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME|FILE",
        help="A name from `napari-clickseg models`, a .safetensors or .pth file, or "
        "file.py:function, which builds a network of your own.",
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:N or mps."),
]
PrecisionOption = Annotated[
    str,
    typer.Option(metavar="NAME", help="auto, float32, bfloat16 or float16."),
]


def check_choice(value: str, choices: tuple[str, ...], option: str) -> str:
    """Return ``value``, or stop with a usage error that lists the choices."""
    if value not in choices:
        raise typer.BadParameter(
            f"{value!r} is not one of {', '.join(choices)}.", param_hint=option
        )
    return value
