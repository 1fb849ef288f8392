"""Write a network as ONNX, and compare what onnxruntime makes of it."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from napari_clickseg.errors import MissingPackageError, ModelError
from napari_clickseg.models.portable import Portable, example_inputs

#: Largest difference from torch that is let pass, in probability or alpha.
TOLERANCE = 2e-3
OPSET = 18


def write_onnx(
    network: nn.Module, task: str, path: Path, size: tuple[int, int]
) -> Path:
    """Write a network for images of one size, and check it.

    Parameters
    ----------
    network : nn.Module
        In float32 on the CPU.
    task : str
        What it is for.
    path : Path
        Ends in ``.onnx``.
    size : (int, int)
        Height and width of its images. The number of clicks is free.

    Raises
    ------
    ModelError
        If the network has an operation that ONNX does not know, or the file does not
        answer as the network does.
    MissingPackageError
        If ``onnx``, ``onnxscript`` or ``onnxruntime`` is not installed.
    """
    try:
        import onnx  # noqa: F401 - asked for by torch.onnx
        import onnxruntime  # noqa: F401 - for the comparison
        import onnxscript  # noqa: F401 - asked for by torch.onnx
    except ImportError as error:
        raise MissingPackageError(
            "ONNX needs more packages. Install them with: pip install "
            "'napari-clickseg[onnx]'"
        ) from error
    portable = Portable(network, task)
    inputs = example_inputs(portable, size)
    part = path.with_name(f".{path.name}.part.onnx")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.getLogger("torch.onnx").setLevel(logging.ERROR)
            program = torch.onnx.export(
                portable,
                inputs,
                input_names=list(portable.inputs),
                output_names=[portable.output],
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
        assert program is not None
        program.save(str(part), external_data=False)
        gap = difference(portable, part, size)
        if gap > TOLERANCE:
            raise ModelError(
                f"As ONNX the network answers differently (by {gap:.3g}); it was not "
                "written. Choose BioImage.IO or safetensors."
            )
        part.replace(path)
    except ModelError:
        raise
    except Exception as error:  # torch.onnx has many
        raise ModelError(
            f"This network cannot be written as ONNX ({_first_line(error)}). Choose "
            "BioImage.IO or safetensors."
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return path


def difference(portable: Portable, path: Path, size: tuple[int, int]) -> float:
    """Return how far onnxruntime's answer is from torch's, at most."""
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(path), providers=["CPUExecutionProvider"]
    )
    inputs = example_inputs(portable, size, seed=1)
    with torch.inference_mode():
        wanted = portable(*inputs).numpy()
    names = [one.name for one in session.get_inputs()]
    given = dict(zip(portable.inputs, (x.numpy() for x in inputs), strict=True))
    found = session.run(None, {name: given[name] for name in names})[0]
    return float(np.abs(found - wanted).max())


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
