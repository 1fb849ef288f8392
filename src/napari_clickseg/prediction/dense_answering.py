"""Classes, alpha and depth, asked for in the way that sessions ask for masks.

Nothing here needs torch until the first question.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clickseg.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_clickseg.boxes import Box
    from napari_clickseg.clicks import Click
    from napari_clickseg.image import ImageSource
    from napari_clickseg.prediction.dense import DensePredictor
    from napari_clickseg.prediction.dense_settings import DenseSettings, DenseState
    from napari_clickseg.tasks.task import Task


@dataclass(frozen=True, eq=False)
class DenseAnswer:
    """An answer, as a session keeps it.

    Parameters
    ----------
    box : Box
        Where it lies.
    values : ndarray, shape of ``box``, read-only
        Labels, alpha or depths.
    state : DenseState or None
        What the next click goes on from.
    settled : bool
        False: time was up; the same question goes on where it stopped.
    seconds : float
        Wall time of the call.
    notices : tuple of str
        What the user should know.
    unsatisfied : tuple of int
        Clicks (numbers from 0) that the network does not give what they ask for.
    corrected : tuple of int
        Those of them whose pixel, and a few around it, was changed afterwards.
    contradicted : tuple of int
        Those of them that a newer click on the same pixel takes back.
    evaluations : int
        How often the loss was computed.
    """

    box: Box
    values: NDArray[Any]
    state: DenseState | None
    settled: bool = True
    seconds: float = 0.0
    notices: tuple[str, ...] = ()
    unsatisfied: tuple[int, ...] = ()
    corrected: tuple[int, ...] = ()
    contradicted: tuple[int, ...] = ()
    evaluations: int = 0

    def __post_init__(self) -> None:
        values = self.values.view()
        values.flags.writeable = False
        object.__setattr__(self, "values", values)

    def of(self, indices: Sequence[int]) -> DenseAnswer:
        """Return the answer by the numbers that its clicks have among all clicks.

        Parameters
        ----------
        indices : sequence of int
            Number among all of each click that was asked with.
        """

        def among_all(numbers: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(indices[i] for i in numbers)

        return replace(
            self,
            unsatisfied=among_all(self.unsatisfied),
            corrected=among_all(self.corrected),
            contradicted=among_all(self.contradicted),
        )

    @property
    def probability(self) -> NDArray[Any]:
        """The same as ``values``, by the name that answers of masks have."""
        return self.values


class DenseAnswers:
    """Asks a model for classes, alpha or depth: a Predictor's interface.

    Parameters
    ----------
    model : DenseModel
        See :class:`napari_clickseg.models.dense_model.DenseModel`.
    settings : DenseSettings
        May be changed at any time; counts from the next answer.
    """

    def __init__(self, model: Any, settings: DenseSettings) -> None:
        self.model, self.settings = model, settings
        self._predictor: DensePredictor | None = None

    def predict(
        self,
        image: ImageSource,
        clicks: Sequence[Click] = (),
        state: DenseState | None = None,
        *,
        task: Task,
        trimap: NDArray[np.uint8] | None = None,
        painted: NDArray[Any] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> DenseAnswer:
        """Answer all of an image.

        Parameters are those of
        :meth:`napari_clickseg.prediction.dense.DensePredictor.predict`, and the task.
        """
        begin = time.perf_counter()
        predictor = self._asking(task)
        answer = predictor.predict(
            image, clicks, state, trimap=trimap, painted=painted, cancelled=cancelled
        )
        taken_back = () if task.mode == "push" else contradicted(clicks)
        return DenseAnswer(
            answer.box,
            answer.result,
            answer.state,
            answer.settled,
            time.perf_counter() - begin,
            answer.notices,
            tuple(sorted({*answer.disobeyed, *taken_back})),
            answer.corrected,
            taken_back,
            answer.evaluations,
        )

    def _asking(self, task: Task) -> DensePredictor:
        from napari_clickseg.prediction.dense import DensePredictor

        model, predictor = self.model, self._predictor
        if task.name != model.task:
            raise ModelError(
                f"{model.name} is a network for {model.task}, not for {task.name}. "
                "Choose another: 'napari-clickseg models list' shows what each is for."
            )
        if predictor is None or predictor.task.channels != task.channels:
            predictor = self._predictor = DensePredictor(
                model.network,
                task,
                self.settings,
                places=model.places.get("g-brs"),
                name=model.sha256 or model.name,
                rates=model.learning_rates,
            )
        if predictor.task != task:
            predictor.task = task
        predictor.settings = self.settings
        return predictor


def contradicted(clicks: Sequence[Click]) -> tuple[int, ...]:
    """Return the clicks that a newer one on the same pixel takes back."""
    newest: dict[tuple[int, int], Any] = {}
    found = []
    for index in reversed(range(len(clicks))):
        click = clicks[index]
        place = int(np.floor(click.row + 0.5)), int(np.floor(click.col + 0.5))
        wish = click.label, click.value, click.positive
        if newest.setdefault(place, wish) != wish:
            found.append(index)
    return tuple(reversed(found))
