"""Classical methods under the same simulated annotator, to give numbers a scale.

Each baseline answers the annotator's clicks in a loop of its own, under the same
rule, the same goal and the same number of clicks as the model: the first click is
the same for all, later ones go where that method is wrong. That is how published
tables compare graph cut and random walker with networks.

Clicks become discs of five pixels, the size that networks are shown. The frame of
the image is background but where clicks say otherwise: these methods need a seed
of either kind before they say anything, and answers jump about when such a seed
goes away with the first negative click.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clickseg.boxes import Box
from napari_clickseg.errors import ClickSegError
from napari_clickseg.evaluation.methods import as_source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_clickseg.clicks import Click

DISC_RADIUS = 5
UNKNOWN, FOREGROUND, BACKGROUND = 0, 1, 2


class Baseline(ABC):
    """A method that needs no training: seeds in, mask out."""

    name = ""

    def __init__(self) -> None:
        self.pixels = 0
        self.where = "cpu"
        self.notices: list[str] = []
        self.wants_radii = False
        self._rgb = np.zeros((1, 1, 3), np.float32)

    def open_image(self, image: Any) -> None:
        """Take a new image, (H, W) or (H, W, C)."""
        source = as_source(image)
        self._rgb = source.window(Box.of_shape(source.shape))
        self._prepare()
        self.start_object()

    def start_object(self, field: Box | None = None) -> None:  # noqa: ARG002
        """Forget the object before; these methods look at the whole image."""
        self._previous: NDArray[np.bool_] | None = None

    def answer_without_clicks(self) -> NDArray[np.bool_] | None:
        """Return None: each of these needs a click."""
        return None

    def answer(self, clicks: Sequence[Click]) -> NDArray[np.bool_]:
        """Return the mask (H, W) for all clicks so far."""
        seeds = seed_map(clicks, self._rgb.shape[:2])
        self.pixels = seeds.size
        if not (seeds == BACKGROUND).any():
            mask = np.ones(seeds.shape, bool)
        elif not (seeds == FOREGROUND).any():
            mask = np.zeros(seeds.shape, bool)
        else:
            mask = self._segment(seeds)
        # A click is an order to these methods, whatever the smoothing says.
        mask[seeds == FOREGROUND] = True
        mask[seeds == BACKGROUND] = False
        self._previous = mask
        return mask

    def _prepare(self) -> None:  # noqa: B027 - not every baseline needs it
        """Do what depends on the image alone."""

    @abstractmethod
    def _segment(self, seeds: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return the mask for seeds (H, W) of 0 unknown, 1 object, 2 background."""


def seed_map(clicks: Sequence[Click], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return seeds (H, W): discs around the clicks, later clicks on top.

    Parameters
    ----------
    clicks : sequence of Click
        In order.
    shape : (int, int)
        Height and width.

    Returns
    -------
    array (H, W) of uint8
        0 unknown, 1 object, 2 background; the frame of the image is background
        but for positive discs.
    """
    height, width = shape[:2]
    seeds = np.zeros((height, width), np.uint8)
    seeds[[0, -1], :] = BACKGROUND
    seeds[:, [0, -1]] = BACKGROUND
    for click in clicks:
        row, col = round(click.row), round(click.col)
        top, left = max(0, row - DISC_RADIUS), max(0, col - DISC_RADIUS)
        window = seeds[top : row + DISC_RADIUS + 1, left : col + DISC_RADIUS + 1]
        rows, cols = np.ogrid[: window.shape[0], : window.shape[1]]
        disc = (rows + top - row) ** 2 + (cols + left - col) ** 2 <= DISC_RADIUS**2
        window[disc] = FOREGROUND if click.positive else BACKGROUND
    return seeds


class RandomWalker(Baseline):
    """Random walker (Grady, 2006), as scikit-image has it, on colours.

    Parameters
    ----------
    beta : float
        How hard edges stop the walker; scikit-image's default.
    max_side : int
        Larger images are walked on at this longest side; the probability, not the
        mask, is brought back to size. Whole photos take seconds per click.
    """

    name = "random-walker"

    def __init__(self, beta: float = 130.0, max_side: int = 256) -> None:
        super().__init__()
        self.beta = beta
        self.max_side = max_side

    def _prepare(self) -> None:
        from skimage.transform import resize

        height, width = self._rgb.shape[:2]
        scale = min(1.0, self.max_side / max(height, width))
        size = max(3, round(height * scale)), max(3, round(width * scale))
        self._small = self._rgb
        if size != (height, width):
            self._small = resize(self._rgb, size, order=1, anti_aliasing=True)

    def _segment(self, seeds: NDArray[np.uint8]) -> NDArray[np.bool_]:
        import warnings

        from skimage.segmentation import random_walker
        from skimage.transform import resize

        small = _shrink_seeds(seeds, self._small.shape[:2])
        self.pixels = small.size
        with warnings.catch_warnings():
            # It recommends another solver package.
            warnings.simplefilter("ignore")
            walked = random_walker(
                self._small,
                small,
                beta=self.beta,
                mode="bf",  # solves exactly, as fast at this size
                return_full_prob=True,
                channel_axis=-1,
            )
        # Without an unknown pixel it returns what it was given, as bool.
        mine = np.asarray(walked[0], np.float32)
        mask: NDArray[np.bool_] = resize(mine, seeds.shape, order=1) > 0.5
        return mask


def _shrink_seeds(
    seeds: NDArray[np.uint8], shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    """Return seeds on a smaller grid; no seed is lost, object seeds win."""
    if seeds.shape == shape:
        return seeds
    small = np.zeros(shape, np.uint8)
    for kind in (BACKGROUND, FOREGROUND):
        rows, cols = np.nonzero(seeds == kind)
        small[rows * shape[0] // seeds.shape[0], cols * shape[1] // seeds.shape[1]] = (
            kind
        )
    return small


class GraphCut(Baseline):
    """Graph cut on superpixels (Boykov & Jolly, 2001; Li et al., 2004).

    Superpixels (SLIC) of scikit-image are the nodes. An edge costs its length in
    pixels, less where colours differ; a node costs its colour's distance to the
    seeds of each side. SciPy finds the cheapest cut.

    Parameters
    ----------
    segments : int
        Superpixels per image, about.
    smoothness : float
        Weight of edges against colours.
    """

    name = "graph-cut"

    def __init__(self, segments: int = 2000, smoothness: float = 0.5) -> None:
        super().__init__()
        self.segments = segments
        self.smoothness = smoothness

    def _prepare(self) -> None:
        from skimage.color import rgb2lab
        from skimage.segmentation import slic

        lab = rgb2lab(self._rgb)
        self._nodes = slic(
            lab,
            n_segments=self.segments,
            compactness=10,
            convert2lab=False,
            start_label=0,
            channel_axis=-1,
        )
        flat = self._nodes.ravel()
        self._sizes = np.bincount(flat)
        self._colours = np.stack(
            [np.bincount(flat, lab[..., i].ravel()) / self._sizes for i in range(3)], 1
        )
        count = self._sizes.size
        pairs = np.concatenate(
            [
                np.stack([a.ravel(), b.ravel()], 1)
                for a, b in (
                    (self._nodes[1:], self._nodes[:-1]),
                    (self._nodes[:, 1:], self._nodes[:, :-1]),
                )
            ]
        )
        pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)
        keys, lengths = np.unique(
            pairs[:, 0].astype(np.int64) * count + pairs[:, 1], return_counts=True
        )
        self._first, self._second = keys // count, keys % count
        contrast = (
            (self._colours[self._first] - self._colours[self._second]) ** 2
        ).sum(axis=1)
        scale = 2 * contrast.mean() if contrast.size and contrast.any() else 1.0
        self._edges = lengths * np.exp(-contrast / scale)

    def _segment(self, seeds: NDArray[np.uint8]) -> NDArray[np.bool_]:
        flat = self._nodes.ravel()
        count = self._sizes.size
        inside = np.bincount(flat, seeds.ravel() == FOREGROUND, count)
        outside = np.bincount(flat, seeds.ravel() == BACKGROUND, count)
        is_object, is_background = inside > outside, (outside > 0) & (outside >= inside)
        if not is_object.any() or not is_background.any():
            return np.full(seeds.shape, bool(is_object.any()))
        near = _nearest(self._colours, self._colours[is_object])
        far = _nearest(self._colours, self._colours[is_background])
        total = near + far + 1e-6
        perimeter = np.sqrt(self._sizes)
        hard = 1e6
        to_object = np.where(is_object, hard, perimeter * far / total)
        to_background = np.where(is_background, hard, perimeter * near / total)
        to_object[is_background] = 0.0
        to_background[is_object] = 0.0
        side = _cut(
            to_object,
            to_background,
            self._first,
            self._second,
            self.smoothness * self._edges,
        )
        return side[self._nodes]


def _nearest(colours: NDArray[Any], seeds: NDArray[Any]) -> NDArray[Any]:
    from scipy.spatial import KDTree

    distance: NDArray[Any] = KDTree(seeds).query(colours)[0]
    return distance


def _cut(
    to_object: NDArray[Any],
    to_background: NDArray[Any],
    first: NDArray[Any],
    second: NDArray[Any],
    edges: NDArray[Any],
) -> NDArray[np.bool_]:
    """Return which nodes stay with the object in the cheapest cut."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import breadth_first_order, maximum_flow

    count = to_object.size
    source, sink = count, count + 1
    nodes = np.arange(count)
    rows = np.concatenate([np.full(count, source), nodes, first, second])
    cols = np.concatenate([nodes, np.full(count, sink), second, first])
    costs = np.concatenate([to_object, to_background, edges, edges])
    # SciPy's flow counts in whole numbers of 32 bits, older ones also number nodes so.
    rows, cols = rows.astype(np.int32), cols.astype(np.int32)
    whole = np.minimum(np.round(costs * 100), 1e8).astype(np.int32)
    used = whole > 0
    graph = csr_array(
        (whole[used], (rows[used], cols[used])), shape=(count + 2, count + 2)
    )
    graph.sum_duplicates()
    flow = maximum_flow(graph, source, sink).flow
    left = (graph - flow).tocsr()
    left.data[left.data < 0] = 0
    left.eliminate_zeros()
    reached = breadth_first_order(left, source, return_predecessors=False)
    side = np.zeros(count + 2, bool)
    side[reached] = True
    return side[:count]


class GrabCut(Baseline):
    """GrabCut (Rother et al., 2004), as OpenCV has it, started from clicks.

    The first answer starts from the discs alone, with everything else probably
    background; later ones start from the answer before.

    Parameters
    ----------
    rounds : int
        Rounds of fitting colours and cutting, for each click.
    """

    name = "grabcut"

    def __init__(self, rounds: int = 3) -> None:
        super().__init__()
        self.rounds = rounds

    def _prepare(self) -> None:
        self._bytes = np.round(self._rgb[..., ::-1] * 255).astype(np.uint8)

    def _segment(self, seeds: NDArray[np.uint8]) -> NDArray[np.bool_]:
        import cv2

        guess = np.full(seeds.shape, cv2.GC_PR_BGD, np.uint8)
        if self._previous is not None:
            guess[self._previous] = cv2.GC_PR_FGD
        guess[seeds == FOREGROUND] = cv2.GC_FGD
        guess[seeds == BACKGROUND] = cv2.GC_BGD
        cv2.setRNGSeed(0)
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(
            np.ascontiguousarray(self._bytes),
            guess,
            (0, 0, 1, 1),  # not read in this mode
            *models,
            self.rounds,
            cv2.GC_INIT_WITH_MASK,
        )
        return (guess == cv2.GC_FGD) | (guess == cv2.GC_PR_FGD)


BASELINES: dict[str, type[Baseline]] = {
    method.name: method for method in (RandomWalker, GraphCut, GrabCut)
}


def available_baselines() -> tuple[str, ...]:
    """Return the baselines that run here; GrabCut needs OpenCV."""
    return tuple(name for name in BASELINES if name != GrabCut.name or find_spec("cv2"))


def make_baseline(name: str) -> Baseline:
    """Return a baseline by its name.

    Raises
    ------
    ClickSegError
        Unknown, or its library is not installed.
    """
    if name not in BASELINES:
        raise ClickSegError(
            f"There is no baseline {name!r}. Choose from: {', '.join(BASELINES)}."
        )
    if name not in available_baselines():
        raise ClickSegError(
            f"The baseline {name!r} needs OpenCV: pip install "
            "'napari-clickseg[baselines]'."
        )
    return BASELINES[name]()
