"""The section of the dock that makes the model obey the clicks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from magicgui.widgets import FloatSlider
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_clickseg.refinement.settings import METHODS, SENTENCES
from napari_clickseg.widgets.parts import Choice, button, form, number, switch

if TYPE_CHECKING:
    from napari_clickseg.napari_layers import ViewerClicks

__all__ = ["RefinementSection"]

NAMES = {
    "none": "None",
    "f-brs-a": "f-BRS-A",
    "f-brs-b": "f-BRS-B",
    "f-brs-c": "f-BRS-C",
    "rgb-brs": "RGB-BRS",
    "distmap-brs": "DistMap-BRS",
    "g-brs-sb": "G-BRS sb",
    "g-brs-bmsb": "G-BRS bmsb",
    "g-brs-bmsb-m": "G-BRS bmsb-m",
    "g-brs-bmconv": "G-BRS bmconv",
}
#: Titles of groups (without a key), and of fields by the name of their preference.
LAYOUT = (
    ("Attention radius", "refinement.radius"),
    ("Time for a click", "refinement.time_budget"),
    ("Most iterations", "refinement.iterations"),
    ("Network clicks", "refinement.network_clicks"),
    ("", "refinement.correct"),
    ("Where the model looks", ""),
    ("", "looking.zoom_in"),
    ("Skip clicks", "looking.skip_clicks"),
    ("Target size", "looking.target_size"),
    ("Expansion ratio", "looking.expansion_ratio"),
    ("Mask and clicks", ""),
    ("Threshold", "looking.threshold"),
    ("Mask opacity", "display.mask_opacity"),
    ("Click size", "display.click_size"),
)
OWN = "This model knows clicks by its own refinement only, which is always used."


class RefinementSection(QWidget):
    """Which refinement, how far and how long; and what the published demo offers.

    Parameters
    ----------
    clicks : ViewerClicks
    """

    def __init__(self, clicks: ViewerClicks) -> None:
        super().__init__()
        self._clicks = clicks
        self.method = Choice(
            partial(clicks.choose_option, "refinement.method"),
            "What happens where the model disobeys a click",
        )
        self.sentence = QLabel()
        self.sentence.setWordWrap(True)
        self.sentence.setMinimumHeight(2 * self.sentence.fontMetrics().height())
        self.sentence.setAlignment(
            Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft
        )
        #: The fields by the name of their preference.
        self.fields: dict[str, Any] = {
            "refinement.radius": number(
                "How far a click changes the mask. For one click: drag out from it, "
                "or press [ and ].",
                (0.0, 10000.0),
                5.0,
                self._setter("refinement.radius"),
                unit="px",
                at_lowest="by itself",
            ),
            "refinement.correct": switch(
                "Honour clicks locally",
                "Where the model does not follow a click after all, change a small "
                "spot around it",
                self._setter("refinement.correct"),
            ),
            "refinement.time_budget": number(
                "After this time the best answer so far is shown; it goes on getting "
                "better while nothing else is to do",
                (0.0, 600.0),
                0.5,
                self._setter("refinement.time_budget"),
                unit="s",
                at_lowest="no limit",
            ),
            "refinement.iterations": number(
                "Most steps of the refinement for a click",
                (1, 1000),
                1,
                self._setter("refinement.iterations"),
            ),
            "refinement.network_clicks": number(
                "Only so many first clicks are given to the network, the others act "
                "through the refinement alone",
                (0, 1000),
                1,
                self._setter("refinement.network_clicks"),
                at_lowest="as published",
            ),
            "looking.zoom_in": switch(
                "Zoom in on the object",
                "Look at a window around the object from the second click on",
                self._setter("looking.zoom_in"),
            ),
            "looking.skip_clicks": number(
                "So many first clicks see the whole image, where the first look is "
                "the whole image (see View)",
                (-1, 100),
                1,
                self._setter("looking.skip_clicks"),
            ),
            "looking.target_size": number(
                "Longer side of the window as the model sees it",
                (32, 4096),
                16,
                self._setter("looking.target_size"),
                unit="px",
            ),
            "looking.expansion_ratio": number(
                "Size of the window over the size of the object",
                (0.1, 10.0),
                0.1,
                self._setter("looking.expansion_ratio"),
            ),
            "looking.threshold": number(
                "Probability above which a pixel belongs to the mask",
                (0.0, 1.0),
                0.01,
                self._setter("looking.threshold"),
            ),
            "display.mask_opacity": FloatSlider(
                min=0.0, max=1.0, step=0.05, tooltip="Of the live mask"
            ),
            "display.click_size": number(
                "Diameter of a click on the screen",
                (2.0, 60.0),
                1.0,
                self._setter("display.click_size"),
                unit="px",
            ),
        }
        self.fields["display.mask_opacity"].changed.connect(
            self._setter("display.mask_opacity")
        )
        self.reset = button(
            "Reset to defaults",
            "All of this section, also for the next start",
            clicks.reset_choices,
        )
        self._lay_out()
        self.refresh()

    def refresh(self) -> None:
        """Show how things are."""
        clicks, choices = self._clicks, self._clicks.choices
        chosen, used = choices.refinement.method, clicks.refinement_in_use
        own = used.method if chosen == "none" and used.active else ""
        texts = [(NAMES[method], method) for method in METHODS]
        if own:
            texts[0] = (f"The model's own: {NAMES[own]}", "none")
        self.method.offer(texts, chosen)
        for index, method in enumerate(METHODS):
            self.method.setItemData(
                index, SENTENCES[method], Qt.ItemDataRole.ToolTipRole
            )
        self.sentence.setText(OWN if own else SENTENCES[chosen])
        for key, field in self.fields.items():
            with field.changed.blocked():
                field.value = choices.value(key)
        for key in self.fields:
            section, _, name = key.partition(".")
            usable = True
            if section == "refinement":
                usable = clicks.uses_radius if name == "radius" else used.active
            elif section == "looking" and name not in ("zoom_in", "threshold"):
                usable = choices.settings.zoom_in
            self.fields[key].enabled = usable

    def _setter(self, key: str) -> Callable[[Any], None]:
        return partial(self._clicks.choose_option, key)

    def _lay_out(self) -> None:
        rows: list[tuple[str, QWidget]] = []
        for title, key in LAYOUT:
            if key:
                rows.append((title, self.fields[key].native))
            else:
                rows.append(("", QLabel(f"<b>{title}</b>")))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        for widget in (self.method, self.sentence, form(*rows), self.reset):
            layout.addWidget(widget)
