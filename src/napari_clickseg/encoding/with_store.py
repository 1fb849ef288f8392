"""A model that looks into a feature store before it encodes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from napari_clickseg.encoding.keys import key_for
from napari_clickseg.errors import StoreError
from napari_clickseg.models.feature_tree import joined
from napari_clickseg.models.model import Features

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from napari_clickseg.boxes import Box
    from napari_clickseg.encoding.store import FeatureStore
    from napari_clickseg.image import ImageSource

LOG = logging.getLogger("napari_clickseg")


class WithStore:
    """A model together with features that were computed before.

    It has everything that the model has, and can be used in its place: in a
    ``ClickSession``, a ``Predictor``, the benchmark.

    Parameters
    ----------
    model : Model
        Also one without an encoder
        (:class:`~napari_clickseg.models.decoder_only.DecoderModel`).
    store : FeatureStore
    write : bool
        Whether what had to be encoded is kept in the store.
    """

    def __init__(self, model: Any, store: FeatureStore, *, write: bool = True) -> None:
        self.model, self.store, self.write = model, store, write

    def __repr__(self) -> str:
        return f"<{self.model!r} with {self.store!r}>"

    def __getattr__(self, name: str) -> Any:
        if name == "model":  # not there yet, as in copying
            raise AttributeError(name)
        return getattr(self.model, name)

    def encode(self, image: Tensor, **options: Any) -> Features:
        """Encode images; a tensor says not where it is from, so nothing is looked up.

        Raises
        ------
        EncoderMissingError
            If the model has no encoder.
        """
        features: Features = self.model.encode(image, **options)
        return features

    def decode(
        self, features: Features, points: Tensor, previous: Tensor | None = None
    ) -> Tensor:
        """Answer clicks; see :meth:`napari_clickseg.models.model.Model.decode`."""
        logits: Tensor = self.model.decode(features, points, previous)
        return logits

    def encode_view(
        self,
        image: ImageSource,
        box: Box,
        size: tuple[int, int],
        copies: Sequence[bool],
        encode: Callable[[], Features],
    ) -> Features:
        """Return the features of a window, from the store if they are there.

        Parameters
        ----------
        image : ImageSource
        box : Box
            The window.
        size : (int, int)
            What it is resized to.
        copies : sequence of bool
            For each copy whether it is the mirror image.
        encode : callable
            Encodes these copies with this model.

        Raises
        ------
        EncoderMissingError
            If they are not there, and the model has no encoder.
        """
        keys = [key_for(self.model, image, box, size, copy) for copy in copies]
        found = [
            self.store.get(key, self.model.dtype, self.model.device) for key in keys
        ]
        known = [features for features in found if features is not None]
        if len(known) == len(keys):
            return _as_batch(known)
        features = encode()
        if self.write and len(keys) == 1:
            self._keep(keys[0], features)
        return features

    def prepared(
        self,
        image: ImageSource,
        box: Box,
        size: tuple[int, int],
        flipped: bool = False,
    ) -> bool:
        """Whether the features of a window are in the store."""
        return self.store.has(key_for(self.model, image, box, size, flipped))

    def to(
        self,
        device: str | torch.device | None = None,
        precision: str | torch.dtype | None = None,
    ) -> WithStore:
        """Return the same on another device or in another precision."""
        moved = self.model.to(device=device, precision=precision)
        if moved is self.model:
            return self
        return WithStore(moved, self.store, write=self.write)

    def _keep(self, key: str, features: Features) -> None:
        try:
            self.store.put(key, features, {"model": str(self.model.name)})
        except (StoreError, OSError) as error:  # the answer matters more
            LOG.warning("Features are not kept in %s: %s", self.store.path, error)
            self.write = False


def _as_batch(features: Sequence[Features]) -> Features:
    if len(features) == 1:
        return features[0]
    content = joined([each.content for each in features])
    return Features(content, features[0].size, sum(each.batch for each in features))
