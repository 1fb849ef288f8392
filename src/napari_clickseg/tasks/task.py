"""What a task says: the meaning of a click, and how an answer is made to obey it.

An *output* is what a network returns for a view, ``(1, C, h, w)``: logits of a mask or
of classes, an alpha matte, a depth map. An *answer* is the same for the image as a
numpy array, after the activation. Numbers of equations are those of G-BRS (Lin et al.,
CVPR 2022). No module of a task imports torch: they only use the methods of tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from numpy.typing import NDArray

from napari_clickseg.clicks import Click

if TYPE_CHECKING:
    from torch import Tensor

#: "click": a click wishes something of its pixel, and stays wished. "push": it moves
#: the value of its pixel a step up or down, once. "stroke": painted pixels have the
#: class that they are painted with.
Mode = Literal["click", "push", "stroke"]
MODES: tuple[Mode, ...] = get_args(Mode)
#: Most iterations of a refinement (G-BRS, section 2.3).
ITERATIONS = 20


class Task(Protocol):
    """Meaning of clicks and answers.

    Attributes
    ----------
    name : str
    mode : {"click", "push", "stroke"}
    fields : frozenset of str
        What a click of this task may carry besides its position: some of
        ``"positive"``, ``"label"``, ``"value"`` and ``"radius"``.
    channels : int
        Of an output.
    weight : float
        Of the consistency loss: the paper's lambda.
    iterations : int
        Most iterations for one click.
    top_k : int or None
        How many channels are refined of features that have more; None: all.
    remembers : bool
        Whether every click counts in the refinement loss, or the newest alone.
    """

    @property
    def name(self) -> str: ...  # pragma: no cover  # noqa: D102
    @property
    def mode(self) -> Mode: ...  # pragma: no cover  # noqa: D102
    @property
    def fields(self) -> frozenset[str]: ...  # pragma: no cover  # noqa: D102
    @property
    def channels(self) -> int: ...  # pragma: no cover  # noqa: D102
    @property
    def weight(self) -> float: ...  # pragma: no cover  # noqa: D102
    @property
    def iterations(self) -> int: ...  # pragma: no cover  # noqa: D102
    @property
    def top_k(self) -> int | None: ...  # pragma: no cover  # noqa: D102
    @property
    def remembers(self) -> bool: ...  # pragma: no cover  # noqa: D102

    def check_click(self, click: Click) -> None:
        """Refuse a click that asks for something this task does not know.

        Raises
        ------
        ClickError
            With what the click should carry instead.
        """
        ...  # pragma: no cover

    def targets(self, clicks: Sequence[Click], start: Tensor) -> Tensor:
        """Return what clicks ask for, in terms of an output.

        Parameters
        ----------
        clicks : sequence of Click, length n
            Checked ones.
        start : Tensor, shape (n, C)
            The output at the clicks before the optimisation.

        Returns
        -------
        Tensor, shape (n,)
            On the device of ``start``: signs, class numbers from 0, or values.
        """
        ...  # pragma: no cover

    def refinement_loss(self, values: Tensor, targets: Tensor) -> Tensor:
        """Return how far an output is from what clicks ask for (L_r).

        Parameters
        ----------
        values : Tensor, shape (n, C)
            The output at the clicks.
        targets : Tensor, shape (n,)
            See :meth:`targets`.

        Returns
        -------
        Tensor, shape ()
        """
        ...  # pragma: no cover

    def held(self, before: Tensor, far: Tensor) -> Tensor:
        """Return what the consistency loss holds an output to; made once for a click.

        Parameters
        ----------
        before : Tensor, shape (1, C, h, w)
            The output with the parameters of the click before.
        far : Tensor, shape (h, w)
            See :meth:`attention`.
        """
        ...  # pragma: no cover

    def consistency_loss(self, held: Tensor, now: Tensor, far: Tensor) -> Tensor:
        """Return what it costs to change an output far from a click (L_c / lambda).

        Parameters
        ----------
        held : Tensor
            See :meth:`held`.
        now : Tensor, shape (1, C, h, w)
            The output with the parameters of now.
        far : Tensor, shape (h, w)
            See :meth:`attention`.

        Returns
        -------
        Tensor, shape ()
        """
        ...  # pragma: no cover

    def attention(
        self,
        centre: tuple[float, float],
        radii: tuple[float, float],
        size: tuple[int, int],
    ) -> NDArray[Any]:
        """Return the mask M of the consistency loss: how much each pixel is held.

        Parameters
        ----------
        centre : (float, float)
            Row and column of the newest click, in pixels of the view.
        radii : (float, float)
            Its attention radius along rows and columns, in pixels of the view: the
            radius in pixels of the image times the view's scale along each axis.
        size : (int, int)
            Height and width of the view.

        Returns
        -------
        ndarray, shape ``size``, float32, in [0, 1]
        """
        ...  # pragma: no cover

    def obeyed(self, values: Tensor, targets: Tensor) -> Tensor:
        """Return which clicks have what they ask for: shape (n,), bool.

        Parameters are those of :meth:`refinement_loss`.
        """
        ...  # pragma: no cover

    def reached(self, values: Tensor, targets: Tensor) -> bool:
        """Return whether the optimisation may stop: nothing is left to gain.

        Parameters are those of :meth:`refinement_loss`.
        """
        ...  # pragma: no cover

    def activation(self, output: Tensor) -> Tensor:
        """Return an output (1, C, h, w) in the numbers that users know."""
        ...  # pragma: no cover

    def result(self, answer: NDArray[Any], threshold: float) -> NDArray[Any]:
        """Return what the user wants of an answer, shape (H, W).

        Parameters
        ----------
        answer : ndarray, shape (H, W), or (C, H, W) for several channels
            After :meth:`activation`.
        threshold : float
            Where a probability counts as object; only segmentation asks for it.
        """
        ...  # pragma: no cover
