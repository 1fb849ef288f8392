"""What is different between two moments, as boxes of pixels.

One box is enough where the changes lie together. In a large image two of them may be
so far apart that the box around them would not fit into memory: then each has its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from napari_clickseg.boxes import Box
from napari_clickseg.plane_view import Piece, PlaneView
from napari_clickseg.session.objects import Objects
from napari_clickseg.session.patches import NOWHERE, Patch, difference

__all__ = ["Difference", "what_changed", "whole"]

#: A box of more pixels is taken apart where it is for the most part empty.
FAR_APART = 2**24
#: Changes whose middles lie in the same square of this side are told together.
NEAR = 2048


class Difference(NamedTuple):
    """What changed.

    Attributes
    ----------
    box : Box or None
        Around all pixels that changed; None where none did.
    mask, labels : array or PlaneView, shape of ``box``, or None
        What there is now; None where it did not change.
    parts : tuple of Difference
        The same in small boxes, where the one box is too large to be an array.
    """

    box: Box | None
    mask: Any = None
    labels: Any = None
    parts: tuple[Difference, ...] = ()


def what_changed(
    old_mask: Patch, mask: Patch, old_objects: Objects, objects: Objects
) -> Difference:
    """Return what is different in the live mask and in the objects."""
    masks = _mask_boxes(old_mask, mask)
    labels = _label_boxes(old_objects, objects)
    box = _around([*masks, *labels])
    if box.empty:
        return Difference(None)
    if box.area <= FAR_APART or len(masks) + len(labels) == 1:
        return Difference(
            box,
            mask.within(box) if masks else None,
            objects.labels(box).values if labels else None,
        )
    return _apart(box, masks, labels, mask, objects)


def whole(shape: tuple[int, int], mask: Patch, objects: Objects | None) -> Difference:
    """Return all there is, as if everything had changed.

    Parameters
    ----------
    shape : (int, int)
        Of the image.
    mask : Patch
    objects : Objects or None
        None: only the mask.
    """
    box = Box.of_shape(shape)
    if box.area <= FAR_APART:
        labels = None if objects is None else objects.labels(box).values
        return Difference(box, mask.within(box), labels)
    labels_in = [] if objects is None else _grouped(_boxes_of(objects))
    masks = [mask.box] if not mask.box.empty else []
    return _apart(box, masks, labels_in, mask, objects)


def _apart(
    box: Box,
    masks: list[Box],
    labels: list[Box],
    mask: Patch,
    objects: Objects | None,
) -> Difference:
    parts = [Difference(each, mask=mask.within(each)) for each in masks]
    if objects is not None:
        parts += [
            Difference(each, labels=objects.labels(each).values) for each in labels
        ]
    return Difference(
        box,
        PlaneView(box, [Piece(mask.box, mask.values)], bool) if masks else None,
        PlaneView(box, objects.pieces(box), "int32")
        if labels and objects is not None
        else None,
        tuple(parts),
    )


def _mask_boxes(old: Patch, new: Patch) -> list[Box]:
    if old is new:
        return []
    around = old.box.union(new.box)
    if around.area <= max(FAR_APART, 2 * (old.box.area + new.box.area)):
        found = difference(old, new)
        return [] if found.empty else [found]
    return [box for box in (old.box, new.box) if not box.empty]


def _label_boxes(old: Objects, new: Objects) -> list[Box]:
    """Return small boxes around all pixels whose object changed."""
    if old is new:
        return []
    touched = []
    for label in old.differing(new):
        before, after = old.get(label), new.get(label)
        if before and after and before.pixels is after.pixels:
            continue  # of another class, say
        touched += [each.pixels.box for each in (before, after) if each is not None]
    around = _around(touched)
    groups = [around] if around.area <= FAR_APART else _grouped(touched)
    found = (difference(old.labels(box), new.labels(box)) for box in groups)
    return [box for box in found if not box.empty]


def _boxes_of(objects: Objects) -> list[Box]:
    return [each.pixels.box for each in objects.values()]


def _grouped(boxes: Iterable[Box]) -> list[Box]:
    """Return fewer boxes that hold all of these; they may overlap."""
    groups: dict[tuple[int, int], Box] = {}
    for box in boxes:
        key = (box.top + box.bottom) // 2 // NEAR, (box.left + box.right) // 2 // NEAR
        groups[key] = groups.get(key, NOWHERE).union(box)
    return list(groups.values())


def _around(boxes: Iterable[Box]) -> Box:
    found = NOWHERE
    for box in boxes:
        found = found.union(box)
    return found
