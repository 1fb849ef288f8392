"""Sessions on an image of 100,000 x 100,000 pixels: nothing takes all of them."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.large import BRIGHT, DARK, DISCS, RADIUS, SIDE, Counting, pyramid
from tests.napari.fakes import FakeModel

import napari_clickseg as cs
from napari_clickseg import memory
from napari_clickseg.boxes import Box
from napari_clickseg.errors import MaskError, SessionError
from napari_clickseg.exporting import load_objects, save_objects
from napari_clickseg.image import ImageSource
from napari_clickseg.plane_view import Piece, PlaneView
from napari_clickseg.session import differences

#: No step may take more than this, bytes: a plane of one byte a pixel takes 10 GB.
LIMIT = 400e6


@pytest.fixture
def levels(tmp_path: Path) -> list[Counting]:
    """An image on disk, whose reads are counted."""
    return [Counting(array) for array in pyramid(tmp_path / "image.zarr")]


@pytest.fixture
def session(levels: list[Counting]) -> cs.ClickSession:
    """A session on it, with three objects far apart."""
    session = cs.ClickSession(FakeModel())
    session.set_image(ImageSource(levels[0], coarser=levels[1:]))
    for place in DISCS:
        session.add_click(place)
        session.commit()
    return session


def test_only_windows_are_read(levels: list[Counting]) -> None:
    session = cs.ClickSession(FakeModel())
    tracemalloc.start()
    session.set_image(levels[0])
    assert levels[0].pixels == 0
    change = session.add_click(DISCS[0])
    first = levels[0].pixels
    session.add_click(DISCS[1])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert change.mask is not None
    assert change.mask.sum() == pytest.approx(np.pi * RADIUS**2, rel=0.1)
    # The sampled blocks for the contrast (uint8 needs none), and one field.
    assert first <= 2048**2 + 16 * 64**2
    assert levels[0].largest <= 2048**2
    assert peak < LIMIT


def test_planes_come_as_views(session: cs.ClickSession) -> None:
    labels: Any = session.labels
    assert labels.shape == (SIDE, SIDE)
    assert labels.max() == 3
    assert labels[50_100, 70_300] == 1
    assert set(np.unique(labels[50_000:50_300, 70_200:70_500])) == {0, 1, 2}
    assert not session.mask.any()
    assert session.probability[5, 5] == 0
    with pytest.raises(SessionError, match="would fit now"):
        np.asarray(labels)


def test_undo_and_redo_far_apart(session: cs.ClickSession) -> None:
    labels = session.labels[1_000, 99_000]
    assert labels == 3
    session.reopen(3)
    change = session.reopen(1)
    assert [part.labels is None for part in change.parts] == [True, True, False, False]
    assert isinstance(change.labels, PlaneView)
    # The view over all of it says the same as the parts.
    for part in change.parts:
        assert part.bbox is not None
        assert change.bbox is not None
        inside = part.bbox.relative_to(change.bbox)
        whole = change.mask if part.labels is None else change.labels
        assert whole is not None
        shown = part.mask if part.labels is None else part.labels
        assert np.array_equal(whole[inside.slices], shown)
    for _ in range(2):
        session.undo()
    assert session.labels[50_100, 70_300] == 1
    assert not session.mask.any()
    for _ in range(8):
        session.undo()
    assert not session.labels.any()
    while session.redo() is not None:
        pass
    assert session.opened_label == 1
    assert session.labels[1_000, 99_000] == 3


def test_journal_and_file(
    session: cs.ClickSession, levels: list[Counting], tmp_path: Path
) -> None:
    kept = cs.ClickSession(FakeModel())
    kept.set_image(levels[0])
    journal = kept.keep_journal(tmp_path / "journals")
    for place in DISCS:
        kept.add_click(place)
        kept.commit()
    path = journal.path
    assert path is not None
    assert path.stat().st_size < 200_000
    kept.stop_journal()
    for level in levels:
        level.forget()
    back = cs.ClickSession.load(path, levels[0], model=FakeModel())
    assert levels[0].pixels <= 16 * 64**2  # the signature alone
    file = session.save(tmp_path / "work.clickseg")
    assert file.stat().st_size < 200_000
    again = cs.ClickSession.load(file, levels[0], model=FakeModel())
    for found in (back, again):
        assert list(found.objects) == [1, 2, 3]
        for label, mine in session.objects.items():
            assert found.objects[label].pixels.box == mine.pixels.box
    assert back.undo() is not None
    assert list(back.objects) == [1, 2]
    replayed = again.replay()
    assert replayed.labels.max() == 3


@pytest.mark.parametrize("name", ["labels.zarr", "labels.tif"])
def test_there_and_back(session: cs.ClickSession, tmp_path: Path, name: str) -> None:
    if name.endswith(".tif"):
        pytest.importorskip("tifffile")
    tracemalloc.start()
    save_objects(tmp_path / name, session.labels, spacing=0.25)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < LIMIT
    back = load_objects(tmp_path / name)
    assert back.shape == (SIDE, SIDE)
    for each in session.objects.values():
        part = np.asarray(back[each.pixels.box.slices])
        assert np.array_equal(part == each.label, each.pixels.values > 0)
    size = sum(f.stat().st_size for f in tmp_path.rglob("labels*/**/*") if f.is_file())
    assert size + (tmp_path / name).stat().st_size < 20e6


def test_levels_of_exported_labels(session: cs.ClickSession, tmp_path: Path) -> None:
    import zarr

    (path,) = save_objects(tmp_path / "labels.zarr", session.labels)
    group = zarr.open_group(path, mode="r")["labels/objects"]
    scales = group.attrs["ome"]["multiscales"][0]["datasets"]
    assert [scale["path"] for scale in scales] == [str(n) for n in range(8)]
    assert group["7"].shape == (782, 782)
    for row, col in DISCS:
        label = session.labels[round(row), round(col)]
        around = group["7"][int(row) // 128, int(col) // 128]
        assert around in (label, 1, 2)  # the first two share a pixel there
    assert set(np.unique(group["3"][:])) == {0, 1, 2, 3}


def test_polygons_and_what_cannot_be(session: cs.ClickSession, tmp_path: Path) -> None:
    import json

    from napari_clickseg.errors import ExportError

    save_objects(tmp_path / "a.geojson", session.labels)
    content = json.loads((tmp_path / "a.geojson").read_text())
    corners = np.array(content["features"][2]["geometry"]["coordinates"][0])
    box = session.objects[3].pixels.box
    assert corners.min(axis=0).tolist() == [box.left, box.top]
    assert corners.max(axis=0).tolist() == [box.right, box.bottom]
    save_objects(tmp_path / "a.json", session.labels, shapes="polygons")
    found = json.loads((tmp_path / "a.json").read_text())["annotations"]
    assert [each["area"] for each in found] == [
        each.area for each in session.objects.values()
    ]
    with pytest.raises(ExportError, match="up to 4,294,967,296"):
        save_objects(tmp_path / "b.json", session.labels)
    with pytest.raises(ExportError, match="at most 134,217,728"):
        save_objects(tmp_path / "b.png", session.labels)
    with pytest.raises(ExportError, match="would fit now"):
        load_objects(tmp_path / "a.geojson", (SIDE, SIDE))


def test_labels_that_are_there_already(session: cs.ClickSession) -> None:
    again = cs.ClickSession(FakeModel())
    again.set_image(session.image, labels=session.labels)
    assert list(again.objects) == [1, 2, 3]
    for label, each in session.objects.items():
        mine = again.objects[label].pixels
        assert mine.box == each.pixels.box
        assert np.array_equal(mine.values > 0, each.pixels.values > 0)
    assert again.state.objects.next_label == 4


def test_whole_planes_are_refused(session: cs.ClickSession) -> None:
    with pytest.raises(MaskError, match="Pass the part that changed"):
        session.set_mask(np.broadcast_to(np.True_, (SIDE, SIDE)))
    with pytest.raises(MaskError, match="Pass the part that changed"):
        session.set_labels(np.broadcast_to(np.int32(1), (SIDE, SIDE)))
    box = Box(10, 20, 30, 40)
    session.set_labels(np.full((20, 20), 9), box=box)
    assert session.objects[9].pixels.box == box
    session.set_mask(np.ones((5, 5), bool), box=Box(99_995, 99_995, SIDE, SIDE))
    with pytest.raises(MaskError, match="different labels"):
        session.commit(9)  # 14 GB of nothing in between
    assert session.in_work


def test_far_windows_are_read_from_a_coarser_level(levels: list[Counting]) -> None:
    source = ImageSource(levels[0], coarser=levels[1:])
    window = source.window_for(Box(40_000, 60_000, 60_000, 80_000), (400, 400))
    assert levels[0].pixels == 0
    assert window.shape[0] >= 800
    assert sum(level.pixels for level in levels) < 2 * 1600**2
    assert window.max() > DARK / 255
    # Without levels: as few pixels, by a stride.
    alone = ImageSource(levels[0])
    window = alone.window_for(Box(48_000, 68_000, 54_000, 74_000), (400, 400))
    assert window.shape[0] >= 800
    assert window.shape[0] < 1200
    # What is not far larger than the network's view is read as it is.
    window = alone.window_for(Box(50_000, 70_000, 51_000, 71_000), (400, 400))
    assert window.shape == (1000, 1000, 3)
    assert window.max() == np.float32(BRIGHT / 255)


def test_peak_memory_in_a_process_of_its_own(tmp_path: Path) -> None:
    pyramid(tmp_path / "image.zarr", levels=1)
    code = f"""
import resource, zarr
from tests.large import DISCS
from tests.napari.fakes import FakeModel
import napari_clickseg as cs
image = zarr.open_group({str(tmp_path / "image.zarr")!r}, mode="r")["0"]
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
small = cs.ClickSession(FakeModel())
small.set_image(image[49_600:50_600, 69_800:70_800])
small.add_click((500, 500))
before = peak()
session = cs.ClickSession(FakeModel())
session.set_image(image)
for place in DISCS:
    session.add_click(place)
    session.commit()
session.reopen(1)
print(peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert int(done.stdout) < LIMIT


# ------------------------------------------------------------------------- the parts


@given(
    arrays(np.int32, (12, 17), elements=st.integers(0, 3)),
    st.tuples(st.integers(-13, 13), st.integers(-13, 13)),
    st.tuples(st.integers(-18, 18), st.integers(-18, 18)),
    st.sampled_from([None, 1, 2, -1, -3]),
)
def test_a_view_reads_like_its_array(
    values: np.ndarray, rows: tuple[int, int], cols: tuple[int, int], step: int | None
) -> None:
    boxes = [Box(0, 0, 7, 17), Box(7, 0, 12, 9), Box(7, 9, 12, 17)]
    view = PlaneView(
        Box(0, 0, 12, 17), [Piece(box, values[box.slices]) for box in boxes], np.int32
    )
    index = slice(*rows, step), slice(*cols, step)
    assert np.array_equal(view[index], values[index])
    assert np.array_equal(view[index[0]], values[index[0]])
    assert np.array_equal(view[..., index[1]], values[..., index[1]])
    assert np.array_equal(view[3], values[3])
    assert view[-1, -2] == values[-1, -2]
    assert np.array_equal(np.asarray(view), values)
    assert view.max() == values.max()
    assert view.any() == values.any()


def test_changes_are_one_box_where_that_is_small(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def told(far_apart: int) -> list[Any]:
        monkeypatch.setattr(differences, "FAR_APART", far_apart)
        session = cs.ClickSession(FakeModel())
        image = np.full((300, 300), DARK, np.uint8)
        image[20:40, 20:40] = image[250:280, 260:280] = BRIGHT
        session.set_image(image)
        found = []
        for place in ((30, 30), (265, 270)):
            session.add_click(place)
            session.commit()
        session.reopen(2)
        for change in (session.reopen(1), session.undo()):
            assert change is not None
            found.append(
                (change.bbox, np.asarray(change.mask), np.asarray(change.labels))
            )
        return found

    together, apart = told(2**24), told(1000)
    for (box, mask, labels), (box2, mask2, labels2) in zip(
        together, apart, strict=True
    ):
        assert box == box2
        assert np.array_equal(mask, mask2)
        assert np.array_equal(labels, labels2)


def test_what_needs_the_whole_plane_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from napari_clickseg.encoding.windows import check_count
    from napari_clickseg.errors import ImageError, ModelError

    plane = np.broadcast_to(np.uint8(9), (SIDE, SIDE))
    for task in ("semantic", "matting", "depth"):
        session = cs.ClickSession(task=task)
        with pytest.raises(
            ImageError, match=r"pixels \([\d,]+ x [\d,]+\) would fit now"
        ):
            session.set_image(plane)
        session.set_image(plane[:200, :200])
    with pytest.raises(ModelError, match="100,000 can be, as of 70,108 x 70,108"):
        check_count((SIDE, SIDE), 512)
    check_count((70_000, 70_000), 512)
    session = cs.ClickSession(FakeModel())
    session.set_image(plane)
    with pytest.raises(ImageError, match="zoom in, or pass within"):
        session.propose_objects()
    assert not session.objects


def test_a_forecast_names_what_would_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_host_bytes", lambda: 8_000_000)
    memory.check_room("It", 1_000_000, 4, MaskError, "Crop it.")
    with pytest.raises(MaskError) as caught:
        memory.check_room("It", 1_000_001, 4, MaskError, "Crop it.")
    assert "1,000,000 pixels (1,000 x 1,000) would fit now. Crop it." in str(
        caught.value
    )
    monkeypatch.setattr(memory, "free_host_bytes", lambda: None)
    memory.check_room("It", 10**15, 4, MaskError, "Crop it.")  # nobody knows
