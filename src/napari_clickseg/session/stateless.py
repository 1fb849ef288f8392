"""One answer, without a session to keep."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_clickseg.clicks import as_clicks
from napari_clickseg.errors import SessionError
from napari_clickseg.session.base import STARTER
from napari_clickseg.session.click_session import ClickSession
from napari_clickseg.session.dense_session import DenseSession

if TYPE_CHECKING:
    from napari_clickseg.models.model import Model


def predict(
    image: Any,
    clicks: Iterable[Any],
    mask: Any = None,
    model: str | Path | Model = STARTER,
    *,
    output: Literal["result", "probability"] = "result",
    one_by_one: bool = True,
    settle: bool = True,
    channels: int | Sequence[int] | None = None,
    contrast: Any = None,
    channel_axis: int | None = None,
    **options: Any,
) -> NDArray[Any]:
    """Answer clicks on an image, without a session.

    Parameters
    ----------
    image : array-like or ImageSource
        ``(H, W)`` or ``(H, W, C)``.
    clicks : iterable of Click, (row, col) or (row, col, positive)
        At least one, unless there is a mask.
    mask : array-like, optional
        Boolean ``(H, W)``: the object to start from.
    model : str, Path or Model
        As for :class:`ClickSession`. A loaded model saves the time to load it.
    output : {"result", "probability"}
        Return what the task makes of the answer (for segmentation the mask), or
        the probability.
    one_by_one : bool
        Answer click after click, as they are made in a session; otherwise all
        at once, which is faster and a little less exact.
    settle : bool
        Include the mirrored pass.
    channels, contrast, channel_axis
        As for :meth:`ClickSession.set_image`.
    **options
        Further arguments of :class:`ClickSession`, such as ``device`` and ``task``.
        With ``task="matting"`` also ``trimap=``, or the mask is made one; with
        ``mode="stroke"`` ``painted=``. These tasks answer without any click, too.

    Returns
    -------
    ndarray
        Boolean ``(H, W)``, or float32 ``(H, W)`` in [0, 1]; labels of classes, alpha
        or depths ``(H, W)``.

    Raises
    ------
    ClickSegError
        For anything that cannot be used; the text says what to do.
    """
    if output not in ("result", "probability"):
        raise SessionError(
            f"There is no output {output!r}. Choose 'result' or 'probability'."
        )
    given = {key: options.pop(key, None) for key in ("trimap", "painted")}
    session = ClickSession(model, **options)
    session.set_image(image, channels, contrast, channel_axis=channel_axis)
    if isinstance(session, DenseSession):
        _begin(session, mask, **given)
    elif any(each is not None for each in given.values()):
        raise SessionError(
            "Trimaps are for task='matting', strokes for task='semantic' with "
            "mode='stroke'."
        )
    elif mask is not None:
        session.set_mask(mask)
    for click in as_clicks(clicks):
        session.add_click(click, click.positive, predict=one_by_one, settle=settle)
    if session.pending:
        session.update(settle=settle)
    if session.state.draft.blank:
        raise SessionError("There is neither a click nor a mask. Pass at least one.")
    answer = session.result if output == "result" else session.probability
    return np.array(answer)


def _begin(session: DenseSession, mask: Any, trimap: Any, painted: Any) -> None:
    """Give a session of classes, alpha or depth what there is besides clicks."""
    if trimap is not None:
        session.set_trimap(trimap, predict=False)
    elif mask is not None:
        session.trimap_from_mask(mask, predict=False)
    else:
        session.start_from_model(predict=False)
    if painted is not None:
        session.paint(painted, predict=False)
