"""Which window of the image a click asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from napari_clickseg.boxes import Box
from napari_clickseg.errors import ClickError
from napari_clickseg.prediction import first_look
from napari_clickseg.prediction.tiled import first_tile, next_tile, visible_tile
from napari_clickseg.prediction.tiles import WHOLE_PIXELS, Tile
from napari_clickseg.prediction.views import (
    LongestSide,
    Size,
    View,
    ZoomIn,
    clicks_box,
    expand_box,
    limit_size,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from torch import Tensor

    from napari_clickseg.prediction.passes import Passes
    from napari_clickseg.prediction.request import Request
    from napari_clickseg.prediction.settings import PredictorState

#: No window is read that is larger than this.
WINDOW_PIXELS = 2**27
#: Models that answer without clicks see the whole image, at most so many pixels long
#: where the settings say nothing.
AUTOMATIC_SIDE = 2048
#: Longest side of a tile for models that do not say.
TILE_SIDE = 512


class Looking:
    """Decides where a model looks, which may take a few of its answers.

    Parameters
    ----------
    passes : Passes
        The model, and how it is given windows of an image.
    answer : callable
        Returns the model's logits ``(1, 1, h, w)`` for a request and a view, and keeps
        them there.

    Attributes
    ----------
    longest : int or None
        Longest side that memory was found to allow; None: no limit known.
    one_by_one : bool
        Whether windows must not be shown to the model together.
    """

    def __init__(
        self, passes: Passes, answer: Callable[[Request, View], Tensor]
    ) -> None:
        self._passes = passes
        self._answer = answer
        self.longest: int | None = None
        self.one_by_one = False

    @property
    def automatic(self) -> bool:
        """Whether the model answers without clicks."""
        return bool(getattr(self._passes.model, "automatic", False))

    def zoom(self, request: Request) -> ZoomIn | None:
        """Return how windows follow the object, None if the image is seen whole."""
        settings, whole = request.settings, Box.of_shape(request.image.shape)
        if self.automatic or not settings.zoom_in:
            return None
        published = settings.first_look == "published"
        if settings.windows == "tiles" and published and whole.area <= WHOLE_PIXELS:
            return None
        return ZoomIn.of(settings)

    def view(
        self, request: Request, zoom: ZoomIn | None, seen: PredictorState
    ) -> tuple[View, int | None]:
        """Return where to look, and the smallest window from now on.

        Parameters
        ----------
        request : Request
        zoom : ZoomIn or None
            From :meth:`zoom`.
        seen : PredictorState
            After the answer that the zoom-in goes by.
        """
        shape = request.image.shape
        small = Box.of_shape(shape).area <= WHOLE_PIXELS
        tiled = request.settings.windows == "tiles" and not self.automatic
        if tiled and (zoom is not None or not small):
            view, min_crop = self._tiled(request, seen), seen.min_crop
        elif zoom is not None and seen.within is not None:
            view, min_crop = self._inside(request, zoom, seen, seen.within)
        elif tiled:
            view, min_crop = self._whole(request), seen.min_crop
        else:
            view, min_crop = self._free(request, zoom, seen)
        if view.box.area > WINDOW_PIXELS:
            raise ClickError(
                f"The clicks of this object ask for a window of {view.box.shape[0]} x "
                f"{view.box.shape[1]} pixels. Undo the last click, or work on a "
                "smaller version of the image."
            )
        return replace(view, size=self._limited(request, view.size)), min_crop

    def _limited(self, request: Request, size: Size) -> Size:
        return limit_size(limit_size(size, request.settings.max_size), self.longest)

    # -- windows that fit clicks and objects --------------------------------------

    def _free(
        self, request: Request, zoom: ZoomIn | None, seen: PredictorState
    ) -> tuple[View, int | None]:
        settings, shape = request.settings, request.image.shape
        min_crop = seen.min_crop
        if self.automatic:
            view = LongestSide(settings.max_size or AUTOMATIC_SIDE).view(shape)
        elif zoom is None:
            view = LongestSide(settings.max_size).view(shape)
        elif settings.first_look == "published":
            view = zoom.view(seen, request.clicks, shape)
        else:
            # A window was chosen at the first click, so none is skipped.
            zoom = replace(zoom, skip_clicks=0)
            view = zoom.view(seen, request.clicks, shape)
        whole = Box.of_shape(shape)
        first = zoom is not None and settings.first_look != "published"
        if view.box == whole and view.roi is None and first:
            look = self._first_look(request)
            return look.view(settings), look.min_crop(settings)
        if not self.automatic and view.box == whole and whole.area > WHOLE_PIXELS:
            self._tell_of_windows(request)
            look = self._first_look(request)
            return look.view(settings), look.min_crop(settings)
        return view, min_crop

    def _inside(
        self, request: Request, zoom: ZoomIn, seen: PredictorState, within: Box
    ) -> tuple[View, int | None]:
        """Return the window of an object that lies in a box, as the user said."""
        shape, clicks = request.image.shape, request.clicks
        clicked = clicks_box(clicks, shape)
        if clicked is not None:  # a click beyond it says more
            within = within.union(clicked)
        field = expand_box(within, zoom.expansion_ratio).clip(shape)
        smallest = min(zoom.min_crop_size, *field.shape)
        zoom = replace(zoom, skip_clicks=0, min_crop_size=smallest)
        view = zoom.view(seen, clicks, shape)
        roi = field if view.roi is None else view.roi.intersect(field)
        if roi.empty or any(
            c.positive and not roi.contains(*c.position) for c in clicks
        ):
            roi = field
        return View(roi, zoom.size_of(roi), roi, roi, roi != seen.roi), smallest

    def _tell_of_windows(self, request: Request) -> None:
        height, width = request.image.shape
        request.notices.append(
            f"The image ({height} x {width}) is too large to be seen as a whole: the "
            "model looked at windows around the clicks."
        )

    def _tell_of_view(self, request: Request, visible: Box) -> None:
        """Say so where the canvas shows more than is searched for an object."""
        most = first_look.LARGEST
        height, width = visible.clip(request.image.shape).shape
        if height * width > WHOLE_PIXELS and max(height, width) > most:
            request.notices.append(
                f"The view shows {height:,} x {width:,} pixels: the model looked at up "
                f"to {most:,} x {most:,} around the click. Zoom in on an object to say "
                "how large it is."
            )

    def _first_look(self, request: Request) -> first_look.Look:
        """Return where to look when no object has been found yet."""
        shape = request.image.shape
        if request.settings.first_look == "visible" and request.visible is not None:
            look = first_look.visible(request.clicks, request.visible, shape)
            if look is not None:
                return look
        if request.visible is not None:
            self._tell_of_view(request, request.visible)
        if request.searched is None:
            request.searched = first_look.search(
                request.clicks,
                shape,
                lambda boxes, size: self._look(request, boxes, size),
                within=request.visible,
            )
        return request.searched

    def _look(self, request: Request, boxes: Sequence[Box], size: Size) -> np.ndarray:
        """Return logits ``(N, *size)`` of several windows."""
        size = limit_size(size, self.longest)
        groups = [[box] for box in boxes] if self.one_by_one else [list(boxes)]
        answers = []
        for group in groups:
            request.check()
            answers.append(
                self._passes.batch(request.image, group, size, request.clicks)
            )
        found: np.ndarray = torch.cat(answers)[:, 0].numpy()
        return found

    # -- windows of the fixed pyramid -----------------------------------------------

    def _whole(self, request: Request) -> View:
        """Return the whole image, at its own size where the network does not mind."""
        shape = request.image.shape
        side = getattr(self._passes.model, "reduces_to", None)
        if side is not None and max(shape) >= 2 * side:
            # The network would reduce it, and skip pixels in doing so.
            return LongestSide(side).view(shape)
        return LongestSide().view(shape)

    def _tiled(self, request: Request, seen: PredictorState) -> View:
        settings, shape = request.settings, request.image.shape
        side, magnify = self._pyramid(request)
        # Tiles are never smaller than suits the model.
        around = _around(request)
        zoom = replace(ZoomIn.of(settings), min_crop_size=1, expansion_ratio=around)
        wanted = zoom.wanted_roi(seen, request.clicks, shape)
        if wanted is None and seen.within is not None:
            wanted = expand_box(seen.within, around).clip(shape)
        if wanted is None:
            tile = self._first_tile(request, side, magnify)
        else:
            tile = next_tile(
                seen.roi,
                wanted,
                request.clicks,
                shape,
                side,
                settings.recompute_thresh_iou,
                magnify,
            )
        if settings.first_look == "published" or not settings.zoom_in:
            self._tell_of_windows(request)
        return _view_of(tile, seen.roi)

    def _pyramid(self, request: Request) -> tuple[int, float]:
        """Return the longest side of tiles, and how far they may be enlarged."""
        settings, model = request.settings, self._passes.model
        side = settings.tile_side or int(getattr(model, "tile_side", TILE_SIDE))
        magnify = settings.magnify or float(getattr(model, "magnifies", 1.0))
        return side, magnify

    def _first_tile(self, request: Request, side: int, magnify: float) -> Tile:
        shape = request.image.shape
        if request.settings.first_look == "visible" and request.visible is not None:
            tile = visible_tile(request.clicks, request.visible, shape, side, magnify)
            if tile is not None:
                return tile
        if request.first_tile is None:

            def look(tiles: Sequence[Tile]) -> list[np.ndarray]:
                views = [_view_of(tile, None) for tile in tiles]
                views = [
                    replace(view, size=self._limited(request, view.size))
                    for view in views
                ]
                return [self._answer(request, view)[0, 0].numpy() for view in views]

            request.first_tile = first_tile(
                request.clicks,
                shape,
                side,
                look,
                around_object=_around(request),
                within=request.visible,
                magnify=magnify,
            )
        return request.first_tile


def _view_of(tile: Tile, last: Box | None) -> View:
    return View(tile.box, tile.size, tile.box, tile.box, changed=tile.box != last)


def _around(request: Request) -> float:
    """Return how many times as large as the object a tile has to be.

    An object lies seldom in the middle of a tile, so there is more around it than in
    a window that is fitted to it.
    """
    return request.settings.expansion_ratio**2
