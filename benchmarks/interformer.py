"""Time InterFormer against RITM in the published way, all in one run.

    python benchmarks/interformer.py --out results/interformer --threads 2

RITM in the published way: float32, nothing folded, a window of 400 x 400 and its
mirror image, everything anew at each click. InterFormer: the image was encoded before,
each click is decoded, in bfloat16 where the processor computes in it. Its ViT encoder
also runs in the released way (see ``interformer_released.py``).

The published ways run in a process of their own. All work in turn, again and again, so
that a busy machine slows all; ratios are medians over the rounds, each within a round.
Networks have random weights, unless the
starter's are there (speed does not depend on them). Memory is measured in a process of
its own for each network and size.
"""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import platform
import statistics
import time
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import interformer_figures as figures
from interformer_memory import memories
from interformer_released import released_encode
from interformer_subjects import (
    LIGHT,
    OURS,
    RITM,
    STARTER,
    Clicker,
    build,
    decoding,
    model_of,
    picture,
)
from napari_clickseg.encoding.windows import prepared_settings
from napari_clickseg.prediction import PredictionSettings
from pages import fill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection

    from napari_clickseg.models.model import Model

TARGET = 400  #: side of the window that RITM sees
PUBLISHED = PredictionSettings(target_size=(TARGET, TARGET), skip_clicks=-1)
#: Heavy work is measured in every so many rounds.
SELDOM = 3


@dataclass
class Contestant:
    """Something to be timed.

    ``run`` returns how the seconds divide, if it knows. It takes part in every
    ``every``-th round, at most ``most`` times, after ``warm`` runs that do not count.
    """

    who: str
    what: str
    size: int
    run: Callable[[], dict[str, float] | None]
    every: int = 1
    most: int = 10**6
    warm: int = 1
    seconds: dict[int, float] = field(default_factory=dict)
    parts: dict[str, list[float]] = field(default_factory=dict)

    def once(self, number: int) -> None:
        """Take part in a round, where it is due."""
        if number % self.every or len(self.seconds) >= self.most:
            return
        start = time.perf_counter()
        parts = self.run() or {}
        self.seconds[number] = time.perf_counter() - start
        for name, seconds in parts.items():
            self.parts.setdefault(name, []).append(seconds)

    @property
    def key(self) -> tuple[str, str, int]:
        """By which it is found."""
        return self.who, self.what, self.size

    def row(self) -> dict[str, Any]:
        """Return the medians."""
        return {
            "who": self.who,
            "what": self.what,
            "size": self.size,
            "rounds": len(self.seconds),
            "median_s": statistics.median(self.seconds.values()),
            "least_s": min(self.seconds.values()),
            "parts_s": {n: statistics.median(each) for n, each in self.parts.items()},
        }


def as_published(sizes: Sequence[int], who: Sequence[str]) -> Iterator[Contestant]:
    """Yield what runs as its authors run it."""
    least = min(sizes)
    for name in [name for name in who if name in RITM]:
        clicker = Clicker(
            model_of(name, *build(name), ours=False), least, PUBLISHED, anew=True
        )
        yield Contestant(name, "click", TARGET, clicker)
    if LIGHT in who:
        network, _ = build(LIGHT)
        for size in sizes:
            yield from released_at(LIGHT, network, size, large=size > least)


def ours(sizes: Sequence[int], who: Sequence[str]) -> Iterator[Contestant]:
    """Yield InterFormer as it runs here."""
    for name in [name for name in who if name in OURS]:
        model = model_of(name, *build(name))
        for size in sizes:
            yield from timed_at(name, model, size, large=size > min(sizes))


class Apart:
    """Runs the published ways in a process of their own.

    What we set up for our networks in ours (how memory is kept, for one) is not to
    help them, nor to stand in their way.
    """

    def __init__(self, sizes: Sequence[int], who: Sequence[str], threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        given = (theirs, list(sizes), list(who), threads)
        self._process = context.Process(target=_serve, args=given, daemon=True)
        self._process.start()
        theirs.close()  # so that the end of the process is heard

    def contestants(self) -> Iterator[Contestant]:
        """Yield stand-ins for them."""
        for number, given in enumerate(self._ours.recv()):
            yield Contestant(*given[:3], partial(self._ask, number), *given[3:])

    def _ask(self, number: int) -> dict[str, float] | None:
        self._ours.send(number)
        answer: dict[str, float] | None = self._ours.recv()
        return answer

    def close(self) -> None:
        """End the process."""
        self._ours.send(None)
        self._process.join()


def _serve(
    connection: Connection, sizes: list[int], who: list[str], threads: int
) -> None:
    torch.set_num_threads(threads)
    with torch.inference_mode():
        found = list(as_published(sizes, who))
        connection.send(
            [(x.who, x.what, x.size, x.every, x.most, x.warm) for x in found]
        )
        while (number := connection.recv()) is not None:
            connection.send(found[number].run())


def timed_at(
    name: str, model: Model, size: int, *, large: bool
) -> Iterator[Contestant]:
    """Yield a network's steps at one size."""
    image = torch.rand(1, 3, size, size)

    def encode() -> None:
        model.encode(image)

    start = time.perf_counter()
    features = model.encode(image)
    seconds = time.perf_counter() - start
    seldom = SELDOM if large else 1
    decode = decoding(model, features, size)
    yield Contestant(name, "decode", size, decode, every=seldom, warm=2)
    if large:  # once must do, it takes long
        once = {0: seconds}
        yield Contestant(name, "encode", size, encode, most=1, warm=0, seconds=once)
        return
    clicker = Clicker(model, size, prepared_settings(size), anew=False)
    yield Contestant(name, "click", size, clicker, warm=2)
    seldom = 1 if name == STARTER else SELDOM
    yield Contestant(name, "encode", size, encode, every=seldom)


def released_at(
    name: str, network: Any, size: int, *, large: bool
) -> Iterator[Contestant]:
    """Yield the steps of a network in float32, with nothing folded."""
    image = torch.rand(1, 3, size, size)

    def encode() -> None:
        released_encode(network, image)

    most, warm = (1, 0) if large else (10**6, 1)
    yield Contestant(
        name, "encode, released", size, encode, every=SELDOM, most=most, warm=warm
    )
    if not large:
        plain = model_of(name, network, "random", ours=False)
        run = decoding(plain, plain.encode(image), size)
        yield Contestant(name, "decode, float32", size, run, every=SELDOM)


def fidelity(size: int) -> dict[str, list[float]]:
    """Return relative L2 distances of Light's features, for each level.

    Of the released way from our encoder in float32, and of the fast one from that.

    Raises
    ------
    RuntimeError
        If what is written as the released way gives other features.
    """
    network, weights = build(LIGHT)
    image = torch.from_numpy(picture(size)).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        exact = network.encode_image(image)
        released = released_encode(network, image)
        fast = model_of(LIGHT, network, weights).encode(image).content

    def apart(pyramid: Any) -> list[float]:
        return [
            float((one.float() - two).norm() / two.norm())
            for one, two in zip(pyramid, exact, strict=True)
        ]

    found = {"released": apart(released), "fast": apart(fast)}
    if not max(found["released"]) < 1e-4:
        raise RuntimeError(f"The released way gives other features: {found}")
    return found


def race(
    sizes: Sequence[int], who: Sequence[str], rounds: int, *, apart: bool = True
) -> list[Contestant]:
    """Time everything, in turn; ``apart``: published ways in another process."""
    other = Apart(sizes, who, torch.get_num_threads()) if apart else None
    theirs = as_published(sizes, who) if other is None else other.contestants()
    found = []
    with torch.inference_mode():
        for one in chain(theirs, ours(sizes, who)):
            found.append(one)
            for _ in range(one.warm):
                one.run()
            print(f"ready: {one.who}, {one.what}, {one.size} px", flush=True)
        for number in range(rounds):
            for one in found:
                one.once(number)
            print(f"round {number + 1} of {rounds}", flush=True)
    if other is not None:
        other.close()
    return found


def processor() -> str:
    """Return the name of the processor, where the system tells."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    names = [line.split(":", 1)[1] for line in lines if line.startswith("model name")]
    return names[0].strip() if names else platform.processor() or platform.machine()


def write(result: dict[str, Any], folder: Path) -> None:
    """Write JSON, CSV, Markdown and the plot."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "interformer.json").write_text(json.dumps(result, indent=1))
    (folder / "interformer.md").write_text(figures.tables(result) + "\n")
    names = ["who", "what", "size", "rounds", "median_s", "least_s", "neck", "head"]
    with (folder / "interformer.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows({**row, **row["parts_s"]} for row in result["rows"])
    figures.plot(result, folder / "interformer.png")


def main() -> None:
    """Run everything, print tables, write them with a plot."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15, help="rounds")
    parser.add_argument("--sizes", type=int, nargs="*", default=[512, 1024])
    parser.add_argument("--models", nargs="*", default=[*RITM, *OURS])
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--page", type=Path, help="page of the docs to fill in")
    parser.add_argument("--profile", action="store_true", help="where the time goes")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    began = time.perf_counter()
    found = race(given.sizes, given.models, given.repeats)
    result: dict[str, Any] = {
        "machine": {
            "processor": processor(),
            "threads": given.threads,
            "torch": torch.__version__,
        },
        "rows": [one.row() for one in found],
        "ratios": figures.ratios(found),
        "fidelity": fidelity(min(given.sizes)) if LIGHT in given.models else {},
    }
    if given.profile:
        # The published ones once more, where they can be looked into.
        with torch.inference_mode():
            print(figures.profiles([*as_published(given.sizes[:1], given.models)]))
            here = ("click", "decode", "encode")
            steps = [one for one in found if one.who in OURS and one.what in here]
            print(figures.profiles(steps))
    found.clear()
    who = [name for name in given.models if name in OURS and not given.no_memory]
    result["memory"] = memories(who, given.sizes, given.threads)
    result["minutes"] = (time.perf_counter() - began) / 60
    text = figures.tables(result)
    print(f"\n{result['machine']}, {result['minutes']:.1f} minutes\n\n{text}")
    if given.out is not None:
        write(result, given.out)
    if given.page is not None:
        picture_file = "images/interformer-speed.png"
        figures.plot(result, given.page.parent / picture_file)
        shown = f"![{figures.PLOT}]({picture_file}){{ width=760 }}"
        fill(given.page, {**figures.parts(result), "plot": shown})


if __name__ == "__main__":
    main()
