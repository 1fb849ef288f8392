"""What goes into a feature store comes out again, whole or not at all."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_clickseg.encoding.entry import decode_entry, encode_entry
from napari_clickseg.encoding.store import FeatureStore
from napari_clickseg.errors import StoreError
from napari_clickseg.models.features import Features
from napari_clickseg.networks.click_network import EncodedImage

KEY = "0123456789abcdef" * 2
OTHER = "fedcba9876543210" * 2


def test_bfloat16_comes_back_bit_by_bit(store, pyramid):
    given_ = pyramid(dtype=torch.bfloat16)
    store.put(KEY, given_)
    found = store.get(KEY)
    assert found.size == given_.size
    assert found.batch == 1
    for a, b in zip(given_.content, found.content, strict=True):
        assert b.dtype == torch.bfloat16
        assert torch.equal(a, b)


@pytest.mark.parametrize(("dtype", "bits"), [("bfloat16", 8), ("float16", 11)])
def test_floats_are_rounded_once_and_no_further(tmp_path, pyramid, dtype, bits):
    store = FeatureStore(tmp_path / "s", dtype=dtype)
    given_ = pyramid()
    path = store.put(KEY, given_)
    for a, b in zip(given_.content, store.get(KEY).content, strict=True):
        assert b.dtype == torch.float32
        assert torch.equal(b, a.to(getattr(torch, dtype)).float())
        assert ((a - b).abs() <= a.abs() * 2.0**-bits + 1e-7).all()
    numbers = sum(a.numel() for a in given_.content)
    assert 2 * numbers < path.stat().st_size < 2 * numbers + 8000


def test_what_overflows_in_float16_is_kept_in_bfloat16(tmp_path):
    store = FeatureStore(tmp_path / "s", dtype="float16")
    store.put(KEY, Features([torch.tensor([1e6, -1.0])], (1, 1), 1))
    (found,) = store.get(KEY).content
    assert torch.equal(found, torch.tensor([1e6, -1.0]).bfloat16().float())


def test_memory_layout_types_and_structure_come_back(store):
    last = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    content = {
        "a": EncodedImage(last, (8, 10)),
        "b": (torch.arange(5), torch.tensor(True), torch.zeros(0, 3), 1.5, None),
    }
    store.put(KEY, Features(content, (8, 10), 2))
    found = store.get(KEY)
    assert isinstance(found.content["a"], EncodedImage)
    image = found.content["a"].features
    assert image.is_contiguous(memory_format=torch.channels_last)
    assert not image.is_contiguous()
    assert torch.equal(found.content["b"][0], torch.arange(5))
    assert found.content["b"][1].dtype == torch.bool
    assert found.content["b"][2].shape == (0, 3)
    assert found.content["b"][3:] == (1.5, None)
    assert (found.size, found.batch) == ((8, 10), 2)


def test_another_type_is_made_on_the_way(store, pyramid):
    store.put(KEY, pyramid(dtype=torch.bfloat16))
    assert {t.dtype for t in store.get(KEY, torch.float32).content} == {torch.float32}
    index = Features([torch.arange(3), torch.ones(2)], (1, 1), 1)
    store.put(OTHER, index)
    found = store.get(OTHER, torch.bfloat16).content
    assert [t.dtype for t in found] == [torch.int64, torch.bfloat16]


numbers = st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64])


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 4), max_size=4), numbers),
        min_size=1,
        max_size=3,
    ),
    st.sampled_from(["bfloat16", "float16"]),
    st.randoms(use_true_random=False),
)
def test_any_shape_there_and_back(shapes, dtype, random):
    torch.manual_seed(random.randrange(2**30))
    content = [torch.randn(shape).to(kind) for shape, kind in shapes]
    data = encode_entry(KEY, Features(content, (3, 4), 1), dtype)
    assert data == encode_entry(KEY, Features(content, (3, 4), 1), dtype)
    found = decode_entry(data, KEY)
    for a, b in zip(content, found.content, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert torch.equal(a.to(getattr(torch, dtype)).to(a.dtype), b)


def test_an_entry_is_zarr_for_everybody(store, pyramid):
    given_ = pyramid()
    path = store.put(KEY, given_, {"image": "cells.tif"})
    with zarr.storage.ZipStore(path, mode="r") as inside:
        group = zarr.open_group(inside, mode="r")
        said = group.attrs["napari-clickseg"]
        assert said["tensors"][0]["stored"] == "bfloat16"
        assert said["about"] == {"image": "cells.tif"}
        bits = np.asarray(group["2"][...])
    assert bits.dtype == np.uint16
    floats = (bits.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(floats, given_.content[2].bfloat16().float())
    assert isinstance(zarr.open_group(store.path, mode="r"), zarr.Group)


def test_not_there_is_none(store):
    assert store.get(KEY) is None
    assert not store.has(KEY)
    assert store.about(KEY) is None
    assert not store.remove(KEY)
    assert list(store.keys()) == []
    assert store.damaged == {}


@pytest.mark.parametrize("key", ["", "../../etc/passwd", "ABCD" * 8, "g" * 32, "a" * 8])
def test_only_keys_become_paths(store, key):
    with pytest.raises(StoreError, match="no key"):
        store.get(key)


def test_features_that_are_not_finite_are_refused(store):
    with pytest.raises(StoreError, match="finite"):
        store.put(KEY, Features([torch.tensor([float("nan")])], (1, 1), 1))
    assert store.info().entries == store.info().unfinished == 0


# -- damage ------------------------------------------------------------------------


def test_every_changed_byte_is_noticed():
    features = Features([torch.arange(6.0).view(1, 1, 2, 3)], (2, 3), 1)
    data = encode_entry(KEY, features, "bfloat16")
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 0x01
        with pytest.raises(StoreError):
            decode_entry(bytes(changed), KEY)
    for length in range(len(data)):
        with pytest.raises(StoreError):
            decode_entry(data[:length], KEY)
    with pytest.raises(StoreError):
        decode_entry(data + b"\0", KEY)
    with pytest.raises(StoreError, match="another entry"):
        decode_entry(data, OTHER)
    assert decode_entry(data, KEY).size == (2, 3)


@given(st.binary(max_size=300), st.integers(0, 4000), st.integers(1, 255))
@settings(max_examples=100)
def test_rubbish_is_refused_also_under_a_right_checksum(rubbish, place, change):
    """Who writes a checksum may still write nonsense: it must not get far."""
    from napari_clickseg.encoding import entry

    features = Features([torch.arange(6.0)], (2, 3), 1)
    data = bytearray(encode_entry(KEY, features, "bfloat16"))
    body = data[: -entry._TAIL]
    at = place % (len(body) - len(entry._MARK))
    body[at] = (body[at] + change) % 256
    for content in (bytes(body), rubbish + entry._MARK):
        sealed = content + entry._digest(content)
        try:
            found = decode_entry(sealed, KEY)
        except StoreError:
            continue
        assert found.batch >= 0  # the byte was one that does not matter


def test_a_description_cannot_claim_more_than_there_is(store, pyramid):
    from napari_clickseg.encoding import entry

    files = entry._members(encode_entry(KEY, pyramid(), "bfloat16"))
    array = json.loads(files["0/zarr.json"])
    array["shape"] = [1, 4, 2**20, 2**20]
    files["0/zarr.json"] = json.dumps(array).encode()
    with pytest.raises(StoreError, match="more than it does"):
        decode_entry(entry._seal(files))


def test_damage_is_reported_and_treated_as_missing(store, pyramid, caplog):
    path = store.put(KEY, pyramid())
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert store.get(KEY) is None
    assert not store.has(KEY)
    assert "damaged" in caplog.text
    assert list(store.damaged) == [path]
    assert len(caplog.records) == 1  # once is enough
    store.put(KEY, pyramid())
    assert store.get(KEY) is not None
    assert store.damaged == {}


def test_verify_finds_and_deletes_what_is_damaged(store, pyramid):
    good, bad = store.put(KEY, pyramid()), store.put(OTHER, pyramid(1))
    changed = bytearray(bad.read_bytes())
    changed[1234] ^= 255
    bad.write_bytes(changed)
    seen: list[int] = []
    assert list(store.verify(seen.append)) == [bad]
    assert seen == [1, 2]
    assert bad.exists()
    assert "checksum" in store.verify(delete=True)[bad]
    assert not bad.exists()
    assert good.exists()
    assert store.verify() == {}


def test_an_entry_under_another_name_is_damaged(store, pyramid):
    path = store.put(KEY, pyramid())
    moved = path.with_name(path.name.replace(KEY, KEY[:-1] + "0"))
    path.rename(moved)
    assert store.get(KEY[:-1] + "0") is None
    assert list(store.verify()) == [moved]


# -- room --------------------------------------------------------------------------


def keys(count: int) -> list[str]:
    return [f"{number:032x}" for number in range(count)]


def test_what_was_not_used_for_longest_goes_first(tmp_path, pyramid):
    size = FeatureStore(tmp_path / "a").put(KEY, pyramid()).stat().st_size
    store = FeatureStore(tmp_path / "b", max_bytes=5 * size + 100)
    for number, key in enumerate(keys(5)):
        path = store.put(key, pyramid(number))
        os.utime(path, (1000 + number, 1000 + number))
    assert store.get(keys(5)[0]) is not None  # now it is the last used one
    store.put(KEY, pyramid(9))
    left = set(store.keys())
    assert {KEY, keys(5)[0]} <= left
    assert keys(5)[1] not in left
    assert store.info().bytes <= store.max_bytes


def test_many_writers_stay_near_the_limit(tmp_path, pyramid):
    size = FeatureStore(tmp_path / "a").put(KEY, pyramid()).stat().st_size
    writers = [FeatureStore(tmp_path / "b", max_bytes=10 * size) for _ in range(4)]
    for number, key in enumerate(keys(60)):
        writers[number % 4].put(key, pyramid(number))
        assert writers[0].info().bytes <= 10 * size
    assert writers[0].info().entries >= 5


def test_too_large_for_the_whole_store(tmp_path, pyramid):
    store = FeatureStore(tmp_path / "s", max_bytes=1000)
    with pytest.raises(StoreError, match="limit"):
        store.put(KEY, pyramid())


@pytest.mark.skipif(os.name != "posix", reason="Windows refuses to remove open files")
def test_what_is_being_read_stays_readable(store, pyramid):
    path = store.put(KEY, pyramid())
    with path.open("rb") as file:
        start = file.read(100)
        assert store.prune(max_bytes=0).entries == 1
        data = start + file.read()
    assert store.get(KEY) is None
    assert decode_entry(data, KEY).size == (256, 256)


def test_what_cannot_be_removed_stays(store, pyramid, monkeypatch):
    """As on Windows, while somebody reads."""
    path = store.put(KEY, pyramid())
    os.utime(path, (1000, 1000))
    store.put(OTHER, pyramid())
    unlink = Path.unlink

    def refuse(self, missing_ok=False):
        if self == path:
            raise PermissionError(13, "in use", str(self))
        unlink(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    assert store.prune(max_bytes=path.stat().st_size).entries == 1
    assert list(store.keys()) == [KEY]
    replace = Path.replace

    def refuse_too(self, target):
        if target == path:
            raise PermissionError(13, "in use", str(target))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse_too)
    monkeypatch.setattr("napari_clickseg.encoding.files.WINDOWS", True)
    store.put(KEY, pyramid())  # the same is there already
    assert store.get(KEY) is not None
    assert store.info().unfinished == 0


def test_prune_by_age_and_leftovers(store, pyramid):
    path = store.put(KEY, pyramid())
    store.put(OTHER, pyramid())
    os.utime(path, (time.time() - 5000,) * 2)
    dead = store.path / "incoming" / "abc.elsewhere.1.0a.part"
    dead.write_bytes(b"half")
    fresh = store.path / "incoming" / "abd.elsewhere.1.0a.part"
    fresh.write_bytes(b"half")
    os.utime(dead, (time.time() - 5000,) * 2)
    assert store.info().unfinished == 2
    pruned = store.prune(unused_for=4000)
    assert (pruned.unfinished, pruned.entries) == (1, 1)
    assert fresh.exists()  # another machine may be writing it
    assert list(store.keys()) == [OTHER]


# -- the folder --------------------------------------------------------------------


def test_a_folder_of_others_is_left_alone(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(StoreError, match="other files"):
        FeatureStore(tmp_path)
    with pytest.raises(StoreError, match="no feature store"):
        FeatureStore(tmp_path / "new", create=False)
    with pytest.raises(StoreError, match="is a file"):
        FeatureStore(tmp_path / "holiday.jpg")
    zarr.create_group(tmp_path / "zarr")
    with pytest.raises(StoreError, match="no feature store"):
        FeatureStore(tmp_path / "zarr")
    assert not (tmp_path / "new").exists()


def test_a_store_of_the_future_is_not_touched(store):
    mark = store.path / "zarr.json"
    mark.write_text(
        mark.read_text().replace('"feature_store": 1', '"feature_store": 2')
    )
    with pytest.raises(StoreError, match="version 2"):
        FeatureStore(store.path)


@pytest.mark.parametrize("wrong", [{"dtype": "float8"}, {"max_bytes": 0}])
def test_options_without_sense(tmp_path, wrong):
    with pytest.raises(StoreError):
        FeatureStore(tmp_path / "s", **wrong)


def test_without_zarr_it_says_what_to_install(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(ImportError, match=r"napari-clickseg\[encode\]"):
        FeatureStore(tmp_path / "s")
