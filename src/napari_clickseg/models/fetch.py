"""Bring weight files into the cache folder: by download, or from a file at hand.

A file appears under its name only when it is complete and verified: it is written
beside it first and renamed at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from napari_clickseg.errors import Cancelled, FetchError
from napari_clickseg.models.added import add_model_file, remove_model
from napari_clickseg.models.cache import (
    file_digests,
    part_path,
    read_pin,
    remove_abandoned_parts,
    write_pin,
)
from napari_clickseg.models.consent import Consent, require_consent
from napari_clickseg.models.registry import ModelInfo, get_info
from napari_clickseg.models.verify import (
    LOG,
    NO_HASH,
    Rejected,
    check_plausible,
    check_present,
    make_folder,
    pin_text,
    verified_by,
)

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Consent", "Progress", "add_model_file", "fetch_model", "remove_model"]

Progress = Callable[[int, int], object]
"""Called with bytes done and bytes in total (0 where the server does not say)."""

_TIMEOUT = (10.0, 30.0)  # seconds: to connect, between two pieces
_PIECE = 1 << 16


def fetch_model(
    model: ModelInfo | str,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
    consent: Consent | None = None,
) -> Path:
    """Return the weight file of a model, downloaded if it is not here yet.

    Parameters
    ----------
    model : ModelInfo or str
        A model of the registry, or its name.
    progress : callable, optional
        Called as ``progress(done, total)`` in bytes while downloading; ``done``
        starts again at 0 when the next URL is tried.
    cancelled : callable, optional
        Asked between pieces; the download stops when it returns True.
    consent : callable, optional
        Given the model, shows its terms and returns whether the user agrees; called
        before a download, for models with terms that were not agreed to before.

    Returns
    -------
    Path
        The complete, verified file.

    Raises
    ------
    FetchError
        When no URL delivers the right file, or the file that is here is not the
        one that was verified before. The message names the file, the folder and
        the next step.
    ConsentError
        When the model has terms and nobody has agreed to them.
    Cancelled
        When ``cancelled`` returned True; nothing is left behind.
    """
    info = get_info(model) if isinstance(model, str) else model
    path = info.path
    if info.bundled or info.added:
        if path.is_file():
            return path
        raise FetchError(_missing_text(info))
    reason = check_present(info)
    if reason is None:
        return path
    require_consent(info, consent)
    failures = [] if not reason else [f"{path}: {reason}"]
    make_folder(path.parent)
    remove_abandoned_parts(path)
    for url in info.urls:
        try:
            return _download(info, url, progress, cancelled)
        except Rejected as error:
            failures.append(f"{url}: {error}")
        except FetchError:
            raise
        except OSError as error:  # requests' errors are OSErrors too
            if error.errno is not None and not _from_network(error):
                raise FetchError(
                    f"{info.file} cannot be written to {path.parent}: {error}. "
                    "Free space there, or set NAPARI_CLICKSEG_CACHE to another folder."
                ) from error
            failures.append(f"{url}: {_reason(error)}")
        LOG.info("%s: %s", info.name, failures[-1])
    raise FetchError(_failed_text(info, failures))


# -------------------------------------------------------------------- download


class _Hook:
    """What pooch takes for a progress bar: passes bytes on, and stops on request."""

    def __init__(
        self, progress: Progress | None, cancelled: Callable[[], bool] | None
    ) -> None:
        self.total = 0
        self._done = 0
        self._progress = progress
        self._cancelled = cancelled

    def update(self, amount: int) -> None:
        if self._cancelled is not None and self._cancelled():
            raise Cancelled("The download was cancelled; nothing was kept.")
        # pooch counts whole pieces, the last one is shorter
        self._done += amount
        if self.total:
            self._done = min(self._done, self.total)
        if self._progress is not None:
            self._progress(self._done, self.total)

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        pass


def _download(
    info: ModelInfo,
    url: str,
    progress: Progress | None,
    cancelled: Callable[[], bool] | None,
) -> Path:
    import pooch

    hook = _Hook(progress, cancelled)
    hook.update(0)
    path = info.path
    part = part_path(path)
    downloader = pooch.HTTPDownloader(
        progressbar=hook, chunk_size=_PIECE, timeout=_TIMEOUT
    )
    try:
        with part.open("w+b") as file:
            downloader(_direct(url), file, None)
        digests = file_digests(part)
        if hook.total and digests.size < hook.total:
            raise Rejected(f"only {digests.size} of {hook.total} bytes arrived")
        if not info.has_hash:
            check_plausible(info, part, digests.size)
            pin = read_pin(path)
            if pin is not None and pin.sha256 != digests.sha256:
                raise FetchError(pin_text(info, digests.sha256, pin.sha256, pin.date))
            LOG.warning("%s from %s: %s", info.file, url, NO_HASH)
        elif wrong := info.mismatch(digests):
            raise Rejected(f"wrong content, {wrong}")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    write_pin(path, digests.sha256, verified_by(info), url)
    return path


def _is_drive(url: str) -> bool:
    return urlsplit(url).hostname == "drive.google.com"


def _direct(url: str) -> str:
    """Return the address behind a Google Drive link that skips the preview page."""
    if not _is_drive(url):
        return url
    file_id = parse_qs(urlsplit(url).query).get("id", [""])[0]
    return (
        "https://drive.usercontent.google.com/download"
        f"?id={file_id}&export=download&confirm=t"
    )


def _from_network(error: OSError) -> bool:
    import requests

    return isinstance(error, requests.RequestException | ConnectionError | TimeoutError)


def _reason(error: OSError) -> str:
    """Say in a few words why a URL did not deliver."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code}"
    if isinstance(error, requests.Timeout | TimeoutError):
        return "no answer in time"
    text = str(error)
    if "IncompleteRead" in text or isinstance(
        error, requests.exceptions.ChunkedEncodingError
    ):
        return "the connection broke before the file was complete"
    if isinstance(error, requests.exceptions.SSLError):
        return "the secure connection was refused"
    if isinstance(error, requests.ConnectionError | ConnectionError):
        return "no connection"
    return text or type(error).__name__


# -------------------------------------------------------------------- messages


def _by_hand(info: ModelInfo) -> str:
    offered = info.offered_as or info.file
    named = f" --name {info.name}" if info.offered_as else ""
    renamed = f" as {info.file}" if info.offered_as else ""
    return (
        f"Fetch {offered} by hand on any machine and run "
        f"'napari-clickseg models add {offered.split('/')[-1]}{named}', or put it into "
        f"{info.path.parent}{renamed}"
    )


def _failed_text(info: ModelInfo, failures: list[str]) -> str:
    drive = [url for url in info.urls if _is_drive(url)]
    lines = [
        f"{info.file} ({info.name}, {info.size_text}) could not be fetched:",
        *(f"  {failure}" for failure in failures),
        f"Nothing was put into {info.path.parent}.",
        f"Check the connection (or proxy) and try again. {_by_hand(info)}.",
    ]
    if not info.urls:
        lines[len(failures) + 1 :] = [
            "  it is offered only on a page that a program cannot download from.",
            f"{_by_hand(info)}.",
        ]
    if drive:
        lines.append(
            "Google Drive often wants a browser: open "
            f"{drive[0]}, confirm the download, then add the file as above."
        )
    lines.append(f"Source: {info.source}")
    return "\n".join(lines)


def _missing_text(info: ModelInfo) -> str:
    if info.bundled:
        return (
            f"{info.file} is missing from {info.path.parent}, although it comes with "
            "the package. Install napari-clickseg again."
        )
    return (
        f"{info.file} of the added model {info.name} is missing from "
        f"{info.path.parent}. Add the file again with 'napari-clickseg models add FILE "
        f"--name {info.name}' after 'napari-clickseg models remove {info.name}'."
    )
