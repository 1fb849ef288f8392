"""Models that answer every pixel: semantic classes, alpha or depth.

Their networks know no clicks; what makes their answers obey clicks is
:class:`napari_clickseg.prediction.dense.DensePredictor`.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn

from napari_clickseg.device import (
    choose_device,
    choose_precision,
    forecast_bytes,
    keep_heap,
)
from napari_clickseg.errors import ModelError, SettingsError
from napari_clickseg.models.agreement import (
    LEAST_IOU,
    SAME_PROBABILITY,
    measured,
    synthetic_view,
)
from napari_clickseg.models.optimise import working_copy
from napari_clickseg.models.registry import ModelInfo
from napari_clickseg.models.running import fold_carefully
from napari_clickseg.models.traits import Traits
from napari_clickseg.models.tuned import read_tuned
from napari_clickseg.networks.layers import IMAGENET
from napari_clickseg.refinement.settings import RefinementSettings
from napari_clickseg.tasks import Classes, Task, make_task
from napari_clickseg.tasks.class_lists import CELLS, CITYSCAPES
from napari_clickseg.tasks.trimap import UNKNOWN

LOG = logging.getLogger("napari_clickseg")

#: Tasks whose networks have a value for every pixel.
DENSE_TASKS = ("semantic", "matting", "depth")


class DenseModel(Traits):
    """A network for semantic classes, alpha or depth, ready to run.

    Parameters
    ----------
    network : nn.Module
        In float32 on the CPU, in eval mode. With ``optimise`` its batch norms are
        folded in place, so build one for each model.
    info : ModelInfo
        What is known of it; ``info.task`` is its task.
    sha256 : str
        Hash of the weight file; empty where there is none.
    device, precision : str
        As for :func:`napari_clickseg.load_model`. ``"auto"`` is half precision only
        for classes, and only where they agree with those in float32 on a test image:
        alpha and depth are asked for in finer steps than it has.
    optimise : bool
        Fold batch norm, and allow half precision.
    classes : Classes, optional
        Names of the network's classes; by default those that as many channels
        usually have.
    folded : bool
        The network's batch norms have been folded already.

    Attributes
    ----------
    device : torch.device
    dtype : torch.dtype
        What the network computes in; answers are float32.
    network : nn.Module
        The network that runs.
    notices : tuple of str
        What the user should know about how it runs.

    Raises
    ------
    ModelError
        If it is none of these tasks.
    """

    #: It answers without clicks.
    automatic = True
    #: The refinement it wants where none is asked for: its own would be no answer.
    refinement: RefinementSettings | None = RefinementSettings.of("g-brs-bmconv")

    def __init__(
        self,
        network: nn.Module,
        info: ModelInfo,
        sha256: str = "",
        device: str | torch.device = "auto",
        precision: str | torch.dtype = "auto",
        optimise: bool = True,
        *,
        classes: Classes | None = None,
        folded: bool = False,
    ) -> None:
        if info.task not in DENSE_TASKS:
            raise ModelError(
                f"{info.name} is a network for the task {info.task!r}; here are those "
                f"for {', '.join(DENSE_TASKS)}."
            )
        network.eval().requires_grad_(False)
        self.info, self.sha256, self.optimise = info, sha256, optimise
        self._exact, self._precision = network, precision
        self._tuned = read_tuned(sha256)
        self.notices: tuple[str, ...] = ()
        self.device = choose_device(device)
        if optimise and not folded:
            fold_carefully(network, info.name, lambda: self._trial(network))
        self.classes = classes
        if self.task == "semantic" and classes is None:
            self.classes = usual_classes(self._trial(network).shape[1])
        automatic = str(precision).strip().lower() == "auto"
        if automatic and not (optimise and self.task == "semantic"):
            precision = "float32"
        self._use(choose_precision(precision, self.device))
        if automatic and self.dtype != torch.float32:
            same, gap = measured(self._agreement, sha256, self.dtype)
            if same < LEAST_IOU and not gap <= SAME_PROBABILITY:
                reason = (
                    f"In {_short(self.dtype)} {same:.1%} of the pixels have the same "
                    "class on a test image, so this model runs in float32."
                )
                LOG.warning("%s: %s", info.name, reason)
                self.notices += (reason,)
                self._use(torch.float32)

    def _use(self, dtype: torch.dtype) -> None:
        """Make the network that runs."""
        self.dtype = dtype
        if self.device.type == "cpu":
            keep_heap()
        self.network = self._exact
        if self.device.type != "cpu" or dtype != torch.float32:
            self.network = working_copy(self._exact, self.device, dtype, False)

    def __repr__(self) -> str:
        return (
            f"<DenseModel {self.name} for {self.task} on {self.device} in "
            f"{_short(self.dtype)}>"
        )

    @property
    def name(self) -> str:
        """Name, as :func:`napari_clickseg.load_model` finds it, or the file's stem."""
        return self.info.name

    @property
    def task(self) -> str:
        """``"semantic"``, ``"matting"`` or ``"depth"``."""
        return self.info.task

    @property
    def needs_trimap(self) -> bool:
        """Whether it answers nothing without a trimap."""
        return bool(getattr(self.network, "needs_trimap", False))

    @property
    def largest(self) -> float | None:
        """Depth that it cannot go beyond, where it says so."""
        most = getattr(self.network, "config", {}).get("max_depth")
        return None if most is None else float(most)

    def make_task(self, mode: str = "click", **options: Any) -> Task:
        """Return the task with what this network knows: classes, unit, largest depth.

        Parameters
        ----------
        mode : str
            See :class:`napari_clickseg.tasks.Semantic`, ``Matting``, ``Depth``.
        **options
            Whatever else these take; what is given here counts.

        Raises
        ------
        SettingsError
            If there are more or fewer classes than the network has.
        """
        if self.task == "semantic":
            assert self.classes is not None
            options.setdefault("classes", self.classes)
            given = options["classes"]
            if len(given) != len(self.classes):
                raise SettingsError(
                    f"{self.name} knows {len(self.classes)} classes, but "
                    f"{len(given)} were given. Name each of its channels, in order."
                )
        elif self.task == "depth":
            options.setdefault("largest", self.largest)
            if unit := getattr(self.network, "unit", None):
                options.setdefault("unit", unit)
        return make_task(self.task, mode=mode, **options)

    def run(self, image: Tensor, trimap: Tensor | None = None) -> Tensor:
        """Return the network's own map.

        Parameters
        ----------
        image : Tensor, shape (N, 3, H, W)
            RGB in [0, 1]; normalised here where the network does not do it itself.
        trimap : Tensor, shape (N, 1, H, W), in [0, 1], optional

        Returns
        -------
        Tensor, shape (N, C, h, w)
            float32: logits of classes, alpha, or depths.
        """
        return self._answer(self.network, image, trimap)

    def to(
        self,
        device: str | torch.device | None = None,
        precision: str | torch.dtype | None = None,
    ) -> DenseModel:
        """Return the model on another device or in another precision."""
        device = self.device if device is None else choose_device(device)
        if device == self.device and precision in (None, self._precision):
            return self
        return DenseModel(
            self._exact,
            self.info,
            self.sha256,
            device,
            self._precision if precision is None else precision,
            self.optimise,
            classes=self.classes,
            folded=True,
        )

    def forecast_bytes(self, shape: tuple[int, int], batch: int = 1) -> int:
        """Estimate the peak memory of one prediction, weights apart."""
        return forecast_bytes(shape, batch, self.info.architecture, self.dtype)

    def _answer(
        self, network: nn.Module, image: Tensor, trimap: Tensor | None
    ) -> Tensor:
        if image.ndim != 4 or image.shape[1] != 3:
            raise ModelError(
                f"A model takes RGB images of the shape (N, 3, H, W), not "
                f"{tuple(image.shape)}."
            )
        if trimap is None and bool(getattr(network, "needs_trimap", False)):
            raise ModelError(f"{self.name} needs a trimap besides the image.")
        weight = next(network.parameters())
        image = image.to(weight.device, torch.float32)
        if getattr(network, "normalises_input", True) is False:
            mean, std = (image.new_tensor(x).view(1, 3, 1, 1) for x in IMAGENET)
            image = (image - mean) / std
        if trimap is not None:
            image = torch.cat([image, trimap.to(image)], 1)
        with torch.inference_mode():
            answer: Tensor = network(image.to(weight.dtype))
        return answer.float()

    def _trial(self, network: nn.Module) -> Tensor:
        """Return a network's answer to a small test image."""
        image = synthetic_view()[0][..., :96, :96]
        trimap = None
        if getattr(network, "needs_trimap", False):
            trimap = torch.full_like(image[:, :1], UNKNOWN / 255)
        return self._answer(network, image, trimap)

    def _agreement(self) -> tuple[float, float]:
        """Return the part of pixels of the same class, and how far any differs."""
        exact = self._trial(self._exact).softmax(1)
        fast = self._trial(self.network).cpu().softmax(1)
        if not bool(torch.isfinite(fast).all()):
            return 0.0, float("inf")
        same = (exact.argmax(1) == fast.argmax(1)).float().mean()
        return float(same), float((exact - fast).abs().max())


def usual_classes(count: int) -> Classes:
    """Return the classes that as many channels usually stand for."""
    for known in (CITYSCAPES, CELLS):
        if len(known) == count:
            return known
    return Classes.named(f"class {label}" for label in range(1, count + 1))


def classes_of(card: Any) -> Classes | None:
    """Return the classes that a weight file's card names, if it does.

    A list of names, or of what :meth:`Classes.to_dict` wrote.
    """
    given = card.get("classes")
    if not isinstance(given, list) or not given:
        return None
    if isinstance(given[0], str):
        usual = "background" if "background" in given else None
        return Classes.named(given, background=usual)
    return Classes.from_dict({"classes": given})


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
