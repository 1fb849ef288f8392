"""Models of semantic classes, alpha and depth, with small random networks."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import napari_clickseg as cs
from napari_clickseg.clicks import Click
from napari_clickseg.errors import ModelError, SettingsError
from napari_clickseg.image import ImageSource
from napari_clickseg.models.checkpoint import save_checkpoint
from napari_clickseg.models.dense_model import DenseModel, usual_classes
from napari_clickseg.networks.bts import BTS
from napari_clickseg.networks.indexnet import IndexNet
from napari_clickseg.networks.multiscale import MultiScaleHRNet
from napari_clickseg.networks.semantic_mobilenet import SemanticMobileNetV2
from napari_clickseg.prediction.dense import DensePredictor
from napari_clickseg.tasks import Classes

NETWORKS: dict[str, Any] = {
    "semantic": lambda: SemanticMobileNetV2(3),
    "matting": lambda: IndexNet("o2o", separable=True),
    "depth": lambda: BTS("mobilenetv2", 128),
}
IMAGE = np.random.default_rng(3).integers(0, 255, (64, 96, 3), np.uint8)
TRIMAP = np.full((64, 96), 128, np.uint8)


def network(task: str) -> nn.Module:
    """Return a random network whose batch norms are not the identity."""
    torch.manual_seed(1)
    made: nn.Module = NETWORKS[task]()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.7, 1.3)  # type: ignore[arg-type]
    return made.eval()


@pytest.fixture
def files(tmp_path: Path) -> Any:
    def save(task: str, **card: Any) -> Path:
        path = tmp_path / f"{task}.safetensors"
        save_checkpoint(path, network(task), metadata={"licence": "CC0", **card})
        return path

    return save


@pytest.mark.parametrize("task", NETWORKS)
def test_a_file_of_a_dense_network_is_loaded(task: str, files: Any) -> None:
    model: Any = cs.load_model(files(task))
    assert isinstance(model, DenseModel)
    assert (model.task, model.name, model.automatic) == (task, task, True)
    assert len(model.sha256) == 64
    assert model.info.licence == "CC0"
    assert model.places["g-brs"]
    assert task in repr(model)
    assert model.to() is model
    half = model.to(precision="bfloat16")
    assert half.dtype == torch.bfloat16
    assert next(half.network.parameters()).dtype == torch.bfloat16


@pytest.mark.parametrize("task", NETWORKS)
def test_folding_changes_neither_answers_nor_refinements(task: str) -> None:
    plain = network(task)
    info = cs.list_models()[0].__class__(
        name="random", task=task, architecture="?", file="", licence="", source=""
    )
    folded = DenseModel(copy.deepcopy(plain), info, precision="float32")
    exact = DenseModel(plain, info, optimise=False)
    if task != "semantic":  # that one has group norms in its own part
        kinds = [type(m) for m in folded.network.modules()]
        assert kinds.count(nn.BatchNorm2d) < [
            type(m) for m in exact.network.modules()
        ].count(nn.BatchNorm2d)
    trimap = TRIMAP if task == "matting" else None
    click = {"semantic": {"label": 2}}.get(task, {"value": 0.7})
    answers = []
    for model in (folded, exact):
        predictor = DensePredictor(model.network, model.make_task())
        answers.append(
            predictor.predict(
                ImageSource(IMAGE), [Click(30, 40, **click)], trimap=trimap
            )
        )
    first, second = answers
    np.testing.assert_allclose(first.values, second.values, atol=5e-3)
    assert first.disobeyed == second.disobeyed


def test_classes_come_from_the_card_or_the_number_of_channels(files: Any) -> None:
    named: Any = cs.load_model(files("semantic", classes=["a", "b", "c"]))
    assert named.classes.names == ("a", "b", "c")
    assert named.make_task().classes.names == ("a", "b", "c")
    listed = Classes.named(("x", "y", "z")).to_dict()["classes"]
    other: Any = cs.load_model(files("semantic", classes=listed))
    assert other.classes.names == ("x", "y", "z")
    assert usual_classes(19).names[0] == "road"
    assert usual_classes(4).names == ("class 1", "class 2", "class 3", "class 4")
    with pytest.raises(SettingsError, match="knows 3 classes"):
        named.make_task(classes=Classes.named(("a", "b")))


def test_run_is_the_network(files: Any) -> None:
    rgb = torch.from_numpy(IMAGE).permute(2, 0, 1)[None] / 255
    depth: Any = cs.load_model(files("depth"), optimise=False)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = (rgb - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    torch.testing.assert_close(depth.run(rgb), network("depth")(normalised))
    assert depth.largest == 10
    assert depth.make_task().largest == 10
    alpha: Any = cs.load_model(files("matting"))
    assert alpha.needs_trimap
    with pytest.raises(ModelError, match="needs a trimap"):
        alpha.run(rgb)
    assert alpha.run(rgb, torch.full((1, 1, 64, 96), 0.5)).shape == (1, 1, 64, 96)
    with pytest.raises(ModelError, match="N, 3, H, W"):
        depth.run(rgb[:, :2])


def test_half_precision_only_where_classes_agree(
    monkeypatch: pytest.MonkeyPatch, files: Any
) -> None:
    monkeypatch.setattr(
        "napari_clickseg.models.dense_model.choose_precision",
        lambda name, _: torch.bfloat16 if name == "auto" else torch.float32,
    )
    same = "napari_clickseg.models.dense_model.DenseModel._agreement"
    monkeypatch.setattr(same, lambda _: (0.99, 0.5))
    agreeing: Any = cs.load_model(files("semantic", note="1"))
    assert agreeing.dtype == torch.bfloat16
    monkeypatch.setattr(same, lambda _: (0.9, 0.5))
    differing: Any = cs.load_model(files("semantic", note="2"))
    assert differing.dtype == torch.float32
    assert "90.0% of the pixels" in differing.notices[0]
    depth: Any = cs.load_model(files("depth"))
    assert depth.dtype == torch.float32


def test_agreement_is_measured(files: Any) -> None:
    model: Any = cs.load_model(files("semantic"), precision="bfloat16")
    same, gap = model._agreement()
    assert 0.8 < same <= 1
    assert 0 < gap < 0.2


def test_a_model_of_several_scales_is_one_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "roads.safetensors"
    save_checkpoint(
        path,
        MultiScaleHRNet(19, width=8, ocr_width=16, small=True).eval(),
        metadata={},
    )
    model: Any = cs.load_model(path)
    assert model.classes.names[0] == "road"
    rgb = torch.from_numpy(IMAGE).permute(2, 0, 1)[None] / 255
    assert model.run(rgb).shape[1] == 19


def test_clicks_on_objects_are_refused() -> None:
    info = cs.list_models()[0]
    with pytest.raises(ModelError, match="segmentation"):
        DenseModel(network("depth"), info)


def user_module(channels: int, outputs: int) -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(channels, 12, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(12, outputs, 1),
    ).eval()


@pytest.mark.parametrize(
    ("task", "channels", "outputs"),
    [("semantic", 3, 4), ("matting", 4, 1), ("matting", 3, 1), ("depth", 3, 1)],
)
def test_any_module_is_made_interactive(task: str, channels: int, outputs: int) -> None:
    module = user_module(channels, outputs)
    before = copy.deepcopy(module.state_dict())
    model: Any = cs.make_interactive(
        module, at="2", task=task, preprocess="imagenet", learning_rate=0.05
    )
    assert isinstance(model, DenseModel)
    assert model.task == task
    assert model.places["g-brs"] == ("module.2",)
    assert model.needs_trimap == (channels == 4)
    assert model.learning_rates["g-brs-bmconv"] == 0.05
    session: Any = cs.ClickSession(model, task=task)
    session.set_image(IMAGE)
    if channels == 4:
        session.set_trimap(TRIMAP)
    else:
        session.start_from_model()
    wanted = int(session.result[30, 40]) % 4 + 1 if task == "semantic" else 0.7
    fields = {"label": wanted} if task == "semantic" else {"value": wanted}
    session.add_click((30, 40), **fields)
    assert session.result[30, 40] == pytest.approx(wanted, abs=0.06)
    for name, tensor in module.state_dict().items():
        torch.testing.assert_close(tensor, before[name])


def test_places_and_multiples_are_found() -> None:
    class Odd(nn.Module):
        def __init__(self, body: nn.Module) -> None:
            super().__init__()
            self.body = body

        def forward(self, image: torch.Tensor) -> dict[str, Any]:
            if image.shape[2] % 8 or image.shape[3] % 8:
                raise ValueError("sides")
            return {"other": 3, "out": self.body(image)}

    pyramid = Odd(SemanticMobileNetV2(3)).eval()
    model: Any = cs.make_interactive(pyramid, task="semantic", multiple=32)
    assert model.network.multiple == 32
    assert model.places["g-brs"][0].startswith("module.body.")
    assert model.classes.names == ("background", "cell interior", "cell border")
    one: Any = cs.make_interactive(
        Odd(user_module(3, 3)).eval(),
        task="depth",
        output=lambda answer: answer["out"][:, :1],
    )
    assert one.network.multiple == 8
    assert one.run(torch.rand(1, 3, 16, 16)).shape == (1, 1, 8, 8)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"task": "flow"}, "'semantic'"),
        ({"task": "depth"}, "3 channels, but depth has one"),
        ({"task": "depth", "output": 1}, "a function"),
        ({"task": "depth", "size": 64}, "takes no size"),
        ({"task": "semantic", "name": "mine"}, "takes no name"),
        ({"task": "semantic", "preprocess": "grey"}, "cannot be called"),
    ],
)
def test_what_cannot_be_made_interactive(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        cs.make_interactive(user_module(3, 3), **options)
