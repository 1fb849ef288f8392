"""Several processes at one store, some of them killed."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from threading import Barrier, Thread

import pytest
from tests.encoding.writers import (
    KEYS,
    features_of,
    is_whole,
    write_and_read,
)

from napari_clickseg.encoding.store import FeatureStore

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(os.name != "posix", reason="needs fork and SIGKILL")
def test_no_half_entry_is_ever_read_when_writers_are_killed(tmp_path):
    kills = 40
    store = FeatureStore(tmp_path / "store")
    writer = subprocess.Popen(
        [sys.executable, "-m", "tests.encoding.writers", str(store.path), str(kills)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    found = leftovers = 0
    while writer.poll() is None:
        for key in KEYS:
            features = store.get(key)
            if features is not None:
                found += 1
                assert is_whole(key, features, 256)
        leftovers = max(leftovers, store.info().unfinished)
    assert writer.returncode == 0
    assert writer.stdout is not None
    assert len(writer.stdout.read().split()) == kills
    writer.stdout.close()
    assert store.damaged == {}
    assert store.verify() == {}
    assert found > 20
    assert leftovers > 0, "no kill came in the middle of writing"
    pruned = store.prune()
    assert pruned.unfinished > 0
    assert pruned.entries == 0
    assert store.info().unfinished == 0
    # On a busy machine every writer of some key may have been killed.
    kept = {key: store.get(key) for key in KEYS}
    assert sum(features is not None for features in kept.values()) > 1
    assert all(is_whole(k, features, 256) for k, features in kept.items() if features)


@pytest.mark.parametrize("entries", [None, 3])
def test_processes_put_and_get_the_same_keys(tmp_path, entries):
    folder = tmp_path / "store"
    size = FeatureStore(folder).put(KEYS[0], features_of(KEYS[0])).stat().st_size
    limit = None if entries is None else entries * size + size // 2
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(write_and_read, str(folder), seed, 60, limit)
            for seed in range(3)
        ]
        results = [job.result() for job in jobs]
    assert sum(found for found, _ in results) > 20
    assert [wrong for _, wrong in results] == [0, 0, 0]
    store = FeatureStore(folder)
    assert store.verify() == {}
    assert store.info().unfinished == 0
    if limit is not None:
        # Each writer may not yet know of one entry of each other one.
        assert store.info().bytes <= limit + 2 * size


def test_two_writers_of_one_key(tmp_path):
    """One wins, both are content, and whoever reads meanwhile sees all of it."""
    folder = tmp_path / "store"
    gate = Barrier(4)
    failures: list[Exception] = []

    def write() -> None:
        store = FeatureStore(folder)
        gate.wait()
        try:
            for _ in range(5):
                store.put(KEYS[3], features_of(KEYS[3]))
                assert is_whole(KEYS[3], store.get(KEYS[3]))
        except Exception as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    threads = [Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert FeatureStore(folder).info().entries == 1
    assert FeatureStore(folder).info().unfinished == 0
