"""Every kind of file that is read, a valid one of each, and who reads it.

A reader is used as people use it: what came out of it is looked at, too, for what is
taken in without a word must not fail later.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.fuzz.mutate import (
    DEFLATED,
    ENTRY,
    JOURNAL,
    PLAIN,
    SAFETENSORS,
    ZIP,
    Form,
)

from napari_clickseg.errors import ClickSegError

Files = dict[str, bytes]
MIB = 2**20


@dataclass(frozen=True, eq=False)
class Subject:
    """One kind of file.

    Parameters
    ----------
    name : str
    make : callable
        Fills an empty folder with valid files.
    read : callable
        Is given the folder, in which one file was damaged.
    forms : dict
        What the files that may be damaged are made of, by their names.
    writes : bool
        Whether the reader may write into the folder.
    share : float
        Which part of the examples is tried, where reading takes long.
    most : int
        Bytes that reading may take, for each file no larger than these here.
    """

    name: str
    make: Callable[[Path], object]
    read: Callable[[Path], object]
    forms: dict[str, Form] = field(default_factory=dict)
    writes: bool = False
    share: float = 1.0
    most: int = 48 * MIB

    @cache  # noqa: B019 (subjects live as long as the tests)
    def files(self) -> Files:
        """Return the valid files by their names in the folder."""
        import tempfile

        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            self.make(folder)
            paths = sorted(each for each in folder.rglob("*") if each.is_file())
            return {str(each.relative_to(folder)): each.read_bytes() for each in paths}

    def lay_out(self, folder: Path, name: str, content: bytes) -> None:
        """Put the files into a folder, one of them with other content."""
        for each, usual in self.files().items():
            path = folder / each
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if each == name else usual)


def used(*looks: Callable[[], Any]) -> None:
    """Look at all that came out of a file; our own errors are answers, too."""
    for look in looks:
        with contextlib.suppress(ClickSegError):
            look()


# -- weights -------------------------------------------------------------------------


def small_network() -> Any:
    from napari_clickseg.networks.unet import UNet

    torch.manual_seed(1)
    return UNet((4, 8)).eval()


def make_safetensors(folder: Path) -> None:
    from napari_clickseg.models.checkpoint import save_checkpoint

    card = {"name": "x", "licence": "BSD", "task": "segmentation", "finetuned": {}}
    save_checkpoint(folder / "own.safetensors", small_network(), metadata=card)


def read_weights(folder: Path) -> None:
    from napari_clickseg.binding.own_models import made_of, read_card
    from napari_clickseg.models.checkpoint import build_network, read_checkpoint

    for path in folder.iterdir():
        used(lambda path=path: made_of(read_card(path)))
        found = read_checkpoint(path)
        used(lambda found=found: found.task)
        if found.architecture != "ritm":  # large, and it would not fit
            used(lambda found=found: build_network(found))


def read_trapped(folder: Path) -> None:
    from napari_clickseg.models.weight_files import read_weight_file

    for path in folder.iterdir():
        read_weight_file(path)


def make_decoder(folder: Path) -> None:
    from napari_clickseg.models.checkpoint import save_checkpoint
    from napari_clickseg.models.decoder_only import export_decoder
    from napari_clickseg.networks.interformer_mobilenet import InterFormerMobileNetV2

    torch.manual_seed(3)
    network = InterFormerMobileNetV2((8, 16, 32, 64), (1, 1, 1, 1), 16, 16).eval()
    save_checkpoint(folder / "x.safetensors", network, metadata={"name": "x"})
    export_decoder(folder / "x.safetensors", folder / "decoder.safetensors")
    (folder / "x.safetensors").unlink()


def read_decoder(folder: Path) -> None:
    from napari_clickseg.models.checkpoint import read_checkpoint
    from napari_clickseg.models.decoder_only import _build

    found = read_checkpoint(folder / "decoder.safetensors")
    if found.config.get("decoder_only"):
        used(lambda: _build(found))


class Touches:
    """Leaves a folder behind wherever it is unpickled."""

    def __init__(self, where: str = "touched-by-a-pickle") -> None:
        self.where = where

    def __reduce__(self) -> Any:
        return os.mkdir, (self.where,)


def published(old: bool = False, trapped: bool = False) -> bytes:
    """Return weights as others publish them, perhaps with a trap beside them."""
    state = dict(small_network().state_dict())
    params = {"width": {"type": "builtin", "value": 18, "specified": True}}
    kind = "isegm.model.is_hrnet_model.HRNetModel"
    config = {"class": kind, "params": params}
    content: dict[str, Any] = {"state_dict": state, "config": config}
    if trapped:
        content["optimizer"] = Touches()
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not old)
    return file.getvalue()


def make_pth(folder: Path) -> None:
    (folder / "weights.pth").write_bytes(published())


def make_trapped(folder: Path) -> None:
    (folder / "iter.pth").write_bytes(published(trapped=True))


def make_old(folder: Path) -> None:
    (folder / "old.pth").write_bytes(published(old=True, trapped=True))


def make_zipped(folder: Path) -> None:
    with zipfile.ZipFile(folder / "w.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("readme.txt", "weights")
        archive.writestr("release/weights.pth", published())


def make_state(folder: Path) -> None:
    from napari_clickseg.training.state import save_state

    save_state(
        folder / "state.pt", {"step": 3, "network": small_network().state_dict()}
    )


def read_state(folder: Path) -> None:
    from napari_clickseg.training.start import read_filters
    from napari_clickseg.training.state import load_state

    used(
        lambda: load_state(folder / "state.pt"),
        lambda: read_filters(folder / "state.pt"),
    )


# -- sessions ------------------------------------------------------------------------

IMAGE = np.arange(30 * 40, dtype=np.uint16).reshape(30, 40)


def worked(folder: Path | None = None) -> Any:
    """Return a session with objects, clicks in work, and an object opened again."""
    from tests.session.fakes import FakePredictor

    from napari_clickseg.session import ClickSession

    session = ClickSession(predictor=FakePredictor())
    session.set_image(IMAGE)
    if folder is not None:
        session.keep_journal(folder)
    session.add_click((8, 8))
    session.add_click((8, 12), positive=False)
    session.commit()
    session.add_click((20, 20), settle=False)
    session.commit()
    session.undo()
    session.redo()
    session.reopen(1)
    session.move_click(0, (9, 9))
    return session


def use_session(session: Any) -> None:
    from tests.session.fakes import FakePredictor

    used(lambda: session.model_name)
    session._answering._predictor = session._answering._given = FakePredictor()
    used(
        lambda: (session.labels, session.mask, session.probability, session.result),
        lambda: (str(session.stats), session.stats.to_dict(), session.notices),
        lambda: [(o.area, o.clicks, o.mask) for o in session.objects.values()],
        lambda: (session.clicks, session.opened_label, session.in_work),
        lambda: (session.pending, session.settled, session.options),
        lambda: session.add_click((5, 5), predict=False),
        lambda: session.undo(),
        lambda: session.redo(),
        lambda: session.edits,
        lambda: session.commit(),
        lambda: session.labels,
        lambda: session.to_record(),
    )


def make_session(folder: Path) -> None:
    worked().save(folder / "work.clickseg")


def read_session(folder: Path) -> None:
    from napari_clickseg.session import ClickSession

    use_session(ClickSession.load(folder / "work.clickseg"))


def dense(folder: Path | None = None) -> Any:
    """Return a session of depth with a map kept and another one in work."""
    from tests.prediction.dense_nets import Tiny

    from napari_clickseg.models.dense_model import DenseModel
    from napari_clickseg.models.registry import ModelInfo
    from napari_clickseg.prediction.dense_settings import DenseSettings
    from napari_clickseg.session import ClickSession

    network = Tiny(largest=10.0)
    network.needs_trimap, network.config = False, {"max_depth": 10.0}
    info = ModelInfo("random", "depth", "?", "", "CC0", "")
    model = DenseModel(network.eval(), info, precision="float32")
    quick = DenseSettings(iterations=1, learning_rate=0.05)
    session: Any = ClickSession(model, task="depth", mode="click", settings=quick)
    session.set_image(np.stack([IMAGE % 251] * 3, -1).astype(np.uint8))
    if folder is not None:
        session.keep_journal(folder)
    session.add_click((5, 5), value=3.0)
    session.commit()
    session.add_click((20, 20), value=2.0, radius=6)
    return session


def make_dense(folder: Path) -> None:
    dense().save(folder / "work.clickseg")


def use_dense(session: Any) -> None:
    used(
        lambda: (session.result, session.clicks, session.notices, session.options),
        lambda: (session.stats, session.model_name, session.settled, session.pending),
        lambda: session.undo(),
        lambda: session.redo(),
        lambda: session.to_record(),
    )


def read_dense(folder: Path) -> None:
    from napari_clickseg.session import ClickSession

    use_dense(ClickSession.load(folder / "work.clickseg"))


def make_dense_journal(folder: Path) -> None:
    session = dense(folder)
    session.journal.close()
    (path,) = folder.glob("*.journal")
    path.rename(folder / "x.0001.journal")


def read_dense_journal(folder: Path) -> None:
    from napari_clickseg.session import ClickSession

    image = np.stack([IMAGE % 251] * 3, -1).astype(np.uint8)
    use_dense(ClickSession.load(folder / "x.0001.journal", image))


def make_journal(folder: Path) -> None:
    session = worked(folder)
    session.journal.close()
    (path,) = folder.glob("*.journal")
    path.rename(folder / "x.0001.journal")


def read_journal(folder: Path) -> None:
    from napari_clickseg.session import ClickSession

    session = ClickSession.load(folder / "x.0001.journal", IMAGE)
    use_session(session)


# -- objects and classes of other programs ------------------------------------------

LABELS = np.zeros((24, 32), np.int32)
LABELS[2:9, 3:12] = 1
LABELS[12:20, 10:25] = 2


def make_objects(suffix: str) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        from napari_clickseg.exporting.objects import save_objects

        save_objects(folder / f"objects{suffix}", LABELS)

    return make


def make_polygons(folder: Path) -> None:
    from napari_clickseg.exporting.objects import save_objects

    save_objects(folder / "objects.json", LABELS, shapes="polygons")


def read_objects(suffix: str) -> Callable[[Path], object]:
    def read(folder: Path) -> None:
        from napari_clickseg.exporting.objects import load_objects

        load_objects(folder / f"objects{suffix}", LABELS.shape)

    return read


def make_legends(folder: Path) -> None:
    from napari_clickseg.exporting.legend import Legend

    legend = Legend.of(["cell", "nucleus, large", "background"])
    (folder / "a.legend.json").write_text(legend.to_json({"task": "semantic"}))
    (folder / "a.legend.csv").write_text(legend.to_csv())


def read_legends(folder: Path) -> None:
    from napari_clickseg.exporting.legend import read_legend

    for kind in ("json", "csv"):
        found = read_legend(folder / f"a.legend.{kind}")
        used(found.to_classes, lambda found=found: found.counted({1: 3, 7: 2}))
        used(lambda found=found: (found.to_json({}), found.to_csv()))


# -- labelled images to learn from ---------------------------------------------------


def png(array: np.ndarray) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(array).save(file, "png")
    return file.getvalue()


def make_coco(folder: Path) -> None:
    from napari_clickseg.exporting.coco import save_coco

    (folder / "images").mkdir()
    (folder / "images" / "a.png").write_bytes(png(LABELS.astype(np.uint8) * 90))
    save_coco(folder / "coco.json", LABELS, file_name="a.png")
    save_coco(folder / "polygons.json", LABELS, file_name="a.png", shapes="polygons")


def look_at(reader: Any) -> None:
    for index in range(min(len(reader), 4)):
        used(
            lambda index=index: np.asarray(reader.image(index)[:2, :2]),
            lambda index=index: reader.labels(index),
            lambda index=index: (reader.group(index), reader.channel_axis(index)),
            lambda index=index: reader.contrast(index),
        )


def read_coco(folder: Path) -> None:
    from napari_clickseg.training.readers.opening import open_reader

    for name in ("coco.json", "polygons.json"):
        used(lambda name=name: look_at(open_reader(folder / name)))


def make_lvis(folder: Path) -> None:
    (folder / "masks").mkdir()
    (folder / "images").mkdir()
    index = {"a": {"num_instance_masks": 2, "hierarchy": {}}}
    (folder / "hannotation.pickle").write_bytes(pickle.dumps(index))
    packed = np.frombuffer(png(LABELS.astype(np.uint8)), np.uint8)
    masks = pickle.dumps(([packed], [(0, 1), (0, 2)]))
    (folder / "masks" / "a.pickle").write_bytes(masks)
    (folder / "images" / "a.jpg").write_bytes(png(LABELS.astype(np.uint8)))


def read_folder(folder: Path) -> None:
    from napari_clickseg.training.readers.opening import open_reader

    look_at(open_reader(folder))


def make_voc(folder: Path) -> None:
    place = folder / "ImageSets" / "Segmentation"
    place.mkdir(parents=True)
    content = (["2007_000033"], [np.int64(38)])
    (place / "test.pickle").write_bytes(pickle.dumps(content, 2))


def read_voc(folder: Path) -> None:
    from napari_clickseg.evaluation.voc_index import read_index

    read_index(folder)


def make_zarr(folder: Path) -> None:
    import zarr

    from napari_clickseg.exporting.zarr_labels import save_zarr_labels

    path = folder / "x.zarr"
    group = zarr.open_group(path, mode="w")
    group.create_array("0", data=LABELS.astype(np.uint8), chunks=LABELS.shape)
    scales = {
        "axes": [{"name": axis, "type": "space"} for axis in "yx"],
        "datasets": [
            {
                "path": "0",
                "coordinateTransformations": [{"type": "scale", "scale": [1, 1]}],
            }
        ],
    }
    group.attrs["ome"] = {"version": "0.5", "multiscales": [scales]}
    save_zarr_labels(path, LABELS)


def read_zarr(folder: Path) -> None:
    from napari_clickseg.encoding.sources import Shown, find_sources, planes_of
    from napari_clickseg.exporting.zarr_labels import load_zarr_labels
    from napari_clickseg.training.readers.opening import open_reader

    path = folder / "x.zarr"
    used(lambda: load_zarr_labels(path), lambda: look_at(open_reader(path)))
    for source in find_sources([path])[:3]:
        for _, image in planes_of(source, Shown()):
            used(lambda image=image: image.signature())


# -- images --------------------------------------------------------------------------


def make_images(folder: Path) -> None:
    import tifffile

    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 255, (24, 20, 3), np.uint8)
    (folder / "a.png").write_bytes(png(pixels))
    np.save(folder / "b.npy", pixels[..., 0].astype(np.uint16))
    tifffile.imwrite(folder / "c.tif", pixels[..., 0].astype(np.uint16))
    tifffile.imwrite(folder / "d.tif", pixels[..., 0], compression="zlib")


def read_images(folder: Path) -> None:
    from napari_clickseg.imagefiles import read_image, read_labels

    for path in sorted(folder.iterdir()):
        used(lambda path=path: read_image(path), lambda path=path: read_labels(path))


# -- what we keep on the user's machine ----------------------------------------------


def make_cache(folder: Path) -> None:
    from napari_clickseg.models.cache import write_json

    info = {
        "task": "segmentation",
        "architecture": "unet",
        "file": "added/mine.safetensors",
        "licence": "BSD",
        "source": "mine.safetensors",
        "description": "added",
        "sha256": "0" * 64,
        "added_on": "2026-01-01",
    }
    models = folder / "models"
    write_json(models / "added-models.json", {"mine": info})
    (models / "added").mkdir()
    (models / "added" / "mine.safetensors").write_bytes(b"x" * 64)
    pin = {
        "sha256": "0" * 64,
        "size": 64,
        "mtime_ns": 1,
        "verified_by": "x",
        "origin": "x",
        "date": "2026-01-01",
    }
    write_json(models / "added" / "mine.safetensors.pin.json", pin)
    rates = {"g-brs-sb": {"learning_rate": 0.1, "date": "2026-01-01"}}
    write_json(models / "refinement-rates.json", {"0" * 64: {"rates": rates}})
    consent = {"who": "me", "on": "2026-01-01", "terms": "0" * 32}
    write_json(models / "consent.json", {"mine": consent})
    write_json(folder / "agreement.json", {"0-x": [0.1, 0.2]})
    write_json(folder / "encoders.json", {"0" * 64: [["backbone"], "0" * 32]})


def read_cache(folder: Path) -> None:
    from napari_clickseg.models import agreement, encoders
    from napari_clickseg.models.cache import read_pin, untouched
    from napari_clickseg.models.consent import has_consented
    from napari_clickseg.models.registry import get_info, list_models
    from napari_clickseg.models.tuned import read_tuned
    from napari_clickseg.models.verify import check_present

    models = list_models()
    for info in models:
        used(
            lambda info=info: (info.size_text, info.hash_text, info.path),
            lambda info=info: (hash(info), repr(info), info.has_hash),
            lambda info=info: has_consented(info),
            lambda info=info: get_info(info.name),
        )
    list_models("depth")
    path = folder / "models" / "added" / "mine.safetensors"
    pin = read_pin(path)
    used(lambda: pin and untouched(path, pin))
    for info in models:
        if info.added:
            used(lambda info=info: check_present(info))
    read_tuned("0" * 64)
    agreement._read()
    encoders._read()


def make_recipe(folder: Path) -> None:
    recipes = Path(__file__).parents[2] / "recipes"
    for name in ("ritm-hrnet18s-sbd.toml", "ritm-hrnet18s.toml"):
        shutil.copy(recipes / name, folder / name)
    shutil.copy(recipes / "semantic-cells-starter.toml", folder / "classes.toml")


def read_recipes(folder: Path) -> None:
    from napari_clickseg.training.recipe import read_recipe

    for path in sorted(folder.iterdir()):
        used(lambda path=path: repr(read_recipe(path)))


def make_entry(folder: Path) -> None:
    from napari_clickseg.encoding.entry import encode_entry
    from napari_clickseg.models.features import Features
    from napari_clickseg.networks.click_network import EncodedImage

    image = EncodedImage(torch.randn(1, 3, 4, 5), (8, 10))
    content = {"a": image, "b": (torch.arange(5), torch.tensor(True), 1.5, None)}
    data = encode_entry("0" * 32, Features(content, (8, 10), 1), "bfloat16")
    (folder / "entry.zarr.zip").write_bytes(data)


def read_entry(folder: Path) -> None:
    from napari_clickseg.encoding.entry import about_entry, decode_entry

    data = (folder / "entry.zarr.zip").read_bytes()
    used(lambda: about_entry(data), lambda: decode_entry(data, "0" * 32))


def make_store(folder: Path) -> None:
    from napari_clickseg.encoding.store import FeatureStore
    from napari_clickseg.models.features import Features

    store = FeatureStore(folder / "store")
    store.put("0" * 32, Features([torch.ones(2, 3)], (4, 4), 1))


def read_store(folder: Path) -> None:
    from napari_clickseg.encoding.store import FeatureStore

    store = FeatureStore(folder / "store")
    used(
        lambda: store.get("0" * 32),
        lambda: (store.info(), list(store.keys()), store.about("0" * 32)),
        lambda: store.verify(),
    )


def make_logs(folder: Path) -> None:
    from napari_clickseg.evaluation.metrics import SampleResult
    from napari_clickseg.training.finetuning.log import HISTORY

    lines = [
        {"step": 1, "loss": 0.5, "score": 0.7},
        {"step": 2, "loss": 0.4, "score": 0.8},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / HISTORY).write_text(text)
    clicks = ((1.0, 2.0, True), (3.0, 4.0, False))
    result = SampleResult(
        "a", "none", (0.5, 0.9), clicks, 0.1, 0.1, 99, (24, 32), 50, "cpu", (), None
    )
    (folder / "samples.jsonl").write_text(json.dumps(result.to_json()) + "\n")
    (folder / "run.json").write_text(json.dumps({"version": 1, "refinements": {}}))


def read_logs(folder: Path) -> None:
    from napari_clickseg.evaluation.runlog import ResultLog
    from napari_clickseg.training.finetuning.log import logged

    logged(folder)
    ResultLog(folder, {"version": 1, "refinements": {}})


ZARR = dict.fromkeys(
    (
        "x.zarr/zarr.json",
        "x.zarr/0/zarr.json",
        "x.zarr/labels/zarr.json",
        "x.zarr/labels/objects/zarr.json",
        "x.zarr/labels/objects/0/zarr.json",
        "x.zarr/0/c/0/0",
    ),
    PLAIN,
)
SUBJECTS = {
    each.name: each
    for each in (
        Subject(
            "safetensors",
            make_safetensors,
            read_weights,
            {"own.safetensors": SAFETENSORS},
        ),
        Subject(
            "decoder",
            make_decoder,
            read_decoder,
            {"decoder.safetensors": SAFETENSORS},
            share=0.05,
        ),
        Subject("pth", make_pth, read_weights, {"weights.pth": ZIP}),
        Subject("training checkpoint", make_trapped, read_trapped, {"iter.pth": ZIP}),
        Subject("pth before 1.6", make_old, read_trapped, {"old.pth": PLAIN}),
        Subject("zipped weights", make_zipped, read_weights, {"w.zip": DEFLATED}),
        Subject("training state", make_state, read_state, {"state.pt": ZIP}),
        Subject("session", make_session, read_session, {"work.clickseg": DEFLATED}),
        Subject("journal", make_journal, read_journal, {"x.0001.journal": JOURNAL}),
        Subject("maps", make_dense, read_dense, {"work.clickseg": DEFLATED}),
        Subject(
            "journal of maps",
            make_dense_journal,
            read_dense_journal,
            {"x.0001.journal": JOURNAL},
            share=0.2,
        ),
        Subject(
            "coco objects",
            make_objects(".json"),
            read_objects(".json"),
            {"objects.json": PLAIN},
        ),
        Subject(
            "coco polygons",
            make_polygons,
            read_objects(".json"),
            {"objects.json": PLAIN},
        ),
        Subject(
            "geojson",
            make_objects(".geojson"),
            read_objects(".geojson"),
            {"objects.geojson": PLAIN},
        ),
        Subject(
            "legend",
            make_legends,
            read_legends,
            {"a.legend.json": PLAIN, "a.legend.csv": PLAIN},
        ),
        Subject(
            "coco to learn",
            make_coco,
            read_coco,
            {"coco.json": PLAIN, "polygons.json": PLAIN},
        ),
        Subject(
            "coco+lvis",
            make_lvis,
            read_folder,
            {"hannotation.pickle": PLAIN, "masks/a.pickle": PLAIN},
        ),
        Subject(
            "voc index",
            make_voc,
            read_voc,
            {"ImageSets/Segmentation/test.pickle": PLAIN},
        ),
        Subject("ome-zarr", make_zarr, read_zarr, ZARR, share=0.15),
        Subject(
            "images",
            make_images,
            read_images,
            dict.fromkeys(("a.png", "b.npy", "c.tif", "d.tif"), PLAIN),
        ),
        Subject(
            "models of the user",
            make_cache,
            read_cache,
            dict.fromkeys(
                (
                    "models/added-models.json",
                    "models/added-models.json",
                    "models/added/mine.safetensors.pin.json",
                    "models/refinement-rates.json",
                    "models/consent.json",
                    "agreement.json",
                    "encoders.json",
                ),
                PLAIN,
            ),
            writes=True,
            share=0.2,
        ),
        Subject(
            "recipe",
            make_recipe,
            read_recipes,
            dict.fromkeys(
                ("ritm-hrnet18s-sbd.toml", "ritm-hrnet18s.toml", "classes.toml"), PLAIN
            ),
        ),
        Subject("features", make_entry, read_entry, {"entry.zarr.zip": ENTRY}),
        Subject(
            "feature store",
            make_store,
            read_store,
            {
                "store/zarr.json": PLAIN,
                f"store/entries/00/{'0' * 32}.zarr.zip": ENTRY,
            },
            writes=True,
        ),
        Subject(
            "logs",
            make_logs,
            read_logs,
            dict.fromkeys(("samples.jsonl", "run.json"), PLAIN),
            writes=True,
        ),
    )
}
