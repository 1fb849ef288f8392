"""Layers of a real viewer, saved through npe2 as napari does it."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imageio.v3 as iio
import napari_builtins
import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from napari.plugins import _npe2
from npe2 import PluginManager, PluginManifest
from PIL import Image

import napari_clickseg
from napari_clickseg.errors import ExportError
from napari_clickseg.exporting import (
    KINDS,
    cut_out,
    export_layer_data,
    kind_of,
    read_legend,
)
from napari_clickseg.tasks import Classes

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS = PluginManifest.from_file(Path(napari_clickseg.__file__).parent / "napari.yaml")
NAPARIS = PluginManifest.from_file(
    Path(napari_builtins.__file__).parent / "builtins.yaml"
)
CLASSES = Classes.named(["background", "cell", "border"], background="background")
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 4, (20, 30))
ALPHA = RNG.random((20, 30)).astype(np.float32)
DEPTH = ALPHA * 5
PHOTO = RNG.integers(0, 256, (20, 30, 3), np.uint8)
OWN = "napari-clickseg"


@pytest.fixture(params=list(permutations((OURS, NAPARIS))), ids=["ours", "napari's"])
def plugins(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> PluginManager:
    """Both plugins; which of them is found first is a matter of chance."""
    manager = PluginManager()
    for manifest in request.param:
        manager.register(manifest)
    monkeypatch.setattr(PluginManager, "_instance", manager, raising=False)
    monkeypatch.setattr(PluginManager, "instance", classmethod(lambda cls: manager))
    return manager


@pytest.fixture
def viewer(plugins: PluginManager) -> Iterator[ViewerModel]:
    viewer = ViewerModel()
    yield viewer
    viewer.layers.clear()


def marked(kind: str, **more: Any) -> dict[str, Any]:
    return {OWN: kind, **more}


def dialog(viewer: ViewerModel) -> list[tuple[str, Any]]:
    """Return what the save dialog offers: filters with their writers."""
    text, writers = _npe2.file_extensions_string_for_layers(viewer.layers)
    assert text is not None
    return list(zip(text.split(";;"), writers, strict=True))


def save_as(viewer: ViewerModel, title: str, path: Path) -> list[str]:
    """Save all layers with a filter of the dialog, as napari's window does."""
    [writer] = [
        writer for text, writer in dialog(viewer) if f"Clickseg {title}" in text
    ]
    return viewer.layers.save(str(path), _writer=writer)


# Ordinary layers ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x.tif", "x.png", "x"])
def test_ordinary_images_are_saved_by_napari(
    viewer: ViewerModel, tmp_path: Path, name: str
) -> None:
    viewer.add_image(PHOTO[..., 0])
    first = dialog(viewer)[0][1]
    assert first.command == "napari.write_image"
    [path] = viewer.layers.save(str(tmp_path / name))
    np.testing.assert_array_equal(iio.imread(path), PHOTO[..., 0])
    assert Path(path).suffix == (Path(name).suffix or ".tif")
    if path.endswith(".tif"):
        with tifffile.TiffFile(path) as file:
            assert file.pages[0].software == "tifffile.py"


def test_ordinary_labels_are_saved_by_napari(
    viewer: ViewerModel, tmp_path: Path
) -> None:
    viewer.add_labels(LABELS)
    for name in ("x.tif", "x"):
        [path] = viewer.layers.save(str(tmp_path / name))
        assert tifffile.imread(path).dtype.itemsize >= 4  # as napari writes them
    assert not list(tmp_path.glob("*.legend.json"))
    # It writes no labels as PNG, so there we are of use.
    assert len(viewer.layers.save(str(tmp_path / "x.png"))) == 2


def test_folders_are_napari_s(viewer: ViewerModel, tmp_path: Path) -> None:
    viewer.add_image(PHOTO[..., 0], name="photo")
    viewer.add_labels(LABELS, name="labels")
    viewer.add_points(np.zeros((1, 2)), name="points")
    assert [text for text, _ in dialog(viewer)] == [
        "napari builtins Save to Folder (*.*)"
    ]
    written = viewer.layers.save(str(tmp_path / "all"))
    names = sorted(Path(path).name for path in written)
    assert names == ["labels.tif", "photo.tif", "points.csv"]


# Ours -----------------------------------------------------------------------------


def test_what_the_dialog_offers(viewer: ViewerModel) -> None:
    viewer.add_labels(LABELS)
    assert dialog(viewer)[1][0] == "Clickseg class map with legend (*.png *.tif *.tiff)"
    viewer.layers.clear()
    viewer.add_image(ALPHA)
    texts = [text for text, writer in dialog(viewer) if writer.plugin_name == OWN]
    assert texts == [
        "Clickseg alpha, 16 bit (*.png *.tif *.tiff)",
        "Clickseg cut-out with alpha (*.png *.tif *.tiff)",
        "Clickseg depth with unit (*.tif *.tiff)",
    ]


def test_manifest_and_table_agree() -> None:
    [found] = [OURS.contributions.writers]
    by_suffix = {
        writer.command.removeprefix(f"{OWN}.write_"): writer for writer in found
    }
    names = {"classes": "Classes", "alpha": "Alpha", "cutout": "Cut-out"}
    for key, writer in by_suffix.items():
        kind = KINDS[names.get(key, "Depth")]
        assert tuple(writer.filename_extensions) == kind.suffixes
        assert writer.layer_types[0] == kind.layer
        assert kind.filter.lower() == (
            f"{writer.display_name} (*{' *'.join(kind.suffixes)})"
        )


@pytest.mark.parametrize("name", ["c.png", "c.tif", "c"])
def test_class_maps(viewer: ViewerModel, tmp_path: Path, name: str) -> None:
    metadata = marked("Classes", classes=CLASSES.to_dict())
    viewer.add_labels(LABELS, metadata=metadata)
    written = save_as(viewer, "class map", tmp_path / name)
    assert [Path(path).name for path in written] == [
        name if "." in name else "c.png",
        "c.legend.json",
    ]
    with Image.open(written[0]) as picture:
        np.testing.assert_array_equal(np.asarray(picture), LABELS)
    assert read_legend(written[1]).to_classes() == CLASSES
    # The same by script.
    again = viewer.layers.save(str(tmp_path / "d.tif"), plugin=OWN)
    np.testing.assert_array_equal(tifffile.imread(again[0]), LABELS)


def test_labels_of_others_keep_napari_s_colours_and_names(
    viewer: ViewerModel, tmp_path: Path
) -> None:
    features = {"index": [1, 2, 3], "Name": ["nucleus", float("nan"), "wall"]}
    layer = viewer.add_labels(LABELS, features=features)
    written = save_as(viewer, "class map", tmp_path / "c.png")
    legend = read_legend(written[1])
    assert [each.name for each in legend] == ["nucleus", "label 2", "wall"]
    for each in legend:
        expected = np.round(layer.get_color(each.label)[:3] * 255)
        np.testing.assert_allclose(each.colour, expected, atol=1)
    shown = np.asarray(Image.open(written[0]).convert("RGB"))
    where = tuple(np.argwhere(LABELS == 3)[0])
    np.testing.assert_array_equal(shown[where], legend.entries[2].colour)


def test_labels_with_colours_of_their_own(viewer: ViewerModel, tmp_path: Path) -> None:
    colours = {None: "transparent", 1: "red", 2: (0, 1, 0, 0.5), 3: (0, 0, 1, 0)}
    viewer.add_labels(LABELS, colormap=colours, properties={"class": ["-", "a", "b"]})
    written = save_as(viewer, "class map", tmp_path / "c.tif")
    rows = [(e.name, e.colour, e.shown) for e in read_legend(written[1])]
    assert rows == [
        ("a", (255, 0, 0), True),
        ("b", (0, 255, 0), True),
        ("label 3", (0, 0, 255), False),
    ]


def test_alpha(viewer: ViewerModel, tmp_path: Path) -> None:
    viewer.add_image(ALPHA, metadata=marked("Alpha"))
    whole = np.rint(ALPHA * 65535)
    for name in ("a.png", "a.tif"):
        [path] = save_as(viewer, "alpha", tmp_path / name)
        np.testing.assert_array_equal(iio.imread(path), whole)
    [path] = viewer.layers.save(str(tmp_path / "b.png"), plugin=OWN)
    np.testing.assert_array_equal(iio.imread(path), whole)
    # napari reads it back.
    viewer.open(path, plugin="napari")
    np.testing.assert_array_equal(viewer.layers[-1].data, whole)


def test_cutouts(viewer: ViewerModel, tmp_path: Path) -> None:
    mixed = np.dstack([PHOTO, np.rint(ALPHA * 255).astype(np.uint8)])
    viewer.add_image(mixed, rgb=True, metadata=marked("Cut-out"))
    for name in ("a.png", "a.tif"):
        [path] = save_as(viewer, "cut-out", tmp_path / name)
        found = np.asarray(Image.open(path))
        np.testing.assert_array_equal(found, cut_out(mixed))
        assert (found[..., :3] != PHOTO).any()
    [layer] = viewer.layers
    layer.metadata["foreground"] = "estimated"  # then once is enough
    [path] = save_as(viewer, "cut-out", tmp_path / "b.png")
    np.testing.assert_array_equal(np.asarray(Image.open(path)), mixed)


def test_depth(viewer: ViewerModel, tmp_path: Path) -> None:
    viewer.add_image(
        DEPTH,
        metadata=marked("Depth", unit="mm"),
        scale=(0.5, 0.25),
        units=("um", "um"),
    )
    [path] = save_as(viewer, "depth", tmp_path / "d")
    assert path.endswith("d.tif")
    with tifffile.TiffFile(path) as file:
        np.testing.assert_array_equal(file.asarray(), DEPTH)
        assert file.imagej_metadata["vunit"] == "mm"
        assert file.imagej_metadata["unit"] == "um"
        assert file.pages[0].tags["XResolution"].value == (4, 1)
    viewer.open(path, plugin="napari")
    np.testing.assert_array_equal(viewer.layers[-1].data, DEPTH)


def test_layers_of_ours_are_what_they_say(viewer: ViewerModel, tmp_path: Path) -> None:
    """By script the first of our writers is taken; it must not make alpha of depth."""
    viewer.add_image(DEPTH, metadata=marked("Depth", unit="um"))
    [path] = viewer.layers.save(str(tmp_path / "d.tif"), plugin=OWN)
    with tifffile.TiffFile(path) as file:
        assert file.imagej_metadata["vunit"] == "um"
    with pytest.raises(ExportError, match=r"end the name in \.tif"):
        save_as(viewer, "alpha", tmp_path / "d.png")
    viewer.layers.clear()
    viewer.add_image(ALPHA)
    [path] = viewer.layers.save(str(tmp_path / "e.tif"), plugin=f"{OWN}.write_depth")
    assert tifffile.imread(path).dtype == np.float32


def test_layers_that_do_not_fit(viewer: ViewerModel, tmp_path: Path) -> None:
    viewer.add_image(PHOTO, rgb=True)
    for title in ("alpha", "cut-out", "depth"):
        with pytest.raises(ExportError, match="This layer holds"):
            save_as(viewer, title, tmp_path / "x.tif")
    viewer.layers.clear()
    viewer.add_image(DEPTH)
    with pytest.raises(ExportError, match="goes from"):
        save_as(viewer, "alpha", tmp_path / "x.tif")
    with pytest.raises(ExportError, match="no colours with alpha"):
        save_as(viewer, "cut-out", tmp_path / "x.tif")
    viewer.layers.clear()
    viewer.add_labels(LABELS - 5)
    with pytest.raises(ExportError, match="label -5"):
        save_as(viewer, "class map", tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


def test_stacks_and_several_resolutions(viewer: ViewerModel, tmp_path: Path) -> None:
    stack = np.stack([LABELS, LABELS[::-1], LABELS * 0])
    viewer.add_labels(
        stack,
        metadata=marked("Classes", classes=CLASSES.to_dict()),
        scale=(3, 0.5, 0.5),
        units=("um", "um", "um"),
    )
    path, legend = save_as(viewer, "class map", tmp_path / "c")
    assert path.endswith("c.tif"), "a PNG would hold one plane"
    with tifffile.TiffFile(path) as file:
        np.testing.assert_array_equal(file.asarray(), stack)
        assert file.imagej_metadata["spacing"] == 3
    assert read_legend(legend).entries[1].pixels == (stack == 2).sum()
    with pytest.raises(ExportError, match="one plane"):
        save_as(viewer, "class map", tmp_path / "c.png")
    viewer.layers.clear()
    viewer.add_image([DEPTH, DEPTH[::2, ::2]], multiscale=True)
    [path] = save_as(viewer, "depth", tmp_path / "d.tif")
    np.testing.assert_array_equal(tifffile.imread(path), DEPTH)


# What docks call ------------------------------------------------------------------


def test_the_entry_for_docks(tmp_path: Path) -> None:
    assert kind_of({"metadata": {}}) is None
    assert kind_of({"metadata": marked("something else")}) is None
    assert kind_of({"metadata": marked("Depth")}) is KINDS["Depth"]
    assert [kind.suffix() for kind in KINDS.values()] == [
        ".png",
        ".png",
        ".png",
        ".tif",
    ]
    assert KINDS["Alpha"].suffix(stack=True) == ".tif"
    [path] = export_layer_data(
        "Depth", tmp_path / "plane", DEPTH, {}, unit="m", spacing=2
    )
    assert path == tmp_path / "plane.tif"
    paths = export_layer_data(
        None,
        tmp_path / "c.png",
        LABELS,
        {"metadata": marked("Classes", classes=CLASSES.to_dict())},
        legend=("json", "csv"),
    )
    assert len(paths) == 3
    with pytest.raises(ExportError, match="does not say what it is"):
        export_layer_data(None, tmp_path / "x.png", ALPHA, {})
    with pytest.raises(ExportError, match="'Classes', 'Alpha'"):
        export_layer_data("alpha", tmp_path / "x.png", ALPHA, {})
    with pytest.raises(ExportError, match="metadata are damaged"):
        export_layer_data(
            None, tmp_path / "x.png", LABELS, {"metadata": marked("Classes", classes=3)}
        )


@pytest.mark.parametrize(
    ("scale", "units"),
    [
        ((1.0, 1.0), ("pixel", "pixel")),
        ((0.0, 1.0), ("um", "um")),
        ((1.0, 1.0), ("um", "mm")),
        ((1.0, 1.0), None),
    ],
)
def test_spacings_that_are_not_known(tmp_path: Path, scale: Any, units: Any) -> None:
    attributes = {"scale": scale, "units": units}
    [path] = export_layer_data("Depth", tmp_path / "d.tif", DEPTH, attributes)
    with tifffile.TiffFile(path) as file:
        assert "unit" not in file.imagej_metadata
