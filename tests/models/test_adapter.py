"""Images in, logits of the object out, whatever a module takes and gives."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from napari_clickseg.errors import ModelError
from napari_clickseg.models.adapter import (
    Adapter,
    find_maps,
    find_multiple,
    object_logits,
    preparation,
    probe_image,
    probe_size,
)
from napari_clickseg.networks.layers import IMAGENET

IMAGE = probe_image((20, 28), 2)


# ------------------------------------------------------------------ before


def test_preparations():
    assert preparation(None)(IMAGE) is IMAGE
    grey = preparation("grey")(IMAGE)
    assert grey.shape == (2, 1, 20, 28)
    same = IMAGE[:, :1].expand(-1, 3, -1, -1)
    torch.testing.assert_close(preparation("grey")(same), IMAGE[:, :1])
    normal = preparation("imagenet")(IMAGE)
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in IMAGENET)
    torch.testing.assert_close(normal, (IMAGE - mean) / std)
    own = preparation(((0.5, 0.5, 0.5), (0.1, 0.2, 0.5)))(IMAGE)
    torch.testing.assert_close(own[:, 1], (IMAGE[:, 1] - 0.5) / 0.2)
    assert preparation(torch.square)(IMAGE).equal(IMAGE.square())


@pytest.mark.parametrize("wrong", ["gray scale", 3, ("a", "b")])
def test_what_is_no_preparation(wrong):
    with pytest.raises(ModelError, match="preprocess"):
        preparation(wrong)


@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([1, 2, 8, 16]))
def test_padding_is_cut_off_again(height, width, multiple):
    adapter = Adapter(preparation(None), multiple=multiple)
    image = probe_image((height, width))
    inputs = adapter.prepare(image)
    assert all(side % multiple == 0 for side in inputs.shape[2:])
    assert inputs[..., :height, :width].equal(image)
    assert inputs[0, :, -1, -1].equal(image[0, :, -1, -1])
    answer = adapter.logits(inputs[:, :1], (height, width))
    assert answer.equal(image[:, :1])


def test_one_size_only():
    adapter = Adapter(preparation(None), size=(32, 16))
    image = torch.linspace(0, 1, 28).expand(2, 3, 20, 28)
    inputs = adapter.prepare(image)
    assert inputs.shape == (2, 3, 32, 16)
    back = adapter.logits(inputs[:, :1], (20, 28))
    assert back.shape == (2, 1, 20, 28)
    torch.testing.assert_close(back, image[:, :1], rtol=0, atol=0.02)


def test_several_inputs():
    class Both(nn.Module):
        def forward(self, image: Tensor, scale: Tensor) -> Tensor:
            return image[:, :1] * scale

    half = torch.tensor(0.5)
    for inputs in ((IMAGE, half), {"scale": half, "image": IMAGE}):
        adapter = Adapter(lambda x, inputs=inputs: inputs)
        answer = adapter.call(Both(), adapter.prepare(IMAGE))
        assert answer.equal(IMAGE[:, :1] / 2)


# ------------------------------------------------------------------ behind


def probability(logits: Tensor) -> Tensor:
    return torch.sigmoid(logits.double())


@given(st.integers(2, 9), st.floats(0.1, 20), st.integers(0, 10**6), st.data())
def test_classes_against_the_rest(classes, scale, seed, data):
    """The logit is that of the softmax's probability, summed over the object."""
    maps = scale * torch.randn(
        1, classes, 3, 4, generator=torch.Generator().manual_seed(seed)
    )
    wanted = data.draw(
        st.sets(st.integers(0, classes - 1), min_size=1, max_size=classes - 1)
    )
    logits = object_logits(maps, sorted(wanted))
    expected = maps.double().softmax(1)[:, sorted(wanted)].sum(1, keepdim=True)
    torch.testing.assert_close(probability(logits), expected, rtol=1e-4, atol=1e-7)


def test_a_sure_network_keeps_its_gradient():
    """Through probabilities it would be zero here: no click could change it."""
    maps = torch.tensor([90.0, 0.0, -5.0]).view(1, 3, 1, 1).requires_grad_()
    logits = object_logits(maps, [1])
    assert logits.item() == pytest.approx(-90)
    logits.sum().backward()
    assert maps.grad.flatten().tolist() == pytest.approx([-1, 1, 0])


def test_one_class_or_two_need_no_choice():
    one, two = torch.randn(1, 1, 2, 2), torch.randn(1, 2, 2, 2)
    assert object_logits(one, None).equal(one)
    torch.testing.assert_close(object_logits(two, None), two[:, 1:] - two[:, :1])
    torch.testing.assert_close(object_logits(two, [-1]), two[:, 1:] - two[:, :1])


@pytest.mark.parametrize(
    ("classes", "wanted", "words"),
    [
        (3, None, "3 classes"),
        (3, [3], "does not fit"),
        (3, [-4], "does not fit"),
        (1, [1], "does not fit"),
        (3, [0, 1, 2], "no background"),
    ],
)
def test_classes_that_do_not_fit(classes, wanted, words):
    with pytest.raises(ModelError, match=words):
        object_logits(torch.zeros(1, classes, 2, 2), wanted)


@dataclass
class Result:
    loss: float
    logits: Tensor


def test_maps_are_found_in_what_comes_back():
    maps, other = torch.rand(2, 1, 4, 5), torch.rand(2, 7, 3, 3)
    assert find_maps(maps) is maps
    assert find_maps(maps[:, 0]).equal(maps)
    assert find_maps([torch.zeros(2), (maps, other)]) is maps
    assert find_maps({"aux": other, "out": maps}) is maps
    assert find_maps({"features": None, "weird": maps}) is maps
    assert find_maps(Result(0.1, maps)) is maps


@pytest.mark.parametrize("nothing", [torch.zeros(2, 3), {"a": 1}, "text", None])
def test_no_maps_at_all(nothing):
    with pytest.raises(ModelError, match="no maps"):
        find_maps(nothing)


@pytest.mark.parametrize("classes", [1, 3])
def test_probabilities_become_logits(classes):
    torch.manual_seed(classes)
    logits = 2 * torch.randn(1, classes, 5, 6)
    answer = logits.sigmoid() if classes == 1 else logits.softmax(1)
    adapter = Adapter(preparation(None), 0, probabilities=True)
    expected = object_logits(logits, [0])
    torch.testing.assert_close(adapter.read(answer), expected, atol=0.02, rtol=0.01)
    # ... and what is beyond any doubt stays finite
    assert adapter.read(answer.round()).isfinite().all()


def test_an_output_function_has_the_last_word():
    adapter = Adapter(preparation(None), lambda answer: 2 * answer["deep"][:, 1:2])
    maps = torch.rand(1, 4, 5, 6)
    assert adapter.read({"out": 0, "deep": maps}).equal(2 * maps[:, 1:2])
    wrong = Adapter(preparation(None), lambda answer: answer["deep"])
    with pytest.raises(ModelError, match=r"\(1, 4, 5, 6\).*\(N, 1, H, W\)"):
        wrong.read({"deep": maps})


def test_coarse_answers_are_enlarged():
    adapter = Adapter(preparation(None), multiple=4)
    maps = torch.rand(1, 1, 3, 4)
    answer = adapter.logits(maps, (10, 14))
    assert answer.shape == (1, 1, 10, 14)
    assert answer[0, 0, 0, 0] == maps[0, 0, 0, 0]


# ------------------------------------------------------------------ sizes


@pytest.mark.parametrize("multiple", [1, 2, 4, 8, 16, 32, 64])
def test_the_multiple_is_found(multiple):
    seen = []

    def run(size):
        seen.append(size)
        if any(side % multiple for side in size):
            raise RuntimeError("sizes of tensors must match")
        return torch.zeros(1, 1, *size)

    assert find_multiple(run) == (multiple, None)
    assert all(a != b for a, b in seen)
    assert all(side % (2 * multiple) for side in seen[-1])


def test_whole_fractions_are_preferred():
    """A network of stride 8 runs on any size, but its cells fit multiples of 8."""
    found, _ = find_multiple(
        lambda size: torch.zeros(1, 1, *(-(-x // 8) for x in size))
    )
    assert found == 8


def test_what_never_works_says_why():
    def run(size):
        raise RuntimeError("expected 5 channels")

    found, error = find_multiple(run)
    assert found == 0
    assert "5 channels" in str(error)


@pytest.mark.parametrize("multiple", [1, 2, 4, 8, 16, 32, 64])
def test_probes_are_small_and_not_square(multiple):
    height, width = probe_size(multiple)
    assert 48 <= height < width <= 320
    image = probe_image((height, width))
    assert image.shape == (1, 3, height, width)
    assert 0 <= image.min() < image.max() <= 1
