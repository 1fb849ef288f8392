"""The committed objects of a plane: which pixels are whose, and how sure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.boxes import Box
from napari_clickseg.errors import MaskError, SessionError
from napari_clickseg.label_blocks import by_label, moved
from napari_clickseg.plane_view import Piece
from napari_clickseg.session.draft import Draft
from napari_clickseg.session.patches import Patch

#: Whose the pixels are that two objects claim: the older one's, the newer
#: one's, or those of the one that is surer of them (the older on a tie).
Overlap = Literal["keep", "overwrite", "probability"]
OVERLAPS: tuple[Overlap, ...] = get_args(Overlap)
MAX_LABEL = int(np.iinfo(np.int32).max)
#: Pixels of the smallest box around an object, at most.
MAX_EXTENT = 2**29
#: Parts of the table of objects; a change copies one of them.
_BUCKETS = 256


@dataclass(frozen=True, eq=False)
class SegmentedObject:
    """One committed object, never changed in place.

    Parameters
    ----------
    label : int
        Its id in the label image.
    pixels : Patch of uint8
        0 outside of the object; inside ``1 + 254 * probability``, rounded, so
        that one byte a pixel tells both what is object and how sure it is.
    drafts : tuple of Draft
        How it came about, in order; empty where nobody clicked.
    seconds : float
        Time worked on it, from first click to commit.
    time : float
        When it was committed, in seconds since 1970-01-01 UTC.
    overlap : {"keep", "overwrite", "probability"}
        Policy of its commit.
    intact : bool
        Whether its pixels are still those of its only draft.
    proposed_by : str
        The model that proposed it before any click; empty where none did.
    category : str
        Its class; empty where it has none.
    accepted : bool
        Whether somebody looked at a proposal and kept it.
    carried : str
        The propagation that carried it here from another plane; empty where somebody
        made it here, or has corrected it since.
    """

    label: int
    pixels: Patch
    drafts: tuple[Draft, ...] = ()
    seconds: float = 0.0
    time: float = 0.0
    overlap: Overlap = "keep"
    intact: bool = False
    proposed_by: str = ""
    category: str = ""
    accepted: bool = False
    carried: str = ""

    @property
    def undecided(self) -> bool:
        """Whether it was proposed, and nobody has accepted or worked on it."""
        return bool(self.proposed_by) and not (self.drafts or self.accepted)

    @property
    def mask(self) -> Patch:
        """The object's pixels as a boolean patch."""
        return Patch(self.pixels.box, self.pixels.values > 0)

    @cached_property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.pixels.values))

    @property
    def clicks(self) -> int:
        """Number of clicks that made it; those that nobody made do not count."""
        return sum(len(draft.clicks) - draft.given for draft in self.drafts)

    def reopened(self) -> Draft:
        """Return a draft that stands where this object stands.

        As it was before the commit where its pixels are still the same and its
        answers are at hand; else its pixels are the starting mask and its
        clicks are kept.
        """
        if self.intact and not self.drafts[0].pending:
            draft = self.drafts[0]
        else:
            clicks = tuple(click for draft in self.drafts for click in draft.clicks)
            given = self.drafts[0].given if self.drafts else 0
            draft = Draft(clicks=clicks, given=given).with_mask(self.mask)
        return replace(
            draft, label=self.label, opened=self, started=None, spent=self.seconds
        )

    def changed(self, pixels: Patch) -> SegmentedObject:
        """Return the object with other pixels."""
        return replace(self, pixels=pixels.tight(), intact=False)


class Objects(Mapping[int, SegmentedObject]):
    """Objects by label; no pixel has two.

    Never changed in place: each method returns another collection. Two of them
    share the objects that are the same, and all but the few buckets of their
    tables that differ, so that a history of thousands stays small.
    """

    def __init__(
        self,
        objects: Iterable[SegmentedObject] = (),
        *,
        buckets: list[dict[int, SegmentedObject]] | None = None,
    ) -> None:
        if buckets is None:
            buckets = [{} for _ in range(_BUCKETS)]
        for each in objects:
            buckets[each.label % _BUCKETS][each.label] = each
        self._buckets = buckets

    def __getitem__(self, label: int) -> SegmentedObject:
        return self._buckets[label % _BUCKETS][label]

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(itertools.chain.from_iterable(self._buckets)))

    def in_any_order(self) -> Iterator[SegmentedObject]:
        """Yield all objects, in no order: with thousands, sorting takes longest."""
        for bucket in self._buckets:
            yield from bucket.values()

    def __len__(self) -> int:
        return sum(map(len, self._buckets))

    @property
    def next_label(self) -> int:
        """The id after the highest one in use, at least 1."""
        return max(map(max, filter(None, self._buckets)), default=0) + 1

    def labels(self, box: Box) -> Patch:
        """Return the ids inside a box, int32, 0 for background."""
        out = np.zeros(box.shape, np.int32)
        for each in self._touching(box):
            common = each.pixels.box.intersect(box)
            theirs = each.pixels.values[common.relative_to(each.pixels.box).slices]
            out[common.relative_to(box).slices][theirs > 0] = each.label
        return Patch(box, out)

    def pieces(self, box: Box | None = None) -> list[Piece]:
        """Return the pixels of each object, of all or of those that meet a box."""
        chosen = self.values() if box is None else self._touching(box)
        return [Piece(o.pixels.box, o.pixels.values, o.label) for o in chosen]

    def confirmed(self, label: int) -> Objects:
        """Return the collection with an object taken as right where it was carried."""
        return self.updated({label: replace(self[label], carried="")})

    def committed(self, new: SegmentedObject) -> Objects:
        """Return the collection with one more object.

        Where the label is in use, the new pixels join that object.

        Raises
        ------
        MaskError
            If no pixel is left for it after ``new.overlap`` was heeded.
        """
        changes: dict[int, SegmentedObject | None] = {}
        box, mine = new.pixels.box, new.pixels.values.copy()
        for other in self._touching(box):
            if other.label == new.label:
                continue
            theirs = other.pixels.within(box)
            claimed = (mine > 0) & (theirs > 0)
            lost, won = _settle_claims(claimed, mine, theirs, new.overlap)
            mine[lost] = 0
            if won.any():
                left = other.changed(_without(other.pixels, Patch(box, won)))
                changes[other.label] = None if left.pixels.box.empty else left
        if not mine.any():
            raise MaskError(
                "Every pixel of this object belongs to another one already. Commit "
                'with overlap="overwrite" (or "probability"), or discard it.'
            )
        if not np.array_equal(mine, new.pixels.values):
            new = new.changed(Patch(box, mine))
        if (old := self.get(new.label)) is not None:
            new = joined(old, new)
        return self.updated({**changes, new.label: new})

    def added(self, news: Iterable[SegmentedObject]) -> Objects:
        """Return the collection with more objects, of new labels and free pixels.

        Neither is checked: for very many at once.
        """
        return self.updated({each.label: each for each in news})

    def without(self, label: int) -> Objects:
        """Return the collection without one object."""
        return self.updated({label: None})

    def repainted(self, labels: Patch) -> Objects:
        """Return the collection after ids were painted by hand in a box.

        Objects whose pixels are not touched stay as they are; others keep
        their clicks. Certainty of pixels painted by hand is 1.
        """
        painted = dict(split(labels))
        changes: dict[int, SegmentedObject | None] = {}
        touched = {each.label: each for each in self._touching(labels.box)}
        touched.update((label, self[label]) for label in painted if label in self)
        for label, old in touched.items():
            mask = painted.pop(label, Patch.empty(np.bool_))
            box = old.pixels.box.intersect(labels.box).union(mask.box)
            now, before = mask.within(box), old.pixels.within(box) > 0
            if np.array_equal(now, before):
                continue
            kept = _without(old.pixels, Patch(box, before & ~now))
            left = old.changed(_merged(kept, _certain(Patch(box, now & ~before))))
            left = replace(left, carried="")
            changes[label] = None if left.pixels.box.empty else left
        for label, mask in painted.items():
            changes[label] = SegmentedObject(label, _certain(mask))
        return self.updated(changes)

    def differing(self, other: Objects) -> Iterator[int]:
        """Yield the labels that are not the very same object in both."""
        for mine, theirs in zip(self._buckets, other._buckets, strict=True):
            if mine is not theirs:
                for label in {**mine, **theirs}:
                    if mine.get(label) is not theirs.get(label):
                        yield label

    def updated(self, changes: Mapping[int, SegmentedObject | None]) -> Objects:
        """Return the collection with some objects replaced (None: removed)."""
        buckets = list(self._buckets)
        for number in {label % _BUCKETS for label in changes}:
            buckets[number] = dict(buckets[number])
        for label in changes:
            buckets[label % _BUCKETS].pop(label, None)
        return Objects(filter(None, changes.values()), buckets=buckets)

    def _touching(self, box: Box) -> list[SegmentedObject]:
        top, left, bottom, right = box
        return [
            each
            for each in self.in_any_order()
            if (its := each.pixels.box).top < bottom
            and top < its.bottom
            and its.left < right
            and left < its.right
        ]


def inherited(draft: Draft) -> dict[str, Any]:
    """Return what an object keeps of itself when it was opened and is committed."""
    old = draft.opened
    return {} if old is None else {n: getattr(old, n) for n in _STAYING}


#: Fields of an object that working on it does not change.
_STAYING = ("proposed_by", "category", "accepted")


def certainty(probability: Patch, mask: Patch) -> Patch:
    """Return the pixels of an object (uint8) from its probability and mask."""
    inside = np.round(probability.within(mask.box) * 254).astype(np.uint8) + 1
    return Patch(mask.box, np.where(mask.values, inside, np.uint8(0)))


def _certain(mask: Patch) -> Patch:
    """Return pixels that are sure."""
    return Patch(mask.box, np.where(mask.values, np.uint8(255), np.uint8(0)))


def check_label(label: Any) -> int:
    """Return an id for an object.

    Raises
    ------
    SessionError
        If it is not a whole number from 1 to the largest of int32.
    """
    try:
        number = int(label)
    except (TypeError, ValueError):
        number = 0
    if number != label or not 1 <= number <= MAX_LABEL:
        raise SessionError(
            f"An object's label is a whole number from 1 to {MAX_LABEL}, not "
            f"{label!r}. Leave it out for the next free one."
        )
    return number


def check_extent(box: Box) -> None:
    """Refuse an object whose pixels lie too far apart to be kept as one.

    Raises
    ------
    MaskError
        If the smallest box around them has too many pixels.
    """
    if box.area > MAX_EXTENT:
        raise MaskError(
            f"One object would reach over {box.shape[0]:,} x {box.shape[1]:,} pixels, "
            f"but the smallest box around an object may have {MAX_EXTENT:,} pixels. "
            "Give pixels that lie far apart different labels."
        )


def check_overlap(overlap: Any) -> Overlap:
    """Return the name of a policy.

    Raises
    ------
    SessionError
        If there is none of that name.
    """
    if overlap not in OVERLAPS:
        raise SessionError(
            f"There is no overlap policy {overlap!r}. Choose one of "
            f"{', '.join(map(repr, OVERLAPS))}."
        )
    policy: Overlap = overlap
    return policy


def _settle_claims(
    claimed: NDArray[np.bool_],
    mine: NDArray[np.uint8],
    theirs: NDArray[np.uint8],
    overlap: Overlap,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which claimed pixels the new object loses, and which it wins."""
    if overlap == "keep":
        return claimed, np.zeros_like(claimed)
    if overlap == "overwrite":
        return np.zeros_like(claimed), claimed
    surer = mine > theirs
    return claimed & ~surer, claimed & surer


def _without(pixels: Patch, taken: Patch) -> Patch:
    """Return pixels of an object without those that ``taken`` marks."""
    return Patch(
        pixels.box,
        np.where(taken.within(pixels.box), np.uint8(0), pixels.values),
    )


def _merged(first: Patch, second: Patch) -> Patch:
    """Return the pixels of both, each as sure as the surer one."""
    box = first.box.union(second.box)
    check_extent(box)
    return Patch(box, np.maximum(first.within(box), second.within(box)))


def joined(old: SegmentedObject, new: SegmentedObject) -> SegmentedObject:
    """Return one object of two, under the id of the new one."""
    return replace(
        new,
        pixels=_merged(old.pixels, new.pixels),
        drafts=old.drafts + new.drafts,
        seconds=old.seconds + new.seconds,
        intact=False,
        proposed_by=new.proposed_by or old.proposed_by,
        category=new.category or old.category,
        accepted=new.accepted or old.accepted,
    )


def split(labels: Patch) -> Iterator[tuple[int, Patch]]:
    """Yield each id of a label patch with the mask of its pixels."""
    for label, box, mask in by_label(labels.values):
        yield label, Patch(moved(box, labels.box), mask)
