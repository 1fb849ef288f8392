"""Fixtures and rules that every test shares."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]

# A busy machine is no bug: no deadlines. Where a run must be repeatable
# (CI), the examples are always the same.
settings.register_profile("default", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def has_display() -> bool:
    """Whether a window can be opened here."""
    if os.environ.get("QT_QPA_PLATFORM") in {"offscreen", "minimal"}:
        return False
    if sys.platform in {"darwin", "win32"}:
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


# As the package does, but many a test imports torch before it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

DISPLAY = has_display()
if not DISPLAY:
    # Widgets without an OpenGL canvas can still be tested.
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that open a window where there is no display.

    With ``CLICKSEG_REQUIRE_GUI=1`` (the test command sets it once a display is
    known to be there) they run, and fail, instead.
    """
    if DISPLAY or os.environ.get("CLICKSEG_REQUIRE_GUI") == "1":
        return
    skip = pytest.mark.skip(
        reason="needs a display: run `bash scripts/test.sh`, or pytest in xvfb-run"
    )
    for item in items:
        if item.get_closest_marker("gui"):
            item.add_marker(skip)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests away from the weights and sessions of the user."""
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("cache")
        patch.setenv("NAPARI_CLICKSEG_CACHE", str(cache))
        yield


@pytest.fixture(autouse=True)
def _no_models_left() -> Iterator[None]:
    """Forget the models that a test has named in this process."""
    yield
    registered = sys.modules.get("napari_clickseg.models.in_process")
    if registered is not None:
        for info in registered.remembered():
            registered.forget(info.name)


@pytest.fixture(autouse=True)
def _torch_as_before() -> Iterator[None]:
    """Ask of every test to leave torch as it was: other tests count on it."""
    torch = sys.modules.get("torch")
    before = None if torch is None else _state_of(torch)
    yield
    torch = sys.modules.get("torch")
    if before is not None and torch is not None and _state_of(torch) != before:
        found = _state_of(torch)
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        torch.set_grad_enabled(before[2])
        pytest.fail(f"threads, determinism, gradients: {found}, before {before}")


def _state_of(torch: ModuleType) -> tuple[int, bool, bool]:
    return (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_grad_enabled(),
    )


@pytest.fixture
def settings_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], bool]:
    """A function that makes napari keep the settings of plugins in a folder.

    It returns False where napari (before 0.9) has no such settings.
    """

    def move(folder: Path) -> bool:
        from napari import settings

        if not hasattr(settings, "get_plugin_settings"):
            return False
        monkeypatch.setattr(settings, "_CFG_PATH", str(folder / "settings.yaml"))
        settings._clear_plugin_settings_cache()
        return True

    return move


def _shared(name: str, variable: str) -> Path:
    """Find a folder that lies beside the repository, or skip the test."""
    given = os.environ.get(variable)
    folder = Path(given) if given else ROOT.parent / "shared" / name
    if not folder.is_dir():
        where = f"{variable}={given}" if given else f"../shared/{name}"
        pytest.skip(f"{where} is not there: set {variable} to the folder '{name}'")
    return folder


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Folder of the full golden vectors (``CLICKSEG_GOLDEN``)."""
    return _shared("golden", "CLICKSEG_GOLDEN")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the image packs (``CLICKSEG_DATA``)."""
    return _shared("data", "CLICKSEG_DATA")


@pytest.fixture(scope="session")
def excerpt_dir() -> Path:
    """Folder of the golden excerpts that come with the repository."""
    return ROOT / "tests" / "golden"
