"""Furniture and things, put together from boxes, ellipsoids and cylinders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.random import Generator

from napari_clickseg.training.generators.raycast import Form, Solid
from napari_clickseg.training.generators.textures import Floats


def turn(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> Floats:
    """Return axes turned about the vertical, then tilted, (3, 3)."""
    cy, sy = np.cos(yaw), np.sin(yaw)
    cp, sp = np.cos(pitch), np.sin(pitch)
    cr, sr = np.cos(roll), np.sin(roll)
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_y = np.array([[cr, 0, sr], [0, 1, 0], [-sr, 0, cr]])
    return np.asarray(about_z @ about_x @ about_y, np.float32)


class Group:
    """Solids of one piece: x to its right, y to its back, z up, from its floor.

    Parameters
    ----------
    rng : Generator
        Source of chance.
    surfaces : int
        How many textures there are to choose from.
    """

    def __init__(self, rng: Generator, surfaces: int) -> None:
        self.rng, self.surfaces = rng, surfaces
        self.solids: list[Solid] = []
        self.main, self.second = self.draw(), self.draw()

    def draw(self) -> int:
        """Draw a texture's number."""
        return int(self.rng.integers(self.surfaces))

    def add(
        self,
        size: tuple[float, float, float],
        place: tuple[float, float, float],
        surface: int | None = None,
        form: Form = "box",
        axes: Floats | None = None,
        scale: float | None = None,
    ) -> None:
        """Add a solid of a size whose underside's middle is at a place."""
        x, y, z = place
        self.solids.append(
            Solid(
                form,
                np.array([x, y, z + size[2] / 2], np.float32),
                np.array(size, np.float32) / np.float32(2),
                np.eye(3, dtype=np.float32) if axes is None else axes,
                self.main if surface is None else surface,
                float(self.rng.uniform(0.3, 1.5)) if scale is None else scale,
            )
        )

    def legs(self, width: float, depth: float, height: float, thick: float) -> None:
        """Add four legs under a plate."""
        form: Form = "tube" if self.rng.random() < 0.5 else "box"
        for x in (-1.0, 1.0):
            for y in (-1.0, 1.0):
                at = (x * (width - thick) / 2, y * (depth - thick) / 2, 0.0)
                self.add((thick, thick, height), at, self.second, form)

    def clutter(self, width: float, depth: float, height: float, count: int) -> None:
        """Put small things onto a plate."""
        for _ in range(count):
            size = self.rng.uniform(0.05, 0.28, 3)
            form: Form = ("box", "ball", "tube")[int(self.rng.integers(3))]
            if form == "tube":
                size[1] = size[0] = size[0] * 0.5
                size[2] = max(size[2], size[0])
            elif form == "ball" and self.rng.random() < 0.6:
                size[:] = size[0]
            elif self.rng.random() < 0.3:
                size[2] *= 0.2  # a book, a plate
            at = self.rng.uniform(-0.45, 0.45, 2) * (width, depth)
            axes = turn(float(self.rng.uniform(0, np.pi)))
            scale = 0.0 if self.rng.random() < 0.4 else None
            self.add(
                (float(size[0]), float(size[1]), float(size[2])),
                (float(at[0]), float(at[1]), height),
                self.draw(),
                form,
                axes,
                scale,
            )


def table(g: Group) -> None:
    """Build a table or desk with things on it, perhaps a screen."""
    rng = g.rng
    width, depth = rng.uniform(0.7, 2.0), rng.uniform(0.5, 1.0)
    height, thick = rng.uniform(0.4, 0.85), rng.uniform(0.02, 0.06)
    g.legs(width, depth, height, rng.uniform(0.03, 0.09))
    g.add((width, depth, thick), (0, 0, height))
    top = height + thick
    g.clutter(width, depth, top, int(rng.integers(0, 8)))
    if rng.random() < 0.4:
        wide = rng.uniform(0.35, 0.6)
        g.add((wide, 0.03, wide * 0.6), (0, 0.1, top + 0.1), g.draw(), scale=0.0)
        g.add((0.06, 0.06, 0.12), (0, 0.13, top), g.second, "tube")


def chair(g: Group) -> None:
    """Build a chair, with its back to the back."""
    rng = g.rng
    side, height = rng.uniform(0.38, 0.55), rng.uniform(0.38, 0.5)
    g.legs(side, side, height, rng.uniform(0.025, 0.05))
    g.add((side, side, rng.uniform(0.03, 0.12)), (0, 0, height))
    back = rng.uniform(0.3, 0.65)
    g.add((side, 0.05, back), (0, side / 2, height + rng.uniform(0, 0.15)))


def shelf(g: Group) -> None:
    """Build boards between two sides, with books and boxes."""
    rng = g.rng
    width, depth = rng.uniform(0.5, 1.4), rng.uniform(0.22, 0.4)
    boards = int(rng.integers(2, 6))
    gap = rng.uniform(0.25, 0.42)
    height = boards * gap
    for x in (-1.0, 1.0):
        g.add((0.03, depth, height), (x * width / 2, 0, 0))
    if rng.random() < 0.6:
        g.add((width, 0.02, height), (0, depth / 2, 0), g.second)
    for level in range(boards + 1):
        z = float(level * gap)
        g.add((width, depth, 0.025), (0, 0, z))
        left = -width / 2 + 0.05
        while level < boards and left < width / 2 - 0.12 and rng.random() < 0.8:
            wide, tall = rng.uniform(0.04, 0.22), gap * rng.uniform(0.45, 0.9)
            form: Form = "tube" if rng.random() < 0.15 else "box"
            near = rng.uniform(-0.3, 0.2) * depth
            size = (wide, min(wide, depth) if form == "tube" else depth * 0.7, tall)
            g.add(size, (left + wide / 2, near, z + 0.025), g.draw(), form)
            left += wide + rng.uniform(0.0, 0.1)


def cabinet(g: Group) -> None:
    """Build a closed block with drawers."""
    rng = g.rng
    width, depth = rng.uniform(0.4, 1.5), rng.uniform(0.35, 0.65)
    height = float(rng.choice([rng.uniform(0.5, 1.1), rng.uniform(1.5, 2.1)]))
    g.add((width, depth, height), (0, 0, 0))
    rows = int(rng.integers(1, 5))
    for row in range(rows):
        tall = height / rows
        front = (width * 0.94, 0.03, tall * 0.9)
        g.add(front, (0, -depth / 2, (row + 0.05) * tall), g.second)
        knob = (0, -depth / 2 - 0.03, (row + 0.5) * tall)
        g.add((0.05, 0.05, 0.05), knob, g.draw(), "ball")
    if height < 1.2:
        g.clutter(width, depth, height, int(rng.integers(0, 5)))


def sofa(g: Group) -> None:
    """Build a sofa or an armchair with cushions."""
    rng = g.rng
    depth = 0.9
    width = float(rng.choice([rng.uniform(0.8, 1.0), rng.uniform(1.4, 2.2)]))
    seat = rng.uniform(0.35, 0.48)
    g.add((width, depth, seat), (0, 0, 0))
    g.add((width, 0.22, rng.uniform(0.75, 1.05)), (0, depth / 2, 0))
    for x in (-1.0, 1.0):
        form: Form = "box" if rng.random() < 0.7 else "ball"
        g.add(
            (0.2, depth, seat + rng.uniform(0.1, 0.25)),
            (x * width / 2, 0, 0),
            None,
            form,
        )
    for _ in range(int(rng.integers(0, 4))):
        at = rng.uniform(-0.4, 0.4) * width
        tilt = turn(rng.normal(0, 0.3), -rng.uniform(0.1, 0.5))
        side = rng.uniform(0.3, 0.5)
        g.add((side, 0.14, side), (at, 0.2, seat), g.draw(), "box", tilt)


def bed(g: Group) -> None:
    """Build a bed with a pillow."""
    rng = g.rng
    width, height = rng.uniform(0.9, 1.8), rng.uniform(0.35, 0.6)
    g.add((width, 2.0, height), (0, 0, 0))
    g.add((width, 0.06, rng.uniform(0.7, 1.2)), (0, 1.0, 0), g.second)
    for x in (-0.25, 0.25):
        pillow = (width * 0.4, 0.4, 0.16)
        g.add(pillow, (x * width, 0.7, height), g.draw(), "ball")


def lamp(g: Group) -> None:
    """Build a pole with a shade, or a plant in a pot."""
    rng = g.rng
    height = rng.uniform(0.6, 1.8)
    if rng.random() < 0.6:
        g.add((0.3, 0.3, 0.03), (0, 0, 0), g.second, "tube")
        g.add((0.03, 0.03, height), (0, 0, 0), g.second, "tube")
        g.add((0.35, 0.35, 0.3), (0, 0, height), None, "tube")
        return
    g.add((0.3, 0.3, 0.3), (0, 0, 0), g.second, "tube")
    for _ in range(int(rng.integers(4, 12))):
        x, y = rng.normal(0, 0.13, 2)
        size = rng.uniform(0.1, 0.35)
        tilt = turn(rng.uniform(0, 6), rng.normal(0, 0.6))
        leaf = (size * 0.5, size, 0.03 + size * 0.3)
        g.add(leaf, (x, y, 0.3 + rng.uniform(0, 0.7 * height)), None, "ball", tilt)


def heap(g: Group) -> None:
    """Pile boxes, balls and cylinders on the floor."""
    rng = g.rng
    for _ in range(int(rng.integers(1, 5))):
        form: Form = ("box", "ball", "tube")[int(rng.choice(3, p=(0.6, 0.2, 0.2)))]
        size = rng.uniform(0.12, 0.7, 3)
        if form == "ball":
            size[:] = size[0]
        x, y = rng.normal(0, 0.3, 2)
        axes = turn(rng.uniform(0, np.pi))
        g.add(
            (float(size[0]), float(size[1]), float(size[2])),
            (float(x), float(y), 0.0),
            g.draw(),
            form,
            axes,
        )


#: What may stand in a room, and how often.
PIECES: tuple[tuple[Callable[[Group], None], float], ...] = (
    (table, 0.24),
    (chair, 0.2),
    (shelf, 0.12),
    (cabinet, 0.13),
    (sofa, 0.09),
    (bed, 0.05),
    (lamp, 0.08),
    (heap, 0.09),
)


def placed(
    solids: list[Solid], place: tuple[float, float, float], yaw: float
) -> list[Solid]:
    """Put a piece somewhere, turned about the vertical."""
    axes = turn(yaw)
    at = np.array(place, np.float32)
    return [
        replace(s, centre=at + axes @ s.centre, axes=np.asarray(axes @ s.axes))
        for s in solids
    ]


def draw_piece(rng: Generator, surfaces: int) -> list[Solid]:
    """Draw a piece of furniture at the origin."""
    makers, shares = zip(*PIECES, strict=True)
    group = Group(rng, surfaces)
    makers[int(rng.choice(len(makers), p=np.array(shares) / sum(shares)))](group)
    return group.solids
