"""Fuzz the readers with atheris, which is led by what they execute.

    python -m tests.fuzz.guided --runs 10000
    python -m tests.fuzz.guided journal session --runs 200
    python -m tests.fuzz.guided journal --again fuzz-failures/crash-...

An input says which file is damaged and how: it stands for the whole file, for one part
of it with the checksums made good again (so that it gets past them), or for up to four
changes as in ``mutate.py``. The first inputs are the valid files and their parts. What
must hold is the same as in ``test_hostile_files.py``; an input for which it does not
is kept in ``fuzz-failures``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.mutate import ALL_KINDS, Step, damaged
from tests.fuzz.subjects import SUBJECTS, Subject

WHOLE, PART, OUTSIDE, INSIDE = range(4)
#: Longest input; larger files are damaged by changes only.
LONGEST = 16_384
ROOT = Path(__file__).resolve().parents[2]


def decoded(subject: Subject, data: bytes) -> tuple[str, bytes]:
    """Return which file is damaged, and its content."""
    head, rest = data[:3].ljust(3, b"\0"), data[3:]
    names = sorted(subject.forms)
    name = names[head[0] % len(names)]
    usual, form = subject.files()[name], subject.forms[name]
    match head[1] % 4:
        case 0:
            return name, rest
        case 1:
            parts = form.open(usual)
            parts[list(parts)[head[2] % len(parts)]] = rest
            return name, form.close(parts)
    changes = [
        Step(
            ALL_KINDS[chunk[0] % len(ALL_KINDS)],
            int.from_bytes(chunk[1:3], "little") / 2**16,
            int.from_bytes(chunk[3:5], "little"),
        )
        for chunk in (rest[at : at + 5].ljust(5, b"\0") for at in range(0, 20, 5))
        if any(chunk)
    ]
    return name, damaged(usual, form, head[1] % 4 == INSIDE, changes)


def seeds(subject: Subject) -> Iterator[bytes]:
    """Yield the inputs to begin with."""
    for number, name in enumerate(sorted(subject.forms)):
        usual = subject.files()[name]
        if len(usual) < LONGEST:
            yield bytes((number, WHOLE, 0)) + usual
        for at, content in enumerate(subject.forms[name].open(usual).values()):
            if len(content) < LONGEST and at < 256:
                yield bytes((number, PART, at)) + content
        for kind in range(len(ALL_KINDS)):
            for how in (OUTSIDE, INSIDE):
                yield bytes((number, how, 0, kind, 0, 128, kind, 1))


class Outcome(NamedTuple):
    """What came of it, and what the process said."""

    failed: bool
    said: str


def run(name: str, runs: int, again: Path | None = None) -> Outcome:
    """Fuzz one reader in a process of its own."""
    kept = Path.cwd() / "fuzz-failures"
    with tempfile.TemporaryDirectory() as place:
        corpus, found, empty = (Path(place) / each for each in ("in", "out", "empty"))
        for folder in (corpus, found, empty):
            folder.mkdir()
        for number, seed in enumerate(seeds(SUBJECTS[name])):
            (corpus / f"seed-{number}").write_bytes(seed)
        command = [sys.executable, "-m", "tests.fuzz.guided_target", name]
        command += [f"-artifact_prefix={found}/", "-timeout=120", "-rss_limit_mb=6000"]
        if again is None:
            command += [f"-runs={runs}", f"-max_len={LONGEST}", "-seed=1", str(corpus)]
        else:
            command.append(str(again.resolve()))
        paths = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
        done = subprocess.run(
            command,
            cwd=empty,
            env={**os.environ, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        for path in found.iterdir():
            kept.mkdir(exist_ok=True)
            shutil.copy(path, kept)
    said = done.stdout + done.stderr
    ended = again is not None or "Done " in said
    return Outcome(done.returncode != 0 or not ended, said)


def main() -> int:
    """Fuzz the readers named, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="kind", help=", ".join(SUBJECTS))
    parser.add_argument("--runs", type=int, default=10_000, help="of each kind")
    parser.add_argument("--again", type=Path, help="an input that failed")
    wishes = parser.parse_args()
    if unknown := set(wishes.names) - set(SUBJECTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    failed = []
    for name in wishes.names or SUBJECTS:
        runs = max(50, round(wishes.runs * SUBJECTS[name].share))
        found = run(name, runs, wishes.again)
        if not found.failed:
            print(f"{name}: {runs} inputs, nothing found", flush=True)
        else:
            print(f"{name}: FAILED\n{found.said[-6000:]}", flush=True)
            failed.append(name)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
