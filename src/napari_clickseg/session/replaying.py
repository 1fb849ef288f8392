"""Ask everything that was asked in a session again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from napari_clickseg.errors import MaskError
from napari_clickseg.session.draft import Ask, Draft
from napari_clickseg.session.moments import State
from napari_clickseg.session.objects import Objects, SegmentedObject, certainty
from napari_clickseg.session.patches import Patch


def replayed(
    state: State,
    ask: Ask,
    mask_of: Callable[[Draft], Patch],
    progress: Callable[[int, int], None] | None = None,
) -> tuple[State, tuple[str, ...]]:
    """Return what the clicks of a state give when they are answered again.

    Parameters
    ----------
    state : State
        The objects that were clicked are made again in the order of their
        commits, by the steps that were asked then; others are taken over.
    ask : callable
        Asks the model (see :data:`napari_clickseg.session.draft.Ask`).
    mask_of : callable
        Returns the mask of an answer.
    progress : callable, optional
        Called with the number of objects done and of all.

    Returns
    -------
    State, tuple of str
        And what the user should know: which objects are empty now.
    """
    clicked = [each for each in state.objects.values() if each.drafts]
    clicked.sort(key=lambda each: each.time)
    objects = Objects(each for each in state.objects.values() if not each.drafts)
    notices = []
    for done, each in enumerate(clicked):
        if progress is not None:
            progress(done, len(clicked))
        for draft in each.drafts:
            draft = draft.recipe().answered(ask, None, None)
            try:
                objects = objects.committed(_remade(each, draft, mask_of(draft)))
            except MaskError:
                notices.append(
                    f"Object {each.label} has no pixels any more: the model finds "
                    "nothing there, or only what other objects have."
                )
    if progress is not None:
        progress(len(clicked), len(clicked))
    draft = state.draft.recipe().answered(ask, None, None)
    return State(draft, objects), tuple(notices)


def _remade(old: SegmentedObject, draft: Draft, mask: Patch) -> SegmentedObject:
    return replace(
        old,
        pixels=certainty(draft.answer, mask),
        drafts=(draft,),
        seconds=old.seconds / len(old.drafts),
        intact=True,
    )
