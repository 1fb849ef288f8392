"""Which fields of a click a task takes."""

from __future__ import annotations

from napari_clickseg.clicks import Click
from napari_clickseg.errors import ClickError


def refuse(click: Click, task: str, meaning: str, *fields: str) -> None:
    """Refuse a click that carries fields which mean nothing to a task.

    Parameters
    ----------
    click : Click
    task : str
        Name of the task, for the text.
    meaning : str
        What its clicks say, as the end of "A click for ... ".
    *fields : str
        Those that must not be there.

    Raises
    ------
    ClickError
    """
    for field in fields:
        if getattr(click, field) is not None:
            raise ClickError(
                f"A click for {task} {meaning} and has no {field}. Leave {field} out."
            )


def refuse_negative(click: Click, text: str) -> None:
    """Refuse a negative click where signs mean nothing.

    Raises
    ------
    ClickError
        With that text.
    """
    if not click.positive:
        raise ClickError(text)
