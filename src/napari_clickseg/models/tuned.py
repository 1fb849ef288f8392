"""Step sizes of refinement that were found for a model on this machine.

``napari-clickseg tune-refinement`` writes them; whoever loads the model reads them.
They override those of the registry. One JSON file holds them all, by the weights'
hash, so that they never serve other weights of the same name.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_clickseg.limits import DAMAGE
from napari_clickseg.models.cache import models_folder, write_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def tuned_path() -> Path:
    """Return the file that holds what was found (it may not exist yet)."""
    return models_folder() / "refinement-rates.json"


def rate_key(method: str, at: Iterable[str] | None = None) -> str:
    """Return the key of a refinement: its method, and the place if it is not usual.

    Parameters
    ----------
    method : str
        Such as ``"g-brs-sb"``.
    at : iterable of str, optional
        Places of the layer; None: where the model has it.
    """
    return method if at is None else f"{method}@{','.join(at)}"


def read_tuned(sha256: str) -> dict[str, float]:
    """Return the step sizes found for some weights: :func:`rate_key` to step size.

    A missing or unreadable file counts as empty: the model then runs with the
    registry's step sizes.

    Parameters
    ----------
    sha256 : str
        Hash of the weight file; empty for models without one, which have none.
    """
    if not sha256:
        return {}
    found = _read().get(sha256, {}).get("rates", {})
    rates: dict[str, float] = {}
    for key, entry in found.items() if isinstance(found, dict) else ():
        try:
            rate = float(entry["learning_rate"])
        except DAMAGE:
            continue
        if rate > 0 and math.isfinite(rate):
            rates[str(key)] = rate
    return rates


def learning_rate(
    rates: Mapping[str, float], method: str, at: Iterable[str] | None = None
) -> float | None:
    """Return the step size for a refinement, or None where none was found.

    Parameters
    ----------
    rates : mapping
        Of a model: the registry's, updated with :func:`read_tuned`.
    method, at
        As for :func:`rate_key`. A place of its own without a step size takes the
        one that was found for the usual place.
    """
    return rates.get(rate_key(method, at), rates.get(method))


def save_tuned(sha256: str, model: str, key: str, rate: float, **details: Any) -> Path:
    """Remember a step size for some weights, in place of an older one.

    Parameters
    ----------
    sha256 : str
        Hash of the weight file.
    model : str
        Its name, for people who read the file.
    key : str
        See :func:`rate_key`.
    rate : float
        The step size of Adam.
    **details
        Plain values for the record, such as ``auc`` and ``data``.

    Returns
    -------
    Path
        The file.
    """
    stored = _read()
    entry = stored.setdefault(sha256, {})
    entry["model"] = model
    entry.setdefault("rates", {})[key] = {
        "learning_rate": rate,
        **details,
        "date": time.strftime("%Y-%m-%d"),
    }
    write_json(tuned_path(), stored)
    return tuned_path()


def _read() -> dict[str, dict[str, Any]]:
    try:
        stored = json.loads(tuned_path().read_text(encoding="utf-8"))
    except DAMAGE:
        return {}
    if not isinstance(stored, dict):
        return {}
    return {str(k): v for k, v in stored.items() if isinstance(v, dict)}
