"""Make the pictures of the documentation, of the real plugin in a real window.

Without a display: ``xvfb-run -s "-screen 0 1600x1000x24" python
scripts/make_screenshots.py``. Writes into ``docs/images``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Nothing of the user's: neither settings nor saved work.
_FOLDER = tempfile.mkdtemp(prefix="clickseg-screenshots-")
os.environ["NAPARI_CONFIG"] = str(Path(_FOLDER) / "settings.yaml")
os.environ.setdefault("NAPARI_CLICKSEG_CACHE", _FOLDER)

import napari  # noqa: E402
import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402
from qtpy.QtCore import QEventLoop, QTimer  # noqa: E402
from scipy import ndimage  # noqa: E402

from napari_clickseg.samples import draw_fluorescence  # noqa: E402

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
Place = tuple[float, float]


def wait(until: Callable[[], bool] = lambda: False, limit: float = 60.0) -> None:
    """Let the event loop run."""
    loop, timer, over = QEventLoop(), QTimer(), QTimer()
    timer.setInterval(10)
    timer.timeout.connect(lambda: loop.quit() if until() else None)
    over.setSingleShot(True)
    over.timeout.connect(loop.quit)
    timer.start()
    over.start(int(limit * 1000))
    loop.exec()
    timer.stop()


class Window:
    """A napari window with the dock in it."""

    def __init__(
        self,
        sample: str | tuple[str, Any],
        size: tuple[int, int] = (1320, 840),
        dock: str = "Click segmentation",
    ) -> None:
        self.viewer = napari.Viewer()
        self.viewer.window._qt_window.resize(*size)  # noqa: SLF001
        if isinstance(sample, str):
            self.viewer.open_sample("napari-clickseg", sample)
        else:
            self.viewer.add_image(sample[1], name=sample[0])
        _dock, self.dock = self.viewer.window.add_plugin_dock_widget(
            "napari-clickseg", dock
        )
        self.ui = getattr(self.dock, "clicks", None)
        wait(limit=0.5)

    def settle(self) -> None:
        """Wait until the answer is on screen."""
        ui = self.ui
        wait(lambda: not ui._channel.pending and not ui.busy[0])  # noqa: SLF001
        wait(limit=0.2)

    def click(self, place: Place, positive: bool = True) -> None:
        """Click into the image."""
        if positive != self.ui.positive:
            self.ui.act("toggle_sign")
        self.ui.points.layer.add(place)
        self.settle()
        if not self.ui.positive:
            self.ui.act("toggle_sign")

    def commit(self) -> None:
        """Press N."""
        self.ui.act("commit")
        self.settle()

    def look(self, center: Place, zoom: float) -> None:
        """Move the camera."""
        camera = self.viewer.scene.camera
        camera.center = (0, *center)
        camera.zoom = zoom
        wait(limit=0.3)

    def save(self, name: str) -> None:
        """Take the picture."""
        IMAGES.mkdir(parents=True, exist_ok=True)
        path = IMAGES / f"{name}.png"
        picture = self.viewer.screenshot(canvas_only=False, flash=False)
        # A palette is enough for the eye, and half the bytes.
        Image.fromarray(picture[..., :3]).quantize(256, kmeans=1).save(
            path, optimize=True
        )
        print(path, f"{path.stat().st_size / 1000:.0f} kB")

    def close(self) -> None:
        """Close the window."""
        self.viewer.close()
        wait(limit=0.2)


def centres(window: Window, count: int) -> Sequence[Place]:
    """Return the middles of some objects of a drawn sample, from the middle out."""
    objects = window.ui.image_layer.metadata["objects"]
    places = ndimage.center_of_mass(objects > 0, objects, range(1, objects.max() + 1))
    height, width = objects.shape
    places.sort(key=lambda p: (p[0] - height / 2) ** 2 + (p[1] - width / 2) ** 2)
    return places[:count]


def fluorescence() -> None:
    """Click nuclei: several objects, and one in work."""
    window = Window("fluorescence")
    places = centres(window, 9)
    window.save("dock-open")
    for place in places[:8]:
        window.click(place)
        window.commit()
    window.click(places[8])
    window.click((places[8][0] - 24, places[8][1] + 10), positive=False)
    window.save("dock")
    for name, fold in window.dock.folds.items():
        if name != "refinement":  # has a picture of its own
            fold.expand(animate=False)
    wait(limit=0.3)
    window.save("dock-unfolded")
    window.close()


def killed() -> None:
    """Work, and be killed: what :func:`resume` finds."""
    window = Window("fluorescence")
    places = centres(window, 8)
    for place in places[:7]:
        window.click(place)
        window.commit()
    window.click(places[7])
    os.kill(os.getpid(), signal.SIGKILL)


def resume() -> None:
    """Take up what was begun, after a crash."""
    done = subprocess.run([sys.executable, __file__, "killed"], check=False)
    assert done.returncode == -signal.SIGKILL, "it was not killed at its work"
    window = Window("fluorescence")
    wait(lambda: bool(window.ui.resume_text))
    assert window.ui.resume_text, "nothing is offered"
    wait(limit=0.5)
    window.save("dock-resume")
    window.dock.resume.click()
    window.settle()
    assert len(window.ui.session.objects) == 7
    assert len(window.ui.clicks) == 1
    window.close()


def propose() -> None:
    """Have nuclei proposed, all at once."""
    window = Window("fluorescence")
    window.dock.folds["objects"].expand(animate=False)
    ui = window.ui
    ui.act("propose")
    wait(lambda: not ui.proposing.running, 300)
    window.settle()
    window.save("dock-propose")
    window.close()


def phase_contrast() -> None:
    """Click cells in phase contrast, with one correction."""
    window = Window("phase_contrast")
    for place in centres(window, 9)[:8]:
        window.click(place)
        window.commit()
    row, col = centres(window, 9)[8]
    window.click((row, col))
    window.click((row + 6, col))
    window.save("phase-contrast")
    window.close()


def photo() -> None:
    """Click into the eye of a cat."""
    window = Window("photo")
    window.click((103, 165))
    window.save("photo")
    window.close()


def large() -> None:
    """Click nuclei in an image of 65,536 x 65,536 pixels that is never there whole."""
    import re

    # The page's own image.
    page = (IMAGES.parent / "large-images.md").read_text("utf-8")
    names: dict[str, Any] = {}
    exec(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0], names)
    window = Window(("slide", names["levels"]))
    window.ui.image_layer.contrast_limits = (200, 2700)
    corner = 40_960, 24_576
    middle = 520.0
    window.look((corner[0] + middle, corner[1] + middle), 2.3)
    objects = draw_fluorescence((1_024, 1_024), count=200)[1]
    found = ndimage.center_of_mass(objects > 0, objects, range(1, objects.max() + 1))
    found.sort(key=lambda place: abs(place[0] - middle) + abs(place[1] - middle))
    near = [p for p in found if abs(p[0] - middle) < 145 and abs(p[1] - middle) < 100]
    for row, col in near[:-1]:
        window.click((corner[0] + row, corner[1] + col))
        window.commit()
    window.click((corner[0] + near[-1][0], corner[1] + near[-1][1]))
    window.save("large-field")
    window.commit()
    # From afar: the status line says where the model looked.
    window.look((corner[0] + middle, corner[1] + middle), 0.12)
    row, col = next(p for p in found if p not in near)
    window.click((corner[0] + row, corner[1] + col))
    window.save("large-from-afar")
    window.close()


def refinement() -> None:
    """Refine an answer, with the circle of a click's attention radius."""
    window = Window("photo")
    fold = window.dock.folds["refinement"]
    fold.expand(animate=False)
    window.ui.choose_option("refinement.method", "g-brs-bmconv")
    window.click((103, 165))
    window.ui.add_click((136, 188), positive=False, radius=22)
    window.settle()
    window.save("dock-refinement")
    fold.collapse(animate=False)
    window.ui.reset_choices()
    window.close()


def prepare() -> None:
    """Prepare images in the background, with one on screen that is prepared."""
    from napari_clickseg.models.registry import list_models

    once = [
        info.name
        for info in list_models("segmentation")
        if info.bundled and info.architecture.startswith("interformer")
    ]
    model = os.environ.get("CLICKSEG_MODEL", *once[:1])
    if model is None:
        print("Set CLICKSEG_MODEL to a model that encodes once.")
        return
    window = Window("fluorescence")
    window.ui.set_model(model)
    fold = window.dock.folds["prepare"]
    fold.expand(animate=False)
    window.ui.prepare()
    camera = window.viewer.scene.camera
    center, zoom = camera.center[-2:], camera.zoom
    window.viewer.open_sample("napari-clickseg", "phase_contrast")
    window.viewer.open_sample("napari-clickseg", "photo")
    *others, first = window.ui.images()
    for layer in others:  # they wait below
        layer.visible = False
    window.ui.choose(first)
    window.ui.activate()
    window.look(center, zoom)
    window.settle()
    window.ui.act("prepare_all")
    preparing = window.ui.preparing
    wait(lambda: "(2 of" in getattr(preparing.progress, "text", ""))
    wait(lambda: (preparing.progress.part or 0) > 0.4)
    window.ui.say("Click inside an object.")
    window.save("dock-prepare")
    preparing.cancel()
    window.settle()
    fold.collapse(animate=False)
    window.close()


def semantic() -> None:
    """Classify nuclei, and correct what is wrong."""
    window = Window("fluorescence", dock="Semantic classes")
    ui = window.ui
    ui.act("start_from_model")
    window.settle()
    ui.choose_class(3)
    places = centres(window, 3)
    row, col = places[0]
    ui.choose_class(2)
    window.click((row, col))
    window.look((row, col), 2.2)
    window.dock.folds["refinement"].expand(animate=False)
    wait(limit=0.3)
    window.save("dock-semantic")
    window.close()


def matting() -> None:
    """Click a person, matte, correct alpha."""
    window = Window("portrait", dock="Matting")
    for place, positive in (((110, 225), True), ((50, 225), True), ((215, 225), False)):
        window.click(place, positive)
    window.ui.set_band(14)
    window.settle()
    window.save("dock-matting-object")
    window.ui.act("matte")
    window.settle()
    window.ui.choose_value(0.0)
    window.click((188, 215))
    window.dock.folds["view"].expand(animate=False)
    wait(limit=0.3)
    window.save("dock-matting")
    window.ui.set_band(None)
    window.close()


def depth() -> None:
    """Estimate the depth of a room, correct it, and look at it from the side."""
    window = Window("room", dock="Depth")
    ui = window.ui
    truth = ui.image_layer.metadata["depth"]
    ui.act("start_from_model")
    window.settle()
    for place in ((300, 390), (60, 40), (200, 250)):
        ui.choose_value(round(float(truth[place]), 2))
        window.click(place)
    window.save("dock-depth")
    ui.act("surface")
    window.settle()
    window.save("dock-surface")
    window.close()


def propagate() -> None:
    """Carry a nucleus through a stack."""
    window = Window("nuclei_stack", (1320, 1000))
    ui, viewer = window.ui, window.viewer
    fold = window.dock.folds["propagate"]
    fold.expand(animate=False)
    viewer.dims.set_current_step(0, 5)
    wait(limit=0.5)
    objects = ui.image_layer.metadata["objects"]
    for number in (4, 7):
        window.click((5.0, *ndimage.center_of_mass(objects[5] == number)))
        ui.act("propagate")
        wait(lambda: not ui.propagating.running, 600)
        window.settle()
    viewer.dims.set_current_step(0, 7)
    window.save("dock-propagate")
    window.close()


def finetune() -> None:
    """Learn from nuclei, with the dock before, meanwhile and afterwards."""
    window = Window("fluorescence", (1320, 1000), dock="Finetune")
    viewer, dock = window.viewer, window.dock
    finetuning = dock.finetuning
    image = viewer.layers[0]
    viewer.add_labels(
        image.metadata["objects"], name=f"Objects of {image.name}", opacity=0.45
    )
    finetuning.choose(name="my-nuclei", device="cpu")
    steps = os.environ.get("CLICKSEG_STEPS")
    if steps:
        finetuning.more = {"steps": int(steps)}
    finetuning.check()
    wait(lambda: finetuning.forecast is not None, 600)
    wait(limit=0.3)
    window.save("dock-finetune-checked")
    finetuning.start()
    checks = 1 if steps else 2
    wait(lambda: len(finetuning.curve.validations) >= checks, 3600)
    last = finetuning.curve.validations[-1].step
    wait(lambda: finetuning.curve.losses[-1][0] > last + 4, 3600)
    wait(limit=0.5)
    window.save("dock-finetune")
    wait(lambda: finetuning.state == "done", 3600)
    dock.folds["made"].expand(animate=False)
    wait(limit=0.3)
    window.save("dock-finetune-done")
    window.close()


def objects() -> None:
    """Work through a list: proposals, a split, and labels of another program."""
    window = Window("fluorescence", (1500, 900))
    ui = window.ui
    window.viewer.window.add_plugin_dock_widget("napari-clickseg", "Objects")
    ui.act("propose")
    wait(lambda: not ui.proposing.running, 300)
    window.settle()
    labels = list(ui.objects)
    ui.classify_objects(labels[:6], "nucleus")
    ui.classify_objects(labels[6:8], "debris")
    ui.accept_objects(labels[:9])
    window.settle()
    for place in centres(window, 40)[38:]:
        if not ui.session.label_at(place):
            window.click(place)
            window.commit()
    ui.show_object(labels[9])
    window.settle()
    wait(limit=1.5)
    window.save("objects-list")
    # Two that touch, as if they had not been told apart.
    plane = ui.labels
    right, left = plane[:, 1:], plane[:, :-1]
    touching = (right != left) & (right > 0) & (left > 0)
    row, col = np.argwhere(touching)[0]
    one, other = int(left[row, col]), int(right[row, col])
    ui.merge_objects([one, other])
    window.settle()
    largest = ui.objects[one]
    box = largest.pixels.box
    middle = float(row), float(col)
    ui.draw_split(largest.label)
    window.look(middle, 4)
    line = [(box.top - 3, middle[1] + 4), middle, (box.bottom + 3, middle[1] - 4)]
    with ui._quietly():  # noqa: SLF001 - as it looks before the mouse is let go
        ui.drawings.add(np.array(line), shape_type="path")
    wait(limit=0.5)
    window.save("objects-split")
    window.close()


def take_up() -> None:
    """Correct a label of another program in its own layer."""
    window = Window("fluorescence", (1320, 840))
    ui = window.ui
    truth = ui.image_layer.metadata["objects"]
    theirs = ndimage.grey_erosion(truth, size=(7, 7)).astype("uint16")
    layer = window.viewer.add_labels(theirs, name="Labels of another program")
    layer.opacity = 0.45
    window.dock.folds["objects"].expand(animate=False)
    ui.activate()
    ui.choose_take_up(layer)
    window.settle()
    place = centres(window, 3)[0]
    window.look(place, 4)
    window.click(place)
    window.click((place[0] + 8, place[1] + 2))
    window.save("objects-take-up")
    window.close()


# The last one leaves its sections open, which is remembered.
PICTURES = {
    "finetune": finetune,
    "semantic": semantic,
    "matting": matting,
    "depth": depth,
    "photo": photo,
    "large": large,
    "refinement": refinement,
    "prepare": prepare,
    "propose": propose,
    "resume": resume,
    "objects": objects,
    "take_up": take_up,
    "propagate": propagate,
    "phase_contrast": phase_contrast,
    "fluorescence": fluorescence,
}


def main(names: Sequence[str]) -> None:
    """Make the pictures named, or all of them."""
    for name in names or PICTURES:
        killed() if name == "killed" else PICTURES[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
