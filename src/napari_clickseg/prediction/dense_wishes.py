"""What clicks and strokes ask of an output, and a push in a single step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from napari_clickseg.prediction.dense_view import corners, pixel
from napari_clickseg.refinement.adam import Judgement
from napari_clickseg.refinement.optimise import Arrays, Pause, Variables, never
from napari_clickseg.tasks.semantic import classes_loss, painted_classes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_clickseg.clicks import Click
    from napari_clickseg.prediction.dense_view import DenseView
    from napari_clickseg.tasks.semantic import Semantic
    from napari_clickseg.tasks.task import Task

#: Most steps of a push, and forward passes that the length of each is looked for with.
STEPS, TRIALS = 8, 5


class Reading:
    """Reads an output where clicks are.

    Parameters
    ----------
    clicks : sequence of Click
        Inside the view's box.
    view : DenseView
        Of the size that outputs have.
    device : torch.device
        Where outputs are.
    """

    def __init__(
        self, clicks: Sequence[Click], view: DenseView, device: torch.device
    ) -> None:
        # A click means the pixel it lies on, not a place between pixels.
        places = np.array([view.place(*pixel(click)) for click in clicks], np.float64)
        index, share = corners(places, view.size)
        self._index = torch.from_numpy(index).to(device)
        self._share = torch.from_numpy(share).to(device)

    def __call__(self, output: Tensor) -> Tensor:
        """Return the values (n, C) of an output (1, C, h, w)."""
        found = output[0].flatten(1)[:, self._index]
        return (found * self._share).sum(-1).T


class ClickJudge:
    """Judges outputs by what clicks ask for: L_r for all, L_c around the newest.

    Parameters
    ----------
    task : Task
    clicks : sequence of Click
        Those that count; the last one is the newest.
    view : DenseView
        Of the size that outputs have.
    reach : float
        Attention radius of the newest click, in pixels of the image.
    weight : float
        Of the consistency loss.
    device : torch.device
        Where outputs are.
    """

    def __init__(
        self,
        task: Task,
        clicks: Sequence[Click],
        view: DenseView,
        reach: float,
        weight: float,
        device: torch.device,
    ) -> None:
        self._task, self._clicks, self._weight = task, tuple(clicks), weight
        self.read = Reading(clicks, view, device)
        newest = clicks[-1]
        scales = view.scales
        far = task.attention(
            view.place(newest.row, newest.col),
            (reach * scales[0], reach * scales[1]),
            view.size,
        )
        self._far = torch.from_numpy(np.asarray(far, np.float32)).to(device)
        self._targets: Tensor | None = None
        self._held: Tensor | None = None

    def targets(self, start: Tensor) -> Tensor:
        """Return what the clicks ask for; ``start`` is the output (1, C, h, w)."""
        if self._targets is None:
            read = self.read(start.detach())
            self._targets = self._task.targets(self._clicks, read)
        return self._targets

    def __call__(self, output: Tensor, start: Tensor) -> Judgement:
        """Judge an output against the one at the click's beginning."""
        values, targets = self.read(output), self.targets(start)
        loss = self._task.refinement_loss(values, targets)
        if self._weight:
            if self._held is None:
                self._held = self._task.held(start, self._far)
            cost = self._task.consistency_loss(self._held, output, self._far)
            loss = loss + self._weight * cost
        wrong = int((~self._task.obeyed(values, targets)).sum())
        return Judgement(loss, wrong, self._task.reached(values, targets))


class StrokeJudge:
    """Judges outputs by painted classes (equation 10).

    Parameters
    ----------
    task : Semantic
    painted : ndarray, shape (h, w), int64
        Labels of classes at the size of the view; 0 where nothing was painted.
    weight : float
        Of the consistency loss, which leaves out what was painted.
    device : torch.device
        Where outputs are.
    """

    def __init__(
        self,
        task: Semantic,
        painted: NDArray[np.int64],
        weight: float,
        device: torch.device,
    ) -> None:
        self._task, self._weight = task, weight
        given = torch.from_numpy(painted).to(device)
        self._wanted = painted_classes(given)
        self._on = given.flatten().nonzero()[:, 0]
        self._classes = self._wanted.flatten()[self._on]
        self._far = (given == 0).float()
        self._held: Tensor | None = None
        self._size = painted.shape

    def __call__(self, output: Tensor, start: Tensor) -> Judgement:
        """Judge an output against the one that the strokes found."""
        output, start = self._painted_size(output), self._painted_size(start)
        loss = classes_loss(output, self._wanted)
        if self._weight:
            if self._held is None:
                self._held = self._task.held(start, self._far)
            cost = self._task.consistency_loss(self._held, output, self._far)
            loss = loss + self._weight * cost
        values = output.detach()[0].flatten(1)[:, self._on].T
        wrong = int((~self._task.obeyed(values, self._classes)).sum())
        return Judgement(loss, wrong, self._task.reached(values, self._classes))

    def _painted_size(self, output: Tensor) -> Tensor:
        """Return an output at the size of the strokes, which may be thin."""
        if output.shape[2:] == self._size:
            return output
        return F.interpolate(output, self._size, mode="bilinear", align_corners=False)


class PushRun:
    """A push: a step of Adam, as long as it has to be (equation 12).

    The first step of Adam has the learning rate's length along every parameter,
    whatever the gradient, and what that does to a pixel depends on the network. So
    the step keeps its direction, its length is looked for, and where the way bends
    before the push is done, another step goes on from there.

    Parameters
    ----------
    variables : Variables
        Parameters to start from.
    judge : ClickJudge
        Of the newest click alone.
    learning_rate : float
    exact : bool
        False makes one step and leaves its length as it is, as published.
    """

    def __init__(
        self,
        variables: Variables,
        judge: ClickJudge,
        *,
        learning_rate: float,
        exact: bool = True,
    ) -> None:
        self._variables, self._judge, self._exact = variables, judge, exact
        self._rate = learning_rate
        self._output: Tensor = variables.tail.output
        self._arrays = variables.arrays()
        self.evaluations, self.finished = 0, False
        self.loss = float("inf")

    @property
    def logits(self) -> Tensor:
        """The output after the push."""
        return self._output

    @property
    def arrays(self) -> Arrays:
        """The parameters after it."""
        return self._arrays

    def advance(self, pause: Pause = never) -> None:
        """Push, unless stopped between two steps by what ``pause`` raises."""
        if self.finished:
            return
        output = self._variables.logits()
        start = output.detach()
        judged = self._judge(output, start)
        self._keep(judged, start)
        for _ in range(STEPS if self._exact else 1):
            pause()
            if judged.reached or not self._step(judged, start):
                break
            if not self._exact:
                break
            output = self._variables.logits()
            judged = self._judge(output, start)
            self.evaluations += 1
        self._variables.load(self._arrays)
        self.finished = True

    def _keep(self, judged: Judgement, output: Tensor) -> None:
        self.evaluations += 1
        self.loss = float(judged.loss.detach())
        self._output, self._arrays = output, self._variables.arrays()

    def _step(self, judged: Judgement, start: Tensor) -> bool:
        """Make one step from where the parameters are; False: it led nowhere."""
        variables, judge = self._variables, self._judge
        before = variables.arrays()
        adam = torch.optim.Adam(variables.parameters, lr=self._rate)
        adam.zero_grad(set_to_none=True)
        judged.loss.backward()
        slopes = [p.grad for p in variables.parameters]
        here = [p.detach().clone() for p in variables.parameters]
        adam.step()
        after = variables.arrays()
        fall = sum(
            float((slope * (now.detach() - then)).sum())
            for slope, now, then in zip(slopes, variables.parameters, here, strict=True)
            if slope is not None
        )
        # The loss is the squared way that is left, so its slope tells the speed.
        length = 1.0
        if self._exact:
            length = -2 * self.loss / fall if fall < 0 else 0.0
        found = False
        for _ in range(TRIALS if self._exact else 1):
            if not 0 < length < float("inf"):
                break
            variables.load(_along(before, after, length))
            for layer in variables.layers:
                layer.project_()
            with torch.no_grad():
                output = variables.logits()
                tried = judge(output, start)
                left = judge.targets(start) - judge.read(output)[:, 0]
                whole = judge.targets(start) - judge.read(self._output)[:, 0]
            if float(tried.loss) < self.loss or not self._exact:
                found = True
                self._keep(tried, output)
                break
            self.evaluations += 1
            # Too far: where a straight line through both would be right.
            part = float(1 - left[0] / whole[0])
            length = length / part if part > 1 else length / 4
        variables.load(self._arrays)
        return found


def _along(before: Arrays, after: Arrays, length: float) -> Arrays:
    """Return parameters on the line from one set to another; 1 is the other."""
    return tuple(
        {
            name: values
            if values.dtype.kind != "f"
            else (values + length * (other[name] - values)).astype(values.dtype)
            for name, values in first.items()
        }
        for first, other in zip(before, after, strict=True)
    )
