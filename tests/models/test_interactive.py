"""Modules of the user's, made models like any other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.models.nets import Tiny
from torch import nn

import napari_clickseg as cs
from napari_clickseg.errors import (
    ClickSegError,
    ModelError,
    RefinementError,
    UnknownModelError,
)
from napari_clickseg.models import in_process
from napari_clickseg.models.adapter import probe_image
from napari_clickseg.models.checkpoint import save_checkpoint
from napari_clickseg.models.interactive import InteractiveModel, make_interactive
from napari_clickseg.models.taking_in import choose_place, hash_weights
from napari_clickseg.networks.unet import UNet
from napari_clickseg.refinement.points import InteractivePoint, interactive_points
from napari_clickseg.refinement.settings import RefinementSettings

IMAGE = probe_image((37, 50), 2)


def tiny(*args, **kwargs) -> Tiny:
    return Tiny(*args, **kwargs).eval()


def made(module, **options) -> InteractiveModel:
    return make_interactive(module, **{"device": "cpu", **options})


def answer(model, image=IMAGE):
    with torch.inference_mode():
        return model.decode(model.encode(image))


# ------------------------------------------------------------------ the model


def test_it_answers_what_the_module_answers():
    module = tiny()
    model = made(module)
    assert model.automatic
    assert not model.with_prev_mask
    with torch.inference_mode():
        assert answer(model).equal(module(IMAGE))
    assert answer(model).dtype == torch.float32


def test_it_has_what_a_model_has():
    model = made(tiny(), name="tiny-one", licence="MIT", source="here")
    assert model.name == model.info.name == "tiny-one"
    assert (model.info.licence, model.info.source) == ("MIT", "here")
    assert model.info.task == "segmentation"
    assert model.info.size == sum(4 * p.numel() for p in tiny().parameters())
    assert model.refinement == RefinementSettings.of("g-brs-bmconv")
    assert model.places["rgb"] == ("input",)
    assert model.sha256 == hash_weights(tiny())
    assert model.forecast_bytes((100, 100)) > 0
    assert repr(model.places["g-brs"][0])[1:-1] in repr(model)


def test_the_module_stays_as_it_was():
    module = tiny()
    before = {name: p.clone() for name, p in module.state_dict().items()}
    model = made(module)
    answer(model)
    assert all(p.requires_grad for p in module.parameters())
    assert not any(p.requires_grad for p in model.network.parameters())
    assert all(before[n].equal(p) for n, p in module.state_dict().items())
    # no second copy of large weights
    assert module.head.weight.data_ptr() == model.network.head.weight.data_ptr()


def test_the_hash_is_that_of_the_weights():
    module, same, other = tiny(), tiny(), tiny()
    with torch.no_grad():
        other.head.bias += 1e-3
    assert hash_weights(module) == hash_weights(same) != hash_weights(other)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision(precision):
    model = made(tiny())
    half = model.to(precision=precision)
    assert half.dtype == getattr(torch, precision)
    assert half.network.head.weight.dtype == half.dtype
    assert model.network.head.weight.dtype == torch.float32
    assert answer(half).dtype == torch.float32
    torch.testing.assert_close(answer(half), answer(model), rtol=0.1, atol=0.3)
    assert half.to() is half
    assert half.refinement == model.refinement


def test_images_of_another_shape_are_refused():
    with pytest.raises(ModelError, match=r"\(N, 3, H, W\)"):
        made(tiny()).encode(IMAGE[:, :1])


# ------------------------------------------------------------------ what it takes


def test_one_channel_is_grey():
    module = tiny(channels=1)
    model = made(module)
    assert "grey" in model.notices[0]
    grey = IMAGE[:, :1].expand(-1, 3, -1, -1)
    with torch.inference_mode():
        expected = module(IMAGE[:, :1])
    torch.testing.assert_close(answer(model, grey), expected, rtol=1e-4, atol=1e-4)
    assert made(module, preprocess=lambda x: x[:, :1]).notices == ()


@pytest.mark.parametrize("classes", [1, 2, 4])
def test_probabilities_are_found_out(classes):
    logits = tiny(classes)
    last = torch.sigmoid if classes == 1 else (lambda x: x.softmax(1))
    module = tiny(classes, last=last)
    options = {"output": 2} if classes == 4 else {}
    model = made(module, **options)
    assert model.adapter.probabilities
    assert "probabilities" in model.notices[0]
    plain = made(logits, **options)
    assert not plain.adapter.probabilities
    ours, theirs = answer(model).sigmoid(), answer(plain).sigmoid()
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_outputs_by_name_and_by_function():
    module = tiny(3, last=lambda x: {"out": x, "aux": (x, 1)})
    one = made(module, output=lambda answer: answer["aux"][0][:, 1:2])
    assert answer(one).shape == (2, 1, 37, 50)
    both = made(module, output=(1, 2))
    none = made(module, output=0)
    torch.testing.assert_close(answer(both), -answer(none), rtol=1e-4, atol=1e-4)


def test_a_module_of_one_size():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.tiny = Tiny()
            self.position = nn.Parameter(torch.zeros(1, 3, 64, 48))

        def forward(self, x):
            return self.tiny(x + self.position)

    model = made(Fixed().eval(), size=(64, 48), at="tiny.block")
    assert answer(model).shape == (2, 1, 37, 50)
    with pytest.raises(ModelError, match="size="):
        made(Fixed().eval())


def test_sizes_are_found_out():
    assert made(UNet((4, 6, 8, 8)).eval(), probabilities=False).adapter.multiple == 8


# ------------------------------------------------------------------ where


def test_a_good_place_is_chosen():
    model = made(UNet((4, 6, 8, 8)).eval(), probabilities=False)
    (place,) = model.places["g-brs"]
    points = {
        p.site: p for p in interactive_points(model.network, IMAGE[..., :32, :48])
    }
    assert points[place].stride > 1
    assert 0.05 < points[place].share < 0.5
    assert "up" in place  # in the decoder


def test_places_to_choose_from():
    def point(site, stride, share, channels=16, calls=1):
        return InteractivePoint(site, channels, stride, (1, 1, 1, 1), calls, share)

    late = [point("early", 4, 0.9), point("late", 2, 0.2), point("last", 1, 0.1)]
    assert choose_place(late).site == "late"
    assert choose_place([point("input", 1, 1.0, 3), point("a", 1, 0.5)]).site == "a"
    twice = [point("once", 4, 0.6), point("twice", 4, 0.3, calls=2)]
    assert choose_place(twice).site == "once"
    assert choose_place([point("input", 1, 1.0, 3)]).site == "input"


def test_places_by_name():
    model = made(tiny(), at=["block:input", "first"], layer="sb")
    assert model.places["g-brs"] == ("block:input", "first")
    assert model.refinement.method == "g-brs-sb"
    assert model.info.refine_at == ("block:input", "first")


def test_unknown_places_name_near_ones():
    with pytest.raises(RefinementError, match="Did you mean 'block'"):
        made(tiny(), at="blok")


def test_step_sizes():
    careful = made(tiny(), at="block").learning_rates["g-brs-bmconv"]
    wide = made(UNet((64, 64)).eval(), at="up.0", probabilities=False)
    assert wide.learning_rates["g-brs-bmconv"] == pytest.approx(careful / 8)
    model = made(tiny(), learning_rate=0.02)
    assert model.learning_rates["g-brs-bmconv"] == 0.02
    from napari_clickseg.models.tuned import save_tuned

    save_tuned(model.sha256, "tiny", "g-brs-sb", 0.5)
    assert made(tiny()).learning_rates["g-brs-sb"] == 0.5
    again = made(tiny(), layer="sb", learning_rate=0.1)
    assert again.learning_rates["g-brs-sb"] == 0.1


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("module", "options", "words"),
    [
        (3, {}, "torch.nn.Module"),
        (Tiny, {}, "it is a class"),
        (Tiny(), {}, "training mode"),
        (tiny(), {"task": "flow"}, "segmentation"),
        (tiny(), {"layer": "conv"}, "bmconv"),
        (tiny(), {"layer": "none"}, "no layer 'none'"),
        (tiny(), {"layer": "distmap-brs"}, "published click network"),
        (tiny(), {"refinement": RefinementSettings()}, "choose a layer"),
        (tiny(3), {}, "output=0 to output=2"),
        (tiny(3), {"output": 3}, "does not fit"),
        (tiny(channels=5), {}, "5 channels"),
        (tiny(last=lambda x: x.mean((2, 3))), {}, "no maps"),
        (tiny(last=lambda x: x * torch.nan), {}, "not numbers"),
        (tiny(last=lambda x: x[:1]), {}, "two images"),
        (tiny(), {"output": lambda x: x[0]}, "should return logits"),
        (tiny(), {"preprocess": "rgb"}, "preprocess"),
        (nn.Sequential(Tiny(channels=3).to("meta")).eval(), {}, "no weights"),
    ],
)
def test_what_is_refused(module, options, words):
    with pytest.raises(ModelError, match=words):
        made(module, **options)


def test_torchscript_is_refused_with_the_reason():
    with pytest.warns(DeprecationWarning, match="jit"):
        script = torch.jit.trace(tiny(), IMAGE)
    with pytest.raises(ModelError, match=r"TorchScript.*nor changed.*torch\.export"):
        made(script)


def test_exported_programs_are_taken():
    batch, rows, cols = (torch.export.Dim(n, min=2, max=999) for n in "bhw")
    shapes = ({0: batch, 2: 2 * rows, 3: 2 * cols},)
    program = torch.export.export(tiny(), (IMAGE[..., :36, :],), dynamic_shapes=shapes)
    model = made(program, at="block")
    assert model.adapter.multiple == 2
    even = IMAGE[..., :36, :]
    torch.testing.assert_close(answer(model, even), answer(made(tiny()), even))
    session = work(model)
    click = tuple(np.argwhere(~session.mask)[0])
    session.add_click(click)
    assert session.mask[click]
    with pytest.raises(ModelError, match="as they were exported"):
        model.to(precision="bfloat16")


def test_programs_exported_for_one_size_say_so():
    program = torch.export.export(tiny(), (IMAGE[:1, :, :36],))
    with pytest.raises(ModelError, match="size="):
        made(program)


# torch.compile imports a part of torch that torch has deprecated
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_wrapped_modules_are_unwrapped():
    expected = answer(made(tiny()))
    assert answer(made(nn.DataParallel(tiny()))).equal(expected)
    assert answer(made(torch.compile(tiny()))).equal(expected)


# ------------------------------------------------------------------ by name


@pytest.fixture
def named():
    model = made(tiny(), name="My tiny")
    yield model
    in_process.forget("My tiny")


def test_names_are_found_in_this_process(named):
    assert cs.load_model("my tiny") is named
    assert named.info in cs.list_models("segmentation")
    assert cs.load_model("My tiny", precision="bfloat16").dtype == torch.bfloat16
    session = cs.ClickSession(model="My tiny")
    session.set_image(np.zeros((40, 40), np.uint8))
    assert session.model is named
    newer = made(tiny(), name="My tiny", layer="sb")
    assert cs.load_model("My tiny") is newer


def test_published_names_are_taken():
    with pytest.raises(UnknownModelError, match="another name"):
        made(tiny(), name="ritm-mobilenetv2-starter")


def test_forgotten_names_are_unknown(named):
    in_process.forget("My tiny")
    with pytest.raises(UnknownModelError, match="My tiny"):
        cs.load_model("My tiny")


def test_weights_of_networks_without_clicks(tmp_path):
    torch.manual_seed(0)
    network = UNet((4, 8)).eval()
    file = tmp_path / "cells.safetensors"
    save_checkpoint(file, network, metadata={"licence": "CC0-1.0"})
    model = cs.load_model(file, device="cpu")
    assert isinstance(model, InteractiveModel)
    assert (model.name, model.info.licence) == ("cells", "CC0-1.0")
    assert model.info.sha256 == model.sha256
    assert model.info.path == file
    assert cs.load_model(file, "cpu", "bfloat16").dtype == torch.bfloat16


# ------------------------------------------------------------------ clicks


def work(model, **options):
    """Click where the module is wrong, as a user would."""
    session = cs.ClickSession(model=model, **options)
    image = (255 * IMAGE[0].permute(1, 2, 0)).byte().numpy()
    session.set_image(np.ascontiguousarray(image))
    change = session.start_from_model()
    assert change.kind == "automatic"
    assert 0 < session.mask.sum() < session.mask.size
    return session


@pytest.mark.parametrize("layer", ["sb", "bmsb", "bmsb-m", "bmconv", "f-brs-b"])
def test_clicks_change_what_it_says(layer):
    model = made(tiny(), at="block", layer=layer, learning_rate=0.01)
    session = work(model)
    before = session.probability.copy()
    rows, cols = np.nonzero(~session.mask)
    click = int(rows[0]), int(cols[0])
    session.add_click(click)
    assert session.mask[click]
    assert session.refinement_in_use.method == model.refinement.method
    inside = tuple(np.argwhere(before > 0.5)[-1])
    session.add_click(inside, positive=False)
    assert session.mask[click]
    assert not session.mask[inside]
    for _ in range(2):
        session.undo()
    np.testing.assert_array_equal(session.probability, before)
    again = session.redo()
    assert again is not None
    assert session.mask[click]


def test_a_first_click_needs_no_start():
    model = made(tiny(), at="block", learning_rate=0.01)
    started = work(model)
    fresh = cs.ClickSession(model=model)
    fresh.set_image(started.image)
    click = tuple(np.argwhere(~started.mask)[0])
    started.add_click(click)
    fresh.add_click(click)
    np.testing.assert_allclose(started.probability, fresh.probability, atol=1e-6)
    # ... and when that click is taken away, what stands before it is back
    started.remove_click(0)
    np.testing.assert_allclose(started.probability, work(model).probability)
    assert started.in_work


def test_a_start_can_be_committed_saved_and_replayed(tmp_path):
    module = tiny()
    model = made(module, at="block", name="kept-tiny", learning_rate=0.01)
    try:
        session = work(model)
        session.add_click(tuple(np.argwhere(~session.mask)[0]))
        mask = session.mask.copy()
        session.save(tmp_path / "a.clickseg")
        loaded = cs.ClickSession.load(tmp_path / "a.clickseg")
        np.testing.assert_array_equal(loaded.mask, mask)
        again = loaded.replay()
        np.testing.assert_array_equal(again.mask, mask)
        session.commit()
        assert session.labels.max() == 1
        session.start_from_model()
        session.discard()
        assert not session.in_work
    finally:
        in_process.forget("kept-tiny")


def test_starting_needs_a_model_that_can_and_no_object_in_work():
    session = work(made(tiny(), at="block"))
    with pytest.raises(ClickSegError, match="in work"):
        session.start_from_model()
    starter = cs.ClickSession(device="cpu")
    starter.set_image(np.zeros((30, 30), np.uint8))
    with pytest.raises(ClickSegError, match="clicks only"):
        starter.start_from_model()


def test_a_start_may_be_answered_later():
    session = cs.ClickSession(model=made(tiny(), at="block"))
    session.set_image(np.zeros((40, 50), np.uint8))
    session.start_from_model(predict=False)
    assert session.pending
    assert session.in_work
    session.update(settle=True)
    assert not session.pending
    session.undo()
    assert not session.in_work


def test_other_refinements_of_a_session_count():
    model = made(tiny(), at="block", learning_rate=0.01)
    session = work(model, refinement="rgb-brs")
    click = tuple(np.argwhere(~session.mask)[0])
    session.add_click(click)
    assert session.mask[click]
    assert session.refinement_in_use.method == "rgb-brs"
