"""Understand the weight files that others have published.

RITM writes its weights with a configuration that names a Python class; f-BRS
writes bare weights, InterFormer and the networks for other tasks (HMSA, IndexNet, BTS)
training checkpoints. Here all become an architecture of ours and arguments for it. A
class is looked up in a table, never imported by its name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from napari_clickseg.errors import CheckpointError
from napari_clickseg.models.containers import HOLDERS
from napari_clickseg.networks.bts import BTS
from napari_clickseg.networks.fbrs import FBRS
from napari_clickseg.networks.indexnet import IndexNet
from napari_clickseg.networks.interformer import InterFormer
from napari_clickseg.networks.layers import IMAGENET
from napari_clickseg.networks.multiscale import MultiScaleHRNet


class Understood(NamedTuple):
    """An architecture, its arguments, its weights, and where they are from."""

    architecture: str
    config: dict[str, Any]
    state_dict: dict[str, Tensor]
    metadata: dict[str, Any]


#: Defaults of the published base class, for what a configuration leaves out.
_RITM_DEFAULTS: dict[str, Any] = {
    "use_rgb_conv": True,
    "with_aux_output": False,
    "norm_radius": 260,
    "use_disks": False,
    "cpu_dist_maps": False,
    "clicks_groups": None,
    "with_prev_mask": False,
    "use_leaky_relu": False,
    "binary_prev_mask": False,
    "conv_extend": False,
    "norm_layer": None,
    "norm_mean_std": IMAGENET,
    "backbone_lr_mult": 0.1,
}
_HRNET_DEFAULTS = _RITM_DEFAULTS | {"width": 48, "ocr_width": 256, "small": False}
_DEEPLAB_DEFAULTS = _RITM_DEFAULTS | {
    "backbone": "resnet50",
    "deeplab_ch": 256,
    "aspp_dropout": 0.5,
    "backbone_norm_layer": None,
}
#: Networks that are known by the names and shapes of their weights: architecture,
#: what they were published as, and who reads their configuration off.
_BY_WEIGHTS: tuple[
    tuple[str, str, Callable[[Mapping[str, Tensor]], dict[str, Any] | None]], ...
] = (
    ("fbrs", "f-BRS", FBRS.recognise),
    ("interformer", "InterFormer", InterFormer.recognise),
    ("multiscale-hrnet", "HMSA", MultiScaleHRNet.recognise),
    ("indexnet", "IndexNet Matting", IndexNet.recognise),
    ("bts", "BTS", BTS.recognise),
)
#: Layers that a configuration may name; all of them act as batch norm in use.
_BATCH_NORMS = (
    "torch.nn.modules.batchnorm.BatchNorm2d",
    "torch.nn.modules.batchnorm.SyncBatchNorm",
)
#: What training or speed needed, and no answer depends on.
_WITHOUT_EFFECT = {
    "cpu_dist_maps",
    "clicks_groups",
    "norm_layer",
    "backbone_norm_layer",
    "backbone_lr_mult",
}


def understand(content: Any) -> Understood:
    """Find out what network the content of a weight file belongs to.

    Parameters
    ----------
    content : object
        Tensors and plain containers, as read.

    Raises
    ------
    CheckpointError
        If it is none that is known here; the text begins with a verb, for the
        caller to put the file's name before it.
    """
    if isinstance(content, list | tuple):
        raise CheckpointError(
            f"holds a list of {len(content)} networks, one per click (multi-stage). "
            "Only single networks can be used: save one entry of the list."
        )
    if not isinstance(content, dict):
        raise CheckpointError(f"holds a {type(content).__name__}, not weights by name.")
    holder = next((k for k in HOLDERS if isinstance(content.get(k), dict)), None)
    if holder is None and "state_dict" not in content:
        return _understand_bare(_tensors(content))
    state_dict = _tensors(content[holder or "state_dict"])
    if content.get("config") is None:
        return _understand_bare(state_dict)
    return _understand_ritm(content["config"], state_dict)


def _tensors(entries: Any) -> dict[str, Tensor]:
    """Check that these are tensors by name; drop the prefix of parallel training."""
    if not isinstance(entries, dict) or not entries:
        raise CheckpointError("holds no weights by name (a state_dict).")
    odd = [key for key, value in entries.items() if not _is_plain(value)]
    if odd:
        raise CheckpointError(
            f"holds other things than weights: {_some(map(str, odd))}. A checkpoint "
            "of RITM is a dict of 'state_dict' and 'config'."
        )
    names = [str(key) for key in entries]
    if all(name.startswith("module.") for name in names):
        names = [name.removeprefix("module.") for name in names]
    return dict(zip(names, entries.values(), strict=True))


def _is_plain(value: Any) -> bool:
    """Whether this is an ordinary tensor, with all its numbers at hand."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def _understand_bare(state_dict: dict[str, Tensor]) -> Understood:
    """Understand weights without a configuration, by their names and shapes."""
    for architecture, name, recognise in _BY_WEIGHTS:
        config = recognise(state_dict)
        if config is not None:
            about = {"published_as": name}
            return Understood(architecture, config, state_dict, about)
    trunk = any(name.startswith("feature_extractor.") for name in state_dict)
    if trunk:
        raise CheckpointError(
            "holds weights of a click network, but no 'config' that says which. Use "
            "the file as it was released, or convert it where it was made."
        )
    if {"conv1.weight", "conv1.0.weight", "features.0.0.weight"} & state_dict.keys():
        raise CheckpointError(
            "looks like the weights of an image classifier, which a click network's "
            "training starts from. It has no 'config' and cannot answer clicks: get "
            "a trained click network instead."
        )
    raise CheckpointError(
        f"has no 'config', and its weights are of no network known here (they begin "
        f"with {_some(state_dict)})."
    )


def _understand_ritm(config: Any, state_dict: dict[str, Tensor]) -> Understood:
    """Translate a configuration as RITM's release writes it."""
    name = config.get("class") if isinstance(config, dict) else None
    params = config.get("params", {}) if isinstance(config, dict) else None
    if not isinstance(name, str) or not isinstance(params, dict):
        raise CheckpointError("has a 'config' without a 'class' and its 'params'.")
    if name not in _RITM_CLASSES:
        raise CheckpointError(
            f"is of the architecture {name!r}, which is not known here. Known are: "
            f"{', '.join(_RITM_CLASSES)}."
        )
    defaults, translate = _RITM_CLASSES[name]
    values = dict(defaults)
    for key, entry in params.items():
        if not isinstance(entry, dict) or "value" not in entry:
            raise CheckpointError(f"has a 'config' whose {key!r} has no value.")
        if key in defaults:
            values[key] = _value(key, entry)
        elif entry.get("specified"):
            raise CheckpointError(
                f"sets {key!r}, which {name} does not have: it was made by another "
                "version of RITM."
            )
    if values["clicks_groups"] is not None:
        raise CheckpointError(
            "draws early and late clicks apart ('clicks_groups'), which no released "
            "model does and is not supported."
        )
    arguments = translate(values)
    return Understood("ritm", arguments, state_dict, {"published_as": name})


def _value(key: str, entry: Mapping[str, Any]) -> Any:
    value = entry["value"]
    if entry.get("type") == "class" and value not in _BATCH_NORMS:
        raise CheckpointError(
            f"asks for {value!r} as {key!r}; only batch norm can be used there."
        )
    try:
        json.dumps(value)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"has a 'config' whose {key!r} is no plain value ({error})."
        ) from error
    return value


def _translate_hrnet(values: dict[str, Any]) -> dict[str, Any]:
    values = _with_effect(values)
    small = "s" if values.pop("small") else ""
    return {"backbone": f"hrnet{values.pop('width')}{small}", **values}


def _translate_deeplab(values: dict[str, Any]) -> dict[str, Any]:
    return _with_effect(values)


def _with_effect(values: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in values.items() if k not in _WITHOUT_EFFECT}


_RITM_CLASSES: dict[
    str, tuple[dict[str, Any], Callable[[dict[str, Any]], dict[str, Any]]]
] = {
    "isegm.model.is_hrnet_model.HRNetModel": (_HRNET_DEFAULTS, _translate_hrnet),
    "isegm.model.is_deeplab_model.DeeplabModel": (
        _DEEPLAB_DEFAULTS,
        _translate_deeplab,
    ),
}


def _some(names: Any, limit: int = 3) -> str:
    """Name a few of many."""
    listed = list(names)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(repr(name) for name in listed[:limit]) + more
