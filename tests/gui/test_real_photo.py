"""The bundled model on a real photo in a real window: labels, and how long it takes."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt
from tests.gui.hands import CTRL, SHIFT, Stopwatch

from napari_clickseg import ClickSession
from napari_clickseg.models.registry import get_info
from napari_clickseg.session import STARTER

pytestmark = [
    pytest.mark.gui,
    pytest.mark.skipif(
        not get_info(STARTER).path.is_file(), reason="the starter model is not there"
    ),
]

#: A busy machine is no fault of the plugin: the best of so many tries counts.
TRIES = 4


@pytest.fixture
def photo(request):
    """A photo of the GrabCut benchmark, or the cat that scikit-image has."""
    try:
        folder = request.getfixturevalue("data_dir")
    except pytest.skip.Exception:
        from skimage import data

        return data.chelsea()
    import imageio.v3 as iio

    return iio.imread(sorted((folder / "eval/grabcut/images").iterdir())[0])[..., :3]


def test_labels_are_those_of_the_same_clicks_without_a_window(open_dock, photo):
    hands = open_dock(photo)
    ui = hands.ui
    ui.first_look = "published"
    ui.set_model(precision="float32")
    height, width = photo.shape[:2]
    hands.click(height * 0.5, width * 0.5)
    hands.settle()
    hands.click(height * 0.1, width * 0.1, SHIFT)
    hands.settle()
    hands.click(height * 0.7, width * 0.5)
    hands.settle()
    hands.drag(ui.clicks[2].position, (height * 0.6, width * 0.55))
    hands.settle()
    moved = ui.clicks
    hands.press(Qt.Key.Key_Z, CTRL)
    hands.settle()
    assert ui.clicks != moved
    hands.press(Qt.Key.Key_Z, CTRL | SHIFT)
    hands.settle()
    assert ui.clicks == moved
    assert [c.positive for c in moved] == [True, False, True]
    hands.press(Qt.Key.Key_N)
    hands.settle()
    labels = np.asarray(ui.objects_layer.data)
    assert labels.max() == 1

    session = ClickSession(settings=ui.session.settings, precision="float32")
    session.set_image(photo)
    session.add_click(moved[0].position)
    session.add_click(moved[1].position, False)
    session.add_click(moved[2].position)
    session.commit()
    # Both looks at once, or one after the other: the last digits may differ.
    assert (labels != session.labels).mean() < 1e-4


def test_the_window_never_freezes(open_dock, photo, record_property):
    hands = open_dock(photo)
    height, width = photo.shape[:2]
    # The first time the mouse comes, torch is imported and the model is loaded.
    with Stopwatch() as loading:
        hands.hover(height * 0.4, width * 0.4)
        hands.settle()
    found = {"loading": loading.longest}
    parts = {}
    steps = {
        "click": lambda i: hands.click(height * 0.5, width * (0.4 + 0.05 * i)),
        "drag": lambda i: hands.drag(
            hands.ui.clicks[-1].position, (height * (0.55 + 0.04 * i), width * 0.5)
        ),
        "undo": lambda _: hands.press(Qt.Key.Key_Z, CTRL),
        "commit": lambda _: hands.press(Qt.Key.Key_N),
    }
    for attempt in range(TRIES):
        for name, step in steps.items():
            with Stopwatch() as watch:
                step(attempt)
                hands.settle()
                hands.pause(0.1)
            found[name] = min(found.get(name, np.inf), watch.longest)
            part = watch.longest / watch.limit
            parts[name] = min(parts.get(name, np.inf), part)
    for name, gap in found.items():
        record_property(name, round(gap))
    print("longest gaps in ms:", {name: round(gap) for name, gap in found.items()})
    assert max(parts.values()) < 1, found
