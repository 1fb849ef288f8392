"""Features as JSON and tensors, there and back."""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_clickseg.errors import StoreError
from napari_clickseg.models.feature_tree import MAX_DEPTH, joined, pack, unpack
from napari_clickseg.networks.click_network import EncodedImage

plain = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text()
)
tensors = st.integers(0, 999).map(lambda n: torch.tensor(n))
trees = st.recursive(
    plain | tensors,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(), inner, max_size=3)
        | st.builds(EncodedImage, inner, inner)
    ),
    max_leaves=12,
)


def same(one: object, other: object) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return bool((one == other).all())
    if isinstance(one, list | tuple):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(same(a, b) for a, b in pairs)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    return one == other or one != one  # NaN


@given(trees)
def test_there_and_back_through_json(tree):
    spec, leaves = pack(tree)
    again = unpack(json.loads(json.dumps(spec, allow_nan=False)), leaves)
    assert same(tree, again)


json_values = st.recursive(
    plain.filter(lambda x: x == x),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["tensor", "value", "float", "list", "tuple", "dict", "named", "items"]
            ),
            inner,
            max_size=2,
        )
    ),
    max_leaves=8,
)


@given(json_values)
def test_any_description_is_understood_or_refused(spec):
    try:
        content = unpack(spec, [torch.zeros(1)])
    except StoreError:
        return
    again, leaves = pack(content)
    assert len(leaves) == 1
    assert same(unpack(again, leaves), content)


class Stranger(NamedTuple):
    features: torch.Tensor


class EncodedImageOfOthers(NamedTuple):
    features: int
    size: int


EncodedImageOfOthers.__name__ = "EncodedImage"


@pytest.mark.parametrize(
    "content",
    [
        {1, 2},
        object(),
        b"bytes",
        Stranger(torch.zeros(1)),
        EncodedImageOfOthers(1, 2),
        {1: torch.zeros(1)},
        [lambda: 0],
    ],
)
def test_what_is_no_feature_is_refused(content):
    with pytest.raises(StoreError):
        pack(content)


def test_nesting_ends_somewhere():
    deep = torch.zeros(1)
    for _ in range(MAX_DEPTH):
        deep = [deep]
    with pytest.raises(StoreError, match="deep"):
        pack(deep)
    spec = {"tensor": 0}
    for _ in range(50):
        spec = {"list": [spec]}
    with pytest.raises(StoreError):
        unpack(spec, [torch.zeros(1)])


def test_no_class_is_looked_up_outside_of_the_table():
    with pytest.raises(StoreError, match="sense"):
        unpack({"named": "os.system", "items": [{"value": "true"}]}, [])
    with pytest.raises(StoreError):
        unpack({"tensor": 0}, [])
    with pytest.raises(StoreError, match="once"):
        unpack({"list": [{"tensor": 0}, {"tensor": 0}]}, [torch.zeros(1)])


def test_a_batch_of_two():
    one, two = (
        [torch.full((1, 2, 3), v), EncodedImage(torch.ones(1), (4, 5))]
        for v in (1.0, 2.0)
    )
    both = joined([one, two])
    assert both[0].shape == (2, 2, 3)
    assert both[0][:, 0, 0].tolist() == [1, 2]
    assert both[1].size == (4, 5)
    with pytest.raises(StoreError):
        joined([one, [torch.zeros(1)]])
    with pytest.raises(StoreError):
        joined([[torch.zeros(1, 2)], [torch.zeros(1, 3)]])
