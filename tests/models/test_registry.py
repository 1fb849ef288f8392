"""The list of models: complete, consistent, and patient with what is asked."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from napari_clickseg.errors import UnknownModelError
from napari_clickseg.models import registry
from napari_clickseg.models.cache import cache_folder, file_digests, models_folder
from napari_clickseg.models.registry import STARTER, get_info, list_models


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_CLICKSEG_CACHE", str(tmp_path / "cache"))


PAGE_COLUMNS = ("grabcut", "berkeley", "sbd", "davis", "coco_mval")
PUBLISHED_FILES = {
    "coco_lvis_h18_itermask.pth",
    "sbd_h18_itermask.pth",
    "coco_lvis_h18_baseline.pth",
    "coco_lvis_h18s_itermask.pth",
    "coco_lvis_h32_itermask.pth",
    "resnet34_dh128_sbd.pth",
    "resnet50_dh128_sbd.pth",
    "resnet101_dh256_sbd.pth",
    "hrnet18_ocr64_sbd.pth",
    "hrnet32_ocr128_sbd.pth",
    "resnet50_dh128_lvis.pth",
    "hrnet32_ocr128_lvis.pth",
}


def test_every_published_click_model_is_listed():
    models = {info.file: info for info in list_models("segmentation")}
    assert set(models) >= PUBLISHED_FILES
    for file in PUBLISHED_FILES:
        info = models[file]
        assert info.architecture in {"ritm", "fbrs"}
        assert info.urls
        assert info.approximate_size
        assert not info.bundled
        assert not info.downloaded
        # f-BRS publishes no number without refinement, RITM none with it
        assert ("none" in info.published) == (info.architecture == "ritm")


def test_fields_are_well_formed():
    names = [info.name for info in list_models()]
    assert len(names) == len(set(names))
    for info in list_models():
        assert re.fullmatch(r"[a-z0-9-]+", info.name)
        assert info.licence
        assert info.source
        for url in info.urls:
            parts = urlsplit(url)
            assert parts.scheme == "https"
            assert parts.path.endswith(info.file) or parts.hostname == (
                "drive.google.com"
            )
        for value, length in (
            (info.sha256, 64),
            (info.md5, 32),
            (info.git_blob_sha1, 40),
        ):
            assert value is None or re.fullmatch(rf"[0-9a-f]{{{length}}}", value)
        for table in info.published.values():
            for key, clicks in table.items():
                assert re.fullmatch(r"[a-z_]+@(85|90)", key)
                assert 1 <= clicks <= 20


@pytest.mark.parametrize(
    ("name", "architecture", "licence"),
    [
        ("hmsa-hrnet48-cityscapes", "multiscale-hrnet", "non-commercial"),
        ("hmsa-hrnet48-mapillary", "multiscale-hrnet", "non-commercial"),
        ("indexnet-mobilenetv2-adobe", "indexnet", "non-commercial"),
        ("bts-densenet161-nyu", "bts", "GPL-3.0-or-later"),
    ],
)
def test_weights_with_terms(name, architecture, licence):
    info = get_info(name)
    assert info.architecture == architecture
    assert info.licence.startswith(licence)
    assert info.terms.endswith(".")
    assert not info.has_hash


def test_everything_else_has_no_terms():
    free = [info.name for info in list_models("segmentation") if info.terms]
    assert free == []


def test_published_numbers_of_two_models():
    best = get_info("ritm-hrnet18-cocolvis").published["none"]
    assert (best["grabcut@85"], best["grabcut@90"]) == (1.42, 1.54)
    assert (best["sbd@90"], best["coco_mval@90"]) == (6.06, 2.98)
    brs = get_info("fbrs-resnet34-sbd").published["f-brs-b"]
    assert (brs["grabcut@85"], brs["berkeley@90"], brs["davis@90"]) == (
        2.06,
        4.17,
        7.73,
    )


def test_the_starter_is_bundled_and_first():
    first = list_models()[0]
    assert first.name == STARTER
    assert first.bundled
    assert first.path.parent.name == "starter"
    assert "Apache-2.0" in first.licence


def test_task_filter():
    tasks = [info.task for info in list_models()]
    assert set(tasks) == {"segmentation", "semantic", "matting", "depth"}
    for task in set(tasks):
        assert {info.task for info in list_models(task)} == {task}
        assert len(list_models(task)) == tasks.count(task)
    assert list_models("cooking") == []


@pytest.mark.parametrize(
    "asked",
    [
        "ritm-hrnet32-cocolvis",
        " RITM-HRNet32-COCOLVIS ",
        "coco_lvis_h32_itermask.pth",
    ],
)
def test_names_are_found(asked):
    assert get_info(asked).name == "ritm-hrnet32-cocolvis"


def test_unknown_name_gives_near_names_and_next_step():
    with pytest.raises(UnknownModelError) as caught:
        get_info("ritm-hrnet-18")
    text = str(caught.value)
    assert "ritm-hrnet18" in text
    assert "models add" in text
    with pytest.raises(UnknownModelError, match="ritm-mobilenetv2-starter"):
        get_info("qqqqqqqqqq")


def test_published_weights_without_network_are_explained():
    with pytest.raises(UnknownModelError, match="uncbiag/SimpleClick"):
        get_info("simpleclick")


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("NAPARI_CLICKSEG_CACHE", str(tmp_path / "elsewhere"))
    assert models_folder() == tmp_path / "elsewhere" / "models"
    assert get_info("fbrs-hrnet18-sbd").path.parent == models_folder()
    monkeypatch.setenv("NAPARI_CLICKSEG_CACHE", "  ")
    assert "napari-clickseg" in str(cache_folder())


def test_a_file_that_is_there_is_seen():
    info = get_info("fbrs-hrnet18-sbd")
    assert info.size is None
    assert info.size_text == "about 39 MiB"
    info.path.parent.mkdir(parents=True)
    info.path.write_bytes(b"x" * 2**20)
    seen = get_info("fbrs-hrnet18-sbd")
    assert seen.downloaded
    assert seen.size == 2**20
    assert seen.size_text == "1.0 MiB"


def test_strongest_hash_decides(tmp_path):
    file = tmp_path / "blob.bin"
    file.write_bytes(b"what is up, doc?")
    digests = file_digests(file)
    # the example of the git book (10.2, Git Objects)
    assert digests.git_blob_sha1 == "bd9dbf5aae1a3862dd1526723246b20206e5fc37"
    assert digests.sha256 == hashlib.sha256(b"what is up, doc?").hexdigest()
    info = registry.ModelInfo("n", "segmentation", "ritm", "f", "l", "s")
    assert info.mismatch(digests) is None
    assert not info.has_hash

    def with_hashes(**hashes):
        return registry.ModelInfo(
            "n", "segmentation", "ritm", "f", "l", "s", **hashes
        ).mismatch(digests)

    assert with_hashes(sha256=digests.sha256, md5="0" * 32) is None
    assert "md5" in with_hashes(md5="0" * 32, git_blob_sha1=digests.git_blob_sha1)
    assert with_hashes(git_blob_sha1=digests.git_blob_sha1) is None


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"a": 3}', '{"a": {"x": 1}}'])
def test_a_broken_index_hides_no_model(content):
    registry.index_path().parent.mkdir(parents=True)
    registry.index_path().write_text(content)
    assert list_models() == registry.registry_models()


def test_index_of_added_models():
    entry = {
        "task": "matting",
        "architecture": "ritm",
        "file": "added/mine.pth",
        "licence": "mine",
        "source": "mine.pth",
        "sha256": "0" * 64,
        "from_a_later_version": 1,
    }
    registry.write_index({"mine": entry})
    assert json.loads(registry.index_path().read_text())["mine"]["licence"] == "mine"
    mine = list_models("matting")[-1]
    assert mine.name == "mine"
    assert mine.added
    assert mine.path == models_folder() / "added" / "mine.pth"
    assert not list(models_folder().glob(".*part"))


def test_the_list_needs_no_torch():
    code = (
        "import sys; from napari_clickseg.models.registry import list_models; "
        "list_models(); assert 'torch' not in sys.modules; "
        "import napari_clickseg.models.fetch; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_page_on_models_lists_them_with_their_numbers():
    page = Path(__file__).parents[2] / "docs" / "models.md"
    rows = {
        row.split("`")[1]: row
        for row in page.read_text(encoding="utf-8").splitlines()
        if row.startswith("| `")
    }
    for info in list_models():
        if info.bundled:
            assert f"`{info.name}`" in page.read_text(encoding="utf-8")
            continue
        if info.task != "segmentation":
            assert info.training_data in rows[info.name]
            assert not info.terms or "[terms](#terms)" in rows[info.name]
            continue
        numbers = info.published.get("none") or info.published["f-brs-b"]
        cells = [cell.strip() for cell in rows[info.name].split("|")]
        assert info.training_data in cells
        shown = [numbers.get(f"{data}@90") for data in PAGE_COLUMNS]
        assert [f"{n:.2f}" if n else "\N{EN DASH}" for n in shown] == cells[4:9]
