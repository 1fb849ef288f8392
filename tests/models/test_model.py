"""One protocol for all networks, on any thread, exact or fast."""

from __future__ import annotations

import copy
import functools
import logging
import os
import threading

import pytest
import torch
from tests.models.test_optimise import lively, question
from torch import Tensor, nn

from napari_clickseg import device as devices
from napari_clickseg.errors import (
    CheckpointError,
    DeviceError,
    FetchError,
    ModelError,
    UnknownModelError,
)
from napari_clickseg.models import agreement, fetch, registry, running
from napari_clickseg.models import model as model_module
from napari_clickseg.models.checkpoint import save_checkpoint
from napari_clickseg.models.model import Model, load_model, run_network
from napari_clickseg.models.registry import STARTER, ModelInfo
from napari_clickseg.networks.fbrs import FBRS
from napari_clickseg.networks.ocr import ObjectAttention
from napari_clickseg.networks.ritm import RITM
from napari_clickseg.networks.ritm_mobilenet import RITMMobileNetV2

INFO = ModelInfo("a-model", "segmentation", "ritm", "file.pth", "MIT", "here")
NETWORKS = {
    "ritm": lambda: RITM("hrnet18s"),
    "ritm-noprev": lambda: RITM("hrnet18s", with_prev_mask=False),
    "ritm-resnet34": lambda: RITM("resnet34"),
    "fbrs": lambda: FBRS("resnet34"),
    "starter": RITMMobileNetV2,
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_CLICKSEG_CACHE", str(tmp_path / "cache"))


@functools.cache
def built(name: str) -> nn.Module:
    torch.manual_seed(0)
    return lively(NETWORKS[name]())


def network(name: str = "ritm") -> nn.Module:
    return copy.deepcopy(built(name))


def answer(model: Model, seed: int = 1, **changes) -> Tensor:
    image, points, previous = question(seed)
    features = model.encode(changes.get("image", image))
    return model.decode(features, points, changes.get("previous", previous))


@pytest.mark.parametrize("name", NETWORKS)
def test_exact_and_fast_against_the_plain_network(name):
    plain = network(name)
    for module in plain.modules():  # the published way to attend to one object
        if isinstance(module, ObjectAttention):
            module.shortcut = False
    expected = run_network(plain, *question())
    exact = Model(network(name), INFO, device="cpu", optimise=False)
    assert exact.dtype == torch.float32
    assert torch.equal(answer(exact), expected)

    folded = Model(network(name), INFO, device="cpu", precision="float32")
    assert (answer(folded) - expected).abs().max() <= 1e-4

    half = Model(network(name), INFO, device="cpu", precision="bfloat16")
    assert half.dtype == torch.bfloat16
    got = answer(half)
    assert got.dtype == torch.float32
    assert got.shape == (2, 1, 49, 65)
    assert not torch.equal(got, expected)
    assert (got.sigmoid() - expected.sigmoid()).abs().max() < 0.05


def test_f_brs_images_are_normalised_once():
    """Against torch by hand: the published network wants normalised RGB."""
    plain = network("fbrs")
    image, points, _ = question()
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    with torch.no_grad():
        expected = plain((image - mean) / std, points[..., :2])["instances"]
    model = Model(network("fbrs"), INFO, device="cpu", optimise=False)
    torch.testing.assert_close(answer(model), expected, atol=1e-6, rtol=0)


def test_previous_mask():
    model = Model(network(), INFO, device="cpu", precision="float32")
    zeros = torch.zeros(2, 1, 49, 65)
    assert model.with_prev_mask
    assert torch.equal(answer(model, previous=None), answer(model, previous=zeros))
    assert not torch.equal(answer(model, previous=zeros), answer(model))
    other = Model(network("fbrs"), INFO, device="cpu", precision="float32")
    assert not other.with_prev_mask
    assert torch.equal(answer(other, previous=None), answer(other))


def test_features_serve_many_clicks():
    model = Model(network(), INFO, device="cpu", precision="float32")
    image, points, previous = question()
    features = model.encode(image)
    first = model.decode(features, points, previous)
    moved = model.decode(features, points + 3, previous)
    assert not torch.equal(first, moved)
    assert torch.equal(model.decode(features, points, previous), first)


@pytest.mark.parametrize("shape", [(3, 49, 65), (1, 4, 49, 65), (1, 1, 8, 8)])
def test_wrong_images_are_refused(shape):
    model = Model(network("starter"), INFO, device="cpu")
    with pytest.raises(ModelError, match=r"\(N, 3, H, W\)"):
        model.encode(torch.zeros(shape))


def test_answers_are_the_same_from_another_thread():
    model = Model(network("starter"), INFO, device="cpu")
    here = answer(model)
    there: list[Tensor] = []
    thread = threading.Thread(target=lambda: there.append(answer(model)))
    thread.start()
    thread.join()
    assert torch.equal(here, there[0])


def test_moving():
    model = Model(network("starter"), INFO, "abc", device="cpu", precision="float32")
    assert model.to() is model
    assert model.to("cpu", "float32") is model
    half = model.to(precision="bfloat16")
    assert (half.dtype, model.dtype) == (torch.bfloat16, torch.float32)
    assert (half.sha256, half.name) == ("abc", "a-model")
    back = half.to(precision="float32")
    assert torch.equal(answer(back), answer(model))
    with pytest.raises(DeviceError):
        model.to("cuda:99")
    assert "cpu in bfloat16" in repr(half)
    assert half.forecast_bytes((100, 100)) < model.forecast_bytes((100, 100))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("name", NETWORKS)
def test_on_a_gpu(name):
    expected = run_network(network(name), *question())
    model = Model(network(name), INFO, device="cuda")
    assert model.dtype == torch.float32
    got = answer(model)
    assert got.device.type == "cuda"
    assert (got.cpu() - expected).abs().max() < 1e-2
    back = model.to("cpu", "float32")
    assert (answer(back) - expected).abs().max() < 1e-4
    for precision in ("float16", "bfloat16"):
        half = answer(model.to(precision=precision)).cpu()
        assert (half.sigmoid() - expected.sigmoid()).abs().max() < 0.05


# ------------------------------------------------------------------- agreement


class Delicate(nn.Module):
    """Answers by a difference of large numbers, which half precision loses."""

    with_prev_mask = True
    normalises_input = True

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.offset = offset
        self.weight = nn.Parameter(torch.ones(1))

    def encode_image(self, image: Tensor) -> Tensor:
        x = image.mean(1, keepdim=True).to(self.weight.dtype) * self.weight
        return (x + self.offset) - self.offset

    def decode_clicks(
        self, features: Tensor, points: Tensor, previous: Tensor
    ) -> dict[str, Tensor]:
        return {"instances": (features.float() - 0.5) * 20 + 0 * previous}

    def forward(self, image: Tensor, points: Tensor) -> dict[str, Tensor]:
        return self.decode_clicks(self.encode_image(image[:, :3]), points, image[:, 3:])


@pytest.fixture
def bfloat16_machine(monkeypatch):
    monkeypatch.setattr(devices, "has_native_bfloat16", lambda: True)


def test_half_precision_where_it_agrees(bfloat16_machine):
    model = Model(Delicate(0.0), INFO, device="cpu")
    assert model.dtype == torch.bfloat16
    assert model.notices == ()


def test_float32_where_it_does_not(bfloat16_machine, caplog):
    with caplog.at_level(logging.WARNING, logger="napari_clickseg"):
        model = Model(Delicate(100.0), INFO, device="cpu")
    assert model.dtype == torch.float32
    (notice,) = model.notices
    assert "runs in float32" in notice
    assert notice in caplog.text
    assert torch.equal(answer(model), run_network(Delicate(100.0), *question()))
    # whoever asks for it by name gets it
    asked = Model(Delicate(100.0), INFO, device="cpu", precision="bfloat16")
    assert (asked.dtype, asked.notices) == (torch.bfloat16, ())


def test_numbers_that_overflow_do_not_agree(bfloat16_machine):
    assert agreement.difference(
        lambda *_: torch.zeros(1, 1, 113, 113),
        lambda *_: torch.full((1, 1, 113, 113), float("nan")),
    ) == (0.0, float("inf"))


def test_agreement_is_measured_once_per_weights(bfloat16_machine, monkeypatch):
    calls = []
    measure = agreement.difference

    def counted(*args):
        calls.append(1)
        return measure(*args)

    monkeypatch.setattr(agreement, "difference", counted)
    for _ in range(2):
        Model(Delicate(100.0), INFO, "hash-a", device="cpu")
    assert len(calls) == 1
    Model(Delicate(0.0), INFO, "hash-b", device="cpu")
    assert len(calls) == 2
    assert Model(Delicate(100.0), INFO, "hash-a", device="cpu").notices
    (registry.models_folder().parent / "agreement.json").write_text("[1, 2")
    Model(Delicate(100.0), INFO, "hash-a", device="cpu")
    assert len(calls) == 3


def test_undecided_networks_may_run_fast(bfloat16_machine):
    """Logits around the threshold: masks differ, probabilities do not."""

    class Undecided(Delicate):
        def decode_clicks(self, features, points, previous):
            noise = (features.float() * 7919).sin() * 1e-3
            return {"instances": noise - 0.04}  # sigmoid(-0.04) = 0.49

    model = Model(Undecided(0.0), INFO, device="cpu")
    assert model.dtype == torch.bfloat16


def test_float32_on_machines_without_bfloat16(monkeypatch):
    monkeypatch.setattr(devices, "has_native_bfloat16", lambda: False)
    assert Model(Delicate(0.0), INFO, device="cpu").dtype == torch.float32


def test_folding_that_fails_is_told(monkeypatch):
    def spoil(network, run):
        run()
        with torch.no_grad():
            network.head.weight.add_(100.0)

    monkeypatch.setattr(running, "fold_batch_norm", spoil)
    with pytest.raises(ModelError, match="optimise=False"):
        Model(network("starter"), INFO, device="cpu")


# --------------------------------------------------------------------- loading


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "mine.safetensors"
    card = {"licence": "CC0-1.0", "description": "made for a test"}
    save_checkpoint(path, network("starter"), metadata=card)
    return path


def test_load_from_a_file(weights):
    model = load_model(weights, device="cpu", precision="float32")
    expected = run_network(network("starter"), *question())
    assert (answer(model) - expected).abs().max() <= 1e-4
    assert model.name == "mine"
    assert model.info.licence == "CC0-1.0"
    assert model.info.architecture == "ritm-mobilenetv2"
    assert len(model.sha256) == 64
    assert load_model(str(weights), "cpu", "float32").sha256 == model.sha256


def test_a_header_that_begins_like_a_pickle(tmp_path):
    """A header of 128 bytes modulo 256 makes 0x80 the first byte of the file."""
    path, net = tmp_path / "mine.safetensors", network("starter")
    for n in range(33):
        save_checkpoint(path, net, metadata={"description": "x" * 8 * n})
        if path.read_bytes()[0] == 0x80:
            break
    else:
        pytest.fail("no header of that length")
    assert load_model(path, device="cpu").info.description == "x" * 8 * n


def test_load_a_file_that_was_added(weights):
    added = fetch.add_model_file(weights, name="cells")
    assert added.architecture == "ritm-mobilenetv2"
    assert added.description == "made for a test"
    weights.unlink()
    assert load_model("cells", device="cpu").name == "cells"
    fetch.remove_model("cells")
    with pytest.raises(UnknownModelError):
        load_model("cells", device="cpu")


def test_load_the_bundled_one(weights, monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "BUNDLED_FOLDER", tmp_path)
    weights.rename(tmp_path / f"{STARTER}.safetensors")
    model = load_model(STARTER, device="cpu")
    assert model.info.bundled
    assert model.name == STARTER


def test_load_as_published(weights):
    model = load_model(weights, device="cpu", optimise=False)
    assert model.dtype == torch.float32
    assert torch.equal(answer(model), run_network(network("starter"), *question()))


def test_a_published_name_or_file_is_fetched(monkeypatch, weights):
    asked = []

    def give(info, progress, cancelled):
        asked.append((info.name, progress))
        return weights

    monkeypatch.setattr(model_module, "fetch_model", give)
    load_model("ritm-hrnet18s-cocolvis", device="cpu", progress=print)
    load_model("coco_lvis_h18s_itermask.pth", device="cpu")
    assert asked == [
        ("ritm-hrnet18s-cocolvis", print),
        ("ritm-hrnet18s-cocolvis", None),
    ]


@pytest.mark.parametrize("given", ["no/such/file.pth", "file.safetensors", "nonsense"])
def test_what_is_not_there(given):
    with pytest.raises(UnknownModelError, match="models list"):
        load_model(given, device="cpu")


def test_device_is_checked_before_anything_is_downloaded(monkeypatch):
    monkeypatch.setattr(model_module, "fetch_model", lambda *_: pytest.fail("fetched"))
    with pytest.raises(DeviceError):
        load_model("ritm-hrnet18s-cocolvis", device="cuda:77")
    with pytest.raises(DeviceError):
        load_model("ritm-hrnet18s-cocolvis", device="cpu", precision="int4")


def test_a_hostile_file_is_not_added(tmp_path):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "was-run"),)

    path = tmp_path / "resnet34_dh128_sbd.pth"
    torch.save({"state_dict": Hostile()}, path)
    with pytest.raises(CheckpointError, match="was not added"):
        fetch.add_model_file(path)
    with pytest.raises(CheckpointError):
        load_model(path, device="cpu")
    assert not (tmp_path / "was-run").exists()
    assert not registry.get_info("fbrs-resnet34-sbd").downloaded
    with pytest.raises(FetchError, match="There is no file"):
        fetch.add_model_file(tmp_path / "other.pth")


@pytest.mark.parametrize("given", [None, 3])
def test_a_model_is_a_name_or_a_file(given):
    with pytest.raises(UnknownModelError, match="a name or a weight file"):
        load_model(given)
