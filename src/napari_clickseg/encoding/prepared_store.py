"""Where prepared images are kept: on disk, or only as long as the program runs.

Nothing here imports torch before there is something to keep, so that docks can have
one from the start.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_clickseg.errors import MissingPackageError, StoreError
from napari_clickseg.models.cache import cache_folder

if TYPE_CHECKING:
    from napari_clickseg.encoding.store import FeatureStore
    from napari_clickseg.models.features import Features

LOG = logging.getLogger("napari_clickseg")

#: What is kept in memory takes at most so many bytes.
MEMORY_BYTES = 2**30


def usual_folder() -> Path:
    """Return the folder for prepared images, beside the weights."""
    return cache_folder() / "features"


class PreparedStore:
    """Features by key: in memory, and in a feature store behind it.

    Parameters
    ----------
    folder : path-like, optional
        Of the feature store; it is read where it exists. None: memory alone.
    max_bytes : int, optional
        Of the feature store.
    keep : bool
        Whether new features go to disk; otherwise they stay in memory.
    memory_bytes : int
        What is kept in memory takes no more; what was not used for longest goes.

    Notes
    -----
    Both keep floats in bfloat16, so that an image prepared here and one prepared
    elsewhere are answered alike.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        max_bytes: int | None = None,
        *,
        keep: bool = True,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        self.memory_bytes = memory_bytes
        self._memory: OrderedDict[str, tuple[Features, int]] = OrderedDict()
        self._held = 0
        self._disk: FeatureStore | None = None
        #: Why nothing can be kept on disk; empty where it can.
        self.trouble = ""
        self.configure(folder, max_bytes, keep=keep)

    def __repr__(self) -> str:
        return f"<PreparedStore {self.path}>"

    def configure(
        self, folder: str | Path | None, max_bytes: int | None, *, keep: bool
    ) -> None:
        """Use another folder, limit or way to keep; memory stays as it is."""
        self.folder = None if folder is None else Path(folder).expanduser()
        self.max_bytes, self.keep = max_bytes, keep and folder is not None
        self._disk, self.trouble = None, ""

    @property
    def path(self) -> str:
        """Where features go, in words."""
        return str(self.folder) if self.keep else "memory"

    @property
    def limit(self) -> int | None:
        """Bytes that new features may take together."""
        return self.max_bytes if self.keep else self.memory_bytes

    @property
    def empty(self) -> bool:
        """Whether nothing can be found here: no folder, nothing in memory."""
        return not self._memory and (
            self.folder is None or not (self.folder / "entries").is_dir()
        )

    def get(self, key: str, dtype: Any = None, device: Any = None) -> Features | None:
        """Return features, or None where there are none (see ``FeatureStore.get``)."""
        if key in self._memory:
            from napari_clickseg.encoding.entry import moved

            self._memory.move_to_end(key)
            return moved(self._memory[key][0], dtype, device)
        disk = self._store(create=False)
        return None if disk is None else disk.get(key, dtype, device)

    def has(self, key: str) -> bool:
        """Whether there are features under a key."""
        if key in self._memory:
            return True
        disk = self._store(create=False)
        return disk is not None and disk.has(key)

    def put(
        self, key: str, features: Features, about: Mapping[str, Any] | None = None
    ) -> None:
        """Keep features (see ``FeatureStore.put``)."""
        disk = self._store(create=True) if self.keep else None
        if disk is not None:
            disk.put(key, features, about)
        else:
            self._remember(key, features)

    def forget(self) -> None:
        """Drop what is kept in memory."""
        self._memory.clear()
        self._held = 0

    def _remember(self, key: str, features: Features) -> None:
        import torch

        from napari_clickseg.encoding.entry import moved
        from napari_clickseg.models.feature_tree import pack

        features = moved(features, torch.bfloat16, "cpu")
        size = sum(t.numel() * t.element_size() for t in pack(features.content)[1])
        self._held += size - self._memory.pop(key, (None, 0))[1]
        self._memory[key] = (features, size)
        while self._held > self.memory_bytes and len(self._memory) > 1:
            self._held -= self._memory.popitem(last=False)[1][1]

    def _store(self, *, create: bool) -> FeatureStore | None:
        """Return the feature store, where there is one or is to be one."""
        if self._disk is not None or self.folder is None or self.trouble:
            return self._disk
        if not create and not (self.folder / "zarr.json").is_file():
            return None
        try:
            from napari_clickseg.encoding.store import FeatureStore

            self._disk = FeatureStore(self.folder, self.max_bytes, create=create)
        except (MissingPackageError, StoreError, OSError) as error:
            # Clicks go on without; what is prepared stays in memory.
            self.trouble = str(error)
            LOG.warning("Prepared images are not kept on disk: %s", error)
        return self._disk
