"""``napari-clickseg demo``: the main job, in a window or without one."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_clickseg.cli.common import (
    DeviceOption,
    ModelOption,
    PrecisionOption,
    check_choice,
    say,
)
from napari_clickseg.clicks import Click
from napari_clickseg.models.registry import STARTER

if TYPE_CHECKING:
    from napari_clickseg.cli.clicks import ObjectClicks

#: Sample to the clicks of the demo, object by object.
CLICKS: dict[str, ObjectClicks] = {
    "astronaut": {1: [Click(120, 220), Click(260, 170, positive=False)]},
    "photo": {1: [Click(150, 230), Click(120, 410, positive=False)]},
    "fluorescence": {
        1: [Click(231, 200)],
        2: [Click(266, 190)],
        3: [Click(460, 244)],
    },
    "phase_contrast": {
        1: [Click(398, 451)],
        2: [Click(295, 286)],
        3: [Click(225, 286)],
    },
}
SAMPLES = tuple(CLICKS)
_OPEN_A_WINDOW = "from qtpy.QtWidgets import QApplication; QApplication([])"


def demo(
    sample: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="astronaut, photo, fluorescence or phase_contrast; none is fetched.",
        ),
    ] = "astronaut",
    headless: Annotated[
        bool, typer.Option("--headless", help="Open no window even if one could.")
    ] = False,
    clicks: Annotated[
        bool, typer.Option(help="Make a few clicks, so that there is something to see.")
    ] = True,
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Where the headless demo writes its files."),
    ] = Path("clickseg-demo"),
    model: ModelOption = STARTER,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    close_after: Annotated[
        float | None, typer.Option(hidden=True, help="Seconds; for tests.")
    ] = None,
) -> None:
    """Show what it does: napari with a sample image, the dock and a few clicks.

    Where there is no display it says so, makes the same clicks without a window,
    and writes a picture, a label TIFF and one line of timing.

    [bold]Examples[/]
    napari-clickseg demo
    napari-clickseg demo --sample phase_contrast
    napari-clickseg demo --headless --out pictures
    """
    check_choice(sample, SAMPLES, "--sample")
    reason = "" if headless else why_no_window()
    if not headless and not reason:
        open_window(sample, clicks, model, device, precision, close_after)
        return
    if reason:
        say(f"{reason} The same clicks are made without a window.")
    run_headless(sample, out, model, device, precision)


def why_no_window() -> str:
    """Return a sentence that says why no window can be opened, or nothing."""
    if sys.platform.startswith(("linux", "freebsd")):
        if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            return "There is no display (DISPLAY and WAYLAND_DISPLAY are not set)."
        if os.environ.get("QT_QPA_PLATFORM") in {"offscreen", "minimal"}:
            return "There is no display (QT_QPA_PLATFORM asks for none)."
    bindings = ("PyQt6", "PySide6", "PyQt5", "PySide2")
    if not any(find_spec(name) for name in bindings):
        return (
            "There is no window toolkit (Qt): pip install 'napari-clickseg[all]' "
            "brings one."
        )
    # Qt ends the process when it cannot reach the display or misses a system
    # library, so another process tries first.
    try:
        tried = subprocess.run(
            [sys.executable, "-c", _OPEN_A_WINDOW],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    except subprocess.TimeoutExpired:
        return "The display does not answer."
    if tried.returncode:
        lines = [line for line in tried.stderr.splitlines() if line.strip()]
        return f"No window can be opened ({lines[0] if lines else 'Qt gave up'})."
    return ""


def sample_image(name: str) -> tuple[Any, dict[str, Any]]:
    """Return a sample's pixels, and how napari shows them."""
    if name == "astronaut":  # ships with scikit-image; in the public domain
        from skimage import data

        return data.astronaut(), {"name": "astronaut"}
    from napari_clickseg import samples

    pixels, keywords, _ = getattr(samples, name)()[0]
    return pixels, keywords


def run_headless(
    sample: str, out: Path, model: str, device: str, precision: str
) -> None:
    """Click on a sample without a window, write files and one line of timing."""
    from napari_clickseg.cli.headless import answer_clicks, load, write_outcome
    from napari_clickseg.session import ClickSession

    pixels, keywords = sample_image(sample)
    loaded, seconds = load(model, device, precision)
    session = ClickSession(loaded)
    session.set_image(pixels, contrast=keywords.get("contrast_limits"))
    objects = CLICKS[sample]
    outcome = answer_clicks(session, objects, seconds)
    labels, overlay = out / f"{sample}-labels.tif", out / f"{sample}-overlay.png"
    write_outcome(outcome, objects, labels, overlay)
    typer.echo(f"{outcome.line} -> {labels}, {overlay}")


def open_window(
    sample: str,
    clicks: bool,
    model: str,
    device: str,
    precision: str,
    close_after: float | None = None,
) -> None:
    """Open napari with a sample and the dock; return when it is closed."""
    import napari
    from qtpy.QtCore import QTimer

    from napari_clickseg.models.registry import get_info
    from napari_clickseg.napari_layers import attach

    if not Path(model).is_file():
        get_info(model)  # complain before a window opens
    pixels, keywords = sample_image(sample)
    viewer = napari.Viewer(title="napari-clickseg demo")
    viewer.window.resize(1280, 800)
    viewer.add_image(pixels, **keywords)
    viewer.window.add_plugin_dock_widget("napari-clickseg", "Click segmentation")
    ui = attach(viewer)
    chosen = (model, device, precision)
    if chosen != (STARTER, "auto", "auto"):
        ui.set_model(*chosen)

    def click() -> None:
        # As a user would: points added to the layer of clicks. The window answers
        # while the model loads and works.
        for one in next(iter(CLICKS[sample].values())):
            if ui.points is not None:
                ui.set_sign(one.positive)
                ui.points.layer.add([[one.row, one.col]])
        ui.set_sign(True)

    if clicks:
        QTimer.singleShot(300, click)
    if close_after is not None:
        QTimer.singleShot(int(close_after * 1000), viewer.close)
    napari.run()
