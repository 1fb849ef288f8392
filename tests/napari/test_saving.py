"""Work is kept as it goes, and offered when the same image is opened again."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from tests.napari.conftest import discs, printed_by
from tests.session.fakes import FakePredictor

from napari_clickseg import attach, napari_layers
from napari_clickseg.models.cache import cache_folder
from napari_clickseg.session import ClickSession


@pytest.fixture
def next_day(viewer):
    """Open further viewers, as if napari had been started again."""
    opened = []

    def start(image, **keywords):
        for clicks in napari_layers._ATTACHED.pop(viewer, {}).values():
            clicks.close()
        other = ViewerModel()
        other.add_image(image, name="discs", **keywords)
        opened.append(other)
        ui = attach(other)
        ui.first_look = "published"
        return ui

    yield start
    for other in opened:
        napari_layers._ATTACHED.pop(other)["segmentation"].close()


def work(ui):
    ui.add_click((30, 35))
    ui.add_click((30, 45), positive=False)
    ui.commit()
    ui.add_click((85, 40))
    ui.commit()


def test_take_up_where_you_stopped(ui, viewer, next_day):
    work(ui)
    labels = np.array(ui.objects_layer.data)
    later = next_day(discs())
    assert later.resume_text == "Take up where you stopped: 2 objects, 1.5 clicks each"
    later.resume()
    assert later.resume_text == ""
    assert later.hint[1] == "hint"
    np.testing.assert_array_equal(later.objects_layer.data, labels)
    assert str(later.stats) == "2 objects, 1.5 clicks each"
    later.add_click((85, 115))
    assert later.commit() == 3
    later.reopen(1)
    assert [c.positive for c in later.clicks] == [True, False]


def test_another_image_is_another_work(ui, next_day):
    work(ui)
    assert next_day(discs()[::-1]).resume_text == ""


def test_who_starts_anew_is_not_asked_again(ui, next_day):
    work(ui)
    later = next_day(discs())
    assert later.resume_text
    later.add_click((85, 115))
    assert later.resume_text == ""


def test_nothing_is_kept_when_it_is_not_wanted(ui):
    ui.autosaves = False
    work(ui)
    assert not list(cache_folder().glob("sessions/*"))


def test_damaged_files_are_no_trouble(ui, next_day):
    work(ui)
    [path] = cache_folder().glob("sessions/*.journal")
    path.write_bytes(b"not a session")
    later = next_day(discs())
    assert later.resume_text == ""
    assert later.hint[1] == "hint"
    later.add_click((30, 35))
    assert later.commit() == 1


def test_a_folder_that_cannot_be_written_is_told(ui, monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("NAPARI_CLICKSEG_CACHE", str(blocked))
    ui.points.layer.add([30, 35])
    assert ui.hint[1] == "error"
    assert "not on disk" in ui.hint[0]
    ui.act("commit")
    assert ui.objects_layer.data[30, 35] == 1, "the work itself goes on"
    assert ui.hint[1] == "error", "it is told as long as it lasts"
    blocked.unlink()
    ui.points.layer.add([30, 120])
    assert ui.hint[1] == "hint"


def test_clicks_in_work_come_back_and_can_be_undone(ui, next_day):
    work(ui)
    ui.add_click((30, 120))
    ui.add_click((30, 125), positive=False)
    mask = ui.mask
    later = next_day(discs())
    assert later.resume_text.endswith("an object in work (2 clicks)")
    later.resume()
    np.testing.assert_array_equal(later.mask_layer.data > 0, mask)
    assert len(later.points.layer.data) == 2
    later.undo()
    assert len(later.clicks) == 1
    for _ in range(2):
        later.undo()
    assert later.objects_layer.data.max() == 1
    later.commit()
    third = next_day(discs())
    assert third.resume_text == "", "the other viewer is at work on it"
    later.close()
    assert next_day(discs()).resume_text


def test_planes_are_kept_one_by_one(viewer, attach_to, next_day):
    stack = np.stack([discs(), discs()[::-1]])
    ui = attach_to(stack, name="discs")
    ui.first_look = "published"
    for plane, place in ((0, (30, 35)), (1, (85, 120))):
        viewer.dims.set_current_step(0, plane)
        ui.add_click(place)
        ui.commit()
    labels = np.array(ui.objects_layer.data)
    later = next_day(stack)
    other = later.viewer
    for plane in (0, 1):
        other.dims.set_current_step(0, plane)
        assert "1 object" in later.resume_text
        later.resume()
    np.testing.assert_array_equal(later.objects_layer.data, labels)
    assert len(later.stats.objects) == 2


def test_save_to_a_file(ui, tmp_path):
    from napari_clickseg import ClickSession

    work(ui)
    path = ui.save(tmp_path / "mine.clickseg")
    session = ClickSession.load(path, discs())
    np.testing.assert_array_equal(session.labels, ui.objects_layer.data)


def test_objects_go_out_and_come_back(ui, tmp_path):
    work(ui)
    labels = np.array(ui.objects_layer.data)
    ui.export_objects_to(str(tmp_path / "a.geojson"))
    assert ui.hint == (f"Objects written to {tmp_path / 'a.geojson'}.", "hint")
    ui.delete(1)
    ui.import_objects_from(str(tmp_path / "a.geojson"))
    np.testing.assert_array_equal(ui.objects_layer.data, labels)
    ui.undo()
    assert ui.objects_layer.data[30, 35] == 0
    ui.import_objects_from(str(tmp_path / "none.json"))
    assert ui.hint[1] == "error"
    ui.export_objects_to(str(tmp_path / "a.bmp"))
    assert "end the name in" in ui.hint[0]


def test_copy_as_python(ui):
    work(ui)
    copied = []
    ui.copied.connect(copied.append)
    ui.act("copy_as_python")
    [script] = copied
    assert "s.set_image(viewer.layers['discs'].data" in script
    assert script == ui.as_python()
    assert script.count("s.add_click(") == 3


LEAVE = """
import weakref
import numpy as np
import napari_clickseg as cs
from napari_clickseg.session import journal

# A slow disk: the edits are not forced to it yet.
journal.SLOW_SYNC, journal.SYNC_EVERY = -1.0, 1e9

class Window:
    pass

window, session = Window(), cs.ClickSession()
weakref.finalize(window, session.stop_journal)  # as a viewer's
image = np.zeros((60, 80), np.uint8)
image[20:40, 30:60] = 200
session.set_image(image)
session.keep_journal()
session.add_click((30, 45))
print("kept" if session.journal.path.is_file() else "lost")
"""


def test_python_ends_quietly_while_a_viewer_is_open(tmp_path):
    assert "kept" in printed_by(LEAVE, tmp_path)


def test_planes_that_look_alike_have_journals_of_their_own(attach_to, viewer, next_day):
    stack = np.stack([discs()] * 3)
    ui = attach_to(stack, name="discs")
    ui.first_look = "published"
    viewer.dims.set_current_step(0, 1)
    work(ui)
    later = next_day(stack)
    for index in (0, 2):
        later.viewer.dims.set_current_step(0, index)
        assert later.resume_text == ""
    later.viewer.dims.set_current_step(0, 1)
    assert later.resume_text
    later.resume()
    assert set(later.objects) == {1, 2}
    later.add_click((85, 115))
    assert len(list(cache_folder().glob("sessions/*-0-1-segmentation.*"))) == 1


def test_a_journal_of_a_script_is_offered_for_its_plane(viewer, next_day):
    session = ClickSession(predictor=FakePredictor())
    session.set_image(discs())
    session.keep_journal()
    session.add_click((30, 35))
    session.commit()
    session.stop_journal()
    later = next_day(np.stack([discs()] * 2))
    assert "1 object" in later.resume_text
