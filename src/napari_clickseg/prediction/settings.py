"""Options of prediction, and the immutable records that go in and out of it.

Nothing here needs torch, so that docks and sessions can hold these records
before a model is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np

from napari_clickseg.boxes import Box
from napari_clickseg.errors import MaskError, SettingsError

FirstLook = Literal["published", "visible", "search"]
FIRST_LOOKS: tuple[FirstLook, ...] = get_args(FirstLook)
Windows = Literal["auto", "free", "tiles"]
WINDOWS: tuple[Windows, ...] = get_args(Windows)


@dataclass(frozen=True)
class PredictionSettings:
    """How a click becomes an answer; the defaults are the published protocol.

    Parameters
    ----------
    zoom_in : bool
        Look at a window around the object from the second click on.
    skip_clicks : int
        So many first clicks see the whole image, unresized. Negative: even the
        first one sees it resized to ``target_size``.
    target_size : int or (int, int)
        Pixels of the longer side of a window after resizing, or the exact
        height and width.
    expansion_ratio : float
        Size of the window over the size of the object; of a tile, which has the
        object seldom in its middle, the square of it.
    min_crop_size : int
        Smallest side of a window in image pixels.
    recompute_thresh_iou : float
        A stored window is replaced where its overlap with the window that the
        last answer asks for falls below this.
    zoom_prob_threshold : float
        Probability above which a pixel counts as object when windows are made.
    flip : bool or "auto"
        Average the settled answer with that of the mirrored window. ``"auto"``: as
        published, so yes but for models that encode an image once, for which it would
        double what takes longest.
    max_size : int or None
        Longest side of what the network sees; None: no limit.
    threshold : float
        Probability above which a pixel belongs to the mask.
    first_look : {"published", "visible", "search"}
        What the first click sees: the whole image as published, the field
        shown on the canvas, or the best of a few windows around the click.
    net_clicks_limit : int or None
        Only so many first clicks are given to the network; None: all.
    windows : {"auto", "free", "tiles"}
        ``"free"``: windows are fitted to clicks and objects. ``"tiles"``: every window
        is one of a fixed pyramid (:mod:`napari_clickseg.prediction.tiles`), so that
        all can be encoded ahead of time; with ``first_look="published"`` it is always
        the whole image. ``"auto"``: tiles for models that encode an image once.
    tile_side : int or None
        Longest side of a tile for the network; None: what the network works at.
    magnify : float or None
        How many pixels of the network a pixel of the image becomes in the finest
        tiles, at least 1; None: 1, but for models that encode so quickly that tiles
        of small objects may be encoded when they are clicked.

    Raises
    ------
    SettingsError
        Where a value makes no sense; the text says which and what to give.

    Notes
    -----
    Values as in the evaluation of RITM (Sofiiuk et al., 2021) and f-BRS
    (Sofiiuk et al., 2020): ZoomIn with 1, 400, 1.4, 200, 0.5, 0.5; masks are
    cut at 0.49. DAVIS is evaluated with ``target_size=600``.
    """

    zoom_in: bool = True
    skip_clicks: int = 1
    target_size: int | tuple[int, int] = 400
    expansion_ratio: float = 1.4
    min_crop_size: int = 200
    recompute_thresh_iou: float = 0.5
    zoom_prob_threshold: float = 0.5
    flip: bool | Literal["auto"] = "auto"
    max_size: int | None = None
    threshold: float = 0.49
    first_look: FirstLook = "published"
    net_clicks_limit: int | None = None
    windows: Windows = "auto"
    tile_side: int | None = None
    magnify: float | None = None

    def __post_init__(self) -> None:
        size: Any = self.target_size
        if isinstance(size, list):  # as JSON gives it back
            size = tuple(size)
            object.__setattr__(self, "target_size", size)
        sides = (size, size) if isinstance(size, int) else size
        if len(sides) != 2 or any(side < 1 for side in sides):
            raise SettingsError(
                f"target_size is {size!r}: give a positive number of pixels, "
                "or (height, width)."
            )
        if self.first_look not in FIRST_LOOKS:
            raise SettingsError(
                f"first_look is {self.first_look!r}: choose one of "
                f"{', '.join(FIRST_LOOKS)}."
            )
        if self.windows not in WINDOWS:
            raise SettingsError(
                f"windows is {self.windows!r}: choose one of {', '.join(WINDOWS)}."
            )
        if self.flip not in (True, False, "auto"):
            raise SettingsError(f"flip is {self.flip!r}: give True, False or 'auto'.")
        sizes = ("min_crop_size", "max_size", "net_clicks_limit", "tile_side")
        for name in (*sizes, "magnify"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingsError(f"{name} is {value}: give 1 or more.")
        for name in ("recompute_thresh_iou", "zoom_prob_threshold", "threshold"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise SettingsError(f"{name} is {value}: give a value from 0 to 1.")
        if not self.expansion_ratio > 0:
            raise SettingsError(
                f"expansion_ratio is {self.expansion_ratio}: give a value above 0."
            )

    def decided_for(self, model: Any) -> PredictionSettings:
        """Return the same settings with ``"auto"`` decided for a model."""
        once = bool(getattr(model, "encodes_once", False))
        windows: Windows = "tiles" if once else "free"
        return replace(
            self,
            windows=windows if self.windows == "auto" else self.windows,
            flip=not once if self.flip == "auto" else self.flip,
        )

    def updated(self, changes: Mapping[str, Any]) -> PredictionSettings:
        """Return the same settings with some changed."""
        return replace(self, **changes)


def _read_only(values: np.ndarray) -> np.ndarray:
    """Return values of any type that cannot be written to."""
    if not values.flags.writeable:
        return values
    array = values.copy()
    array.flags.writeable = False
    return array


def _frozen(values: np.ndarray) -> np.ndarray:
    """Return float32 values that cannot be written to."""
    array = np.ascontiguousarray(values, dtype=np.float32)
    if array is values and array.base is None and not array.flags.writeable:
        return array  # frozen before: moments and their objects share it
    if array is values or array.base is not None:
        array = array.copy()
    array.flags.writeable = False
    return array


@dataclass(frozen=True, eq=False)
class Refined:
    """Parameters of a refinement, and the view that they belong to.

    Parameters
    ----------
    purpose : str
        Method, places and model; another refinement starts afresh.
    box : Box
        Pixels of the image that the network saw.
    size : (int, int)
        Height and width at which it saw them.
    arrays : tuple of mapping
        Parameters of each layer, by name; read-only.
    previous : ndarray, shape of ``box``, float32, or None
        Previous mask of the last click that the network was given, where later
        clicks act through the loss alone.
    """

    purpose: str
    box: Box
    size: tuple[int, int]
    arrays: tuple[Mapping[str, np.ndarray], ...]
    previous: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", (int(self.size[0]), int(self.size[1])))
        arrays = tuple(
            MappingProxyType({name: _read_only(v) for name, v in layer.items()})
            for layer in self.arrays
        )
        object.__setattr__(self, "arrays", arrays)


@dataclass(frozen=True, eq=False)
class PredictorState:
    """What the next prediction needs besides the clicks.

    Immutable: going back to an older state is all that undo takes.

    Parameters
    ----------
    roi : Box or None
        The stored window of the zoom-in; None: no window was made yet.
    box : Box or None
        Where the last answer lies; it is zero elsewhere. None: no answer yet.
    probability : ndarray, shape of ``box``, float32 in [0, 1], or None
        The last answer, which is the next click's previous mask.
    min_crop : int or None
        Smallest window side that a first look other than the published one
        has settled on, None: as in the settings.
    external : bool
        The probability is a mask that no click made (a starting mask).
    index_offset : int
        Number of the first click: 1 after a starting mask, else 0.
    refined : Refined or None
        What the refinement of the clicks so far has found.
    memory_box : Box or None
        Where ``memory`` lies.
    memory : ndarray, shape of ``memory_box``, float16 in [0, 1], or None
        What a network that remembers more than its last answer has made of all
        answers so far; 1/2 where it knows nothing.
    within : Box or None
        Where the user said that the object lies: no window reaches farther than one
        that would be made for an object of this size. None: anywhere.
    """

    roi: Box | None = None
    box: Box | None = None
    probability: np.ndarray | None = None
    min_crop: int | None = None
    external: bool = False
    index_offset: int = 0
    refined: Refined | None = None
    memory_box: Box | None = None
    memory: np.ndarray | None = None
    within: Box | None = None

    def __post_init__(self) -> None:
        self._check_memory()
        if (self.box is None) != (self.probability is None):
            raise MaskError("Give a box and a probability together, or neither.")
        if self.box is None or self.probability is None:
            return
        if self.probability.shape != self.box.shape:
            raise MaskError(
                f"A probability of shape {self.probability.shape} does not fill "
                f"the box {tuple(self.box)} of shape {self.box.shape}."
            )
        object.__setattr__(self, "probability", _frozen(self.probability))

    def _check_memory(self) -> None:
        if self.memory is None and self.memory_box is None:
            return
        if self.memory is None or self.memory_box is None:
            raise MaskError("Give a memory and its box together, or neither.")
        if self.memory.shape != self.memory_box.shape:
            raise MaskError(
                f"A memory of shape {self.memory.shape} does not fill the box "
                f"{tuple(self.memory_box)} of shape {self.memory_box.shape}."
            )
        memory = self.memory
        if memory.dtype != np.float16:
            memory = memory.astype(np.float16)
            memory.flags.writeable = False
        memory = _read_only(memory)
        object.__setattr__(self, "memory", memory)

    @classmethod
    def from_mask(cls, mask: np.ndarray, box: Box | None = None) -> PredictorState:
        """Start from a mask that no click made.

        Parameters
        ----------
        mask : ndarray, shape (h, w)
            Boolean, or probabilities in [0, 1].
        box : Box, optional
            Where the mask lies; by default at the image's origin.
        """
        where = Box.of_shape(mask.shape) if box is None else box
        return cls(box=where, probability=mask, external=True, index_offset=1)

    def with_mask(self, mask: np.ndarray, box: Box) -> PredictorState:
        """Return this state after its answer was painted over by hand.

        The stored window stays, so that the next click looks where the last
        one did.
        """
        return replace(self, box=box, probability=mask, external=True)

    def window(self, box: Box) -> np.ndarray:
        """Return the last answer inside a box, zeros where there is none.

        Returns
        -------
        ndarray, shape of ``box``, float32
        """
        if self.probability is not None and self.box == box:
            return self.probability
        return _cut(self.probability, self.box, box, 0.0)

    def remembered(self, box: Box) -> np.ndarray:
        """Return the memory inside a box.

        Returns
        -------
        ndarray, shape of ``box``, float32
            1/2 where nothing is known; zeros alone if there is no memory.
        """
        empty = 0.0 if self.memory is None else 0.5
        return _cut(self.memory, self.memory_box, box, empty)


def _cut(
    values: np.ndarray | None, at: Box | None, box: Box, outside: float
) -> np.ndarray:
    """Return the part of values at one box that lies in another one, float32."""
    out = np.full(box.shape, outside, dtype=np.float32)
    if values is None or at is None:
        return out
    common = at.intersect(box)
    if not common.empty:
        source = common.relative_to(at).slices
        out[common.relative_to(box).slices] = values[source]
    return out


@dataclass(frozen=True, eq=False)
class Prediction:
    """An answer to the clicks so far.

    Parameters
    ----------
    box : Box
        Where the answer lies.
    probability : ndarray, shape of ``box``, float32 in [0, 1], read-only
        How sure the model is that a pixel belongs to the object; outside of
        ``box`` it is zero.
    state : PredictorState
        What the next prediction starts from.
    settled : bool
        Whether asking again would change nothing: the mirrored pass is in the
        answer (where the settings ask for it), and its refinement came to an end.
    seconds : float
        Wall time of the call.
    notices : tuple of str
        What the user should know, e.g. that memory ran out.
    unsatisfied : tuple of int
        Clicks (numbers from 0) whose own pixel the refined network did not give the
        label that was asked for; empty without a refinement.
    corrected : tuple of int
        Those of them whose pixel, and a few around it, was changed afterwards.
        ``state`` keeps the network's own answer.
    contradicted : tuple of int
        Those of them that a later click on the same pixel takes back.
    evaluations : int
        How often the refinement computed its loss, for this answer.
    """

    box: Box
    probability: np.ndarray
    state: PredictorState
    settled: bool
    seconds: float
    notices: tuple[str, ...] = ()
    unsatisfied: tuple[int, ...] = ()
    corrected: tuple[int, ...] = ()
    contradicted: tuple[int, ...] = ()
    evaluations: int = 0
