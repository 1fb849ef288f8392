"""Packages that only encoding ahead of time needs, and what to do without them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from napari_clickseg.errors import MissingPackageError


def need(module: str) -> Any:
    """Import an optional package.

    Raises
    ------
    MissingPackageError
        If it is not installed; the text says how to get it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or module).split(".")[0]
        raise MissingPackageError(
            f"Encoding images ahead of time needs the package {missing}. Install it: "
            'pip install "napari-clickseg[encode]"'
        ) from error
