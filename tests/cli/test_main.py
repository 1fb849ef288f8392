"""Exit codes, errors as sentences, and what starting up costs."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from napari_clickseg import __version__, errors
from napari_clickseg.cli import main
from napari_clickseg.cli import main as entry_point
from napari_clickseg.cli.common import ExitCode, exit_code_of

if TYPE_CHECKING:
    from collections.abc import Callable

COMMANDS = (
    "demo",
    "segment",
    "classes",
    "matte",
    "depth",
    "models",
    "train",
    "evaluate",
    "tune-refinement",
    "convert",
)


@pytest.mark.parametrize(
    "code",
    [
        "from napari_clickseg.cli import main; main(['--help'])",
        *(
            f"from napari_clickseg.cli import main; main(['{command}', '--help'])"
            for command in COMMANDS
        ),
        "from napari_clickseg.cli import main; main(['models', 'list'])",
        "from napari_clickseg.cli import main; main(['models', 'list', '--json'])",
    ],
)
def test_help_and_lists_are_light(code: str) -> None:
    """Neither torch nor napari is loaded, so that the answer comes at once."""
    script = f"""
import sys
try:
    {code}
except SystemExit as end:
    assert not end.code, end.code
heavy = {{"torch", "napari", "scipy", "skimage", "qtpy", "matplotlib"}}
print("HEAVY", *heavy & set(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["HEAVY"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_by_examples(run: Callable[..., Any], command: str) -> None:
    ran = run(command, "--help")
    assert ran.code == ExitCode.OK
    assert f"napari-clickseg {command}" in ran.out
    assert "Examples" in ran.out


def test_help_tells_the_exit_codes(run: Callable[..., Any]) -> None:
    text = " ".join(run("--help").out.split())
    for code in ExitCode:
        assert f" {code.value} " in text


def test_version(run: Callable[..., Any]) -> None:
    assert run("--version").out.strip() == f"napari-clickseg {__version__}"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ImageError("x"), 3),
        (errors.ClickError("x"), 3),
        (errors.MaskError("x"), 3),
        (errors.DatasetError("x"), 3),
        (errors.SessionError("x"), 3),
        (FileNotFoundError(2, "No such file", "x"), 3),
        (errors.UnknownModelError("x"), 4),
        (errors.CheckpointError("x"), 4),
        (errors.FetchError("x"), 4),
        (errors.DeviceError("x"), 5),
        (MemoryError(), 5),
        (errors.TrainingError("x"), 6),
        (errors.Cancelled("x"), 130),
        (KeyboardInterrupt(), 130),
        (RuntimeError("x"), 1),
    ],
)
def test_exit_codes(
    run: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
) -> None:
    """Every error ends with its code and one sentence, not with a traceback."""
    from napari_clickseg.models import registry

    def fail(task: object = None) -> None:
        raise error

    monkeypatch.setattr(registry, "list_models", fail)
    assert exit_code_of(error) == code
    ran = run("models", "list")
    assert ran.code == code
    assert "Traceback" not in ran.err
    if not isinstance(error, KeyboardInterrupt):  # typer may have spoken already
        assert "rror: " in ran.err
        debugged = run("models", "--debug", "list")
        assert debugged.code == code
        assert "Traceback" in debugged.err


@pytest.mark.parametrize(
    "arguments",
    [["no-such-command"], ["segment"], ["segment", "a.tif", "--no-such-option"]],
)
def test_wrong_usage(run: Callable[..., Any], arguments: list[str]) -> None:
    ran = run(*arguments)
    assert ran.code == ExitCode.USAGE
    assert "Usage:" in ran.err


def test_without_a_command_help_is_shown(run: Callable[..., Any]) -> None:
    ran = run()
    assert "segment" in ran.out + ran.err


def test_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "napari_clickseg.cli", "--version"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert __version__ in done.stdout


def test_entry_point_is_there() -> None:
    from importlib.metadata import entry_points

    (found,) = entry_points(group="console_scripts", name="napari-clickseg")
    assert found.load() is entry_point is main
