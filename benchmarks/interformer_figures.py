"""Tables and the plot of benchmarks/interformer.py."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from interformer_subjects import LIGHT, OURS, RITM, STARTER, TINY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from interformer import Contestant

AMORTISED = (1, 5, 20)
#: Seconds per click and pixel-wise efficiency (1e-7 s) of the paper's table: with the
#: encoder's part, and with the image prepared. RITM's have one way only.
PAPER = {
    "RITM HRNet18s": ("0.20", "12.5"),
    "RITM HRNet32": ("0.59", "36.9"),
    LIGHT: ("0.23; prepared 0.19", "8.9; 7.1"),
    TINY: ("0.50; prepared 0.32", "18.9; 12.3"),
}
SMALL, LARGE = RITM
#: What takes longer, what is quicker, at least so many times; at the smallest size.
COMPARED: list[tuple[str, tuple[str, str], tuple[str, str], float | None]] = [
    *(
        (f"{SMALL}, click / {name}, decode", (SMALL, "click"), (name, "decode"), goal)
        for name, goal in ((STARTER, 8.0), (LIGHT, 4.0), (TINY, None))
    ),
    *(
        (f"{slow}, click / {name}, click", (slow, "click"), (name, "click"), None)
        for slow in RITM
        for name in OURS
    ),
    (
        f"{LIGHT}, decode in float32 / decode",
        (LIGHT, "decode, float32"),
        (LIGHT, "decode"),
        None,
    ),
    (
        f"{LIGHT}, encode as released / encode",
        (LIGHT, "encode, released"),
        (LIGHT, "encode"),
        3.0,
    ),
]
#: Relative L2 distance of fast features from those in float32, at most.
FIDELITY_GOAL = 2e-2
CLICKS_A_SECOND_GOAL = 10.0


def ratios(found: Sequence[Contestant]) -> list[dict[str, Any]]:
    """Return the ratios of :data:`COMPARED`, over the rounds of both sides."""
    result = []
    for text, slow, fast, goal in COMPARED:
        sides = [
            min(
                (one for one in found if (one.who, one.what) == side and one.seconds),
                key=lambda one: one.size,
                default=None,
            )
            for side in (slow, fast)
        ]
        if sides[0] is None or sides[1] is None:
            continue
        long, short = sides[0].seconds, sides[1].seconds
        each = sorted(long[i] / short[i] for i in long.keys() & short.keys())
        if not each:
            continue
        spread = (each[len(each) // 4], each[(3 * len(each)) // 4])
        middle = statistics.median(each)
        result.append({"text": text, "ratio": middle, "spread": spread, "goal": goal})
    return result


class Rows:
    """The medians of a run, found by what they are of."""

    def __init__(self, rows: Iterable[dict[str, Any]]) -> None:
        self.rows = {(row["who"], row["what"], row["size"]): row for row in rows}

    def seconds(self, who: str, what: str, size: int) -> float | None:
        """Return a median, or None where it was not measured."""
        row = self.rows.get((who, what, size))
        return None if row is None else float(row["median_s"])

    def sizes(self, who: str, what: str) -> list[int]:
        """Return at which sizes it was measured."""
        return sorted(size for w, k, size in self.rows if (w, k) == (who, what))

    def amortised(self, who: str, clicks: float) -> float | None:
        """Return seconds per click with the encoder's share, at the smallest size."""
        for size in self.sizes(who, "click"):
            click = self.seconds(who, "click", size)
            encode = self.seconds(who, "encode", size)
            if click is not None and encode is not None:
                return click + encode / clicks
        return None


def ms(seconds: float | None) -> str:
    """Return milliseconds for a table."""
    return "" if seconds is None else f"{1000 * seconds:.0f} ms"


def markdown(head: str, numbers: int, lines: Iterable[Sequence[str]]) -> str:
    """Return a table; the last ``numbers`` columns are aligned to the right."""
    columns = head.split(" | ")
    marks = ["---"] * (len(columns) - numbers) + ["--:"] * numbers
    rows = [f"| {head} |", f"|{'|'.join(marks)}|"]
    rows += [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join(rows)


def click_table(rows: Rows) -> str:
    """Return what a click takes, beside the paper's figures."""
    lines = []
    for who in (*RITM, *OURS):
        for size in rows.sizes(who, "click"):
            click = rows.seconds(who, "click", size)
            decode = rows.rows.get((who, "decode", size))
            parts = {} if decode is None else decode["parts_s"]
            split = " + ".join(ms(parts.get(name)) for name in ("neck", "head"))
            paper = PAPER.get(who, ("", ""))
            lines.append(
                [
                    who,
                    f"{size} px" if parts else f"{size} px, twice",
                    ms(click),
                    f"{1 / click:.1f}" if click else "",
                    split if parts else "",
                    f"{1e7 * click / size**2:.1f}" if click else "",
                    *paper,
                ]
            )
    head = (
        "network | window | a click | clicks/s | decode: neck + head | PIE (1e-7 s) "
        "| paper: s/click | paper: PIE"
    )
    return markdown(head, 6, lines)


def encode_table(rows: Rows) -> str:
    """Return what encoding takes, and a click with its share of it."""
    lines = []
    for who in (*RITM, *OURS):
        for size in rows.sizes(who, "click"):
            encode = rows.seconds(who, "encode", size)
            click = rows.seconds(who, "click", size)
            shared = [
                ms(click if encode is None else rows.amortised(who, n))
                for n in AMORTISED
            ]
            total = click if encode is None else rows.amortised(who, AMORTISED[-1])
            lines.append(
                [
                    who,
                    f"{size} px",
                    ms(encode),
                    ms(rows.seconds(who, "encode, released", size)),
                    *shared,
                    "" if total is None else f"{1e7 * total / size**2:.1f}",
                ]
            )
    head = "network | window | encode | as released"
    head += "".join(f" | a click of {n}" for n in AMORTISED)
    return markdown(f"{head} | PIE of {AMORTISED[-1]} (1e-7 s)", 6, lines)


def size_table(rows: Rows) -> str:
    """Return decode and encode at all sizes."""
    lines = [
        [
            who,
            f"{size} px",
            ms(rows.seconds(who, "decode", size)),
            ms(rows.seconds(who, "decode, float32", size)),
            ms(rows.seconds(who, "encode", size)),
            ms(rows.seconds(who, "encode, released", size)),
        ]
        for who in OURS
        for size in rows.sizes(who, "decode")
    ]
    head = "network | window | decode | decode, float32 | encode | encode, as released"
    return markdown(head, 4, lines)


def ratio_table(result: dict[str, Any], rows: Rows) -> str:
    """Return ratios and what they were to be."""
    lines = []
    for row in result["ratios"]:
        low, high = row["spread"]
        goal = "" if row["goal"] is None else f"≥ {row['goal']:.0f}"
        lines.append(
            [row["text"], f"{row['ratio']:.1f}", f"{low:.1f} to {high:.1f}", goal]
        )
    for size in rows.sizes(LIGHT, "click")[:1]:
        click = rows.seconds(LIGHT, "click", size)
        if click:
            goal = f"≥ {CLICKS_A_SECOND_GOAL:.0f}"
            lines.append([f"{LIGHT}, clicks a second", f"{1 / click:.1f}", "", goal])
    if result["fidelity"]:
        fast = max(result["fidelity"]["fast"])
        text = f"{LIGHT}, features: relative L2 distance from float32"
        lines.append([text, f"{fast:.4f}", "", f"≤ {FIDELITY_GOAL}"])
    return markdown("compared | median | quartiles | goal", 3, lines)


def memory_table(memory: Sequence[dict[str, Any]]) -> str:
    """Return memory in MiB."""

    def mib(size: int) -> str:
        return f"{size / 2**20:.1f}" if size < 100 * 2**20 else f"{size / 2**20:.0f}"

    names = ("weights", "features", "bias", "encode", "decode")
    lines = [
        [row["who"], f"{row['size']} px", row["dtype"], *(mib(row[n]) for n in names)]
        for row in memory
    ]
    head = (
        "MiB | window | precision | weights | features | bias kept "
        "| to encode | to decode"
    )
    return markdown(head, 5, lines)


def parts(result: dict[str, Any]) -> dict[str, str]:
    """Return the tables by name, and a sentence on how they came to be."""
    rows, machine = Rows(result["rows"]), result["machine"]
    rounds = max(row["rounds"] for row in result["rows"])
    cores = "core" if machine["threads"] == 1 else "cores"
    found = {
        "machine": f"{rounds} rounds on {machine['threads']} {cores} of "
        f"{machine['processor']}, torch {machine['torch']}.",
        "clicks": click_table(rows),
        "encoding": encode_table(rows),
        "sizes": size_table(rows),
        "ratios": ratio_table(result, rows),
    }
    if result["memory"]:
        found["memory"] = memory_table(result["memory"])
    return found


def tables(result: dict[str, Any]) -> str:
    """Return all of that as one text."""
    return "\n\n".join(parts(result).values())


def profiles(found: Sequence[Contestant]) -> str:
    """Return where the time goes in each step, at the smallest size of each."""
    from torch.profiler import ProfilerActivity, profile

    texts = []
    for one in found:
        if one.size > min(x.size for x in found if x.who == one.who):
            continue
        one.run()
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            one.run()
        table = seen.key_averages().table(
            sort_by="self_cpu_time_total", row_limit=12, max_name_column_width=50
        )
        texts.append(f"{one.who}, {one.what}, {one.size} px\n{table}")
    return "\n".join(texts)


PLOT = "Time of a click, and how it falls as clicks share the encoding"
COLOURS = {
    "RITM HRNet18s": "0.45",
    "RITM HRNet32": "0.7",
    STARTER: "#00796b",
    LIGHT: "#e08214",
    TINY: "#6a51a3",
}


def plot(result: dict[str, Any], path: Path) -> None:
    """Draw a click's time, and how encoding is shared by the clicks on an image."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = Rows(result["rows"])
    who = [name for name in (*RITM, *OURS) if rows.sizes(name, "click")]
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    clicks = range(1, 21)
    for place, name in enumerate(who):
        size = rows.sizes(name, "click")[0]
        click = rows.seconds(name, "click", size) or 0.0
        colour = COLOURS[name]
        left.barh(place, 1000 * click, color=colour)
        left.text(1000 * click, place, f" {ms(click)}", va="center")
        prepared = rows.amortised(name, 1) is not None
        curve = [
            1000 * ((rows.amortised(name, n) if prepared else click) or 0.0)
            for n in clicks
        ]
        right.plot(clicks, curve, color=colour, lw=2)
    left.set_yticks(range(len(who)), who)
    left.invert_yaxis()
    left.margins(x=0.2)
    left.set(xlabel="a click, image prepared (ms)")
    right.set(xlabel="clicks on the image (colours as on the left)")
    right.set(ylabel="a click, encoding shared (ms)")
    right.set(yscale="log", xlim=(1, 20))
    right.set_xticks([1, 5, 10, 15, 20])
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=110)
