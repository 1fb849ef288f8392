"""What is held aside: images, or objects where there are too few images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from napari_clickseg.training.finetuning.checking import Entry

#: With fewer groups of images than this, objects are held aside, not images.
LEAST_GROUPS = 5
#: With fewer objects than this, none is held aside.
LEAST_OBJECTS = 5
#: More objects held aside are not measured: it would take longer than it tells.
MOST_MEASURED = 40


@dataclass(frozen=True)
class Split:
    """What is learned from, and what is held aside.

    Parameters
    ----------
    learn : tuple of Entry
        What is learned from; all their objects but the hidden ones.
    hold : tuple of Entry
        What is held aside, with only the objects that are.
    hidden : mapping
        Numbers of objects that are held aside in images that are learned from, by
        image number.
    """

    learn: tuple[Entry, ...]
    hold: tuple[Entry, ...]
    hidden: Mapping[int, frozenset[int]] = field(default_factory=dict)

    @property
    def held_objects(self) -> int:
        """Number of objects held aside."""
        return sum(len(numbers) for _, numbers in self.held())

    def held(self) -> list[tuple[Entry, tuple[int, ...]]]:
        """Return the entries held aside, each with the numbers of its objects."""
        return [
            (entry, tuple(sorted(self.hidden[entry.index])))
            if entry.index in self.hidden
            else (entry, tuple(range(len(entry.objects))))
            for entry in self.hold
        ]


def split(entries: tuple[Entry, ...], share: float, seed: int) -> Split:
    """Hold a share of the images aside, or of the objects if images are few.

    Parameters
    ----------
    entries : tuple of Entry
        All images that can be used.
    share : float
        Between 0 (hold nothing) and 0.9.
    seed : int
        The same seed holds the same aside.

    Notes
    -----
    Images of one group stay together. Objects that are held aside in an image that is
    learned from count as unknown there: neither as object nor as background.
    """
    rng = np.random.default_rng([seed, 77])
    if share <= 0:
        return Split(entries, ())
    groups = sorted({entry.group for entry in entries})
    if len(groups) >= LEAST_GROUPS:
        count = max(1, round(share * len(groups)))
        chosen = {groups[n] for n in rng.permutation(len(groups))[:count]}
        return Split(
            tuple(entry for entry in entries if entry.group not in chosen),
            tuple(entry for entry in entries if entry.group in chosen),
        )
    places = [
        (entry.index, number)
        for entry in entries
        for number in range(len(entry.objects))
    ]
    if len(places) < LEAST_OBJECTS:
        return Split(entries, ())
    count = max(1, round(share * len(places)))
    hidden: dict[int, set[int]] = {}
    for n in rng.permutation(len(places))[:count]:
        index, number = places[n]
        hidden.setdefault(index, set()).add(number)
    held = tuple(entry for entry in entries if entry.index in hidden)
    learn = tuple(
        entry
        for entry in entries
        if len(hidden.get(entry.index, ())) < len(entry.objects)
    )
    frozen = {index: frozenset(numbers) for index, numbers in hidden.items()}
    return Split(learn, held, frozen)


def spread(
    held: list[tuple[Entry, tuple[int, ...]]], most: int = MOST_MEASURED
) -> list[tuple[Entry, tuple[int, ...]]]:
    """Choose at most so many objects, as evenly over the images as they allow."""
    if sum(len(numbers) for _, numbers in held) <= most:
        return held
    each = max(1, most // len(held))
    chosen = []
    for entry, numbers in held:
        places = np.linspace(0, len(numbers) - 1, min(each, len(numbers))).round()
        chosen.append((entry, tuple(numbers[int(place)] for place in places)))
    return chosen[:most]
