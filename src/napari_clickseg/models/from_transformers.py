"""Models of the library transformers, corrected by clicks like any other.

Depth (Depth Anything, DPT, GLPN, ZoeDepth), semantic classes (SegFormer, UperNet, BEiT
and others) and matting (VitMatte). The library's image processors are not used, for
some need torchvision: what they say of normalisation and size is read from their JSON.
Code that comes with weights is never run, and weights are read from safetensors only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from napari_clickseg.errors import (
    CheckpointError,
    FetchError,
    MissingPackageError,
    ModelError,
)
from napari_clickseg.models import in_process
from napari_clickseg.models.dense_interactive import dense_interactive
from napari_clickseg.models.taking_in import as_module
from napari_clickseg.models.transformers_families import (
    UNSUPPORTED,
    Family,
    PassingReLU,
    family_of,
    preparation_of,
)
from napari_clickseg.refinement.settings import RefinementSettings
from napari_clickseg.tasks import Classes
from napari_clickseg.tasks.class_lists import CITYSCAPES

if TYPE_CHECKING:
    from napari_clickseg.models.dense_model import DenseModel

__all__ = ["from_transformers"]

#: What the names of classes end in, by task.
ENDINGS = {
    "depth": "ForDepthEstimation",
    "semantic": "ForSemanticSegmentation",
    "matting": "ForImageMatting",
}
#: Where the answer lies in what they return.
ANSWERS = {"depth": "predicted_depth", "semantic": "logits", "matting": "alphas"}


def from_transformers(
    given: Any,
    task: str | None = None,
    at: str | Sequence[str] | None = None,
    layer: str = "bmconv",
    *,
    side: int | None = None,
    normalise: tuple[Sequence[float], Sequence[float]] | None = None,
    classes: Classes | Sequence[str] | None = None,
    unit: str | None = None,
    refinement: RefinementSettings | None = None,
    learning_rate: float | None = None,
    name: str | None = None,
    licence: str | None = None,
    revision: str | None = None,
    local_files_only: bool = False,
    device: str | torch.device = "auto",
    precision: str | torch.dtype = "auto",
) -> DenseModel:
    """Make a model of transformers correctable by clicks.

    Parameters
    ----------
    given : str, Path or nn.Module
        A name on the library's hub (``"owner/name"``), a folder that
        ``save_pretrained`` wrote, or a model that is loaded already.
    task : str, optional
        ``"depth"``, ``"semantic"`` or ``"matting"``; by default what the model is for.
    at : str or sequence of str, optional
        Where clicks act. By default places that suit the family, late in its decoder.
    layer, refinement, learning_rate
        As for :func:`napari_clickseg.make_interactive`.
    side : int, optional
        Images are resized so that their shorter side has about so many pixels before
        the model sees them, and answers back. By default what was published with the
        weights; matting sees the image as it is.
    normalise : (mean, std), optional
        Of RGB in [0, 1]; by default what was published with the weights.
    classes : Classes or sequence of str, optional
        Names of the classes; by default the model's own.
    unit : str, optional
        Of depths. By default metres for families that say so; others answer inverse
        depth up to an unknown scale and shift, and their notices say so.
    name : str, optional
        By this name it is found in this process.
    licence : str, optional
        Of the weights; by default what their model card says.
    revision : str, optional
        Which version on the hub.
    local_files_only : bool
        Download nothing.
    device, precision : str
        As for :func:`napari_clickseg.load_model`; ``"auto"`` means float32.

    Returns
    -------
    DenseModel
        For ``ClickSession(model, task=model.task)``.

    Raises
    ------
    MissingPackageError
        If transformers is not installed.
    FetchError, CheckpointError
        If the weights cannot be had, or are no safetensors.
    ModelError
        If it is a model of another kind.
    """
    card: dict[str, Any] = {}
    if isinstance(given, str | Path):
        source = _Source(str(given), revision, local_files_only)
        module, card = source.load(task), source.card()
    else:
        module = given
    task = _task_of(module, task)
    config: Any = module.config
    family = family_of(task, config)
    if config.model_type in UNSUPPORTED:
        raise ModelError(
            f"{type(module).__name__} cannot be taken: {UNSUPPORTED[config.model_type]}"
        )
    if task == "matting" and side is not None:
        raise ModelError(
            "Matting sees the image as it is, so there is no side=. Set max_side in "
            "the session's settings where images are too large."
        )
    inner = as_module(module)
    _let_through(inner, family)
    prepared = preparation_of(
        family, config, card.get("processor", {}), side=side, normalise=normalise
    )
    wanted: Any = at if at is not None else (family.places or None)
    # Small images will do to try it out.
    working, prepared.side = prepared.side, prepared.probe_side
    model = dense_interactive(
        inner,
        task,
        wanted,
        prepared,
        _settings(layer, refinement, learning_rate),
        (_Read(ANSWERS[task], task), prepared.multiple_outside, "cpu", "float32"),
        card={
            "licence": licence or card.get("licence", "not stated"),
            "source": card.get("source", type(module).__name__),
            "description": family.description or type(module).__name__,
        },
    )
    prepared_inside: Any = model.network.prepare
    prepared_inside.side = working
    notices = _describe(model, family, config, unit, classes)
    label = name or card.get("name") or type(module).__name__.lower()
    model.info = replace(model.info, name=label)
    if str(device) != "cpu" or str(precision) not in ("auto", "float32"):
        model = model.to(device, precision)
    model.notices += notices
    if name is not None:
        in_process.remember(model)
    return model


class _Source:
    """A name on the hub, or a folder."""

    def __init__(self, given: str, revision: str | None, local: bool) -> None:
        self.given, self.revision, self.local = given, revision, local
        folder = Path(given).expanduser()
        self.folder = folder if folder.is_dir() else None
        looks_like_path = given.startswith((".", "/", "~")) or given.count("/") > 1
        if self.folder is None and looks_like_path:
            raise FetchError(
                f"There is no folder {given}. Give one that save_pretrained wrote, "
                "or a name on the hub, such as owner/name."
            )

    def load(self, task: str | None) -> nn.Module:
        """Return the model in float32 on the CPU."""
        library = transformers()
        options: dict[str, Any] = {
            "trust_remote_code": False,
            "local_files_only": self.local,
            "revision": self.revision or "main",
        }
        where = str(self.folder or self.given)
        try:
            config = library.AutoConfig.from_pretrained(where, **options)
        except (OSError, ValueError) as error:
            raise FetchError(
                f"{self.given} cannot be had from the hub of transformers, or is not "
                f"known to the installed version: {_first_line(error)}. Check the name "
                "and the connection, or give a folder that save_pretrained wrote."
            ) from error
        named = list(config.architectures or ())
        ending = ENDINGS[task or _task_named(named, self.given)]
        fitting = [kind for kind in named if kind.endswith(ending)]
        maker = getattr(library, (fitting or [f"AutoModel{ending}"])[0], None)
        if maker is None:
            raise ModelError(
                f"The installed transformers {library.__version__} does not know "
                f"{', '.join(named)}. Update it: "
                'pip install -U "napari-clickseg[transformers]"'
            )
        try:
            model: nn.Module = maker.from_pretrained(
                where, config=config, use_safetensors=True, dtype="float32", **options
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"The weights of {self.given} cannot be read: {_first_line(error)}. "
                "Only safetensors are; older files of PyTorch may run code."
            ) from error
        return model

    def card(self) -> dict[str, Any]:
        """Return what is said beside the weights."""
        processor = self._text("preprocessor_config.json")
        return {
            "processor": _json(processor),
            "licence": _licence(self._text("README.md")),
            "source": str(self.folder or self.given),
            "name": Path(self.given).name,
        }

    def _text(self, file: str) -> str:
        """Return a small file that lies beside the weights, or nothing."""
        if self.folder is not None:
            path: Any = self.folder / file
            path = path if path.is_file() else None
        else:
            path = transformers().utils.cached_file(
                self.given,
                file,
                revision=self.revision,
                local_files_only=self.local,
                _raise_exceptions_for_missing_entries=False,
                _raise_exceptions_for_connection_errors=False,
                _raise_exceptions_for_gated_repo=False,
            )
        return "" if path is None else Path(path).read_text(encoding="utf-8")


@dataclass(frozen=True)
class _Read:
    """Takes the map out of what a model returns, (N, C, h, w)."""

    key: str
    task: str

    def __call__(self, answer: Any) -> Tensor:
        found: Any = answer[self.key] if isinstance(answer, Mapping) else answer[0]
        if found.ndim == 3:  # depth has no channel
            found = found[:, None]
        result: Tensor = found
        return result


def transformers() -> Any:
    """Return the library.

    Raises
    ------
    MissingPackageError
        If it is not installed.
    """
    try:
        import transformers as library
    except ImportError as error:
        raise MissingPackageError(
            "Models of transformers need that package. Install it: "
            'pip install "napari-clickseg[transformers]"'
        ) from error
    return library


def _task_of(module: Any, task: str | None) -> str:
    """Return what a loaded model is for, held against what was asked."""
    if not isinstance(module, nn.Module) or not hasattr(module, "config"):
        raise ModelError(
            f"from_transformers takes a model of transformers, a folder or a name, not "
            f"{type(module).__name__}. Other modules: make_interactive."
        )
    own = _task_named((type(module).__name__,), type(module).__name__)
    if task not in (None, own):
        raise ModelError(f"{type(module).__name__} is for {own}, not for {task}.")
    return own


def _task_named(classes: Sequence[str], given: str) -> str:
    for kind in classes:
        for task, ending in ENDINGS.items():
            if kind.endswith(ending):
                return task
    shown = ", ".join(classes) or "no class"
    raise ModelError(
        f"{given} is {shown}. Taken are models whose class ends in "
        f"{', '.join(ENDINGS.values())}."
    )


def _let_through(module: nn.Module, family: Family) -> None:
    """Let gradients reach pixels that the last ReLU holds at zero."""
    if family.floor is None:
        return
    home, _, name = family.floor.rpartition(".")
    parent = module.get_submodule(home)
    if isinstance(parent.get_submodule(name), nn.ReLU):
        setattr(parent, name, PassingReLU())


def _describe(
    model: DenseModel,
    family: Family,
    config: Any,
    unit: str | None,
    classes: Classes | Sequence[str] | None,
) -> tuple[str, ...]:
    """Give a model its classes, or the unit and limit of its depths."""
    if model.task == "semantic":
        model.classes = _classes(classes, config, len(model.classes or ()))
        return ()
    if model.task == "matting":
        return ()
    network: Any = model.network
    network.unit = unit or family.unit(config)
    largest = family.largest(config)
    if largest is not None:
        network.config = {"max_depth": largest}
    if unit is None and network.unit != "m":
        told = (
            "This model answers inverse depth up to an unknown scale and shift: larger "
            "is nearer, and there is no unit. Clicks give values on that scale."
        )
        return (told,)
    return ()


def _classes(given: Classes | Sequence[str] | None, config: Any, count: int) -> Classes:
    """Return named classes; names that come twice are told apart."""
    if isinstance(given, Classes):
        named = given
    else:
        own = config.id2label
        names = list(given or (str(own[i]) for i in sorted(own)))
        seen: dict[str, int] = {}
        for i, text in enumerate(names):
            seen[text] = seen.get(text, 0) + 1
            if seen[text] > 1:
                names[i] = f"{text} {seen[text]}"
        if tuple(names) == CITYSCAPES.names:
            return CITYSCAPES
        named = Classes.named(names)
    if len(named) != count:
        raise ModelError(
            f"The model answers {count} classes, but there are {len(named)} names. "
            "Give classes=, one for each channel."
        )
    return named


def _settings(
    layer: str, refinement: RefinementSettings | None, rate: float | None
) -> RefinementSettings:
    from napari_clickseg.models.interactive import refinement_for

    return refinement_for(layer, refinement, rate)


def _json(text: str) -> dict[str, Any]:
    import json

    try:
        values = json.loads(text)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _licence(readme: str) -> str:
    """Return the licence that a model card's first lines state."""
    import yaml

    parts = readme.split("---")
    if not readme.startswith("---") or len(parts) < 3:
        return "not stated"
    try:
        head = yaml.safe_load(parts[1])
    except yaml.YAMLError:
        return "not stated"
    stated = head.get("license_name") or head.get("license") if head else None
    return str(stated) if stated else "not stated"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
