"""Objects edited, drawn and taken up on real layers, without a window."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
from tests.napari.conftest import discs

from napari_clickseg.boxes import Box
from napari_clickseg.errors import ClickSegError, MaskError, SessionError
from napari_clickseg.prediction.proposing import Proposals

PLACES = ((30, 35), (30, 120), (85, 40), (85, 115))


def labels_of(ui: Any) -> np.ndarray:
    return np.asarray(ui.objects_layer.data)


def click_all(ui: Any) -> np.ndarray:
    for place in PLACES:
        ui.add_click(place)
        ui.commit()
    return labels_of(ui).copy()


def propose(ui: Any) -> None:
    labels = np.zeros(ui.image_layer.data.shape, np.int32)
    for number, (row, col) in enumerate(PLACES, start=1):
        labels[row - 5 : row + 5, col - 5 : col + 5] = number
    found = Proposals(
        Box.of_shape(labels.shape), labels, np.zeros(labels.shape, np.uint8), 10.0, "x"
    )
    ui.edit(
        lambda engine, plane, o: engine.add_proposals(plane, o, found), answer=False
    )


# -- by script -----------------------------------------------------------------------


def test_objects_are_edited_by_script(ui):
    was = click_all(ui)
    assert ui.merge([3, 4]) == 3
    np.testing.assert_array_equal(labels_of(ui), np.where(was == 4, 3, was))
    ui.undo()
    ids = ui.split(2, [(0, 120), (60, 120)])
    assert ids == (2, 5)
    np.testing.assert_array_equal(np.isin(labels_of(ui), ids), was == 2)
    ui.relabel(5, 50)
    ui.set_class([2, 50], "half")
    assert ui.classes == ("half",)
    ui.delete([2, 50])
    assert set(np.unique(labels_of(ui))) == {0, 1, 3, 4}
    for _ in range(4):
        ui.undo()
    np.testing.assert_array_equal(labels_of(ui), was)
    with pytest.raises(MaskError, match="separate"):
        ui.split(1, [(30, 35), (31, 36)])
    with pytest.raises(SessionError, match="no object 9"):
        ui.merge([1, 9])
    np.testing.assert_array_equal(labels_of(ui), was)


def test_ids_of_pieces_are_unique_over_the_planes_of_a_stack(attach_to):
    stack = np.stack([discs(), discs()])
    ui = attach_to(stack)
    ui.first_look = "published"
    ui.add_click(PLACES[0])
    assert ui.commit() == 1
    ui.viewer.dims.set_current_step(0, 1)
    ui.add_click(PLACES[0])
    assert ui.commit() == 2
    ui.viewer.dims.set_current_step(0, 0)
    assert ui.split(1, [(0, 35), (60, 35)]) == (1, 3)
    np.testing.assert_array_equal(labels_of(ui)[1] > 0, labels_of(ui)[1] == 2)


def test_a_commit_says_whose_pixels_are_shared(ui):
    ui.add_click(PLACES[0])
    ui.commit()
    before = labels_of(ui).copy()
    box = np.zeros(before.shape, bool)
    box[20:40, 20:40] = True
    ui.set_mask(box)
    ui.commit(overlap="overwrite")
    assert (labels_of(ui)[box] == 2).all()
    ui.undo()
    ui.commit(overlap="keep")
    np.testing.assert_array_equal(labels_of(ui)[before > 0], before[before > 0])


def test_the_classes_are_exported(ui, tmp_path):
    click_all(ui)
    ui.set_class([1, 2], "nucleus")
    ui.export_objects_to(str(tmp_path / "x.csv"))
    with (tmp_path / "x.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == ["nucleus", "nucleus", "", ""]
    assert int(rows[3]["area"]) == ui.objects[4].area


# -- what keys do --------------------------------------------------------------------


def test_proposals_are_decided_by_keys(ui):
    propose(ui)
    assert ui.stats.proposed == 4
    ui.act("accept")  # shows the first
    assert ui.shown_object == 1
    ui.act("accept")
    assert (ui.shown_object, ui.stats.proposed) == (2, 3)
    ui.act("reject")
    assert set(ui.objects) == {1, 3, 4}
    ui.act("accept")
    ui.act("accept")
    assert ui.stats.proposed == 0
    assert ui.shown_object is None
    ui.act("accept")
    assert "no proposal" in ui.hint[0]
    for _ in range(4):
        ui.undo()
    assert ui.stats.proposed == 4
    assert set(ui.objects) == {1, 2, 3, 4}


def test_what_has_no_object_yet(ui):
    region = ui.next_unlabelled(near=(85, 115))
    assert region.box.contains(85, 115)
    assert discs()[int(region.place[0]), int(region.place[1])] > 100
    click_all(ui)
    assert ui.next_unlabelled() is None
    ui.delete(3)
    found = ui.next_unlabelled()
    assert found.box.contains(85, 40)
    ui.act("next_unlabelled")
    assert "No object here yet" in ui.hint[0]
    ui.add_click(found.place)
    ui.commit()
    ui.act("next_unlabelled")
    assert "Nothing" in ui.hint[0]


def test_a_list_frames_what_is_chosen(ui):
    click_all(ui)
    ui.choose_selected([2, 4], show=True)
    assert ui.shown_object == 4
    layer = ui.viewer.layers["Chosen objects"]
    np.testing.assert_allclose(np.sort(layer.data[:, 0]), [30, 85], atol=1)
    assert ui.viewer.layers.selection.active is not layer
    ui.choose_selected([])
    assert len(layer.data) == 0


def test_thumbnails_show_the_object(ui):
    click_all(ui)
    made = []
    each = ui.objects[3]
    assert ui.draw_thumbnails([each], 40, made.extend)
    [(shown, pixels)] = made
    assert shown is each
    assert pixels.shape == (40, 40, 3)
    assert pixels[20, 20].min() > 180
    assert pixels[1, 1].max() < 60
    assert (pixels == (30, 144, 255)).all(axis=2).sum() > 40  # its outline


# -- what is drawn -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("path", [(22, 30), (30, 38), (38, 32)]),
        ("line", [(24, 30), (36, 40)]),
        ("rectangle", [(14, 19), (14, 51), (46, 51), (46, 19)]),
        ("polygon", [(16, 22), (16, 48), (44, 48), (44, 22)]),
        ("ellipse", [(15, 20), (15, 50), (45, 50), (45, 20)]),
    ],
)
def test_a_shape_becomes_a_wish_and_disappears(ui, kind, data):
    ui.choose_tool("box")
    ui.drawings.add(np.array(data, float), shape_type=kind)
    assert len(ui.drawings.data) == 0
    assert ui.mask[30, 35]
    assert not ui.mask[85, 115]
    assert len(ui.clicks) == {"path": 2, "line": 1, "rectangle": 1}.get(kind, 0)
    assert np.asarray(ui.mask_layer.data).any()
    ui.undo()
    assert not ui.mask.any()
    assert not ui.can_undo
    ui.redo()
    ui.commit()
    assert labels_of(ui)[30, 35] == 1


def test_what_is_drawn_takes_away(ui):
    ui.add_click(PLACES[0])
    ui.set_sign(False)
    ui.choose_tool("polygon")
    corners = np.array([(15, 20), (15, 35), (46, 35), (46, 20)], float)
    ui.drawings.add(corners, shape_type="polygon")
    assert not ui.mask[30, 25]
    assert ui.mask[30, 42]
    ui.choose_tool("scribble")
    ui.drawings.add(np.array([(24, 42), (36, 42)], float), shape_type="path")
    assert not ui.mask[30, 42]
    assert [c.positive for c in ui.clicks] == [True, False]


def test_tools_follow_the_layers(ui):
    ui.choose_tool("scribble")
    layer = ui.drawings
    assert ui.viewer.layers.selection.active is layer
    assert str(layer.mode) == "add_path"
    ui.set_sign(False)
    ui.activate()  # as the dock does after the sign is chosen
    assert ui.viewer.layers.selection.active is layer
    ui.viewer.layers.remove(layer)
    assert ui.tool == "click"
    assert ui.drawings is None
    ui.choose_tool("box")
    assert ui.drawings is not layer
    ui.choose_tool("nonsense")
    assert "no tool" in ui.hint[0]


def test_a_line_cuts_the_object_it_was_asked_for(ui):
    was = click_all(ui)
    ui.draw_split(4)
    ui.drawings.add(np.array([(60, 115), (110, 116)], float), shape_type="path")
    assert ui.tool == "click"
    assert set(ui.objects) == {1, 2, 3, 4, 5}
    np.testing.assert_array_equal(np.isin(labels_of(ui), (4, 5)), was == 4)
    ui.undo()
    np.testing.assert_array_equal(labels_of(ui), was)


def test_a_stack_is_drawn_on_where_it_is_shown(attach_to):
    ui = attach_to(np.stack([np.zeros_like(discs()), discs()]), scale=(3, 0.5, 0.5))
    ui.first_look = "published"
    ui.viewer.dims.set_current_step(0, 1)
    ui.choose_tool("scribble")
    line = np.array([(1, 24, 30), (1, 36, 40)], float)
    ui.drawings.add(line, shape_type="path")
    assert ui.mask[30, 35]
    ui.commit()
    assert not labels_of(ui)[0].any()


# -- objects of other layers ---------------------------------------------------------


def foreign(dtype: Any = np.uint16) -> np.ndarray:
    labels = np.zeros(discs().shape, dtype)
    labels[22:38, 27:43] = 70
    labels[77:93, 107:123] = 9
    return labels


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64, np.uint32])
def test_corrected_in_its_own_layer(ui, dtype):
    layer = ui.viewer.add_labels(foreign(dtype), name="theirs")
    ui.take_up_from("theirs")
    assert ui.objects_layer is layer
    assert set(ui.objects) == {9, 70}
    ui.points.layer.add((30, 35))  # a click on the canvas
    assert ui.session.opened_label == 70
    assert ui.clicks == ()
    assert ui.mask[22:38, 27:43].all()
    ui.points.layer.add((30, 35))  # and one that corrects
    assert len(ui.clicks) == 1
    ui.commit()
    now = np.asarray(layer.data)
    assert now.dtype == dtype
    disc = discs() > 100
    half = np.indices(disc.shape)[1] < 78
    np.testing.assert_array_equal(now == 70, (disc & half & (now == 70)))
    assert (now[18:43, 23:48] == 70).sum() > 500
    np.testing.assert_array_equal(now == 9, foreign() == 9)
    while ui.can_undo:
        ui.undo()
    np.testing.assert_array_equal(np.asarray(layer.data), foreign())


@pytest.mark.parametrize("policy", ["overwrite", "probability"])
def test_no_other_object_of_that_layer_loses_a_pixel(ui, policy):
    labels = foreign()
    labels[22:38, 43:46] = 5  # a part of the disc is another's
    layer = ui.viewer.add_labels(labels.copy(), name="theirs")
    ui.overlap = policy
    ui.take_up_from(layer)
    ui.reopen_at((30, 35))
    ui.add_click((30, 35))
    assert ui.mask[30, 44]
    ui.commit()
    np.testing.assert_array_equal(np.asarray(layer.data) == 5, labels == 5)


def test_a_click_beside_objects_begins_a_new_one_there(ui):
    layer = ui.viewer.add_labels(foreign(), name="theirs")
    ui.take_up_from(layer)
    ui.points.layer.add((30, 120))
    ui.commit()
    assert np.asarray(layer.data)[30, 120] == 71
    ui.take_up_from(None)
    ui.points.layer.add((30, 35))
    assert ui.session.opened_label is None
    assert len(ui.clicks) == 1


def test_what_was_clicked_before_stays_in_its_layer(ui):
    ui.add_click((85, 40))
    ui.commit()
    ours = ui.objects_layer
    before = np.asarray(ours.data).copy()
    layer = ui.viewer.add_labels(foreign(), name="theirs")
    ui.take_up_from(layer)
    # no undo leads from the other layer's objects back into ours
    assert not ui.can_undo
    np.testing.assert_array_equal(np.asarray(layer.data), foreign())
    np.testing.assert_array_equal(np.asarray(ours.data), before)
    ui.add_click((30, 120))
    with pytest.raises(SessionError, match="in work"):
        ui.take_up_from(ours)


def test_labels_of_a_plane_for_a_stack(attach_to):
    """Labels that a stack's planes share, as napari shows them."""
    ui = attach_to(np.stack([discs(), discs()]))
    ui.first_look = "published"
    layer = ui.viewer.add_labels(foreign(), name="flat")
    ui.take_up_from(layer)
    ui.reopen_at((30, 35))
    ui.add_click((30, 35))
    ui.commit()
    first = np.asarray(layer.data).copy()
    assert (first == 70).sum() > 500
    ui.viewer.dims.set_current_step(0, 1)
    np.testing.assert_array_equal(ui.labels, first)
    ui.delete(9)
    assert not (np.asarray(layer.data) == 9).any()
    ui.viewer.dims.set_current_step(0, 0)
    assert 9 not in ui.objects


def test_labels_with_an_axis_of_one(ui):
    layer = ui.viewer.add_labels(foreign()[np.newaxis], name="deep")
    ui.take_up_from(layer)
    ui.delete(70)
    np.testing.assert_array_equal(np.unique(np.asarray(layer.data)), [0, 9])


def test_of_a_stack_only_the_plane_changes(attach_to):
    ui = attach_to(np.stack([discs(), discs()]))
    ui.first_look = "published"
    stack = np.stack([foreign(), foreign()])
    layer = ui.viewer.add_labels(stack.copy(), name="stack")
    ui.take_up_from(layer)
    ui.viewer.dims.set_current_step(0, 1)
    ui.points.layer.add((1, 30, 35))
    assert ui.session.opened_label == 70
    ui.add_click((30, 35))
    ui.commit()
    np.testing.assert_array_equal(np.asarray(layer.data)[0], stack[0])
    assert (np.asarray(layer.data)[1] == 70).sum() > 500


def read_only(labels: np.ndarray) -> np.ndarray:
    labels.flags.writeable = False
    return labels


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: {"data": read_only(foreign())}, "read-only"),
        (lambda: {"data": da.from_array(foreign())}, "lazy"),
        (
            lambda: {"data": [foreign(), foreign()[::2, ::2]], "multiscale": True},
            "several resolutions",
        ),
        (lambda: {"data": foreign()[:50]}, "has shape"),
        (lambda: {"data": np.stack([foreign()] * 3)}, "has shape"),
        (lambda: {"data": foreign(), "scale": (2, 2)}, "pixel on pixel"),
        (lambda: {"data": foreign(), "translate": (0, 9)}, "pixel on pixel"),
        (lambda: {"data": foreign(np.int64) * 2**32}, "Labels go from"),
    ],
)
def test_layers_that_cannot_be_corrected_say_why(ui, make, says):
    layer = ui.viewer.add_labels(**make(), name="theirs")
    ours = ui.objects_layer
    with pytest.raises(MaskError, match=says):
        ui.take_up_from(layer)
    assert ui.objects_layer is ours
    assert not ui.takes_up
    ui.choose_take_up(layer)  # as the dock does
    assert says in ui.hint[0]


# -- work ----------------------------------------------------------------------------


def test_a_study_of_all_planes(attach_to, tmp_path: Path):
    ui = attach_to(np.stack([discs(), discs()]))
    ui.first_look = "published"
    truth = ui.viewer.add_labels(
        np.stack([discs() > 100] * 2).astype(int), name="truth"
    )
    path = tmp_path / "study.csv"
    with pytest.raises(MaskError, match="shape"):
        ui.start_study(ui.viewer.add_labels(foreign(), name="flat"), path)
    ui.start_study(truth, path)
    assert ui.study_path == path
    ui.add_click(PLACES[0])
    ui.commit()
    ui.viewer.dims.set_current_step(0, 1)
    ui.add_click(PLACES[1])
    ui.commit()
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["plane"] for row in rows] == ["0", "1"]
    assert all(0.2 < float(row["iou"]) < 0.3 for row in rows)  # one of four discs
    effort = ui.effort()
    assert [(o.plane, o.label, o.clicks) for o in effort.objects] == [
        ("0", 1, 1),
        ("1", 2, 1),
    ]
    ui.stop_study()
    assert ui.study_path is None
    ui.save_effort_to(str(tmp_path / "effort.csv"))
    assert (tmp_path / "effort.csv").read_text().count("\n") == 3


def test_regions_that_are_no_object_are_passed_by(ui):
    """U goes on to the next, and says when all were shown."""
    shown = []
    ui.look_at = shown.append
    for _ in range(4):
        ui.act("next_unlabelled")
    assert len({*shown}) == 4
    ui.act("next_unlabelled")
    assert "All that stands out was shown" in ui.hint[0]
    ui.act("next_unlabelled")
    assert shown[4] == shown[0]


def test_ids_of_other_planes_are_not_given_again(attach_to):
    ui = attach_to(np.stack([discs(), discs()]))
    ui.first_look = "published"
    stack = np.stack([foreign(), foreign() + 100 * (foreign() > 0)])
    layer = ui.viewer.add_labels(stack.copy(), name="stack")
    ui.viewer.dims.set_current_step(0, 0)
    ui.take_up_from(layer)
    ui.points.layer.add((0, 30, 120))
    assert ui.commit() == stack.max() + 1


def test_a_split_whose_ids_do_not_fit_changes_nothing(ui):
    labels = np.zeros((120, 160), np.uint8)
    labels[20:40, 10:50] = 254
    layer = ui.viewer.add_labels(labels.copy(), name="theirs")
    ui.take_up_from(layer)
    zigzag = [(30, 5), (15, 20), (45, 25), (15, 30), (45, 35), (30, 55)]
    with pytest.raises(ClickSegError, match="uint8"):
        ui.split(254, zigzag)
    np.testing.assert_array_equal(np.asarray(layer.data), labels)
    assert set(ui.objects) == {254}


def test_objects_that_are_not_on_screen_yet_are_not_painted_over(ui):
    """The layer is sent while a commit is on its way: it does not hold that yet."""
    ui.add_click((30, 35))
    ui.commit()
    context, plane = ui.context, ui.plane
    known = context.reports[plane].objects
    layer = np.array(ui.objects_layer.data)
    ui.add_click((85, 40))
    ui.commit()
    layer[60:64, 60:64] = 9  # painted meanwhile
    layer[30, 35] = 0
    context.engine.set_labels(plane, ui.current_options(), layer, known)
    now = ui.session.labels
    assert set(ui.objects) == {1, 2, 9}
    assert (now[60:64, 60:64] == 9).all()
    assert now[30, 35] == 0
    assert now[85, 40] == 2
