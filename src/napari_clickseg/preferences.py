"""What the user chose once and for all, kept in napari's Preferences.

The choices are declared in the manifest (``contributions.configurations``); napari
0.9 and newer shows them, keeps them and tells when they change. With an older
napari, or where the manifest is not installed, the declared defaults hold.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from napari_clickseg.errors import ClickSegError

__all__ = ["Preferences", "preferences"]

PLUGIN = "napari-clickseg"
CACHE_VARIABLE = "NAPARI_CLICKSEG_CACHE"


class Preferences:
    """Typed access to the plugin's settings by ``section.name``.

    Parameters
    ----------
    settings
        napari's settings object of this plugin, or anything with the same
        sections as attributes.
    """

    def __init__(self, settings: Any) -> None:
        self._settings = settings

    def get(self, key: str) -> Any:
        """Return the value of ``"section.name"``.

        Raises
        ------
        ClickSegError
            If the manifest declares no such setting.
        """
        section, name = self._split(key)
        return getattr(getattr(self._settings, section), name)

    def set(self, key: str, value: Any) -> None:
        """Change a setting; napari keeps it for the next start."""
        section, name = self._split(key)
        setattr(getattr(self._settings, section), name, value)

    def connect(self, key: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``callback`` when a setting changes; returns how to stop that."""
        section, name = self._split(key)
        events = getattr(getattr(self._settings, section), "events", None)
        if events is None:
            return lambda: None
        signal = getattr(events, name)

        def changed(_event: Any = None) -> None:
            callback()

        signal.connect(changed)
        return lambda: signal.disconnect(changed)

    def apply_cache_folder(self) -> None:
        """Use the chosen folder for weights unless the environment names one."""
        folder = str(self.get("model.cache")).strip()
        if folder and not os.environ.get(CACHE_VARIABLE):
            os.environ[CACHE_VARIABLE] = str(Path(folder).expanduser())

    @staticmethod
    def _split(key: str) -> tuple[str, str]:
        section, _, name = key.partition(".")
        if name not in declared().get(section, {}):
            known = ", ".join(
                f"{s}.{n}" for s, names in declared().items() for n in names
            )
            raise ClickSegError(f"There is no setting '{key}'. There are: {known}.")
        return section, name


def preferences() -> Preferences:
    """Return the settings as napari keeps them, or the declared defaults."""
    try:
        from napari.settings import get_plugin_settings

        return Preferences(get_plugin_settings(PLUGIN))
    except (ImportError, KeyError):  # older napari; manifest not found
        return Preferences(_defaults())


@cache
def declared() -> dict[str, dict[str, Any]]:
    """Return the defaults in the manifest, as ``{section: {name: value}}``."""
    import yaml

    text = (Path(__file__).parent / "napari.yaml").read_text(encoding="utf-8")
    configurations = yaml.safe_load(text)["contributions"]["configurations"]
    return {
        section: {name: entry["default"] for name, entry in body["properties"].items()}
        for section, body in configurations.items()
    }


@cache
def _defaults() -> SimpleNamespace:
    return SimpleNamespace(
        **{section: SimpleNamespace(**names) for section, names in declared().items()}
    )
