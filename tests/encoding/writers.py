"""Processes that write into a store: started by the tests, some of them killed."""

from __future__ import annotations

import os
import random
import signal
import sys
import time

import torch

from napari_clickseg.encoding.store import FeatureStore
from napari_clickseg.models.features import Features

KEYS = [f"{number:032x}" for number in range(6)]


def features_of(key: str, side: int = 96) -> Features:
    """The only features that this key ever stands for."""
    value = 1 + int(key, 16)
    maps = [torch.full((1, 8, side, side), float(value)), torch.arange(8.0) + value]
    return Features(maps, (side, side), 1)


def is_whole(key: str, found: Features, side: int = 96) -> bool:
    """Whether features that were read are exactly those."""
    expected = features_of(key, side).content
    return all(torch.equal(a, b) for a, b in zip(expected, found.content, strict=True))


def write_and_read(folder: str, seed: int, rounds: int, limit: int | None) -> list[int]:
    """Put and get at random; return how many were found, and how many were wrong."""
    rng = random.Random(seed)
    store = FeatureStore(folder, max_bytes=limit)
    found = wrong = 0
    for _ in range(rounds):
        key = rng.choice(KEYS)
        if rng.random() < 0.5:
            store.put(key, features_of(key))
        else:
            features = store.get(key)
            found += features is not None
            wrong += features is not None and not is_whole(key, features)
    return [found, wrong + len(store.damaged)]


def be_killed(folder: str, kills: int) -> None:
    """Start a writer again and again, and kill it at a random moment."""
    rng = random.Random(0)
    FeatureStore(folder)
    for number in range(kills):
        child = os.fork()
        if child == 0:
            store = FeatureStore(folder)
            while True:
                for key in KEYS:
                    store.put(key, features_of(key, 256))
        time.sleep(0.05 + 0.2 * rng.random())
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL
        print(number, flush=True)


if __name__ == "__main__":
    be_killed(sys.argv[1], int(sys.argv[2]))
