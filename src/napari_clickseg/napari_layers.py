"""Clicks in a napari viewer: one session for the dock, the keys and the console.

Works on napari's ``ViewerModel``; Qt is needed only where there is a window.
"""

from __future__ import annotations

import weakref
from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari_clickseg.binding.shelf import ModelShelf
from napari_clickseg.binding.working import Working
from napari_clickseg.errors import SessionError
from napari_clickseg.worker import Worker, the_learner, the_worker

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["ViewerClicks", "attach"]

#: Asked for like a task, but with no session of clicks.
FINETUNING = "finetuning"
#: Loaded models, shared by all viewers.
_SHELF = ModelShelf()


class ViewerClicks(Working):
    """The clicks of one viewer: its layers, its jobs, and the names for scripts.

    Made by :func:`attach`. Beside the names of
    :class:`napari_clickseg.ClickSession` it has ``image_layer``, ``mask_layer``,
    ``objects_layer`` and ``points`` (the layers), ``plane`` (what is on screen) and
    ``act(action)`` for what the keys do.
    """


def attach(viewer: Any, image: Any = None, *, task: str = "segmentation") -> Any:
    """Return the click session of a viewer: the one that its dock shows.

    Parameters
    ----------
    viewer : napari.Viewer or napari.components.ViewerModel
        Called again for the same viewer, the same object comes back.
    image : Image layer or its name, optional
        What to click on; default: the selected image, else the topmost.
    task : str
        ``"segmentation"``, ``"semantic"``, ``"matting"`` or ``"depth"``: each has a
        dock, and a session, of its own. Or ``"finetuning"``: what the dock Finetune
        shows, see :class:`napari_clickseg.binding.finetuning.Finetuning`.

    Returns
    -------
    ViewerClicks, ViewerClasses, ViewerMatting, ViewerDepth or Finetuning
        With the methods of :class:`napari_clickseg.ClickSession`; each returns
        when its result is in the layers.

    Raises
    ------
    SessionError
        If there is no such task.

    Examples
    --------
    >>> import napari_clickseg  # doctest: +SKIP
    >>> ui = napari_clickseg.attach(viewer)  # doctest: +SKIP
    >>> ui.add_click((120, 200))  # doctest: +SKIP
    >>> ui.commit()  # doctest: +SKIP
    1
    """
    viewer = unwrapped(viewer)
    of_viewer = _ATTACHED.setdefault(viewer, {})
    clicks = of_viewer.get(task)
    if clicks is None:
        clicks = of_viewer[task] = _new_clicks(viewer, task)
        weakref.finalize(viewer, clicks.close)
        _close_with_window(viewer, task)
    if task == FINETUNING:
        return clicks
    if image is not None:
        clicks.set_image(image if isinstance(image, str) else unwrapped(image))
    elif clicks.image_layer is None:
        clicks.set_image_layer(clicks.choose_image())
    return clicks


def unwrapped(thing: Any) -> Any:
    """Return the object behind napari's proxy for plugins."""
    while type(thing).__name__.endswith("PublicOnlyProxy"):
        thing = thing.__wrapped__
    return thing


def _new_clicks(viewer: ViewerModel, task: str) -> Any:
    """Connect a viewer with the worker, through Qt where it has a window."""
    if task == FINETUNING:
        return _new_finetuning(viewer)
    kind = _kind_of(task)
    if getattr(viewer, "window", None) is None:
        # Without an event loop nobody would apply results that come later.
        return kind(viewer, Worker(synchronous=True).channel(), _SHELF)
    from napari_clickseg.main_thread import MainThread

    return kind(viewer, the_worker().channel(MainThread().run), _SHELF)


def _close_with_window(viewer: ViewerModel, task: str) -> None:
    """Let go of the journals with the window, though a notebook holds its viewer."""
    window = getattr(getattr(viewer, "window", None), "_qt_window", None)
    if window is None:
        return
    this = weakref.ref(viewer)

    def closed(_window: Any = None) -> None:
        viewer = this()
        clicks = viewer and _ATTACHED.get(viewer, {}).pop(task, None)
        if clicks is not None:
            clicks.close()

    window.destroyed.connect(closed)


def _new_finetuning(viewer: ViewerModel) -> Any:
    from napari_clickseg.binding.finetuning import Finetuning

    this = weakref.ref(viewer)

    def session_of(task: str) -> Any:
        viewer = this()
        if viewer is None:
            raise SessionError("The viewer is closed: open another.")
        return attach(viewer, task=task)

    if getattr(viewer, "window", None) is None:
        channel = Worker(synchronous=True).channel()
    else:
        from napari_clickseg.main_thread import MainThread

        channel = the_learner().channel(MainThread().run)
    return Finetuning(viewer, channel, _SHELF, session_of, _sessions)


def _sessions() -> list[Any]:
    """Return the sessions of all viewers."""
    return [
        session
        for of_viewer in list(_ATTACHED.values())
        for task, session in list(of_viewer.items())
        if task != FINETUNING
    ]


def _kind_of(task: str) -> Any:
    if task == "segmentation":
        return ViewerClicks
    if task not in _KINDS:
        raise SessionError(
            f"There is no task {task!r}: choose 'segmentation', 'semantic', 'matting', "
            "'depth' or 'finetuning'."
        )
    module, name = _KINDS[task]
    return getattr(import_module(f"napari_clickseg.binding.{module}"), name)


#: Where the other tasks' sessions of a viewer are, read when they are asked for.
_KINDS = {
    "semantic": ("semantic_clicks", "ViewerClasses"),
    "matting": ("matting_clicks", "ViewerMatting"),
    "depth": ("depth_clicks", "ViewerDepth"),
}

_ATTACHED: weakref.WeakKeyDictionary[ViewerModel, dict[str, Any]] = (
    weakref.WeakKeyDictionary()
)
