"""A network with a value for every pixel, with layers put into it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from napari_clickseg.errors import ModelError, RefinementError
from napari_clickseg.prediction.dense_view import network_input
from napari_clickseg.refinement.insertion import record
from napari_clickseg.refinement.layers import RefinementLayer, make_layer
from napari_clickseg.refinement.optimise import Variables

if TYPE_CHECKING:
    from torch import Tensor, nn

    from napari_clickseg.prediction.dense_question import Question
    from napari_clickseg.prediction.dense_settings import DenseSettings, DenseState
    from napari_clickseg.refinement.tail import Tail
    from napari_clickseg.tasks.task import Task


class DenseNetwork:
    """Runs a network, and keeps what of it does not depend on a refinement.

    Parameters are those of :class:`napari_clickseg.prediction.dense.DensePredictor`.
    """

    def __init__(
        self,
        module: nn.Module,
        task: Task,
        *,
        places: Sequence[str] | None = None,
        output: Callable[[Any], Tensor] | None = None,
        name: str = "",
    ) -> None:
        self.module, self.task, self.name = module, task, name
        self._places, self._output = places, output
        self._tail: tuple[Question, tuple[str, ...], Tail] | None = None
        self._plain: tuple[Question, Tensor] | None = None

    def forget(self) -> None:
        """Drop everything that was kept of an image."""
        self._tail = self._plain = None

    def places(self, settings: DenseSettings) -> tuple[str, ...]:
        """Return where the layers are put.

        Raises
        ------
        RefinementError
            If nobody says.
        """
        if settings.at is not None:
            return settings.at
        if settings.method == "rgb-brs":
            return ("input",)
        if self._places is not None:
            return tuple(self._places)
        known = getattr(self.module, "places", None)
        found = known().get("g-brs") if callable(known) else None
        if not found:
            raise RefinementError(
                "This network does not say where refinement layers go. Name a place "
                "with at=..., for example one that interactive_points(module, image) "
                "lists."
            )
        return tuple(found)

    def purpose(self, settings: DenseSettings) -> str:
        """Name what parameters are for; those of others do not fit."""
        places = ",".join(self.places(settings))
        return f"{settings.kind} at {places}, {self._top_k(settings)}, {self.name}"

    def own_answer(self, asked: Question) -> Tensor:
        """Return what the network says by itself, (1, C, h, w); it is kept.

        At the size of the view, or at that of the network's answer where it is smaller.
        """
        if self._plain is None or not self._plain[0].same_input(asked):
            with torch.no_grad():
                self._plain = asked, self._runner(asked)().float()
        return self._plain[1]

    def variables(
        self, asked: Question, settings: DenseSettings, state: DenseState | None
    ) -> tuple[Variables, DenseState | None]:
        """Return layers with the parameters of a state, and that state if it fits."""
        places = self.places(settings)
        kept = self._tail
        if kept is None or not kept[0].same_input(asked) or kept[1] != places:
            self._tail = None  # two at a time may be too much
            kept = asked, places, record(self.module, places, self._runner(asked))
            self._tail = kept
        tail = kept[2]
        layers = [self._layer(feature, settings) for feature in tail.features]
        variables = Variables(tail, layers)
        if state is None or state.purpose != self.purpose(settings):
            return variables, None
        try:
            variables.load(
                tuple(
                    layer.resampled(
                        arrays,
                        state.box,
                        asked.view.box,
                        (layer.shape[2], layer.shape[3]),
                    )
                    for layer, arrays in zip(layers, state.arrays, strict=True)
                )
            )
        except (RefinementError, ValueError):  # a network that calls otherwise
            variables.load(variables.identity)
            return variables, None
        return variables, state

    def _top_k(self, settings: DenseSettings) -> int | None:
        return settings.top_k or self.task.top_k

    def _layer(self, feature: Tensor, settings: DenseSettings) -> RefinementLayer:
        if settings.kind != "rgb-brs":
            return make_layer(settings.kind, feature, top_k=self._top_k(settings))
        n, c, h, w = feature.shape
        # A trimap is no colour.
        colours = torch.arange(3, device=feature.device) if c > 3 else None
        return RefinementLayer(
            "map", (n, c, h, w), channels=colours, device=feature.device
        )

    def _runner(self, asked: Question) -> Callable[[], Tensor]:
        trimap = None if asked.trimap is None else asked.view.labels(asked.trimap)
        given = network_input(self.module, asked.view.picture(asked.source), trimap)
        size, channels = asked.view.size, self.task.channels

        def run() -> Tensor:
            output = self.module(given)
            if self._output is not None:
                output = self._output(output)
            if not isinstance(output, torch.Tensor) or output.ndim != 4:
                raise ModelError(
                    "The network does not return one map (N, C, h, w). Say with "
                    "output=... how to get it from what it returns."
                )
            if output.shape[1] != channels:
                raise ModelError(
                    f"The network answers with {output.shape[1]} channels, but this "
                    f"task has {channels}."
                )
            # A coarse answer is judged as it is: what is read between its pixels is
            # what would be there, and all of it costs a fraction.
            if output.shape[2] > size[0] or output.shape[3] > size[1]:
                output = F.interpolate(
                    output, size, mode="bilinear", align_corners=False
                )
            return output

        return run
