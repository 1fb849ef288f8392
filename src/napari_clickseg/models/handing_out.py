"""Models as files for other programs: safetensors, ONNX, BioImage.IO."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from napari_clickseg.errors import ModelError
from napari_clickseg.models.checkpoint import build_network, read_checkpoint
from napari_clickseg.models.given import given_path, weight_file

if TYPE_CHECKING:
    import os

Form = Literal["safetensors", "onnx", "bioimageio"]
FORMS: tuple[Form, ...] = get_args(Form)
#: How file names end.
SUFFIXES: dict[Form, str] = {
    "safetensors": ".safetensors",
    "onnx": ".onnx",
    "bioimageio": ".zip",
}


def export_model(
    model: str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    form: Form | None = None,
    *,
    size: tuple[int, int] = (256, 256),
    overwrite: bool = False,
) -> Path:
    """Write a model for another program, and check that it answers the same there.

    Parameters
    ----------
    model : str or path
        Name or weight file.
    path : path, optional
        Of the new file; default the model's name here.
    form : {"safetensors", "onnx", "bioimageio"}, optional
        Default: as the path ends.
    size : (int, int)
        ONNX and BioImage.IO: height and width of the images it will be given.
    overwrite : bool
        Whether the file may be there already.

    Returns
    -------
    Path

    Raises
    ------
    ModelError
        If the network cannot be written so, or does not answer the same.
    MissingPackageError
        If a package for this is not installed.
    """
    given = given_path(model)
    name = str(model) if given is None else given.stem
    if form is None:
        form = _form_of(Path(path)) if path is not None else "safetensors"
    if form not in FORMS:
        raise ModelError(f"A model is written as {', '.join(FORMS)}, not {form!r}.")
    target = Path(path) if path is not None else Path(f"{name}{SUFFIXES[form]}")
    target = target.expanduser()
    if target.exists() and not overwrite:
        raise ModelError(f"{target} exists already; choose another name.")
    if not target.parent.is_dir():
        raise ModelError(f"There is no folder {target.parent}. Make it first.")
    source = weight_file(model)
    checkpoint = read_checkpoint(source)
    if form == "safetensors":
        if source.suffix == ".safetensors":
            shutil.copyfile(source, target)
        else:
            from napari_clickseg.models.checkpoint import convert_checkpoint

            convert_checkpoint(source, target, overwrite=overwrite)
        return target
    network = build_network(checkpoint)
    if form == "onnx":
        from napari_clickseg.models.to_onnx import write_onnx

        return write_onnx(network, checkpoint.task, target, size)
    from napari_clickseg.models.to_bioimageio import write_bioimageio

    return write_bioimageio(network, checkpoint, name, target, size)


def _form_of(path: Path) -> Form:
    for form, suffix in SUFFIXES.items():
        if path.suffix.lower() == suffix:
            return form
    raise ModelError(
        f"{path.name} ends in none of {', '.join(SUFFIXES.values())}: say in which "
        "form the model is to be written."
    )
