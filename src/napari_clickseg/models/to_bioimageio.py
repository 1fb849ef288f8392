"""Write a network as a BioImage.IO package, and have bioimageio.core test it.

The package holds the weights twice: as TorchScript, which any program with PyTorch
runs, for images of one size, and as a plain state dict, for programs that have this
package installed. Pictures to test it with are in it, too.
"""

from __future__ import annotations

import tempfile
import warnings
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_clickseg import __version__
from napari_clickseg.errors import MissingPackageError, ModelError
from napari_clickseg.models.checkpoint import Checkpoint
from napari_clickseg.models.portable import Portable, example_inputs

if TYPE_CHECKING:
    from bioimageio.spec.model.v0_5 import ModelDescr

CITATION = {
    "text": "Sofiiuk, Petrov, Konushin: Reviving iterative training with mask "
    "guidance for interactive segmentation (2021)",
    "doi": "10.1109/ICIP46576.2022.9897365",
}


def write_bioimageio(
    network: nn.Module,
    checkpoint: Checkpoint,
    name: str,
    path: Path,
    size: tuple[int, int],
) -> Path:
    """Write a package for images of one size, and test it.

    Parameters
    ----------
    network : nn.Module
        In float32 on the CPU.
    checkpoint : Checkpoint
        What it was built from: its card goes into the package.
    name : str
        Of the model.
    path : Path
        Ends in ``.zip``.
    size : (int, int)
        Height and width of its images.

    Raises
    ------
    ModelError
        If bioimageio.core's own tests do not pass.
    MissingPackageError
        If ``bioimageio.core`` is not installed.
    """
    try:
        import bioimageio.core  # noqa: F401 - runs the tests
        from bioimageio.spec import save_bioimageio_package
    except ImportError as error:
        raise MissingPackageError(
            "BioImage.IO packages need bioimageio.core. Install it with: pip install "
            "'napari-clickseg[bioimageio]'"
        ) from error
    portable = Portable(network, checkpoint.task)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other packages' news
        made = describe(portable, checkpoint, name, Path(folder), size)
        part = path.with_name(f".{path.stem}.part.zip")
        try:
            save_bioimageio_package(made, output_path=part)
            check_package(part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    return path


def check_package(path: Path) -> None:
    """Have bioimageio.core test a package: its format, and what its weights answer.

    Raises
    ------
    ModelError
        If anything in it fails; the text says what.
    """
    from bioimageio.core import test_description

    summary = test_description(path)
    if summary.status == "failed":
        details = summary.format() if hasattr(summary, "format") else str(summary)
        raise ModelError(f"bioimageio.core refuses {path.name}: {details}")


def describe(
    portable: Portable,
    checkpoint: Checkpoint,
    name: str,
    folder: Path,
    size: tuple[int, int],
) -> ModelDescr:
    """Write weights and test pictures into a folder, and describe them."""
    spec: Any = import_module("bioimageio.spec.model.v0_5")  # its types ask for more

    inputs = example_inputs(portable, size)
    with torch.inference_mode():
        answer = portable(*inputs)
    given = [
        _tensor(spec.InputTensorDescr, key, value, folder, size, spec)
        for key, value in zip(portable.inputs, inputs, strict=True)
    ]
    output = _tensor(
        spec.OutputTensorDescr, portable.output, answer, folder, size, spec
    )
    version = spec.Version(torch.__version__.split("+")[0])
    torch.save(portable.state_dict(), folder / "weights.pt")
    weights: dict[str, Any] = {
        "pytorch_state_dict": spec.PytorchStateDictWeightsDescr(
            source=folder / "weights.pt",
            architecture=spec.ArchitectureFromLibraryDescr(
                callable="build_portable",
                import_from="napari_clickseg.models.portable",
                kwargs={
                    "architecture": checkpoint.architecture,
                    "config": checkpoint.config,
                    "task": checkpoint.task,
                },
            ),
            pytorch_version=version,
        )
    }
    if _traced(portable, inputs, answer, folder / "weights.torchscript"):
        weights["torchscript"] = spec.TorchscriptWeightsDescr(
            source=folder / "weights.torchscript",
            pytorch_version=version,
            parent="pytorch_state_dict",
        )
    (folder / "README.md").write_text(_readme(checkpoint, name), encoding="utf-8")
    card = checkpoint.metadata
    return spec.ModelDescr(
        name=_plain(name),
        description=str(card.get("description", "") or f"napari-clickseg {name}")[
            :1000
        ],
        authors=[spec.Author(name="napari-clickseg contributors")],
        cite=[spec.CiteEntry(text=CITATION["text"], doi=spec.Doi(CITATION["doi"]))],
        license=spec.LicenseId("BSD-3-Clause"),
        documentation=spec.FileDescr(source=folder / "README.md"),
        tags=["interactive-segmentation", "napari", "clicks", checkpoint.task],
        inputs=given,
        outputs=[output],
        weights=spec.WeightsDescr(**weights),
        version=spec.Version(__version__),
    )


def _tensor(
    kind: Any, name: str, value: Tensor, folder: Path, size: tuple[int, int], spec: Any
) -> Any:
    """Describe one tensor, and write it for the tests."""
    path = folder / f"{name}.npy"
    np.save(path, value.numpy().astype(np.float32))
    given = kind is spec.InputTensorDescr
    axes: list[Any] = [spec.BatchAxis(size=1)]
    if name == "points":
        index = spec.IndexInputAxis(id=spec.AxisId("index"), size=value.shape[1])
        names = [spec.Identifier(n) for n in ("row", "column", "order")]
        axes += [index, spec.ChannelAxis(channel_names=names)]
    else:
        names = [spec.Identifier(f"{name}{n}") for n in range(value.shape[1])]
        if name == "image":
            names = [spec.Identifier(n) for n in ("red", "green", "blue")]
        side = spec.SpaceInputAxis if given else spec.SpaceOutputAxis
        axes.append(spec.ChannelAxis(channel_names=names))
        axes += [
            side(id=spec.AxisId(axis), size=length)
            for axis, length in zip("yx", size, strict=True)
        ]
    return kind(
        id=spec.TensorId(name),
        axes=axes,
        test_tensor=spec.FileDescr(source=path),
        data=spec.IntervalOrRatioDataDescr(type="float32"),
    )


def _traced(
    portable: Portable, inputs: tuple[Tensor, ...], answer: Tensor, path: Path
) -> bool:
    """Write TorchScript, if it answers as the network does."""
    try:
        with torch.inference_mode():
            traced = torch.jit.trace(portable, inputs, check_trace=False)
            traced.save(str(path))
            found = torch.jit.load(str(path))(*inputs)
    except Exception:  # noqa: BLE001 - not every network can be traced
        return False
    return bool((found - answer).abs().max() < 1e-4)


def _readme(checkpoint: Checkpoint, name: str) -> str:
    card = checkpoint.metadata
    about = (
        "Image: RGB in [0, 1]. Points: rows of row, column and order; the first half "
        "are clicks on the object, the second half clicks beside it, -1 where there is "
        "none. Previous: the probability that was answered before, zeros at first."
    )
    validation = (
        "Compare the answer with the object by intersection over union, and count the "
        "clicks until it is good enough."
    )
    lines = [
        f"# {name}",
        "",
        str(card.get("description", "")),
        "",
        about,
        "",
        f"Licence of the weights: {card.get('licence', 'not stated')}.",
        f"Source: {card.get('source', 'not stated')}.",
        "",
        "## Validation",
        "",
        validation,
    ]
    return "\n".join(lines)


def _plain(name: str) -> str:
    kept = "".join(c if c.isalnum() or c in " _-()" else " " for c in name)
    plain = " ".join(kept.split())[:60]
    # The specification wants five characters at least.
    return plain if len(plain) >= 5 else f"{plain} click model".strip()
