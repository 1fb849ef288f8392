"""What the section "Refinement" holds, and the preferences it comes from."""

from __future__ import annotations

import pytest

from napari_clickseg.binding.choices import CHOICES, Choices, Shown
from napari_clickseg.errors import SettingsError
from napari_clickseg.prediction.settings import PredictionSettings
from napari_clickseg.preferences import declared
from napari_clickseg.refinement.settings import METHODS, RefinementSettings


def test_every_choice_has_a_preference_of_the_same_default():
    usual = Choices.usual()
    for key in CHOICES:
        section, _, name = key.partition(".")
        assert usual.value(key) == declared()[section][name], key
    for section in ("refinement", "looking", "display"):
        assert {f"{section}.{name}" for name in declared()[section]} <= set(CHOICES)


def test_defaults_are_the_published_ones_with_a_second_for_each_click():
    usual = Choices.usual()
    assert usual.settings == PredictionSettings()
    assert usual.shown == Shown()
    assert usual.refinement == RefinementSettings(time_budget=1.0)


def test_the_manifest_offers_every_method():
    from importlib.resources import files

    import yaml

    text = (files("napari_clickseg") / "napari.yaml").read_text()
    sections = yaml.safe_load(text)["contributions"]["configurations"]
    assert tuple(sections["refinement"]["properties"]["method"]["enum"]) == METHODS


def test_zero_stands_for_by_itself():
    made = Choices().changed("refinement.radius", 12.0)
    assert made.refinement.radius == 12
    made = made.changed("refinement.radius", 0.0)
    assert made.refinement.radius is None
    assert made.value("refinement.radius") == 0


def test_what_makes_no_sense_is_refused_or_left_out():
    with pytest.raises(SettingsError, match="target_size"):
        Choices().changed("looking.target_size", 0)
    kept = {**{key: Choices.usual().value(key) for key in CHOICES}}
    kept |= {"refinement.method": "magic", "looking.threshold": 7.0}
    made = Choices.by(kept.__getitem__)
    assert made == Choices.usual()


def test_a_target_of_two_sides_is_shown_as_one():
    made = Choices(settings=PredictionSettings(target_size=(300, 500)))
    assert made.value("looking.target_size") == 500
