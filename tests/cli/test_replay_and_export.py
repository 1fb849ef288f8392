"""`replay` and `export` on the command line, with the bundled model."""

from __future__ import annotations

import json

import numpy as np
import pytest

from napari_clickseg.cli import main
from napari_clickseg.imagefiles import read_labels
from napari_clickseg.session import ClickSession


@pytest.fixture(scope="module")
def session_file(tmp_path_factory):
    rows, cols = np.ogrid[:96, :128]
    image = np.full((96, 128), 20, np.uint8)
    image[np.hypot(rows - 30, cols - 35) < 15] = 220
    session = ClickSession()
    session.set_image(image)
    session.add_click((30, 35))
    session.commit()
    session.reopen(1)
    session.add_click((30, 60), positive=False)
    session.commit()
    return session.save(tmp_path_factory.mktemp("cli") / "a.clickseg"), session


def test_replay_gives_the_same_labels(session_file, tmp_path, capsys):
    path, session = session_file
    out = tmp_path / "again.tif"
    with pytest.raises(SystemExit) as ended:
        main(["replay", str(path), "--out", str(out), "--json"])
    assert not ended.value.code
    told = json.loads(capsys.readouterr().out)
    assert told["same"]
    assert told["objects"] == {"1": 1.0}
    np.testing.assert_array_equal(read_labels(out), session.labels)


def test_export(session_file, tmp_path, capsys):
    path, session = session_file
    target = tmp_path / "a.geojson"
    with pytest.raises(SystemExit) as ended:
        main(["export", str(path), str(target)])
    assert not ended.value.code
    assert capsys.readouterr().out.startswith("1 objects -> ")
    back = tmp_path / "b.tif"
    with pytest.raises(SystemExit):
        main(["export", str(target), str(back), "--size", "96", "128"])
    np.testing.assert_array_equal(read_labels(back), session.labels)


def test_clicks_and_seconds_of_a_session(session_file, tmp_path, capsys):
    path, session = session_file
    table = tmp_path / "effort.csv"
    with pytest.raises(SystemExit) as ended:
        main(["export", str(path), "--effort", str(table)])
    assert not ended.value.code
    assert str(table) in capsys.readouterr().out
    [head, row] = table.read_text().splitlines()
    assert head.startswith("label,class,clicks,clicks_made,seconds")
    [effort] = session.effort().objects
    assert row.startswith(f"1,,2,2,{effort.seconds:.3f}")
    for arguments in (["export", str(path)], ["export", "x.tif", "--effort", "y.csv"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code
