"""Clicks in a napari viewer: one session for the dock, the keys and the console.

Works on napari's ``ViewerModel``; Qt is needed only where there is a window.
"""

from __future__ import annotations

import weakref
from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari_clickseg.binding.console import Console
from napari_clickseg.binding.shelf import ModelShelf
from napari_clickseg.errors import SessionError
from napari_clickseg.worker import Worker, the_worker

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["ViewerClicks", "attach"]

#: Loaded models, shared by all viewers.
_SHELF = ModelShelf()


class ViewerClicks(Console):
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
        dock, and a session, of its own.

    Returns
    -------
    ViewerClicks, ViewerClasses, ViewerMatting or ViewerDepth
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
    kind = _kind_of(task)
    if getattr(viewer, "window", None) is None:
        # Without an event loop nobody would apply results that come later.
        return kind(viewer, Worker(synchronous=True).channel(), _SHELF)
    from napari_clickseg.main_thread import MainThread

    return kind(viewer, the_worker().channel(MainThread().run), _SHELF)


def _kind_of(task: str) -> Any:
    if task == "segmentation":
        return ViewerClicks
    if task not in _KINDS:
        raise SessionError(
            f"There is no task {task!r}: choose 'segmentation', 'semantic', 'matting' "
            "or 'depth'."
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
