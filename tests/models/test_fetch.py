"""Downloads against a real server on this machine, with every way to fail."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from napari_clickseg.errors import Cancelled, FetchError
from napari_clickseg.models import added, verify
from napari_clickseg.models.cache import models_folder, pin_path, read_pin
from napari_clickseg.models.fetch import fetch_model
from napari_clickseg.models.registry import ModelInfo, get_info

CONTENT = b"PK\x03\x04" + bytes(range(256)) * 1500  # 384004 bytes
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()
BLOB = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Each path misbehaves in its own way; ``asked`` records the order."""

    asked: ClassVar[list[str]] = []
    release = threading.Event()

    def do_GET(self):
        kind = self.path.strip("/").split("/")[0]
        self.asked.append(kind)
        if kind == "missing":
            self.send_error(404)
            return
        if kind == "moved":
            self.send_response(302)
            self.send_header("Location", "/good/file.pth")
            self.end_headers()
            return
        content = {
            "other": CONTENT[::-1],
            "other-weights": b"PK\x03\x04" + CONTENT,
            "page": b"<!DOCTYPE html><title>Sign in</title>",
        }.get(kind, CONTENT)
        self.send_response(200)
        if kind != "unsized":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if kind == "truncated":
            content = content[:200_000]
        try:
            if kind == "slow":
                self.wfile.write(content[:200_000])
                self.wfile.flush()
                self.release.wait(20)
                content = content[200_000:]
            self.wfile.write(content)
        except OSError:
            pass  # the other side hung up, as it should in some tests
        self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    Handler.release.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def clean(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_CLICKSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    Handler.asked.clear()
    Handler.release.clear()


@pytest.fixture
def model(server):
    def make(*kinds, **hashes):
        return ModelInfo(
            name="a-model",
            task="segmentation",
            architecture="ritm",
            file="file.pth",
            licence="MIT",
            source="https://example.org/page",
            urls=tuple(f"{server}/{kind}/file.pth" for kind in kinds),
            **hashes,
        )

    return make


def files():
    folder = models_folder()
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize(
    "hashes", [{"sha256": SHA256}, {"md5": MD5}, {"git_blob_sha1": BLOB}]
)
def test_download_is_verified_with_any_hash(model, hashes):
    info = model("good", **hashes)
    steps = []
    path = fetch_model(info, progress=lambda done, total: steps.append((done, total)))
    assert path == models_folder() / "file.pth"
    assert path.read_bytes() == CONTENT
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert len(steps) > 5
    assert files() == ["file.pth", "file.pth.pin.json"]
    assert read_pin(path).verified_by == info.hash_text
    assert fetch_model(info) == path  # the second time nothing is fetched
    assert Handler.asked == ["good"]


@pytest.mark.parametrize("bad", ["missing", "truncated", "other", "page"])
def test_next_url_when_one_fails(model, bad, caplog):
    with caplog.at_level(logging.INFO, logger="napari_clickseg"):
        path = fetch_model(model(bad, "moved", sha256=SHA256))
    assert path.read_bytes() == CONTENT
    assert Handler.asked == [bad, "moved", "good"]
    assert files() == ["file.pth", "file.pth.pin.json"]
    assert bad in caplog.text


def test_dead_server_then_living_one(model):
    info = model("good", md5=MD5)
    info = replace(info, urls=("http://127.0.0.1:9/file.pth", *info.urls))
    assert fetch_model(info).read_bytes() == CONTENT


def test_answer_without_length(model):
    steps = []
    fetch_model(
        model("unsized", sha256=SHA256),
        progress=lambda done, total: steps.append((done, total)),
    )
    assert {total for _, total in steps} == {0}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "HTTP 404"),
        ("truncated", "connection broke"),
        ("other", f"sha256 is {hashlib.sha256(CONTENT[::-1]).hexdigest()}"),
    ],
)
def test_failure_names_file_folder_and_next_step(model, kind, words):
    with pytest.raises(FetchError) as caught:
        fetch_model(model(kind, sha256=SHA256))
    text = str(caught.value)
    for part in (
        words,
        "file.pth",
        str(models_folder()),
        "models add",
        "https://example.org/page",
    ):
        assert part in text
    assert files() == []


def test_without_hash_a_page_or_odd_size_is_refused(model):
    with pytest.raises(FetchError, match="web page"):
        fetch_model(model("page"))
    with pytest.raises(FetchError, match="bytes, but the file has about 1 MiB"):
        fetch_model(model("good", approximate_size=2**20))
    assert files() == []


def test_first_download_without_hash_says_so_and_pins(model, caplog):
    info = model("good", approximate_size=len(CONTENT) + 5000)
    path = fetch_model(info)
    assert "no hash was ever published" in caplog.text
    assert read_pin(path).sha256 == SHA256
    assert read_pin(path).origin.endswith("/good/file.pth")
    # untouched, or touched with the same content: fine, and not fetched again
    fetch_model(info)
    os.utime(path, (1, 1))
    fetch_model(info)
    assert Handler.asked == ["good"]


def test_pinned_file_that_changed_is_an_error_that_helps(model):
    info = model("good")
    path = fetch_model(info)
    path.write_bytes(CONTENT + b"!")
    with pytest.raises(FetchError, match=r"pinned .*models remove a-model"):
        fetch_model(info)
    assert path.read_bytes() == CONTENT + b"!"  # the user decides, not we


def test_another_content_than_the_pinned_one_is_not_taken(model):
    path = fetch_model(model("good"))
    path.unlink()
    with pytest.raises(FetchError, match="pinned"):
        fetch_model(model("other-weights"))
    assert files() == ["file.pth.pin.json"]
    pin_path(path).unlink()
    assert fetch_model(model("other-weights")).stat().st_size == len(CONTENT) + 4


def test_damaged_file_with_a_published_hash_is_fetched_again(model):
    info = model("good", git_blob_sha1=BLOB)
    path = fetch_model(info)
    path.write_bytes(CONTENT[:1000])
    assert fetch_model(info).read_bytes() == CONTENT
    path.write_bytes(CONTENT[:1000])
    offline = replace(info, urls=())
    with pytest.raises(FetchError, match="git_blob_sha1 is"):
        fetch_model(offline)


def test_file_put_into_the_folder_by_hand(model):
    info = model(sha256=SHA256)
    models_folder().mkdir(parents=True)
    (models_folder() / "file.pth").write_bytes(CONTENT)
    assert fetch_model(info).read_bytes() == CONTENT
    assert read_pin(info.path).sha256 == SHA256


def test_cancel_leaves_nothing(model):
    seen = []
    with pytest.raises(Cancelled):
        fetch_model(
            model("good", sha256=SHA256),
            progress=lambda done, total: seen.append(done),
            cancelled=lambda: bool(seen) and seen[-1] > 100_000,
        )
    assert files() == []
    assert seen[-1] < len(CONTENT)


def test_error_in_the_progress_hook_leaves_nothing(model):
    def hook(done, total):
        if done:
            raise RuntimeError("the dialog is gone")

    with pytest.raises(RuntimeError, match="dialog"):
        fetch_model(model("good", sha256=SHA256), progress=hook)
    assert files() == []


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_killed_in_the_middle(model, tmp_path):
    info = model("slow", sha256=SHA256)
    code = (
        "import sys; from napari_clickseg.models.registry import ModelInfo;"
        "from napari_clickseg.models.fetch import fetch_model;"
        "fetch_model(ModelInfo('a-model', 'segmentation', 'ritm', 'file.pth', 'MIT',"
        f"'page', urls=({info.urls[0]!r},), sha256={SHA256!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not any(name.endswith(".part") for name in files()):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    Handler.release.set()
    (part,) = models_folder().iterdir()
    assert part.suffix == ".part"  # nothing under the file's own name
    # A download that may still be going on elsewhere is left alone ...
    fetch_model(replace(info, urls=(info.urls[0].replace("slow", "good"),)))
    assert part.exists()
    # ... one that stopped long ago is cleaned up.
    os.utime(part, (time.time() - 100,) * 2)
    info.path.unlink()
    fetch_model(replace(info, urls=(info.urls[0].replace("slow", "good"),)))
    assert files() == ["file.pth", "file.pth.pin.json"]


def test_folder_that_cannot_be_made(model, monkeypatch, tmp_path):
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(FetchError, match="NAPARI_CLICKSEG_CACHE"):
        fetch_model(model("good", sha256=SHA256))


def test_google_drive_is_explained(server):
    info = replace(
        get_info("fbrs-resnet34-sbd"),
        urls=(f"{server}/missing/x", "https://drive.google.com/uc?id=abc"),
    )
    from napari_clickseg.models import fetch

    assert "id=abc&" in fetch._direct(info.urls[1])
    assert fetch._direct(info.urls[0]) == info.urls[0]
    text = fetch._failed_text(info, ["x"])
    assert "https://drive.google.com/uc?id=abc" in text
    assert "browser" in text


def test_bundled_file_that_is_missing(monkeypatch, tmp_path):
    from napari_clickseg.models import registry

    monkeypatch.setattr(registry, "BUNDLED_FOLDER", tmp_path)
    with pytest.raises(FetchError, match="Install napari-clickseg again"):
        fetch_model("ritm-mobilenetv2-starter")
    (tmp_path / "ritm-mobilenetv2-starter.safetensors").write_bytes(b"x")
    assert fetch_model("ritm-mobilenetv2-starter").parent == tmp_path
    with pytest.raises(FetchError, match="cannot be removed"):
        added.remove_model("ritm-mobilenetv2-starter")


# ------------------------------------------------------------- models add FILE


class FakeCheckpoint:
    architecture = "ritm"
    task = "segmentation"
    metadata: ClassVar[dict[str, str]] = {
        "licence": "CC0",
        "description": "tuned on cells",
    }


@pytest.fixture
def readable(monkeypatch):
    """Stand in for the reader: these tests are about files, not weights."""
    monkeypatch.setattr(added, "_read_checkpoint", lambda path: FakeCheckpoint())


def test_add_a_published_file_by_its_hash(monkeypatch, tmp_path):
    info = replace(get_info("ritm-hrnet18-cocolvis"), sha256=SHA256)
    monkeypatch.setattr(added, "registry_models", lambda: [info])
    file = tmp_path / "renamed (1).pth"
    file.write_bytes(CONTENT)
    found = added.add_model_file(file)
    assert found.name == "ritm-hrnet18-cocolvis"
    assert found.downloaded
    assert found.path.read_bytes() == CONTENT
    # what was put there is used without any download
    assert fetch_model(replace(info, urls=())) == found.path


def test_add_a_published_file_with_a_wrong_hash(tmp_path, readable):
    file = tmp_path / "coco_lvis_h18_itermask.pth"
    file.write_bytes(CONTENT)
    with pytest.raises(FetchError, match=r"is not the published.*--accept"):
        added.add_model_file(file)
    assert files() == []
    found = added.add_model_file(file, accept=True)
    assert fetch_model(found) == found.path
    os.utime(found.path, (1, 1))
    assert fetch_model(found) == found.path
    assert read_pin(found.path).verified_by == "accepted by the user"


def test_add_a_published_file_without_hash(tmp_path, readable):
    file = tmp_path / "resnet34_dh128_sbd.pth"
    file.write_bytes(CONTENT)
    found = added.add_model_file(file)
    assert found.name == "fbrs-resnet34-sbd"
    assert read_pin(found.path).sha256 == SHA256
    assert read_pin(found.path).verified_by == verify.NO_HASH
    added.remove_model("fbrs-resnet34-sbd")
    assert files() == []


def test_add_and_remove_a_model_of_ones_own(tmp_path, readable):
    file = tmp_path / "My Cells v2.PTH"
    file.write_bytes(CONTENT)
    found = added.add_model_file(file)
    assert found.name == "my-cells-v2"
    assert found.added
    assert found.licence == "CC0"
    assert found.sha256 == SHA256
    assert fetch_model("my-cells-v2").read_bytes() == CONTENT
    assert added.add_model_file(file) == found  # again: nothing to do
    file.write_bytes(CONTENT + b"!")
    with pytest.raises(FetchError, match="there already"):
        added.add_model_file(file)
    assert added.add_model_file(file, name="v3").name == "v3"
    added.remove_model("my-cells-v2")
    assert {info.name for info in _added()} == {"v3"}
    get_info("v3").path.unlink()
    with pytest.raises(FetchError, match="models remove v3"):
        fetch_model("v3")


def _added():
    from napari_clickseg.models.registry import list_models

    return [info for info in list_models() if info.added]


def test_add_what_is_not_there(tmp_path):
    with pytest.raises(FetchError, match="There is no file"):
        added.add_model_file(tmp_path / "nothing.pth")
    odd = tmp_path / "x.pth"
    odd.write_bytes(CONTENT)
    with pytest.raises(FetchError, match="needs a name"):
        added.add_model_file(odd, name="???")
    with pytest.raises(FetchError, match="there already"):
        added.add_model_file(odd, name="ritm-mobilenetv2-starter")
