"""Any torch module that answers images, corrected by clicks, without retraining.

The module knows nothing of clicks. They act by backpropagating refinement alone
(G-BRS: Lin et al., CVPR 2022): a layer that changes nothing is put somewhere behind
or inside the module, and its few parameters are optimised until the answer obeys.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from napari_clickseg.device import choose_device, choose_precision, forecast_bytes
from napari_clickseg.errors import ModelError, UnknownModelError
from napari_clickseg.models import in_process
from napari_clickseg.models.adapter import (
    Adapter,
    Output,
    Preprocess,
    preparation,
    to_grey,
)
from napari_clickseg.models.factories import build, split_factory
from napari_clickseg.models.features import Features
from napari_clickseg.models.given import check_task
from napari_clickseg.models.registry import ModelInfo, factory_info, registry_models
from napari_clickseg.models.taking_in import (
    as_module,
    choose_sites,
    copied,
    first_channels,
    fitted,
    hash_weights,
    tensors_of,
)
from napari_clickseg.models.tuned import read_tuned
from napari_clickseg.refinement.settings import METHODS, RefinementSettings

LOG = logging.getLogger("napari_clickseg")
#: Adam's step size for bmconv times the number of channels, where nothing better is
#: known. Each of its answers is a sum over all channels, whose weights Adam moves by
#: the same step: with a fixed one, wide places would jump at the first.
BMCONV_STEP = 0.03


class InteractiveModel:
    """A module of the user's with the protocol of a click model.

    Made by :func:`make_interactive`. It answers without clicks; each click is obeyed
    by refinement (:attr:`refinement`).

    Attributes
    ----------
    network : nn.Module
        A copy of the module, which shares its weights where device and precision
        allow. Places are names of submodules of it.
    info : ModelInfo
        What is known of it.
    sha256 : str
        Hash of its weights.
    places : mapping
        Where refinement inserts layers, by method.
    learning_rates : mapping
        Step size of Adam, by method.
    refinement : RefinementSettings
        What clicks do where a session asks for nothing else.
    device : torch.device
    dtype : torch.dtype
        What the module computes in; images and answers are float32.
    notices : tuple of str
        What the user should know about how it runs.
    """

    automatic = True
    with_prev_mask = False

    def __init__(
        self,
        module: nn.Module,
        adapter: Adapter,
        info: ModelInfo,
        refinement: RefinementSettings,
        places: Mapping[str, tuple[str, ...]],
        *,
        sha256: str = "",
        device: str | torch.device = "auto",
        precision: str | torch.dtype = "auto",
        notices: tuple[str, ...] = (),
    ) -> None:
        self._exact = module
        self._precision = precision
        self.adapter, self.info, self.sha256 = adapter, info, sha256
        self.refinement: RefinementSettings | None = refinement
        self.places = MappingProxyType(dict(places))
        self.notices = notices
        self.device = choose_device(device)
        # Whether half precision suits it, nobody has tried: only where asked for.
        automatic = str(precision).strip().lower() == "auto"
        self.dtype = choose_precision(
            "float32" if automatic else precision, self.device
        )
        self.network = module
        if self.device.type != "cpu" or self.dtype != torch.float32:
            self.network = copied(module).to(self.device, self.dtype)

    def __repr__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        where = ", ".join(self.places["g-brs"])
        return (
            f"<InteractiveModel {self.name} on {self.device} in {dtype}, "
            f"clicks act at {where}>"
        )

    @property
    def name(self) -> str:
        """Name, by which it is found in this process if one was given."""
        return self.info.name

    @property
    def learning_rates(self) -> Mapping[str, float]:
        """Adam's step size, by method: as given, or as tuning has found."""
        return self.info.learning_rates

    def encode(self, image: Tensor) -> Features:
        """Prepare images ``(N, 3, H, W)``, RGB in [0, 1], for the module."""
        if image.ndim != 4 or image.shape[1] != 3:
            raise ModelError(
                f"A model takes RGB images of the shape (N, 3, H, W), not "
                f"{tuple(image.shape)}."
            )
        size = (int(image.shape[2]), int(image.shape[3]))
        inputs = self.adapter.prepare(image.to(self.device, torch.float32))
        return Features(_cast(inputs, self.dtype), size, int(image.shape[0]))

    def decode(
        self,
        features: Features,
        points: Tensor | None = None,  # noqa: ARG002 - the module knows no clicks
        previous: Tensor | None = None,  # noqa: ARG002
    ) -> Tensor:
        """Run the module: float32 logits ``(N, 1, H, W)``, whatever the clicks."""
        answer = self.adapter.call(self.network, features.content)
        return self.adapter.logits(answer, features.size)

    def to(
        self,
        device: str | torch.device | None = None,
        precision: str | torch.dtype | None = None,
    ) -> InteractiveModel:
        """Return the model on another device or in another precision."""
        device = self.device if device is None else choose_device(device)
        if device == self.device and precision in (None, self._precision):
            return self
        assert self.refinement is not None
        return InteractiveModel(
            self._exact,
            self.adapter,
            self.info,
            self.refinement,
            self.places,
            sha256=self.sha256,
            device=device,
            precision=self._precision if precision is None else precision,
            notices=self.notices,
        )

    def forecast_bytes(self, shape: tuple[int, int], batch: int = 1) -> int:
        """Estimate the peak memory of one prediction, weights apart."""
        return forecast_bytes(shape, batch, self.info.architecture, self.dtype)


def make_interactive(
    module: Any,
    at: str | Sequence[str] | None = None,
    task: str = "segmentation",
    preprocess: Preprocess = None,
    layer: str = "bmconv",
    *,
    output: Output = None,
    probabilities: bool | None = None,
    multiple: int | None = None,
    size: int | tuple[int, int] | None = None,
    learning_rate: float | None = None,
    refinement: RefinementSettings | None = None,
    name: str | None = None,
    licence: str = "not stated",
    source: str = "",
    description: str = "",
    device: str | torch.device = "auto",
    precision: str | torch.dtype = "auto",
) -> InteractiveModel:
    """Make a module that segments images by itself correctable by clicks.

    Nothing is trained, and the module is not changed: each click optimises a small
    layer somewhere in it until the answer agrees (G-BRS).

    Parameters
    ----------
    module : nn.Module
        In evaluation mode. What ``torch.export`` gave is taken as well, if it was
        exported for any batch, height and width; TorchScript is refused, since no
        layer can be put inside.
    at : str or sequence of str, optional
        Where: names of submodules, or ``name:input``
        (see :func:`napari_clickseg.refinement.insertion.interactive_points`). By
        default a place late in the module, at a fraction of the image's resolution;
        the model's ``places`` say which.
    task : str
        ``"segmentation"``: one object, or all of a kind, against the rest;
        ``"semantic"``, ``"matting"`` or ``"depth"``: a value for every pixel (then
        ``output`` is a function, and ``size`` and ``probabilities`` are not known).
    preprocess : callable, "imagenet", "grey" or (mean, std), optional
        What is done to RGB images (N, 3, H, W) in [0, 1] before the module is
        called: a function that returns a tensor (or a tuple or dict of arguments),
        normalisation, or one channel of grey. By default nothing, or grey where the
        module's first convolution takes one channel.
    layer : str
        ``"bmconv"``, ``"bmsb-m"``, ``"bmsb"`` or ``"sb"``; or any refinement's
        name, such as ``"f-brs-b"``.
    output : int, sequence of int or callable, optional
        Which of the module's classes is the object (several: their union), or a
        function of what the module returns that gives logits (N, 1, H, W). By
        default the only class, or class 1 of two.
    probabilities : bool, optional
        Whether the module answers probabilities instead of logits; by default that
        is tried out.
    multiple : int, optional
        Heights and widths the module takes are multiples of this: images are padded
        and answers cropped. By default that is tried out, up to 64.
    size : int or (int, int), optional
        The module takes images of this size only: images are resized to it, and
        answers back.
    learning_rate : float, optional
        Step size of Adam. Raise it where clicks change too little, lower it where
        answers jump. By default what ``napari-clickseg tune-refinement`` has found
        for these weights, else a careful one: for bmconv the smaller, the more
        channels there are.
    refinement : RefinementSettings, optional
        All about the refinement at once, in the place of ``layer``.
    name : str, optional
        By this name the model is found in this process: in the dock, by
        ``load_model`` and by ``ClickSession``. Without one it is called as the
        module's class, and found nowhere.
    licence, source, description : str
        Of the weights, for the record.
    device, precision : str
        As for :func:`napari_clickseg.load_model`; ``"auto"`` means float32.

    Returns
    -------
    InteractiveModel
        For ``ClickSession(model=...)`` and everything else that takes a model. For the
        other tasks a :class:`~napari_clickseg.models.dense_model.DenseModel`.

    Raises
    ------
    ModelError, RefinementError, DeviceError
        If something does not fit; the text says what, and what to give.

    Examples
    --------
    >>> unet = torch.load(...).eval()  # doctest: +SKIP
    >>> model = cs.make_interactive(unet, preprocess="grey")  # doctest: +SKIP
    >>> session = cs.ClickSession(model=model)  # doctest: +SKIP
    """
    settings = refinement_for(layer, refinement, learning_rate)
    if task != "segmentation":
        from napari_clickseg.models.dense_interactive import dense_interactive

        dense: Any = dense_interactive(
            module,
            task,
            at,
            preprocess,
            settings,
            (output, multiple, device, precision),
            unknown={"probabilities": probabilities, "size": size, "name": name},
            card={"licence": licence, "source": source, "description": description},
        )
        return dense
    module = as_module(module)
    prepare = preparation(preprocess)
    notices: list[str] = []
    if preprocess is None and first_channels(module) == 1:
        prepare = to_grey
        notices.append("The module takes one channel: images are turned to grey.")
    if isinstance(size, int):
        size = (size, size)
    adapter = Adapter(prepare, output, False, multiple or 1, size)
    adapter = fitted(module, adapter, probabilities, multiple)
    if adapter.probabilities and probabilities is None:
        notices.append("The module's answers are taken as probabilities, not logits.")
    sites, channels = choose_sites(module, adapter, settings.at if at is None else at)
    places = {"g-brs": sites, "f-brs-b": sites, "rgb": ("input",)}
    digest = hash_weights(module)
    rates = {"g-brs-bmconv": BMCONV_STEP / channels, **read_tuned(digest)}
    if settings.learning_rate is not None:
        rates[settings.method] = settings.learning_rate
    info = ModelInfo(
        name=name or type(module).__name__.lower(),
        task=task,
        architecture=type(module).__name__,
        file="",
        licence=licence,
        source=source,
        description=description or f"Made interactive at {', '.join(sites)}",
        size=sum(x.numel() * x.element_size() for x in tensors_of(module).values()),
        downloaded=True,
        refine_at=sites,
        learning_rates=MappingProxyType(rates),
    )
    model = InteractiveModel(
        module,
        adapter,
        info,
        settings,
        places,
        sha256=digest,
        device=device,
        precision=precision,
        notices=tuple(notices),
    )
    LOG.info("%r", model)
    if name is not None:
        if name.strip().lower() in {known.name.lower() for known in registry_models()}:
            raise UnknownModelError(
                f"A published model is named {name!r} already: choose another name."
            )
        in_process.remember(model)
    return model


def built_by(text: str) -> Any:
    """Return the model that ``"file.py:function"`` builds.

    A plain module is made interactive with what :func:`make_interactive` chooses.

    Raises
    ------
    UnknownModelError, ModelError
        If the function is missing, fails, or returns something else.
    """
    built = build(text)
    home, _ = split_factory(text) or (text, "")
    file = text
    if home.endswith(".py"):  # found again from any folder
        file = str(Path(home).expanduser().resolve()) + text[len(home) :]
    if hasattr(built, "decode") or hasattr(built, "make_task"):
        ours = isinstance(built, InteractiveModel) or hasattr(built, "make_task")
        if ours and not built.info.file:
            built.info = replace(built.info, file=file)
        return built
    if not isinstance(built, nn.Module):
        raise ModelError(
            f"{text} returned a {type(built).__name__}; it should return a torch "
            "module, or what make_interactive made of one."
        )
    model = make_interactive(built)
    known = factory_info(text)
    model.info = replace(model.info, name=known.name, file=file, source=text)
    return model


def of_file(network: nn.Module, info: ModelInfo, sha256: str) -> InteractiveModel:
    """Make a network interactive whose weights were read from a file of ours."""
    check_task(info)
    model = make_interactive(network, multiple=getattr(network, "multiple", None))
    model.sha256 = sha256
    rates = {**model.learning_rates, **info.learning_rates, **read_tuned(sha256)}
    model.info = replace(
        info,
        refine_at=info.refine_at or model.info.refine_at,
        learning_rates=MappingProxyType(rates),
    )
    return model


def refinement_for(
    layer: str, refinement: RefinementSettings | None, learning_rate: float | None
) -> RefinementSettings:
    """Return the refinement that was asked for."""
    if refinement is None:
        method = layer if layer in METHODS else f"g-brs-{layer}"
        if method not in METHODS or method == "none":
            raise ModelError(
                f"There is no layer {layer!r}. Choose 'bmconv', 'bmsb-m', 'bmsb' or "
                "'sb'."
            )
        refinement = RefinementSettings.of(method)
    if not refinement.active:
        raise ModelError(
            "Without refinement this module would not feel any click: choose a layer, "
            "such as 'bmconv'."
        )
    if refinement.method in ("f-brs-a", "f-brs-c", "distmap-brs"):
        raise ModelError(
            f"{refinement.method} needs a published click network. Choose one of the "
            "layers 'bmconv', 'bmsb-m', 'bmsb', 'sb', or 'f-brs-b', or 'rgb-brs'."
        )
    if learning_rate is not None:
        refinement = refinement.updated({"learning_rate": learning_rate})
    return refinement


def _cast(inputs: Any, dtype: torch.dtype) -> Any:
    """Give tensors of floats the module's type."""
    if isinstance(inputs, Tensor):
        return inputs.to(dtype) if inputs.is_floating_point() else inputs
    if isinstance(inputs, Mapping):
        return {key: _cast(value, dtype) for key, value in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(_cast(value, dtype) for value in inputs)
    return inputs
