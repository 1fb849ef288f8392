"""Recipes and packs: what is read, and what is said when it cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_clickseg.errors import TrainingError
from napari_clickseg.training.packs import PackSpec, read_pack
from napari_clickseg.training.recipe import Schedule, read_recipe

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_of_the_repository(path: Path) -> None:
    plan = read_recipe(path)
    names = {pack.name for pack in plan.packs}
    assert "nasa_materials_mit" not in names, "kept unseen for finetuning"
    held = {pack.name: len(pack.holdout) for pack in plan.packs}
    assert held.get("dsb2018_train", 40) == 40
    assert held.get("usiigaci_train", 4) == 4
    assert held.get("davis_trainvideos", 41) == 41  # six videos


def test_there_are_recipes() -> None:
    assert RECIPES


def test_recipe_packs_exist(data_dir: Path) -> None:
    specs = {spec.name: spec for path in RECIPES for spec in read_recipe(path).packs}
    for spec in specs.values():
        if spec.layout != "auto":
            continue  # COCO+LVIS and SBD are not among our packs
        assert (data_dir / "train" / spec.name / "images").is_dir()
        if spec.weight <= 2:  # the small ones read fast
            assert read_pack(data_dir / "train", spec).items


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("steps = 6", ""), "minutes or schedule.steps"),
        (("warmup_steps", "warmup_stops"), "unknown keys"),
        (('name = "tiny"', ""), "lacks the key 'name'"),
        (("[network]", "[network"), "not valid TOML"),
        (("weight = 1", ""), "weight"),
    ],
)
def test_broken_recipes(recipe: Path, change: tuple[str, str], message: str) -> None:
    recipe.write_text(recipe.read_text().replace(*change, 1))
    with pytest.raises(TrainingError, match=message):
        read_recipe(recipe)


def test_missing_recipe(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot be read"):
        read_recipe(tmp_path / "none.toml")


def test_pack_leaves_held_out_images_alone(data_root: Path) -> None:
    spec = PackSpec("blobs", "photo", 1, holdout=("b3",))
    pack = read_pack(data_root / "train", spec)
    assert [item.image.stem for item in pack.items] == ["b0", "b1", "b2"]
    assert all(area >= 30 for item in pack.items for _, area, *_ in item.objects)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (PackSpec("none", "photo", 1), "no images in"),
        (PackSpec("blobs", "photo", 1, holdout=("b9",)), "unknown images"),
    ],
)
def test_unusable_packs(data_root: Path, spec: PackSpec, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        read_pack(data_root / "train", spec)


def test_pack_without_large_objects(data_root: Path) -> None:
    with pytest.raises(TrainingError, match="no object"):
        read_pack(data_root / "train", PackSpec("blobs", "photo", 1), min_area=10**6)


def test_a_recipe_extends_another(recipe: Path) -> None:
    child = recipe.with_name("child.toml")
    child.write_text('extends = "tiny.toml"\nname = "child"\n[schedule]\nsteps = 9\n')
    base, plan = read_recipe(recipe), read_recipe(child)
    assert plan.name == "child"
    assert plan.schedule.steps == 9
    assert plan.schedule.clicks == base.schedule.clicks
    assert plan.network == base.network
    assert plan.packs == base.packs


def test_another_architecture_starts_anew() -> None:
    path = next(path for path in RECIPES if path.stem == "ritm-hrnet18s")
    plan = read_recipe(path)
    assert plan.network == {"backbone": "hrnet18s"}
    assert plan.start is None


def test_a_recipe_cannot_extend_itself(recipe: Path) -> None:
    recipe.write_text('extends = "tiny.toml"\n' + recipe.read_text())
    with pytest.raises(TrainingError, match="extends itself"):
        read_recipe(recipe)


def test_rounds_fall_off_geometrically() -> None:
    schedule = Schedule(steps=1, click_decay=0.6)
    rng = np.random.default_rng(0)
    counts = np.bincount([schedule.draw_rounds(rng) for _ in range(20000)])
    assert counts[0] == 0
    np.testing.assert_allclose(
        counts[1:5] / 20000, 0.4 * 0.6 ** np.arange(4), atol=0.015
    )


def test_rounds_are_drawn_evenly_without_a_decay() -> None:
    schedule = Schedule(steps=1, clicks=(2, 3))
    rng = np.random.default_rng(0)
    assert {schedule.draw_rounds(rng) for _ in range(50)} == {2, 3}


def test_the_rate_begins_again_at_restarts() -> None:
    schedule = Schedule(minutes=100, restarts=(20, 60))
    shares = [
        schedule.since_restart(minute / 100) for minute in (0, 10, 20, 40, 60, 99)
    ]
    assert shares == pytest.approx([0, 0.5, 0, 0.5, 0, 39 / 40])
    assert schedule.since_restart(1.0) == 1
    assert Schedule(steps=10).since_restart(0.3) == 0.3


@pytest.mark.parametrize("restarts", ["[0]", "[5, 5]", "[7]"])
def test_restarts_that_make_no_sense(tmp_path: Path, restarts: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(
        'name = "n"\narchitecture = "a"\npacks = []\n'
        f"[schedule]\nminutes = 7\nrestarts = {restarts}\n"
    )
    with pytest.raises(TrainingError, match="rising minutes"):
        read_recipe(path)
