"""From annotations to a model in the list."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.finetuning.conftest import Arrays, blobs, plan
from tests.finetuning.test_readers import write_folder

import napari_clickseg as cs
from napari_clickseg.errors import Cancelled, TrainingError
from napari_clickseg.models.added import add_model_file
from napari_clickseg.models.checkpoint import build_network, read_checkpoint
from napari_clickseg.models.fetch import remove_model
from napari_clickseg.training.finetuning.adapters import add_adapters, take_up
from napari_clickseg.training.finetuning.loop import Loop
from napari_clickseg.training.finetuning.naming import choose_name, free_name
from napari_clickseg.training.finetuning.parts import (
    choose_parts,
    in_encoder,
    learning,
    prepare,
)
from napari_clickseg.training.finetuning.running import make_fabric


def test_a_model_of_ones_own(data: Arrays, tiny: Path, tmp_path: Path) -> None:
    told: list[Any] = []
    job = plan(data, tiny, tmp_path / "out", name="My Disks!", measure=True, steps=4)
    assert job.name == "my-disks"
    assert job.data.images == 6
    assert job.data.held > 0
    result = job.run(told.append)
    assert result.name == "my-disks"
    assert result.info in cs.list_models()
    assert result.path.is_file()
    assert told[0].phase == "preparing"
    assert {p.phase for p in told} == {
        "preparing",
        "measuring before",
        "learning",
        "measuring after",
        "saving",
    }
    fractions = [p.fraction for p in told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert [step for step, _ in result.history] == [1, 2, 3, 4]
    assert result.before is not None
    assert result.after is not None
    assert result.after.objects == job.data.held
    assert "clicks to an IoU of 0.85" in result.text
    example = result.examples[0]
    assert example.before.shape == example.after.shape == example.truth.shape
    row, col, positive = example.clicks[0]
    assert positive
    assert example.truth[row, col]
    # it works like any other
    session = cs.ClickSession(model="my-disks", device="cpu")
    session.set_image(data[0][0])
    session.add_click((30, 30))
    assert session.probability.shape == (64, 80)
    card = read_checkpoint(result.path).metadata
    assert card == result.card
    made = card["finetuned"]
    assert made["parent"]["name"] == "tiny"
    assert made["parent"]["sha256"] == read_checkpoint(tiny).sha256
    assert made["data"]["sha"] == job.work.inventory.digest
    assert made["recipe"]["parts"] == "head"
    assert made["versions"]["napari-clickseg"] == cs.__version__
    assert card["licence"] == "BSD-3-Clause"
    json.dumps(card)
    remove_model("my-disks")
    assert "my-disks" not in [info.name for info in cs.list_models()]


def test_no_model_is_overwritten(data: Arrays, tiny: Path, tmp_path: Path) -> None:
    first = plan(data, tiny, tmp_path / "1", steps=1).run()
    second = plan(data, tiny, tmp_path / "2", steps=1, seed=1).run()
    assert first.name == "tiny-finetuned"
    assert second.name == "tiny-finetuned-2"
    assert choose_name("tiny-finetuned-2") == "tiny-finetuned-3"
    assert first.path.read_bytes() != second.path.read_bytes()
    with pytest.raises(TrainingError, match="is there already"):
        plan(data, tiny, tmp_path / "3", name="tiny-finetuned")
    with pytest.raises(TrainingError, match="cannot be called"):
        plan(data, tiny, tmp_path / "3", name="!!!")
    # two jobs that were planned with the same name
    jobs = [plan(data, tiny, tmp_path / n, steps=1, name="twin") for n in "ab"]
    names = {job.run().name for job in jobs}
    assert len(names) == 2


def test_the_same_again_gives_the_same(
    data: Arrays, tiny: Path, tmp_path: Path
) -> None:
    results = [
        plan(data, tiny, tmp_path / name, steps=3, parts="all").run() for name in "ab"
    ]
    first, second = (read_checkpoint(r.path).state_dict for r in results)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_cancelled_adds_no_model(data: Arrays, tiny: Path, tmp_path: Path) -> None:
    job = plan(data, tiny, tmp_path / "out")
    before = [info.name for info in cs.list_models()]
    with pytest.raises(Cancelled):
        job.run(cancelled=lambda: True)
    assert [info.name for info in cs.list_models()] == before


def test_stopping_loses_no_whole_batch(
    data: Arrays, tiny: Path, tmp_path: Path
) -> None:
    told: list[Any] = []
    job = plan(data, tiny, tmp_path / "out", steps=12)
    assert job.logged() == []
    with pytest.raises(Cancelled, match="Stopped at step"):
        job.run(told.append, lambda: any(one.step >= 2 for one in told))
    steps = [one.step for one in job.logged()]
    assert steps == list(range(1, len(steps) + 1))
    assert 2 <= len(steps) < 6
    again: list[Any] = []
    gone_on = plan(data, tiny, tmp_path / "out", steps=12).run(again.append)
    first = next(one.step for one in again if one.phase == "learning")
    assert first == len(steps) + 1, "from where it stopped"
    whole = plan(data, tiny, tmp_path / "whole", steps=12, name="whole").run()
    assert gone_on.history == whole.history


def test_half_a_validation_is_none(data: Arrays, tiny: Path, tmp_path: Path) -> None:
    work = plan(data, tiny, tmp_path).work
    fabric = make_fabric("cpu", precision="float32")
    fabric.launch()
    lesson = work.lesson(fabric.device)
    loop = Loop(fabric, work.network(), lesson, work.options, tmp_path)
    shown: list[Any] = []
    loop.show = shown.append
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 1

    assert loop.validate_once(stop) is None
    assert loop.validations == []
    assert shown == []
    assert loop.validate_once() is not None
    assert shown == [loop.network]


def test_a_name_that_is_free(tiny: Path, tmp_path: Path) -> None:
    assert free_name("cells") == "cells"
    for name in ("cells", "cells-2", "cells-2024"):
        add_model_file(tiny, name)
    assert free_name("cells") == "cells-3"
    assert free_name("cells-2") == "cells-3"
    assert free_name("cells-2024") == "cells-2024-2"
    with pytest.raises(TrainingError, match="cells-3 is free"):
        choose_name("tiny", "Cells")


def test_arrays_are_seen_with_their_contrast(tiny: Path, tmp_path: Path) -> None:
    images, labels = blobs(2)
    job = plan((images, labels), tiny, tmp_path, contrast=[(0, 100), (50, 60)], steps=1)
    first, second = (
        job.work.whole().image_of(entry) for entry in job.work.inventory.entries
    )
    expected = np.clip(images[0] / 100, 0, 1)
    np.testing.assert_allclose(first[..., 0] / 255, expected, atol=0.01)
    assert set(np.unique(second[images[1] >= 60])) == {255}
    with pytest.raises(TrainingError, match="2 images and 1 ranges"):
        plan((images, labels), tiny, tmp_path, contrast=[None])


def test_a_full_disk_loses_nothing(data: Arrays, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = plan(data, tiny, out, steps=2)
    job.run()
    good = (out / "checkpoint.pt").read_bytes()
    more = plan(data, tiny, out, steps=2, resume=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(TrainingError, match=r"cannot be (written|saved)"):
            more.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert (out / "checkpoint.pt").read_bytes() == good
    assert not list(out.glob("*.part"))
    assert more.run().name  # and with room again it goes on


def test_one_object_is_enough(tiny: Path, tmp_path: Path) -> None:
    job = plan(blobs(1, objects=1), tiny, tmp_path, measure=True, steps=1)
    assert "too few to hold any aside" in job.data.text
    result = job.run()
    assert result.after is None
    assert "Nothing was held aside" in result.text


def test_choices_that_make_no_sense(data: Arrays, tiny: Path, tmp_path: Path) -> None:
    for wrong in (
        {"effort": "extreme"},
        {"parts": "tail"},
        {"kind": "x-ray"},
        {"validation": 1.5},
        {"steps": 0},
        {"devices": 0},
        {"rehearsal": tmp_path, "reference": True},
        {"learning_rate": -1.0},
    ):
        with pytest.raises(TrainingError):
            plan(data, tiny, tmp_path / "out", **wrong)


def test_what_is_trained_goes_by_the_number_of_images() -> None:
    assert [choose_parts(n) for n in (1, 7, 8, 15, 16, 200)] == [
        *["head"] * 2,
        *["adapters"] * 2,
        *["all"] * 2,
    ]
    assert choose_parts(3, "all") == "all"


@pytest.mark.parametrize("parts", ["head", "adapters", "all"])
def test_only_what_is_trained_changes(
    parts: Any, data: Arrays, tiny: Path, tmp_path: Path
) -> None:
    job = plan(data, tiny, tmp_path, parts=parts, steps=3, learning_rate=1e-2)
    learned = read_checkpoint(job.run().path).state_dict
    parent = read_checkpoint(tiny).state_dict
    changed = {
        name
        for name in parent
        if not torch.equal(learned[name].half(), parent[name].half())
    }
    inside = {name for name in changed if in_encoder(name)}
    assert changed - inside
    assert bool(inside) == (parts != "head")
    network = build_network(read_checkpoint(tiny))
    early = {n for n, _ in network.backbone.named_parameters() if n.startswith("stem")}
    assert not {f"backbone.{name}" for name in early} & changed


def test_adapters_begin_with_no_change_and_leave_none_behind(tiny: Path) -> None:
    network = build_network(read_checkpoint(tiny))
    image, points = torch.rand(1, 4, 65, 65), torch.full((1, 2, 3), -1.0)
    with torch.inference_mode():
        before = network(image, points)["instances"]
    learned = add_adapters(network.modules(), rank=2)
    assert learned
    with torch.inference_mode():
        torch.testing.assert_close(network(image, points)["instances"], before)
    for parameter in learned:
        torch.nn.init.normal_(parameter, std=0.1)
    with torch.inference_mode():
        changed = network(image, points)["instances"]
    assert (changed - before).abs().max() > 1e-3
    names = read_checkpoint(tiny).state_dict.keys()
    assert take_up(network).state_dict().keys() == names
    with torch.inference_mode():
        torch.testing.assert_close(
            network(image, points)["instances"], changed, rtol=1e-4, atol=1e-4
        )


def test_adapters_are_few_numbers(tiny: Path) -> None:
    network = build_network(read_checkpoint(tiny))
    prepare(network, "adapters", 1e-3, 0.2)
    some, whole = learning(network)
    everything = build_network(read_checkpoint(tiny))
    prepare(everything, "all", 1e-3, 0.2)
    assert some < 0.6 * learning(everything)[0]
    assert some < whole


def test_reference_pictures_come_along(tiny: Path, tmp_path: Path) -> None:
    from napari_clickseg.training.finetuning.reference import known_photos, made_up

    photos = known_photos()
    assert len(photos) >= 8
    assert all(p.dtype == np.uint8 and p.shape[2] == 3 for p in photos)
    assert all(max(p.shape) <= 320 for p in photos)
    np.testing.assert_array_equal(made_up(1, 3)[0], made_up(1, 3)[0])
    job = plan(blobs(6), tiny, tmp_path, reference=True, steps=2)
    recipe = job.run().card["finetuned"]["recipe"]
    assert recipe["reference"] == "pictures that come along"
    assert recipe["blend"] == (1.0 if recipe["gate"] else 0.5)


def test_what_is_kept_lies_halfway(tiny: Path, tmp_path: Path) -> None:
    results = {}
    for share in (0.5, 1.0):
        job = plan(blobs(6), tiny, tmp_path / str(share), steps=2, name=f"at-{share}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("napari_clickseg.training.finetuning.job._Run.share", share)
            results[share] = read_checkpoint(job.run().path).state_dict
    parent = read_checkpoint(tiny).state_dict
    moved = 0.0
    for name, end in results[1.0].items():
        middle = (parent[name].float() + end.float()) / 2
        # Files hold 16 bits of a number.
        torch.testing.assert_close(
            results[0.5][name].float(), middle, rtol=2e-3, atol=2e-3
        )
        moved += float((end.float() - parent[name].float()).abs().sum())
    assert moved > 0


def test_packs_are_rehearsed_where_they_are(tiny: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_folder(root / "train" / "coco_mval_train", *blobs(3, seed=5))
    job = plan(
        blobs(6), tiny, tmp_path / "out", reference=True, rehearsal=root, steps=2
    )
    result = job.run()
    assert result.card["finetuned"]["recipe"]["reference"] == "the starters' packs"


def test_the_forecast_tells_time_and_memory(tiny: Path, tmp_path: Path) -> None:
    job = plan(blobs(6), tiny, tmp_path, steps=40)
    small = job.forecast()
    assert small.steps == 40
    assert small.seconds > 0
    assert small.memory > 2**29
    assert "for 40 steps" in small.text
    assert not (tmp_path / "checkpoint.pt").exists()
    longer = plan(blobs(6), tiny, tmp_path, steps=400).forecast()
    assert longer.seconds > small.seconds
    larger = plan(blobs(6), tiny, tmp_path, steps=40, batch=16).forecast()
    assert larger.memory > small.memory


def test_the_command(tiny: Path, tmp_path: Path, capsys: Any) -> None:
    from napari_clickseg.cli.main import main

    root = write_folder(tmp_path / "disks", *blobs(6))
    with pytest.raises(SystemExit) as left:
        main(
            [
                *("finetune", str(root), "--model", str(tiny), "--name", "disks"),
                *("--steps", "1", "--batch", "2", "--no-reference", "--no-measure"),
                *("--device", "cpu", "--out", str(tmp_path / "out")),
            ]
        )
    assert left.value.code == 0
    told = capsys.readouterr()
    assert told.out.strip() == "disks"
    assert "6 images with 12 objects" in told.err
    with pytest.raises(SystemExit) as left:
        main(["finetune", str(root), "--model", str(tiny), "--name", "disks"])
    assert left.value.code == 6
    assert "is there already" in capsys.readouterr().err
