"""The choices of the section "Refinement", and what follows when they change."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_clickseg.binding.choices import CHOICES, Choices
from napari_clickseg.binding.hooks import connected
from napari_clickseg.binding.reach import Reach
from napari_clickseg.binding.stage import Stage
from napari_clickseg.prediction.settings import PredictionSettings
from napari_clickseg.preferences import preferences
from napari_clickseg.refinement.settings import RefinementSettings
from napari_clickseg.session.refining import in_use

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels, Points

    from napari_clickseg.binding.click_styles import ClickStyle
    from napari_clickseg.binding.shelf import ModelShelf
    from napari_clickseg.worker import Channel

__all__ = ["Choosing"]


class Choosing(Stage):
    """A stage whose layers look, and are answered, as the dock says."""

    def __init__(
        self, viewer: ViewerModel, channel: Channel, shelf: ModelShelf
    ) -> None:
        self.choices = Choices.by(preferences().get)
        super().__init__(viewer, channel, shelf)

    # -------------------------------------------------------------------- choosing

    def choose_option(self, key: str, value: Any) -> None:
        """Change a choice, here and for the next start.

        Parameters
        ----------
        key : str
            Name of a preference of :data:`CHOICES`.

        Notes
        -----
        The object in work is answered again where the choice makes a difference.
        A value that makes no sense is told and left out.
        """

        def choose() -> None:
            self.use_choices(self.choices.changed(key, value))
            preferences().set(key, self.choices.value(key))

        self._guarded(choose)

    def reset_choices(self) -> None:
        """Go back to the defaults, here and for the next start."""
        usual = Choices.usual()
        self.use_choices(usual)
        for key in CHOICES:
            preferences().set(key, usual.value(key))

    def use_choices(self, choices: Choices, *, ask: bool = True) -> None:
        """Answer and draw like this from now on; ``ask``: the object in work too."""
        old, self.choices = self.choices, choices
        if choices == old:
            return
        if self.mask_layer is not None:
            self.mask_layer.opacity = choices.shown.mask_opacity
        if self.points is not None:
            self.points.screen_size = choices.shown.click_size
            self._zoomed()
            self.points.show_reach()
        if ask and self._answers_differ(old):
            self.ask_again()
        self.changed.emit()

    def heed_choice(self, key: str, value: Any) -> None:
        """Follow napari's Preferences."""
        self._guarded(lambda: self.use_choices(self.choices.changed(key, value)))

    @property
    def refinement_in_use(self) -> RefinementSettings:
        """What answers are refined with: the choice, or what the model brings."""
        return in_use(self.choices.refinement, self.model_facts)

    @property
    def uses_radius(self) -> bool:
        """Whether attention radii have a meaning: with the consistency loss."""
        used = self.refinement_in_use
        return used.active and used.by_adam and used.consistency > 0

    # ---------------------------------------------------------------------- layers

    def _take_points(self, layer: Points, style: ClickStyle | None = None) -> None:
        super()._take_points(layer, style)
        assert self.points is not None
        this = weakref.ref(self)

        def wanted() -> bool:
            stage = this()
            return stage is not None and stage.uses_radius

        self.points.screen_size = self.choices.shown.click_size
        self.points.reach = Reach(self.viewer, layer, wanted, self.points.style.colour)

    def _take_mask(self, layer: Labels) -> None:
        super()._take_mask(layer)
        layer.opacity = self.choices.shown.mask_opacity
        self._mask_stops.append(
            connected(layer.events.opacity, self._opacity_changed_elsewhere)
        )

    def _opacity_changed_elsewhere(self, _event: Any = None) -> None:
        """Follow napari's own slider; it counts for this layer only."""
        layer, shown = self.mask_layer, self.choices.shown
        if layer is not None and layer.opacity != shown.mask_opacity:
            shown = replace(shown, mask_opacity=float(layer.opacity))
            self.choices = replace(self.choices, shown=shown)
            self.changed.emit()

    # ----------------------------------------------------------------------- parts

    def _answers_differ(self, old: Choices) -> bool:
        """Whether the object in work would be answered otherwise than before."""
        now = self.choices
        if now.settings != old.settings:
            return True
        # How long it may take changes nothing of what is aimed at.
        first, second = (
            in_use(each.refinement, self.model_facts).updated({"time_budget": None})
            for each in (old, now)
        )
        return first != second and (first.active or second.active)

    def _adopt(
        self, settings: PredictionSettings, refinement: RefinementSettings
    ) -> None:
        """Go on as a session from a file did; the first look stays the dock's."""
        budget = self.choices.refinement.time_budget
        if refinement.time_budget is None:  # of a script, where nobody waits
            refinement = replace(refinement, time_budget=budget)
        choices = replace(self.choices, settings=settings, refinement=refinement)
        self.use_choices(choices, ask=False)
