"""ClickSession, and what it is made of.

``click_session``
    the class itself: clicks, answers, undo, file; over ``committing`` (objects)
    and ``base`` (image, model, options, arrays to read)
``proposing``
    objects that a model finds without a click
``stack``, ``propagating``, ``following``, ``carrying``, ``together``
    several planes: objects carried from one to the next, undone as one step
``draft``, ``objects``
    the object in work and the committed ones: immutable records
``history``, ``moments``
    undo and redo over such records, and what changed between two of them
``answering``, ``replaying``, ``file``, ``stateless``
    the model, asking it all again, session files, one answer without a session
``patches``, ``masks``, ``changes``
    small arrays in a large plane, checks of masks, what is reported
"""

from __future__ import annotations

from napari_clickseg.session.base import SESSION_SETTINGS, STARTER
from napari_clickseg.session.changes import Change, ObjectStats, SessionStats
from napari_clickseg.session.click_session import ClickSession
from napari_clickseg.session.objects import OVERLAPS, Overlap, SegmentedObject
from napari_clickseg.session.propagation_rules import PropagationOptions
from napari_clickseg.session.proposing import PROPOSER, propose_objects
from napari_clickseg.session.stack import Carried, StackSession
from napari_clickseg.session.stateless import predict

__all__ = [
    "OVERLAPS",
    "PROPOSER",
    "SESSION_SETTINGS",
    "STARTER",
    "Carried",
    "Change",
    "ClickSession",
    "ObjectStats",
    "Overlap",
    "PropagationOptions",
    "SegmentedObject",
    "SessionStats",
    "StackSession",
    "predict",
    "propose_objects",
]
