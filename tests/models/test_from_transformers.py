"""Models of transformers with random weights, corrected by clicks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import napari_clickseg as cs
from napari_clickseg.errors import CheckpointError, FetchError, ModelError
from napari_clickseg.models.from_transformers import from_transformers
from napari_clickseg.models.transformers_families import (
    RELATIVE,
    Family,
    PassingReLU,
    Preparation,
    preparation_of,
)
from napari_clickseg.tasks.class_lists import CITYSCAPES

tf = pytest.importorskip("transformers")

IMAGE = np.random.default_rng(5).integers(0, 255, (60, 84, 3), np.uint8)
TRIMAP = np.full((60, 84), 128, np.uint8)


def depth_anything(**options: Any) -> nn.Module:
    backbone = tf.Dinov2Config(
        hidden_size=24,
        num_hidden_layers=4,
        num_attention_heads=2,
        mlp_ratio=2,
        image_size=70,
        patch_size=14,
        out_indices=[1, 2, 3, 4],
        reshape_hidden_states=False,
        apply_layernorm=True,
    )
    config = tf.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=24,
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=16,
        head_hidden_size=8,
        **options,
    )
    return tf.DepthAnythingForDepthEstimation(config)


def metric_depth_anything() -> nn.Module:
    return depth_anything(depth_estimation_type="metric", max_depth=20)


def dpt() -> nn.Module:
    return tf.DPTForDepthEstimation(tf.DPTConfig(**_DPT))


def dpt_classes() -> nn.Module:
    return tf.DPTForSemanticSegmentation(tf.DPTConfig(**_DPT, num_labels=4))


_DPT = {
    "hidden_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": 64,
    "patch_size": 16,
    "backbone_out_indices": [0, 1, 2, 3],
    "neck_hidden_sizes": [8, 8, 16, 16],
    "fusion_hidden_size": 16,
    "is_hybrid": False,
    "use_auxiliary_head": False,
}


def glpn() -> nn.Module:
    config = tf.GLPNConfig(
        depths=[1] * 4,
        hidden_sizes=[8, 8, 16, 16],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16,
    )
    return tf.GLPNForDepthEstimation(config)


def segformer(**options: Any) -> nn.Module:
    config = tf.SegformerConfig(
        depths=[1] * 4,
        hidden_sizes=[8, 8, 16, 16],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16,
        **options or {"id2label": {0: "wall", 1: "door", 2: "door", 3: "lamp"}},
    )
    return tf.SegformerForSemanticSegmentation(config)


def upernet() -> nn.Module:
    backbone = tf.ConvNextConfig(
        hidden_sizes=[8, 8, 16, 16],
        depths=[1] * 4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = tf.UperNetConfig(
        backbone_config=backbone,
        hidden_size=16,
        num_labels=4,
        auxiliary_in_channels=16,
    )
    return tf.UperNetForSemanticSegmentation(config)


def vitmatte() -> nn.Module:
    backbone = tf.VitDetConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=64,
        patch_size=16,
        num_channels=4,
        out_features=["stage2"],
        window_block_indices=[0],
        window_size=2,
    )
    config = tf.VitMatteConfig(
        backbone_config=backbone,
        hidden_size=24,
        fusion_hidden_sizes=[16, 8, 8, 4],
        convstream_hidden_sizes=[4, 8, 8],
    )
    return tf.VitMatteForImageMatting(config)


MAKERS = {
    "depth": [depth_anything, metric_depth_anything, dpt, glpn],
    "semantic": [segformer, upernet, dpt_classes],
    "matting": [vitmatte],
}
ALL = [(task, make) for task, makers in MAKERS.items() for make in makers]


#: By how much the last convolution grows, so that answers are neither next to
#: nothing nor at their limits.
GAINS = {depth_anything: 0.1, metric_depth_anything: 0.1, vitmatte: 1000.0}


def made(make: Any) -> nn.Module:
    torch.manual_seed(2)
    module: nn.Module = make()
    kinds = nn.Conv2d | nn.ConvTranspose2d
    convolutions = [part for part in module.modules() if isinstance(part, kinds)]
    for part in convolutions:
        nn.init.kaiming_normal_(part.weight)
    with torch.no_grad():
        convolutions[-1].weight *= GAINS.get(make, 1.0)
    return module.eval()


def session_of(model: Any) -> Any:
    session = cs.ClickSession(model, task=model.task)
    session.set_image(IMAGE)
    if model.task == "matting":
        session.set_trimap(TRIMAP)
    else:
        session.start_from_model()
    return session


@pytest.mark.parametrize(("task", "make"), ALL, ids=lambda x: getattr(x, "__name__", x))
def test_a_click_is_obeyed(task: str, make: Any) -> None:
    module = made(make)
    before = {name: x.clone() for name, x in module.state_dict().items()}
    side = None if task == "matting" else 64
    rate = 0.02 if task == "semantic" else 0.003
    model = from_transformers(module, side=side, learning_rate=rate)
    assert model.task == task
    session = session_of(model)
    own = np.array(session.result)
    where = (22, 37)
    if task == "semantic":
        wanted = int(own[where]) % len(model.classes) + 1
        change = session.add_click(where, label=wanted, radius=20)
        assert session.result[where] == wanted
    else:
        wanted = 0.9 if own[where] < 0.5 else 0.1
        if task == "depth":
            wanted = float(own[where]) * 0.7 + 0.05
        change = session.add_click(where, value=wanted, radius=20)
        assert session.result[where] == pytest.approx(wanted, rel=0.06, abs=0.05)
    # by the network itself, not by a spot painted over its answer
    assert not change.corrected
    assert (session.result != own).sum() > 9
    session.undo()
    np.testing.assert_array_equal(session.result, own)
    after = module.state_dict()
    assert all(torch.equal(after[name], x) for name, x in before.items())


@pytest.mark.parametrize(("task", "make"), ALL, ids=lambda x: getattr(x, "__name__", x))
def test_the_answer_is_the_models_own(task: str, make: Any) -> None:
    """At the model's own size, normalised by hand."""
    module = made(make)
    model = from_transformers(module, side=None if task == "matting" else 56)
    side = model.network.prepare.size(64, 64)
    image = torch.from_numpy(np.random.default_rng(1).random((1, 3, *side), np.float32))
    mean, std = (
        torch.tensor(x)[:, None, None]
        for x in (
            ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
            if make in (depth_anything, metric_depth_anything, segformer, upernet)
            else ([0.0] * 3, [1.0] * 3)
            if make is glpn
            else ([0.5] * 3, [0.5] * 3)
        )
    )
    given = (image - mean) / std
    trimap = None
    if task == "matting":
        trimap = torch.full((1, 1, *side), 0.5)
        given = torch.cat([given, trimap], 1)
    with torch.inference_mode():
        wanted = module(given)[0 if task != "matting" else "alphas"]
    mine = model.run(image, trimap)
    assert mine.shape[1] == (len(model.classes) if task == "semantic" else 1)
    torch.testing.assert_close(mine.squeeze(), wanted.squeeze())


def test_depths_that_are_held_at_zero_can_be_raised() -> None:
    module: Any = made(depth_anything)
    with torch.no_grad():
        module.head.conv3.bias -= 20  # every pixel is below zero
    model = from_transformers(module, side=56, learning_rate=0.02)
    session = session_of(model)
    assert not session.result.any()
    session.refinement = session.refinement.updated({"iterations": 60})
    change = session.add_click((20, 30), value=2.0, radius=15)
    assert not change.corrected
    assert session.result[20, 30] == pytest.approx(2, rel=0.06)


def test_a_passing_relu_is_a_relu() -> None:
    x = torch.randn(50, requires_grad=True)
    y = PassingReLU()(x)
    assert torch.equal(y, x.relu())
    y.sum().backward()
    assert torch.equal(x.grad, torch.ones(50))


def test_units_are_told_honestly() -> None:
    relative = from_transformers(made(depth_anything), side=56)
    assert relative.make_task().unit == RELATIVE
    assert "no unit" in relative.notices[0]
    assert relative.largest is None
    metric = from_transformers(made(metric_depth_anything), side=56)
    assert (metric.make_task().unit, metric.largest) == ("m", 20)
    assert not metric.notices
    rescaled = from_transformers(made(depth_anything), side=56, unit="um")
    assert rescaled.make_task().unit == "um"


def test_classes_have_the_models_names() -> None:
    model: Any = from_transformers(made(segformer), side=64)
    assert model.classes.names == ("wall", "door", "door 2", "lamp")
    named: Any = from_transformers(
        made(segformer), side=64, classes=("a", "b", "c", "d")
    )
    assert named.classes.names == ("a", "b", "c", "d")
    streets = made(lambda: segformer(id2label=dict(enumerate(CITYSCAPES.names))))
    assert from_transformers(streets, side=64).classes is CITYSCAPES
    with pytest.raises(ModelError, match="4 classes"):
        from_transformers(made(segformer), side=64, classes=("a", "b"))


def test_sizes_are_those_of_the_published_preprocessing() -> None:
    config = made(depth_anything).config
    family = Family(side=518, multiple=None)
    prepared = preparation_of(family, config, {})
    assert prepared.size(480, 640) == (518, 686)
    assert prepared.size(100, 9000) == (28, 2072)  # not ever longer
    given = preparation_of(
        family,
        config,
        {
            "size": {"height": 256, "width": 256},
            "image_mean": [0] * 3,
            "image_std": [1] * 3,
        },
    )
    assert given.size(480, 640) == (252, 336)
    image = torch.rand(1, 3, 252, 252)
    torch.testing.assert_close(given(image), image)
    plain = Preparation(((0,) * 3, (1,) * 3), None, 32)
    assert plain.size(33, 65) == (33, 65)
    assert plain.multiple_outside == 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("segformer")
    made(segformer).save_pretrained(path)
    (path / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "size": {"height": 64, "width": 64},
                "image_mean": [0.5] * 3,
                "image_std": [0.25] * 3,
                "resample": 2,
            }
        )
    )
    (path / "README.md").write_text("---\nlicense: apache-2.0\n---\nA card.\n")
    return path


def test_a_folder_is_loaded_with_what_lies_beside_it(folder: Path) -> None:
    model: Any = from_transformers(folder, name="cells of a folder")
    assert model.info.licence == "apache-2.0"
    assert model.network.prepare.size(100, 200) == (64, 128)
    assert model.network.prepare.mode == "bilinear"
    white = model.network.prepare(torch.ones(1, 3, 64, 64))
    torch.testing.assert_close(white, torch.full_like(white, 2.0))
    assert cs.load_model("cells of a folder") is model
    same = from_transformers(
        made(segformer), side=64, normalise=([0.5] * 3, [0.25] * 3)
    )
    image = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(model.run(image), same.run(image))


def test_a_function_that_builds_one_is_a_model_like_any_other(
    folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "nets.py"
    file.write_text(
        "from napari_clickseg.models.from_transformers import from_transformers\n"
        f"def cells():\n    return from_transformers({str(folder)!r})\n"
    )
    session = cs.ClickSession(f"{file}:cells", task="semantic")
    session.set_image(IMAGE)
    session.start_from_model()
    assert set(np.unique(session.result)) <= {1, 2, 3, 4}
    path = session.save(tmp_path / "session.clickseg")
    again = cs.ClickSession.load(path)
    again.start_from_model() if not again.in_work else None
    np.testing.assert_array_equal(again.result, session.result)


def test_code_beside_weights_is_never_run(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["model_type"] = "mine"
    config["auto_map"] = {
        "AutoConfig": "mine.Config",
        "AutoModelForSemanticSegmentation": "mine.Model",
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "mine.py").write_text("raise SystemExit('code was run')")
    with pytest.raises(FetchError, match="cannot be had"):
        from_transformers(tmp_path)


def test_weights_that_may_run_code_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    torch.save(made(segformer).state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="safetensors"):
        from_transformers(tmp_path)


def test_what_does_not_fit_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="no folder"):
        from_transformers(tmp_path / "nowhere")
    with pytest.raises(ModelError, match="make_interactive"):
        from_transformers(nn.Conv2d(3, 1, 1))
    with pytest.raises(ModelError, match="for depth, not for matting"):
        from_transformers(made(depth_anything), task="matting")
    with pytest.raises(ModelError, match="side="):
        from_transformers(made(vitmatte), side=64)
    other = tf.ViTModel(
        tf.ViTConfig(
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            intermediate_size=8,
            image_size=32,
        )
    )
    with pytest.raises(ModelError, match="ends in"):
        from_transformers(other)


def test_it_runs_in_half_precision() -> None:
    model = from_transformers(made(segformer), side=64, precision="bfloat16")
    assert model.dtype == torch.bfloat16
    assert model.run(torch.rand(1, 3, 50, 70)).dtype == torch.float32
    assert model.classes is not None
    assert model.classes.names[0] == "wall"
