"""Models as other programs want them."""

from __future__ import annotations

import gc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_clickseg.errors import ModelError
from napari_clickseg.models.checkpoint import (
    build_network,
    read_checkpoint,
    save_checkpoint,
)
from napari_clickseg.models.handing_out import export_model
from napari_clickseg.models.portable import Portable, build_portable, example_inputs
from napari_clickseg.networks.semantic_mobilenet import SemanticMobileNetV2

SIZE = (96, 96)


@pytest.fixture
def semantic(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    network = SemanticMobileNetV2(context=16, channels=(16, 16, 16, 16), detail=8)
    path = tmp_path / "classes.safetensors"
    save_checkpoint(path, network.eval(), metadata={"task": "semantic"})
    return path


def test_a_copy(tiny: Path, tmp_path: Path) -> None:
    target = export_model(tiny, tmp_path / "copy.safetensors")
    assert read_checkpoint(target).sha256 == read_checkpoint(tiny).sha256
    with pytest.raises(ModelError, match="exists already"):
        export_model(tiny, target)
    with pytest.raises(ModelError, match="ends in none"):
        export_model(tiny, tmp_path / "copy.h5")
    with pytest.raises(ModelError, match="no folder"):
        export_model(tiny, tmp_path / "none" / "copy.onnx")


def test_one_function_answers_as_the_network(tiny: Path) -> None:
    checkpoint = read_checkpoint(tiny)
    portable = Portable(build_network(checkpoint), "segmentation")
    image, points, previous = example_inputs(portable, SIZE)
    with torch.inference_mode():
        answer = portable(image, points, previous)
        logits = build_network(checkpoint)(torch.cat([image, previous], 1), points)
    torch.testing.assert_close(answer, torch.sigmoid(logits["instances"]))
    again = build_portable("ritm-mobilenetv2", checkpoint.config, "segmentation")
    again.load_state_dict(portable.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(again(image, points, previous), answer)


# bioimageio.core leaves the package open, until it is collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["clicks", "classes"])
def test_bioimageio_core_accepts_the_package(
    kind: str, tiny: Path, semantic: Path, tmp_path: Path
) -> None:
    pytest.importorskip("bioimageio.core", reason="needs the extra 'bioimageio'")
    model = tiny if kind == "clicks" else semantic
    target = export_model(model, tmp_path / "model.zip", size=SIZE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from bioimageio.core import test_description
        from bioimageio.spec import load_model_description

        summary = test_description(target)
        described = load_model_description(target)
        gc.collect()
    assert summary.status in {"passed", "valid-format"}, summary
    assert summary.status == "passed", summary
    assert described.weights.pytorch_state_dict is not None
    names = [str(one.id) for one in described.inputs]
    assert names == (["image", "points", "previous"] if kind == "clicks" else ["image"])


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["clicks", "classes"])
def test_onnxruntime_answers_the_same(
    kind: str, tiny: Path, semantic: Path, tmp_path: Path
) -> None:
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package, reason="needs the extra 'onnx'")
    import onnxruntime

    model = tiny if kind == "clicks" else semantic
    target = export_model(model, tmp_path / "model.onnx", size=SIZE)
    checkpoint = read_checkpoint(model)
    portable = Portable(build_network(checkpoint), checkpoint.task)
    session = onnxruntime.InferenceSession(
        str(target), providers=["CPUExecutionProvider"]
    )
    inputs = example_inputs(portable, SIZE, seed=5)
    given: dict[str, Any] = {
        name: value.numpy() for name, value in zip(portable.inputs, inputs, strict=True)
    }
    (found,) = session.run(None, given)
    with torch.inference_mode():
        wanted = portable(*inputs).numpy()
    np.testing.assert_allclose(found, wanted, atol=2e-3)
