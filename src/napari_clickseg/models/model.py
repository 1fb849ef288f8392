"""A model that is ready to answer clicks: weights, device and precision together."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from napari_clickseg.device import choose_device, choose_precision, forecast_bytes
from napari_clickseg.errors import ModelError
from napari_clickseg.models import in_process
from napari_clickseg.models.agreement import agrees
from napari_clickseg.models.checkpoint import (
    build_network,
    read_checkpoint,
)
from napari_clickseg.models.factories import split_factory
from napari_clickseg.models.features import Features
from napari_clickseg.models.fetch import Progress, fetch_model
from napari_clickseg.models.gate import Gate, read_gate
from napari_clickseg.models.given import given_path, info_of_file
from napari_clickseg.models.optimise import working_copy
from napari_clickseg.models.registry import ModelInfo, get_info
from napari_clickseg.models.running import fold_carefully, run_network
from napari_clickseg.models.traits import Traits
from napari_clickseg.models.tuned import read_tuned
from napari_clickseg.networks.layers import IMAGENET, Normalise
from napari_clickseg.networks.ocr import ObjectAttention
from napari_clickseg.refinement.settings import RefinementSettings

LOG = logging.getLogger("napari_clickseg")


class Model(Traits):
    """A click network, ready to run.

    Networks differ in whether they take a previous mask and who normalises the
    image; here they all look alike.

    Parameters
    ----------
    network : nn.Module
        In float32 on the CPU, in eval mode. With ``optimise`` its batch norms are
        folded in place, so build one for each model.
    info : ModelInfo
        What is known of it.
    sha256 : str
        Hash of the weight file; empty where there is none.
    device, precision : str
        See :func:`napari_clickseg.device.choose_device` and
        :func:`~napari_clickseg.device.choose_precision`. With precision
        ``"auto"``, half precision is used only where the answers agree with
        float32 on a test image.
    optimise : bool
        Fold batch norm, keep channels last and allow half precision. Without it,
        and with precision ``"auto"``, the network runs exactly as published.
    folded : bool
        The network's batch norms have been folded already.

    Attributes
    ----------
    device : torch.device
    dtype : torch.dtype
        What the network computes in; images, clicks and answers are float32.
    network : nn.Module
        The network that runs, for example to look into it.
    notices : tuple of str
        What the user should know about how it runs.
    gate : Gate or None
        Of a finetuned model: tells the images that it is for. None lets it answer on
        all of them.
    elsewhere : Model or None
        What answers on the others.

    Notes
    -----
    A model keeps no state between calls, and may be used from any one thread at a
    time. Its weights ask for no gradient, so nothing is recorded for one unless an
    input asks for it, or a layer that refinement inserts; callers that want neither
    run it under :func:`torch.inference_mode`.
    """

    #: Whether the network answers without clicks.
    automatic = False
    #: The refinement it wants where none is asked for.
    refinement: RefinementSettings | None = None
    gate: Gate | None = None
    elsewhere: Model | None = None

    def __init__(
        self,
        network: nn.Module,
        info: ModelInfo,
        sha256: str = "",
        device: str | torch.device = "auto",
        precision: str | torch.dtype = "auto",
        optimise: bool = True,
        *,
        folded: bool = False,
    ) -> None:
        network.eval().requires_grad_(False)
        if optimise and not folded:
            fold_carefully(network, info.name)
        if not optimise:
            for module in network.modules():
                if isinstance(module, ObjectAttention):
                    module.shortcut = False
        self.info = info
        self.sha256 = sha256
        self._tuned = read_tuned(sha256)
        self.optimise = optimise
        self.notices: tuple[str, ...] = ()
        self.device = choose_device(device)
        self._precision = precision
        self._exact = network
        # Networks of published weights say what they need (see ClickNetwork).
        self.with_prev_mask = bool(network.with_prev_mask)
        self._columns = int(getattr(network, "point_columns", 3))
        self._normalise: Normalise | None = None
        if not getattr(network, "normalises_input", True):
            self._normalise = Normalise(*IMAGENET).to(self.device)

        automatic = str(precision).strip().lower() == "auto"
        if automatic and not optimise:
            precision = "float32"
        self._use(choose_precision(precision, self.device))
        if automatic and self.dtype != torch.float32:
            reason = agrees(self._exactly, self._answer, sha256, self.dtype)
            if reason is not None:
                LOG.warning("%s: %s", info.name, reason)
                self.notices += (reason,)
                self._use(torch.float32)

    def _use(self, dtype: torch.dtype) -> None:
        """Make the network that runs."""
        self.dtype = dtype
        # GPUs gain from channels last in half precision only.
        on_cpu = self.device.type == "cpu"
        self._channels_last = self.optimise and (
            on_cpu or (self.device.type == "cuda" and dtype != torch.float32)
        )
        if on_cpu and dtype == torch.float32 and not self._channels_last:
            self.network = self._exact
        else:
            self.network = working_copy(
                self._exact, self.device, dtype, self._channels_last
            )

    def __repr__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return f"<Model {self.name} on {self.device} in {dtype}>"

    @property
    def name(self) -> str:
        """Name, as :func:`load_model` finds it, or the file's stem."""
        return self.info.name

    def prepare(self, image: Tensor) -> Tensor:
        """Normalise an image, where the network does not do that itself.

        The published code does so before it resizes a window; :meth:`encode` does
        it where it was not done.

        Parameters
        ----------
        image : Tensor, shape (N, 3, H, W)
            RGB in [0, 1], float32, on any device.

        Returns
        -------
        Tensor, shape (N, 3, H, W)
            On :attr:`device`.
        """
        image = image.to(self.device, torch.float32)
        return image if self._normalise is None else self._normalise(image)

    def encode(self, image: Tensor, *, prepared: bool = False) -> Features:
        """Compute what no click changes.

        Parameters
        ----------
        image : Tensor, shape (N, 3, H, W)
            RGB in [0, 1], float32, on any device.
        prepared : bool
            It comes from :meth:`prepare`.

        Returns
        -------
        Features
            For :meth:`decode`; worth keeping while the view stands still.
        """
        if image.ndim != 4 or image.shape[1] != 3:
            raise ModelError(
                f"A model takes RGB images of the shape (N, 3, H, W), not "
                f"{tuple(image.shape)}."
            )
        layout = torch.channels_last if self._channels_last else torch.contiguous_format
        size = (int(image.shape[2]), int(image.shape[3]))
        batch = int(image.shape[0])
        image = image.to(self.device, torch.float32).contiguous(memory_format=layout)
        if self._normalise is not None:
            image = (image if prepared else self._normalise(image)).to(self.dtype)
        return Features(self._method("encode_image")(image), size, batch)

    def decode(
        self,
        features: Features,
        points: Tensor,
        previous: Tensor | None = None,
        region: tuple[int, int, int, int] | None = None,
    ) -> Tensor:
        """Answer clicks.

        Parameters
        ----------
        features : Features
            From :meth:`encode` of the same model.
        points : Tensor, shape (N, 2P, 3)
            Rows of row, column, number of the click, in pixels of the image
            (float64 repeats the published numbers to the last digit); P
            positive rows, then P negative ones, -1 where unused.
        previous : Tensor, shape (N, 1, H, W), optional
            Probability of the answer before, or what :meth:`remember` has made of
            all; zeros by default. Models without ``with_prev_mask`` do not look at it.
        region : (left, top, right, bottom), optional
            The only part to refine, in pixels of the image, multiples of 32; for
            models with :attr:`refines_region`.

        Returns
        -------
        Tensor, shape (N, 1, H, W)
            Logits in float32, on :attr:`device`.
        """
        # float64 where there is such a thing, see DistMaps.
        kept = points.dtype == torch.float64 and self.device.type != "mps"
        points = points.to(self.device, torch.float64 if kept else torch.float32)
        points = points[..., : self._columns]
        if previous is None or not self.with_prev_mask:
            shape = (features.batch, 1, *features.size)
            previous = torch.zeros(shape, device=self.device)
        previous = previous.to(self.device, torch.float32)
        given = {} if region is None else {"region": region}
        answer = self._method("decode_clicks")(
            features.content, points, previous, **given
        )
        logits: Tensor = answer["instances"]
        return logits.float()

    def to(
        self,
        device: str | torch.device | None = None,
        precision: str | torch.dtype | None = None,
    ) -> Model:
        """Return the model on another device or in another precision.

        Parameters
        ----------
        device, precision : optional
            As for :func:`load_model`; by default as they were asked for.
        """
        device = self.device if device is None else choose_device(device)
        if device == self.device and precision in (None, self._precision):
            return self
        moved = Model(
            self._exact,
            self.info,
            self.sha256,
            device,
            self._precision if precision is None else precision,
            self.optimise,
            folded=True,
        )
        moved.gate = self.gate
        if self.elsewhere is not None:
            moved.elsewhere = self.elsewhere.to(device, precision)
        return moved

    def suited(self, image: Tensor) -> Model:
        """Return what answers on an image: this model, or its parent.

        Parameters
        ----------
        image : Tensor, shape (1, 3, H, W)
            RGB in [0, 1], a few hundred pixels a side.
        """
        if self.gate is None or self.elsewhere is None:
            return self
        with torch.inference_mode():
            features = self.elsewhere.encode(image)
            return self if self.gate.score(features.content) > 0 else self.elsewhere

    def forecast_bytes(self, shape: tuple[int, int], batch: int = 1) -> int:
        """Estimate the peak memory of one prediction, weights apart."""
        return forecast_bytes(shape, batch, self.info.architecture, self.dtype)

    def _method(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self.network, name)
        return method

    def _answer(self, image: Tensor, points: Tensor, previous: Tensor | None) -> Tensor:
        return self.decode(self.encode(image), points, previous)

    def _exactly(
        self, image: Tensor, points: Tensor, previous: Tensor | None
    ) -> Tensor:
        return run_network(self._exact, image, points, previous)


def load_model(
    name_or_path: str | os.PathLike[str],
    device: str | torch.device = "auto",
    precision: str | torch.dtype = "auto",
    *,
    optimise: bool = True,
    progress: Progress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Model:
    """Load a model by its name, downloading its weights if need be, or from a file.

    Parameters
    ----------
    name_or_path : str or path-like
        A name of :func:`~napari_clickseg.list_models`, or a ``.safetensors`` or
        ``.pth`` file, or ``"file.py:function"`` or ``"package.module:function"``:
        a function that returns a torch module, or what
        :func:`~napari_clickseg.make_interactive` made of one.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or ``"mps"``.
    precision : str
        ``"auto"``, ``"float32"``, ``"bfloat16"`` or ``"float16"``.
    optimise : bool
        False runs the network exactly as published: no folded batch norm, channels
        first, float32 unless a precision is named.
    progress, cancelled : callable, optional
        For the download, see :func:`~napari_clickseg.models.fetch.fetch_model`.

    Returns
    -------
    Model
        Or an :class:`~napari_clickseg.models.interactive.InteractiveModel`, where
        the network knows no clicks; or, for semantic classes, alpha and depth, a
        :class:`~napari_clickseg.models.dense_model.DenseModel`.

    Raises
    ------
    UnknownModelError, FetchError, CheckpointError, DeviceError
        Each says what is wrong and what to do next.
    """
    choose_precision(precision, choose_device(device))  # complain before downloading
    if isinstance(name_or_path, str):
        made = in_process.find(name_or_path)
        if made is None and split_factory(name_or_path):
            from napari_clickseg.models.interactive import built_by

            made = built_by(name_or_path)
        if made is not None:
            elsewhere = (None if x == "auto" else x for x in (device, precision))
            return made.to(*elsewhere)
    path = given_path(name_or_path)
    info: ModelInfo | None = None
    if path is None:
        info = get_info(os.fspath(name_or_path))
        path = fetch_model(info, progress, cancelled)
    checkpoint = read_checkpoint(path)
    if info is None:
        info = info_of_file(path, checkpoint)
    if checkpoint.config.get("decoder_only"):
        from napari_clickseg.models.decoder_only import decoder_model

        return decoder_model(checkpoint, info, device, precision, optimise)
    network = build_network(checkpoint)
    if info.task in ("semantic", "matting", "depth"):
        from napari_clickseg.models.dense_model import DenseModel, classes_of

        dense: Any = DenseModel(
            network,
            info,
            checkpoint.sha256,
            device,
            precision,
            optimise,
            classes=classes_of(checkpoint.metadata),
        )
        return dense
    if not hasattr(network, "decode_clicks"):
        from napari_clickseg.models.interactive import of_file

        automatic: Any = of_file(network, info, checkpoint.sha256)
        return automatic.to(device, precision)
    model = Model(network, info, checkpoint.sha256, device, precision, optimise)
    gated = read_gate(checkpoint)
    if gated is not None:
        model.gate, other = gated
        parent = build_network(other)
        # Not the file's hash: what is found out of these weights is kept by it.
        sha256 = hashlib.sha256(f"{other.sha256} elsewhere".encode()).hexdigest()
        model.elsewhere = Model(parent, info, sha256, device, precision, optimise)
    return model
