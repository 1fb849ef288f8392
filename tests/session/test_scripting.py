"""What was done, as Python: the script is run, and gives the same."""

from __future__ import annotations

import numpy as np
import pytest
from tests.session.fakes import FakePredictor
from tests.session.test_replay import looked_elsewhere, painted, reopened, undone

from napari_clickseg.boxes import Box
from napari_clickseg.errors import SessionError
from napari_clickseg.session import ClickSession, answering


@pytest.fixture
def run(monkeypatch):
    """Run a script whose models are fakes."""
    made = answering.Answering.__init__

    def with_fake(self, *args, predictor=None, **options):
        made(self, *args, predictor=FakePredictor(), **options)

    def run(script, image):
        monkeypatch.setattr(answering.Answering, "__init__", with_fake)
        names = {"image": image}
        exec(compile(script, "script", "exec"), names)
        return names["s"]

    return run


@pytest.mark.parametrize("work", [reopened, painted, undone, looked_elsewhere])
def test_the_script_does_the_same(work, session, run):
    labels = np.zeros((40, 50), int)
    labels[36:, 46:] = 7
    session.set_image(session.image, labels=labels)
    work(session)
    again = run(session.as_python(), session.image.array)
    np.testing.assert_array_equal(again.labels, session.labels)
    np.testing.assert_array_equal(again.mask, session.mask)
    assert [c.position for c in again.clicks] == [c.position for c in session.clicks]
    assert again.settings == session.settings


def test_the_colors_of_channels_are_kept(session, run, tmp_path):
    image = np.random.default_rng(0).integers(0, 90, (40, 50, 2), np.uint8)
    tables = [[(0, 0, 0), (0, 1, 0)], [(0.5, 0, 1), (1, 0, 0), (1, 1, 0)]]
    session.set_image(image, contrast=(0, 90), gamma=(1, 2), colormaps=tables)
    session.add_click((10, 10))
    session.commit()
    seen = session.image.window(Box(0, 0, 40, 50))
    again = run(session.as_python(), image)
    session.save(tmp_path / "x.clickseg")
    loaded = ClickSession.load(tmp_path / "x.clickseg", image)
    for other in (again, loaded):
        assert other.image.describe() == session.image.describe()
        np.testing.assert_array_equal(other.image.window(Box(0, 0, 40, 50)), seen)


def test_it_reads_well(session):
    session.add_click((10, 10))
    session.add_click((12.5, 14), positive=False, predict=False)
    session.undo()
    session.commit()
    script = session.as_python("viewer.layers['cells'].data")
    assert script.endswith(
        "s.add_click((10.0, 10.0), settle=True)\ns.commit(1, overlap='keep')\n"
    )
    assert "s.set_image(viewer.layers['cells'].data)" in script


def test_maps_are_not_written():
    session = ClickSession(task="depth")
    session.set_image(np.zeros((8, 8), np.uint8))
    with pytest.raises(SessionError, match="Only sessions for objects"):
        session.as_python()
