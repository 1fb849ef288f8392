"""The models this package knows: bundled, published, and added by the user."""

from __future__ import annotations

import difflib
import functools
import json
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from napari_clickseg.errors import UnknownModelError
from napari_clickseg.limits import DAMAGE, inside
from napari_clickseg.models import in_process
from napari_clickseg.models.cache import Digests, models_folder, write_json
from napari_clickseg.models.factories import (
    check_factory,
    factory_name,
    split_factory,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

STARTER = "ritm-mobilenetv2-starter"
BUNDLED_FOLDER = Path(__file__).parent / "starter"
_EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model without reading its weights.

    Parameters
    ----------
    name : str
        Name by which :func:`napari_clickseg.load_model` finds it.
    task : str
        ``"segmentation"``, ``"semantic"``, ``"matting"`` or ``"depth"``.
    architecture : str
        Key of the network builder, such as ``"ritm"`` or ``"fbrs"``.
    file : str
        File name inside the folder of weights.
    offered_as : str
        What it is called where it is published, if that is another name.
    licence, source : str
        Licence in words; page or repository the weights come from.
    terms : str
        What the user has to agree to before the weights are fetched; empty: nothing.
    description, backbone, training_data : str
        In words, for lists and tables.
    size : int or None
        Bytes: of the file where it is here, else as published, else None.
    approximate_size : int or None
        Bytes as a README rounds them.
    bundled : bool
        Whether the weights come inside the package.
    downloaded : bool
        Whether the file is on this machine now.
    added : bool
        Whether the user added it.
    urls : tuple of str
        Where to fetch it, in order of preference.
    sha256, md5, git_blob_sha1 : str or None
        Published hashes, lower-case hexadecimal.
    published : mapping
        Mean numbers of clicks as published: refinement (``"none"``,
        ``"f-brs-b"``, ``"rgb-brs"``) to ``{"grabcut@90": 1.54, ...}``.
    refine_at : tuple of str
        Where G-BRS inserts its layers; empty: where the network says.
    learning_rates : mapping
        Step size of Adam found best for this model, by refinement.
    """

    name: str
    task: str
    architecture: str
    file: str
    licence: str
    source: str
    terms: str = ""
    description: str = ""
    backbone: str = ""
    training_data: str = ""
    size: int | None = None
    approximate_size: int | None = None
    bundled: bool = False
    downloaded: bool = False
    offered_as: str = ""
    added: bool = False
    urls: tuple[str, ...] = ()
    sha256: str | None = None
    md5: str | None = None
    git_blob_sha1: str | None = None
    published: Mapping[str, Mapping[str, float]] = field(
        default_factory=lambda: _EMPTY, hash=False
    )
    refine_at: tuple[str, ...] = ()
    learning_rates: Mapping[str, float] = field(
        default_factory=lambda: _EMPTY, hash=False
    )

    @property
    def path(self) -> Path:
        """Where the weight file is, or will be once it is fetched."""
        if self.bundled:
            return BUNDLED_FOLDER / self.file
        path = Path(self.file)
        return path if path.is_absolute() else models_folder() / path

    @property
    def size_text(self) -> str:
        """Size for people: ``"38.8 MiB"``, ``"about 119 MiB"`` or ``"unknown"``."""
        if self.size is not None:
            return f"{self.size / 2**20:.1f} MiB"
        if self.approximate_size is not None:
            return f"about {self.approximate_size / 2**20:.4g} MiB"
        return "unknown"

    @property
    def hash_text(self) -> str:
        """How a download is verified, in words."""
        if self.bundled:
            return "comes with the package"
        if self.sha256:
            return "sha256 recorded by this machine" if self.added else "sha256"
        if self.md5:
            return "md5"
        if self.git_blob_sha1:
            return "git blob id of a public copy"
        return "no hash was ever published; pinned at first download"

    def mismatch(self, digests: Digests) -> str | None:
        """Compare a file with the strongest published hash.

        Returns
        -------
        str or None
            None where they agree or none was published, else
            ``"<hash> is <found>, expected <published>"``.
        """
        for kind in ("sha256", "md5", "git_blob_sha1"):
            expected = getattr(self, kind)
            if expected:
                found = getattr(digests, kind)
                if found == expected:
                    return None
                return f"{kind} is {found}, expected {expected}"
        return None

    @property
    def has_hash(self) -> bool:
        """Whether any hash of the file was published."""
        return bool(self.sha256 or self.md5 or self.git_blob_sha1)


@functools.cache
def _registry() -> dict[str, Any]:
    text = Path(__file__).with_name("registry.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _from_entry(entry: Mapping[str, Any]) -> ModelInfo:
    values = dict(entry)
    mib = values.pop("approximate_mib", None)
    published = values.pop("published", {})
    refinement = values.pop("refinement", {})
    return ModelInfo(
        **{**values, "urls": tuple(values.get("urls", ()))},
        approximate_size=None if mib is None else round(mib * 2**20),
        published=MappingProxyType(
            {key: MappingProxyType(dict(value)) for key, value in published.items()}
        ),
        refine_at=tuple(refinement.get("at", ())),
        learning_rates=MappingProxyType(dict(refinement.get("learning_rates", {}))),
    )


def _as_found(info: ModelInfo) -> ModelInfo:
    """Fill in whether the file is here, and its true size then."""
    try:
        size = info.path.stat().st_size
    except OSError:
        return info
    return replace(info, downloaded=True, size=size)


def index_path() -> Path:
    """Return the file that lists the models added by the user."""
    return models_folder() / "added-models.json"


def read_index() -> dict[str, dict[str, Any]]:
    """Return the models added by the user: name to the fields of its entry.

    A missing or unreadable list counts as empty: it must not keep the bundled
    model from working.
    """
    try:
        index = json.loads(index_path().read_text(encoding="utf-8"))
    except DAMAGE:
        return {}
    if not isinstance(index, dict):
        return {}
    return {str(k): v for k, v in index.items() if isinstance(v, dict)}


def write_index(index: Mapping[str, Mapping[str, Any]]) -> None:
    """Replace the list of models added by the user."""
    write_json(index_path(), index)


def _added_models() -> list[ModelInfo]:
    models = []
    for name, entry in read_index().items():
        # Texts are all that is ever written there: for what an entry is not asked,
        # or what is of another kind, the usual value stands.
        fields: dict[str, Any] = {
            k: v
            for k, v in entry.items()
            if str(ModelInfo.__annotations__.get(k, "")).startswith("str")
            and isinstance(v, str)
        }
        fields.update(name=name)
        try:
            inside(models_folder(), fields.get("file", ""))
            models.append(ModelInfo(**fields, added=True))
        except (TypeError, ValueError):  # of another version, or not ours
            continue
    return models


def registry_models() -> list[ModelInfo]:
    """Return the bundled and published models, in the order of the registry."""
    return [_as_found(_from_entry(entry)) for entry in _registry()["model"]]


def list_models(task: str | None = None) -> list[ModelInfo]:
    """List the models that can be loaded by name.

    Parameters
    ----------
    task : str, optional
        Only models for this task, such as ``"segmentation"``.

    Returns
    -------
    list of ModelInfo
        Bundled ones first, then published ones, then those the user added, then
        those that this process has made and named.
    """
    models = registry_models()
    models.sort(key=lambda info: not info.bundled)
    models += [_as_found(info) for info in _added_models()]
    models += in_process.remembered()
    return [info for info in models if task is None or info.task == task]


def get_info(name: str) -> ModelInfo:
    """Return what is known of a model.

    Parameters
    ----------
    name : str
        Name as in :func:`list_models`, or the published file's name, or
        ``"file.py:function"``, of which nothing is run.

    Raises
    ------
    UnknownModelError
        When there is none; the message names the nearest ones.
    """
    if split_factory(name):
        check_factory(name)
        return factory_info(name)
    models = list_models()
    wanted = name.strip().lower()
    for info in models:
        if wanted in (info.name.lower(), info.file.lower() or info.name.lower()):
            return info
    for other in _registry()["elsewhere"]:
        if wanted == other["name"]:
            raise UnknownModelError(
                f"{other['family']} is published at {other['source']}, but this "
                "version has no network that reads its weights. "
                f"Models that load: {', '.join(info.name for info in models)}."
            )
    names = [info.name for info in models]
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {names}."
    raise UnknownModelError(
        f"No model is named {name!r}. {hint} "
        "'napari-clickseg models list' shows all; a weight file of your own is "
        "given by its path (.safetensors or .pth), or added with "
        "'napari-clickseg models add FILE'; a network of your own is given as "
        "file.py:function."
    )


def factory_info(text: str) -> ModelInfo:
    """Return what is known of a model that a function of the user's will build."""
    return ModelInfo(
        name=factory_name(text),
        task="segmentation",
        architecture="module",
        file=text,
        licence="not stated",
        source=text,
        downloaded=True,
    )
