"""The very first click: torch is imported and the model loaded while one works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from napari_clickseg.models.registry import get_info
from napari_clickseg.session import STARTER

pytestmark = [
    pytest.mark.gui,
    pytest.mark.skipif(
        not get_info(STARTER).path.is_file(), reason="the starter model is not there"
    ),
]

ROOT = Path(__file__).resolve().parents[2]
TRIES = 3


def start(folder: Path) -> dict:
    environment = {
        **os.environ,
        "NAPARI_CONFIG": str(folder / "settings.yaml"),
        "NAPARI_CLICKSEG_CACHE": str(folder),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.gui.cold_start"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_the_first_click_loads_the_model_without_a_frozen_window(
    tmp_path, record_property
):
    results = []
    for attempt in range(TRIES):
        found = start(tmp_path / str(attempt))
        assert not found["torch_before"], "torch was imported before a click"
        assert any(text.startswith("Loading") for text in found["messages"])
        assert found["pixels"] > 0
        results.append(found)
        if found["first_ms"] < found["limit_ms"]:
            break
    best = min(results, key=lambda each: each["first_ms"])
    record_property("first_click", best)
    print("first click:", best)
    assert best["first_ms"] < best["limit_ms"], results
