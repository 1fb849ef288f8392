"""The network behind the places where a refinement puts its layers."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import torch

from napari_clickseg.errors import RefinementError
from napari_clickseg.prediction.kept import KEEP_PIXELS
from napari_clickseg.prediction.regions import region_of
from napari_clickseg.refinement.insertion import record
from napari_clickseg.refinement.sites import Site, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from torch import Tensor

    from napari_clickseg.prediction.passes import Passes, Region
    from napari_clickseg.prediction.request import Request
    from napari_clickseg.prediction.views import View
    from napari_clickseg.refinement.settings import RefinementSettings
    from napari_clickseg.refinement.tail import Tail

#: Tails kept where they serve more than one click: of a view, with and without its
#: mirror image.
KEPT_TAILS = 2


def layer_of(method: str) -> str:
    """Return the kind of layer that a refinement puts in."""
    if method.startswith("g-brs-"):
        return method.removeprefix("g-brs-")
    return "sb" if method.startswith("f-brs") else "map"


def places_of(settings: RefinementSettings, model: Any) -> tuple[str, ...]:
    """Return where a refinement puts its layers in a model.

    Raises
    ------
    RefinementError
        If the model does not say, and the settings do not either.
    """
    if settings.at is not None:
        return settings.at
    places = getattr(model, "places", {})
    method = settings.method
    wanted = [method.removesuffix("-brs")]
    if method.startswith("g-brs"):
        wanted = ["g-brs", "f-brs-b"]
    elif method == "f-brs-b":
        wanted = ["f-brs-b", "g-brs"]
    for key in wanted:
        if places.get(key):
            return tuple(places[key])
    name = getattr(model, "name", "This model")
    usual = "; the usual ones are " + ", ".join(sorted(places)) if places else ""
    raise RefinementError(
        f"{name} does not say where {method} puts its layers{usual}. Name a place with "
        "at=..., for example one that interactive_points(model.network, ...) lists, or "
        "choose another refinement."
    )


class Tails:
    """Runs a model and keeps what of it does not depend on a refinement.

    Parameters
    ----------
    passes : Passes
        The model, and how it is given windows of an image.
    """

    def __init__(self, passes: Passes) -> None:
        self._passes = passes
        self._tails: OrderedDict[Any, Tail] = OrderedDict()
        self._features: OrderedDict[Any, Any] = OrderedDict()
        self._image: Any = None
        self._network: Any = None
        # Places that the network comes by before it knows of any click.
        self._early: dict[tuple[str, ...], bool] = {}

    def forget(self) -> None:
        """Drop everything that was kept."""
        self._image = self._network = None
        self._tails.clear()
        self._features.clear()
        self._early.clear()

    @property
    def automatic(self) -> bool:
        """Whether the model answers without clicks."""
        return bool(getattr(self._passes.model, "automatic", False))

    def tail(
        self,
        request: Request,
        view: View,
        copies: Sequence[bool],
        window: np.ndarray,
        *,
        limit: int | None,
        reuse: bool,
    ) -> Tail:
        """Run the network on a view; return what it does behind the places.

        Parameters
        ----------
        request : Request
            Image, clicks and refinement.
        view : View
            Where to look.
        copies : sequence of bool
            For each copy of the view whether it is the mirror image.
        window : ndarray, shape of ``view.box``
            The previous mask, or what is remembered.
        limit : int or None
            Only so many first clicks are given to the network.
        reuse : bool
            Whether later clicks may ask the same. Those on a model that knows no
            clicks always do.

        Returns
        -------
        Tail
            For the copies, at the size of the view.
        """
        passes, model = self._passes, self._passes.model
        passes.last_size, passes.last_batch = view.size, 1
        network = self._known(request)
        sites = places_of(request.refinement, model)
        points = passes.points(
            request.clicks,
            request.before,
            view.box,
            view.size,
            copies,
            limit=limit,
        )
        previous = passes.previous(window, view.size, copies)
        where = (view.box, view.size, tuple(copies))
        reuse = reuse or self.automatic
        key: Any = (sites, *where)  # the region follows from the clicks
        if not self.automatic:
            given = b"" if previous is None else previous.numpy().tobytes()
            key += (points.numpy().tobytes(), hash(given))
        if reuse and key in self._tails:
            self._tails.move_to_end(key)
            return self._tails[key]

        region = self._region(request, view, copies)

        def decode(features: Any) -> Tensor:
            return passes.decode(features, points, previous, view.size, region)

        features = self._encoding(request, view, copies, network, sites, decode)
        tail = record(network, sites, lambda: decode(features()))
        if reuse:
            _keep(self._tails, key, tail)
        return tail

    def plain(
        self, request: Request, view: View, copies: Sequence[bool], *, limit: int | None
    ) -> Tensor:
        """Return the model's own answer to copies of a view, (copies, 1, h, w).

        All at once, since that is how the published numbers came about: one by one,
        other kernels round otherwise, and refinement makes much of it.
        """
        passes = self._passes
        passes.last_size, passes.last_batch = view.size, 1
        points = passes.points(
            request.clicks,
            request.before,
            view.box,
            view.size,
            copies,
            limit=limit,
        )
        window = passes.window(request.before, view.box)
        previous = passes.previous(window, view.size, copies)
        region = self._region(request, view, copies)
        with torch.inference_mode():
            features = passes.encode(request.image, view.box, view.size, copies)
            return passes.decode(features, points, previous, view.size, region)

    def _region(
        self, request: Request, view: View, copies: Sequence[bool]
    ) -> Region | None:
        if any(copies):
            return None
        return region_of(request, self._passes.model, view.box, view.size)

    def _known(self, request: Request) -> torch.nn.Module:
        """Return the network, and drop what was kept of another or another image."""
        model: Any = self._passes.model
        network = getattr(model, "network", None)
        if not isinstance(network, torch.nn.Module):
            raise RefinementError(
                f"{getattr(model, 'name', 'This model')} has no torch network inside "
                "(model.network), so nothing can be refined. Choose refinement 'none'."
            )
        if self._image is not request.image or self._network is not network:
            self.forget()
            self._image, self._network = request.image, network
        return network

    def _encoding(
        self,
        request: Request,
        view: View,
        copies: Sequence[bool],
        network: torch.nn.Module,
        sites: tuple[str, ...],
        decode: Callable[[Any], Any],
    ) -> Callable[[], Any]:
        """Return what gives a view's features: kept ones, if no place is in them."""
        passes = self._passes

        def encode(stored: bool = False) -> Any:
            return passes.encode_anew(
                request.image, view.box, view.size, copies, stored=stored
            )

        if self._early.get(sites):
            return encode
        parsed = [Site.parse(site) for site in sites]
        for site in parsed:
            site.check(network)
        if passes.once:
            features = passes.encode(request.image, view.box, view.size, copies)
            if sites not in self._early:
                with torch.no_grad(), Watch(network, parsed, _pass_on) as watch:
                    decode(features)
                self._early[sites] = not watch.reached.issuperset(parsed)
            return encode if self._early[sites] else lambda: features
        key = (view.box, view.size, tuple(copies))
        if key not in self._features:
            with torch.no_grad(), Watch(network, parsed, _pass_on) as watch:
                features = encode(stored=True)
            self._early[sites] = bool(watch.reached)
            if watch.reached:
                return encode
            if view.size[0] * view.size[1] > KEEP_PIXELS:
                return lambda: features
            _keep(self._features, key, features)
        self._features.move_to_end(key)
        kept = self._features[key]
        return lambda: kept


def _pass_on(label: str, tensor: Tensor) -> Tensor:  # noqa: ARG001
    return tensor


def _keep(store: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    store[key] = value
    while len(store) > KEPT_TAILS:
        store.popitem(last=False)
