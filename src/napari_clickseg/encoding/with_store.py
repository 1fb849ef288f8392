"""A model that looks into a feature store before it encodes."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from napari_clickseg.encoding.keys import key_for
from napari_clickseg.errors import EncoderMissingError, StoreError
from napari_clickseg.models.feature_tree import joined, pack
from napari_clickseg.models.features import Features

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from napari_clickseg.boxes import Box
    from napari_clickseg.encoding.prepared_store import PreparedStore
    from napari_clickseg.encoding.store import FeatureStore
    from napari_clickseg.image import ImageSource

    Keys = dict[tuple[Box, tuple[int, int], bool], str]

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
    store : FeatureStore or PreparedStore
    write : bool
        Whether what had to be encoded for a click is kept in the store.

    Notes
    -----
    Keys are remembered for each ImageSource: of a large image that is much less work
    than to hash the window of it again.
    """

    def __init__(
        self, model: Any, store: FeatureStore | PreparedStore, *, write: bool = True
    ) -> None:
        self.model, self.store, self.write = model, store, write
        #: About what the features of the last window take that was encoded ahead.
        self.entry_bytes = 0
        self._keys: weakref.WeakKeyDictionary[ImageSource, Keys] = (
            weakref.WeakKeyDictionary()
        )

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
        self,
        features: Features,
        points: Tensor,
        previous: Tensor | None = None,
        **options: Any,
    ) -> Tensor:
        """Answer clicks; see :meth:`napari_clickseg.models.model.Model.decode`."""
        logits: Tensor = self.model.decode(features, points, previous, **options)
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
        keys = [self._key(image, box, size, copy) for copy in copies]
        found = [
            self.store.get(key, self.model.dtype, self.model.device) for key in keys
        ]
        known = [features for features in found if features is not None]
        if len(known) == len(keys):
            return _as_batch(known)
        try:
            features = encode()
        except EncoderMissingError as error:
            raise EncoderMissingError(self._missing()) from error
        if self.write and len(keys) == 1:
            self._keep(keys[0], features, box)
        return features

    def prepared(
        self,
        image: ImageSource,
        box: Box,
        size: tuple[int, int],
        flipped: bool = False,
    ) -> bool:
        """Whether the features of a window are in the store."""
        return self.store.has(self._key(image, box, size, flipped))

    def ensure(
        self,
        image: ImageSource,
        box: Box,
        size: tuple[int, int],
        flipped: bool = False,
    ) -> bool:
        """Encode a window unless that was done; return whether it was done now.

        Raises
        ------
        EncoderMissingError
            If it was not done before, and the model has no encoder.
        StoreError, OSError
            If the features cannot be kept.
        """
        import torch

        from napari_clickseg.prediction.passes import Passes

        key = self._key(image, box, size, flipped)
        if self.store.has(key):
            return False
        with torch.inference_mode():
            try:
                features = Passes(self.model).encode(image, box, size, (flipped,))
            except EncoderMissingError as error:
                raise EncoderMissingError(self._missing()) from error
        self.store.put(key, features, self._about(box))
        # Floats are kept in two bytes.
        self.entry_bytes = sum(2 * t.numel() for t in pack(features.content)[1])
        return True

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

    def _key(
        self, image: ImageSource, box: Box, size: tuple[int, int], flipped: bool
    ) -> str:
        keys = self._keys.setdefault(image, {})
        window = (box, (int(size[0]), int(size[1])), bool(flipped))
        if window not in keys:
            keys[window] = key_for(self.model, image, box, size, flipped)
        return keys[window]

    def _about(self, box: Box) -> dict[str, Any]:
        return {"model": str(self.model.name), "box": list(box)}

    def _missing(self) -> str:
        return (
            f"This part of the image is not prepared in {self.store.path}, and "
            f"{self.model.name} has no encoder. Prepare it with the whole model "
            "(napari-clickseg encode IMAGE --tiles --out STORE, with the contrast "
            "shown here), use that store, or choose the whole model."
        )

    def _keep(self, key: str, features: Features, box: Box) -> None:
        try:
            self.store.put(key, features, self._about(box))
        except (StoreError, OSError) as error:  # the answer matters more
            LOG.warning("Features are not kept in %s: %s", self.store.path, error)
            self.write = False


def _as_batch(features: Sequence[Features]) -> Features:
    if len(features) == 1:
        return features[0]
    content = joined([each.content for each in features])
    return Features(content, features[0].size, sum(each.batch for each in features))
