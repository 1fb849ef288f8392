"""Clicks as an ordinary Points layer: napari's own tools edit them.

The layer holds the clicks of the object in work on the plane that is on screen.
Whatever changes them (a click in "add" mode, dragging, the Delete key, a script, the
features table) is noticed by comparing the layer with what was last shown.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clickseg.binding.click_styles import (
    NEGATIVE,
    POSITIVE,
    SCREEN_SIZE,
    ClickStyle,
    SignStyle,
)
from napari_clickseg.binding.marks import Mark, MarkEdit, edit_marks
from napari_clickseg.binding.planes import Plane

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.layers import Points

    from napari_clickseg.binding.reach import Reach

__all__ = ["NEGATIVE", "POSITIVE", "ClickPoints", "new_points_keywords"]

#: A press this near to a click (screen pixels) takes hold of it.
GRAB_DISTANCE = 9.0
#: napari takes a press for a click while the mouse moves less than this.
DRAG_THRESHOLD = 5
#: Held while clicking, these turn the sign around.
SIGN_MODIFIERS = frozenset({"Shift", "Control"})
LEFT_BUTTON, RIGHT_BUTTON = 1, 2


def new_points_keywords(ndim: int, style: ClickStyle | None = None) -> dict[str, Any]:
    """Return the arguments for ``viewer.add_points`` of an empty click layer."""
    keywords = (style or SignStyle()).keywords()
    return {"data": np.empty((0, ndim)), "ndim": ndim, **keywords}


class ClickPoints:
    """Watches the Points layer, and writes the session's clicks into it.

    Parameters
    ----------
    layer : Points
        Made with :func:`new_points_keywords`.
    on_edits : callable
        Called with the edits that the user (or a script) made to the layer on the
        plane that is shown.
    on_elsewhere : callable
        Called with a position (n-D) and the click that was put there, which is on
        another plane.
    on_hover : callable
        Called when the mouse moves over the canvas while the layer is active.
    style : ClickStyle, optional
        How clicks look and what the table says of them; by default their signs.
    """

    def __init__(
        self,
        layer: Points,
        on_edits: Callable[[list[MarkEdit]], None],
        on_elsewhere: Callable[[tuple[float, ...], Mark], None],
        on_hover: Callable[[], None],
        style: ClickStyle | None = None,
    ) -> None:
        self.layer = layer
        self.style: ClickStyle = style or SignStyle()
        self.positive = True
        #: Diameter of a click on screen, in pixels.
        self.screen_size: float = SCREEN_SIZE
        #: Draws attention radii, where they have a meaning.
        self.reach: Reach | None = None
        self._on_edits = on_edits
        self._on_elsewhere = on_elsewhere
        self._on_hover = on_hover
        self._plane: Plane | None = None
        self._shown: tuple[Mark, ...] = ()
        self._busy = False
        self._turned = False
        self._grabbed: int | None = None
        self._next_radius: float | None = None
        layer.events.data.connect(self._data_changed)
        layer.events.features.connect(self._features_changed)
        layer.events.set_data.connect(self._maybe_pasted)
        layer.mouse_drag_callbacks.append(self._on_drag)
        layer.mouse_move_callbacks.append(self._on_move)

    # ------------------------------------------------------------------ showing

    @property
    def marks(self) -> tuple[Mark, ...]:
        """The clicks as they were last shown or noticed."""
        return self._shown

    def show(self, plane: Plane | None, marks: Sequence[Mark]) -> None:
        """Make the layer show these clicks of this plane."""
        marks = tuple(marks)
        if str(self.layer.mode) == "add":
            # napari selects what was just added, and draws that over its color.
            self.layer.selected_data = set()
        if plane == self._plane and marks == self._shown == self._read():
            return
        self._plane, self._shown = plane, marks
        places = [] if plane is None else [plane.to_data(m.position) for m in marks]
        with self._quietly(), _as_if_visible(self.layer) as layer:
            layer.selected_data = set()
            # What napari fills in before the table is set must be of its kind.
            layer.feature_defaults = self._defaults(self._next_mark(None))
            layer.data = np.array(places).reshape(len(places), layer.ndim)
            layer.features = self.style.features(marks)
            if marks:
                layer.symbol = [self.style.symbol(mark) for mark in marks]
            layer.refresh()
        self.show_reach()

    def restyle(self, style: ClickStyle) -> None:
        """Let clicks look, and ask for, something else from now on."""
        self.style = style
        keywords, layer = style.keywords(), self.layer
        with self._quietly():
            layer.selected_data = set()
            layer.text = None
            layer.features = style.features(self._shown)
            layer.feature_defaults = keywords["feature_defaults"]
            if "face_color_cycle" in keywords:
                layer.face_color_cycle = keywords["face_color_cycle"]
            layer.face_color = keywords["face_color"]
            if "face_color_cycle" not in keywords:
                layer.current_face_color = keywords["face_color"]
            layer.text = keywords.get("text")
            if self._shown:
                layer.symbol = [style.symbol(mark) for mark in self._shown]
            layer.refresh()

    def show_reach(self) -> None:
        """Draw how far the newest click reaches, if it has a radius of its own."""
        if self.reach is not None:
            self.reach.show(self._plane, self._shown[-1] if self._shown else None)

    def fit_zoom(self, zoom: float) -> None:
        """Keep the size on screen (napari's own limits make the border too wide).

        Parameters
        ----------
        zoom : float
            Screen pixels for one unit of the world.
        """
        layer, plane = self.layer, self._plane
        axes = list(plane.axes) if plane is not None else [-2, -1]
        unit = float(np.mean(np.abs(np.asarray(layer.scale)[axes])))
        if zoom <= 0 or unit <= 0:
            return
        size = self.screen_size / (zoom * unit)
        with self._quietly(), layer.block_update_properties():
            layer.current_size = size
            if len(layer.data):
                layer.size = size

    def disconnect(self) -> None:
        """Leave the layer to itself."""
        layer = self.layer
        if self.reach is not None:
            self.reach.close()
        for event, callback in (
            (layer.events.data, self._data_changed),
            (layer.events.features, self._features_changed),
            (layer.events.set_data, self._maybe_pasted),
        ):
            event.disconnect(callback)
        for callbacks, function in (
            (layer.mouse_drag_callbacks, self._on_drag),
            (layer.mouse_move_callbacks, self._on_move),
        ):
            if function in callbacks:
                callbacks.remove(function)

    # ----------------------------------------------------------------- noticing

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        busy, self._busy = self._busy, True
        try:
            yield
        finally:
            self._busy = busy

    def _read(self) -> tuple[Mark, ...] | None:
        """Return the clicks in the layer; None where one is on another plane."""
        plane, layer = self._plane, self.layer
        if plane is None:
            return None if len(layer.data) else ()
        if len(layer.features) != len(layer.data):
            return None  # in the middle of a change
        table = {name: list(layer.features[name]) for name in layer.features}
        marks = []
        for index, place in enumerate(layer.data):
            if not plane.holds(place):
                return None
            cells = {name: column[index] for name, column in table.items()}
            marks.append(self.style.mark(*plane.to_plane(place), cells))
        return tuple(marks)

    def _data_changed(self, event: Any) -> None:
        if self._busy:
            return
        action = str(getattr(event, "action", "changed"))
        if action == "adding":
            self._set_next()
        elif action in {"added", "removed", "changed"}:
            if action == "added" and self._grabbed is not None:
                self._grabbed = None
                self._swallow()
            else:
                self._notice()
            self._turned = False

    def _features_changed(self, _event: Any) -> None:
        if not self._busy:
            self._notice()

    def _maybe_pasted(self, _event: Any) -> None:
        # Pasting tells nobody but through a refresh.
        if not self._busy and len(self.layer.data) > len(self._shown):
            self._notice()

    def _notice(self) -> None:
        with self._quietly():
            self._send_away_strangers()
            marks = self._read()
            if marks is None or marks == self._shown:
                return
            edits = edit_marks(self._shown, marks)
            self._shown = marks
            self._draw_symbols(marks)
        self.show_reach()
        self._on_edits(edits)

    def _send_away_strangers(self) -> None:
        """Hand clicks on other planes to those planes: they are not shown here."""
        plane, layer = self._plane, self.layer
        if plane is None or layer.ndim == 2:
            return
        here = np.array([plane.holds(place) for place in layer.data], dtype=bool)
        if here.all():
            return
        features = layer.features.reset_index(drop=True)
        away = []
        for i in np.flatnonzero(~here):
            place = tuple(float(x) for x in layer.data[i])
            cells = {name: features[name][i] for name in features}
            away.append((place, self.style.mark(*plane.to_plane(place), cells)))
        layer.data = layer.data[here].reshape(-1, layer.ndim)
        layer.features = features[here].reset_index(drop=True)
        for place, mark in away:
            self._on_elsewhere(place, mark)

    def _draw_symbols(self, marks: Sequence[Mark]) -> None:
        wanted = [self.style.symbol(mark) for mark in marks]
        if wanted and [str(s) for s in self.layer.symbol] != wanted:
            self.layer.symbol = wanted

    # -------------------------------------------------------------------- mouse

    def _set_next(self) -> None:
        """Tell napari what the click that is put down now asks for."""
        mark = self._next_mark(self._next_radius)
        with self._quietly(), self.layer.block_update_properties():
            self.layer.feature_defaults = self._defaults(mark)
            self.layer.current_symbol = self.style.symbol(mark)

    def _defaults(self, mark: Mark) -> dict[str, Any]:
        return {name: cell[0] for name, cell in self.style.features([mark]).items()}

    def _next_mark(self, radius: float | None) -> Mark:
        return self.style.next_mark(self.positive != self._turned, radius)

    def _swallow(self) -> None:
        """Take back the point that napari added on top of one that was pressed."""
        with self._quietly():
            self.layer.data = self.layer.data[:-1]

    def _on_move(self, _layer: Points, _event: Any) -> None:
        self._on_hover()

    def _on_drag(self, layer: Points, event: Any) -> Generator[None, None, None]:
        """Turn the sign while a modifier is held; drag a click in "add" mode.

        Beside a click, dragging draws the radius of a new one where radii have a
        meaning; otherwise it moves the view.
        """
        # Modifiers are objects that equal their names.
        turned = any(name in event.modifiers for name in SIGN_MODIFIERS)
        self._turned = turned or event.button == RIGHT_BUTTON
        adds = str(layer.mode) == "add"
        self._grabbed = self._find(event) if adds else None
        index, begin, moved = self._grabbed, np.array(event.pos), False
        start = np.array(layer.world_to_data(event.position))
        offset = 0.0 if index is None else layer.data[index] - start
        draws = (
            adds
            and index is None
            and event.button == LEFT_BUTTON
            and self.reach is not None
            and self.reach.wanted
        )
        way, radius = 0.0, None
        # An event of the mouse may reach the camera before it comes here.
        pans = layer.mouse_pan
        if draws or index is not None:
            layer.mouse_pan = False
        try:
            yield
            while event.type == "mouse_move":
                way = float(np.linalg.norm(begin - event.pos))
                moved = moved or way >= DRAG_THRESHOLD
                if index is not None and index < len(layer.data):
                    event.handled = True  # the camera stays where it is
                    if moved:
                        self._drag_to(
                            index, layer.world_to_data(event.position) + offset
                        )
                elif draws:
                    event.handled = True
                    radius = self._draw_radius(start, event, way)
                yield
        finally:
            layer.mouse_pan = pans
        if draws:
            way = float(np.linalg.norm(begin - event.pos))
            self._put(start, radius if way >= DRAG_THRESHOLD else None)
        if moved and not (draws and way < DRAG_THRESHOLD):
            # napari will not take this for a click.
            self._grabbed, self._turned = None, False
            if index is not None:
                self._notice()

    def _draw_radius(self, start: Any, event: Any, way: float) -> float | None:
        """Draw the circle from where the mouse went down to where it is."""
        plane = self._plane
        if plane is None or self.reach is None or way < DRAG_THRESHOLD:
            self.show_reach()
            return None
        begin = plane.to_plane(start)
        here = plane.to_plane(self.layer.world_to_data(event.position))
        radius = float(np.hypot(here[0] - begin[0], here[1] - begin[1]))
        if radius <= 0.0:
            return None
        mark = self._next_mark(radius)._replace(row=begin[0], col=begin[1])
        self.reach.show(plane, mark)
        return radius

    def _put(self, place: Any, radius: float | None) -> None:
        """Put down a click with the radius that was drawn.

        Where the mouse came back to the place where it went down, napari itself
        puts down a plain one.
        """
        if radius is not None:
            self._next_radius = radius
            try:
                self.layer.add(place)
            finally:
                self._next_radius = None
        self.show_reach()

    def _drag_to(self, index: int, position: Any) -> None:
        places = self.layer.data.copy()
        places[index] = position
        with self._quietly():
            self.layer.data = places
        if self.reach is not None and self._plane is not None:
            mark = self._shown[index]
            row, col = self._plane.to_plane(position)
            self.reach.show(self._plane, mark._replace(row=row, col=col))

    def _find(self, event: Any) -> int | None:
        """Return the click under the mouse."""
        layer = self.layer
        if not len(layer.data) or self._plane is None:
            return None
        mouse = np.array(event.position, dtype=float)[-layer.ndim :]
        places = np.array([layer.data_to_world(place) for place in layer.data])
        distances = np.linalg.norm(places[:, -layer.ndim :] - mouse, axis=1)
        nearest = int(np.argmin(distances))
        zoom = float(getattr(event, "camera_zoom", 1.0))
        return nearest if distances[nearest] * zoom <= GRAB_DISTANCE else None


@contextmanager
def _as_if_visible(layer: Points) -> Iterator[Points]:
    """Change a hidden layer as one that shows, without showing it.

    napari does not slice hidden layers anew, and later looks for points by numbers
    that are gone.
    """
    if layer.visible:
        yield layer
        return
    with layer.events.visible.blocker():
        layer.visible = True
        try:
            yield layer
        finally:
            layer.visible = False
