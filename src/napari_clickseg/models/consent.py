"""What the user has agreed to before weights with terms of their own are fetched.

Some weights are for non-commercial use only, or come from code whose licence binds
whoever passes it on. Their terms are shown before the first download; the answer is
kept, so that nobody is asked twice. It holds for one user, one model and one text:
when the terms change, the question comes again.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari_clickseg.errors import ConsentError
from napari_clickseg.limits import DAMAGE
from napari_clickseg.models.cache import cache_folder, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from napari_clickseg.models.registry import ModelInfo

__all__ = [
    "Consent",
    "consent_path",
    "has_consented",
    "record_consent",
    "require_consent",
    "terms_text",
    "withdraw_consent",
]

Consent = Callable[["ModelInfo"], bool]
"""Shows :func:`terms_text` to the user; returns whether the user agrees."""


def consent_path() -> Path:
    """Return the file that keeps what was agreed to (it may not exist yet)."""
    return cache_folder() / "consents.json"


def terms_text(info: ModelInfo) -> str:
    """Return what is to be shown before the download; empty: nothing to agree to."""
    if not info.terms:
        return ""
    return f"{info.name}\nLicence: {info.licence}\n{info.terms}\nSource: {info.source}"


def has_consented(info: ModelInfo) -> bool:
    """Whether there is nothing to agree to, or this user has agreed to these terms."""
    if not info.terms:
        return True
    found = _read().get(_user(), {}).get(info.name)
    return isinstance(found, dict) and found.get("terms_sha256") == _digest(info)


def record_consent(info: ModelInfo) -> None:
    """Remember that this user agrees to the terms of a model.

    Raises
    ------
    ConsentError
        When the answer cannot be kept; nothing should be downloaded then.
    """
    if not info.terms:
        return
    stored = _read()
    stored.setdefault(_user(), {})[info.name] = {
        "terms_sha256": _digest(info),
        "date": time.strftime("%Y-%m-%d"),
    }
    _write(stored)


def withdraw_consent(name: str) -> bool:
    """Forget that this user agreed to a model's terms.

    Returns
    -------
    bool
        Whether there was anything to forget.
    """
    stored = _read()
    if stored.get(_user(), {}).pop(name, None) is None:
        return False
    _write(stored)
    return True


def require_consent(info: ModelInfo, ask: Consent | None = None) -> None:
    """Return if the terms are agreed to, now or earlier.

    Parameters
    ----------
    info : ModelInfo
    ask : callable, optional
        Asks the user; its "yes" is remembered. None: nobody is there to ask.

    Raises
    ------
    ConsentError
        Otherwise. The message holds the terms and says how to agree.
    """
    if has_consented(info):
        return
    if ask is not None and ask(info):
        record_consent(info)
        return
    raise ConsentError(
        f"{info.name} is fetched only after you have agreed to its terms.\n"
        f"{terms_text(info)}\n"
        f"If you agree, run 'napari-clickseg models fetch {info.name} "
        "--accept-licence' once, or in Python call napari_clickseg.models.fetch."
        f"fetch_model({info.name!r}, consent=lambda info: True)."
    )


def _digest(info: ModelInfo) -> str:
    """Identify what was shown; where it is from may change."""
    shown = f"{info.licence}\n{info.terms}"
    return hashlib.sha256(shown.encode()).hexdigest()


def _user() -> str:
    """Name the user: a folder of weights may serve a whole laboratory."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container without user names
        return str(os.getuid()) if hasattr(os, "getuid") else "user"


def _read() -> dict[str, dict[str, Any]]:
    """Return what was kept; a missing or unreadable file counts as empty."""
    try:
        stored = json.loads(consent_path().read_text(encoding="utf-8"))
    except DAMAGE:
        return {}
    if not isinstance(stored, dict):
        return {}
    return {str(k): v for k, v in stored.items() if isinstance(v, dict)}


def _write(stored: dict[str, dict[str, Any]]) -> None:
    path = consent_path()
    try:
        write_json(path, stored)
    except OSError as error:
        raise ConsentError(
            f"Your answer cannot be kept in {path}: {error}. Free space there, or set "
            "NAPARI_CLICKSEG_CACHE to another folder."
        ) from error
