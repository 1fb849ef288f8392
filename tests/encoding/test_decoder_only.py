"""Clicks on stored features, with and without the encoder at hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

import napari_clickseg as cs
from napari_clickseg.boxes import Box
from napari_clickseg.clicks import Click
from napari_clickseg.encoding.keys import key_for
from napari_clickseg.encoding.store import FeatureStore
from napari_clickseg.encoding.windows import (
    prepared_settings,
    side_of,
    windows_of,
)
from napari_clickseg.encoding.with_store import WithStore
from napari_clickseg.errors import (
    CheckpointError,
    EncoderMissingError,
    ModelError,
    SettingsError,
)
from napari_clickseg.image import ImageSource
from napari_clickseg.models.checkpoint import read_checkpoint, save_checkpoint
from napari_clickseg.models.decoder_only import DecoderModel, export_decoder
from napari_clickseg.models.encoders import encoder_hash, encoder_of, encoder_parts
from napari_clickseg.models.model import Model, load_model
from napari_clickseg.models.registry import get_info
from napari_clickseg.networks.fbrs import FBRS
from napari_clickseg.networks.interformer import InterFormer
from napari_clickseg.networks.interformer_mobilenet import InterFormerMobileNetV2
from napari_clickseg.networks.ritm import RITM
from napari_clickseg.networks.ritm_mobilenet import RITMMobileNetV2
from napari_clickseg.prediction.passes import Passes
from napari_clickseg.prediction.predictor import Predictor

NETWORKS = {
    "interformer-mobilenetv2": (
        lambda: InterFormerMobileNetV2((8, 16, 32, 64), (1, 1, 1, 1), 16, 16),
        ("backbone", "pyramid"),
    ),
    "interformer": (
        lambda: InterFormer(dim=48, depth=2, heads=4),
        ("normalization", "backbone"),
    ),
    "ritm-mobilenetv2": (
        RITMMobileNetV2,
        ("backbone.stem", *(f"backbone.blocks.{i}" for i in range(3))),
    ),
    "ritm": (
        lambda: RITM("resnet34"),
        (
            "normalization",
            "feature_extractor.backbone.conv1",
            "feature_extractor.backbone.bn1",
        ),
    ),
}


@pytest.fixture(scope="module")
def image():
    """A disk on a gradient."""
    rows, cols = np.mgrid[:120, :150]
    disk = (rows - 60) ** 2 + (cols - 70) ** 2 < 30**2
    grey = 60 + cols // 3 + 120 * disk
    return np.stack([grey, grey, 255 - grey], -1).astype(np.uint8)


@pytest.fixture(scope="module", params=list(NETWORKS))
def files(request, tmp_path_factory):
    """A whole file, its decoder-only file, and the encoder's parts."""
    build, parts = NETWORKS[request.param]
    torch.manual_seed(1)
    network = build().eval()
    with torch.no_grad():  # batch norm that does something
        for name, buffer in network.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2)
    folder = tmp_path_factory.mktemp("files")
    whole, half = folder / "whole.safetensors", folder / "decoder.safetensors"
    save_checkpoint(whole, network, metadata={"name": request.param})
    export_decoder(whole, half)
    return whole, half, parts


def loaded(path, **options):
    return load_model(path, device="cpu", **({"precision": "float32"} | options))


def test_the_file_holds_no_encoder(files):
    whole, half, parts = files
    with safe_open(half, "pt") as file:
        names, metadata = list(file.keys()), file.metadata()
    assert not [n for n in names if n.startswith(tuple(f"{p}." for p in parts))]
    assert json.loads(metadata["config"])["decoder_only"] is True
    card = json.loads(metadata["card"])
    assert card["encoder"]["parts"] == list(parts)
    assert card["encoder"]["hash"] == encoder_hash(read_checkpoint(whole))
    assert card["decoder_of_sha256"] == read_checkpoint(whole).sha256
    rest = {n for n in read_checkpoint(whole).state_dict if n not in names}
    assert rest  # all of it encoder
    assert all(n.startswith(tuple(f"{p}." for p in parts)) for n in rest)


def test_the_same_answers_from_stored_features(files, image, tmp_path):
    whole, half, _ = files
    model, decoder = loaded(whole), loaded(half)
    assert isinstance(decoder, DecoderModel)
    source, settings = ImageSource(image), prepared_settings(96)
    clicks = [Click(60, 70), Click(10, 10, positive=False)]

    def answers(model):
        predictor, state, found = Predictor(model, settings), None, []
        for count in (1, 2):
            last = predictor.predict(source, clicks[:count], state)
            state = last.state
            found.append(last.probability)
        return found

    for dtype, tolerance in (("bfloat16", 0.03), ("float16", 0.006)):
        store = FeatureStore(tmp_path / dtype, dtype=dtype)
        with pytest.raises(EncoderMissingError, match="encode"):
            answers(WithStore(decoder, store))
        exact = answers(WithStore(model, store))
        assert store.info().entries == 1
        for a, b, c in zip(
            exact, answers(WithStore(decoder, store)), answers(model), strict=True
        ):
            assert np.abs(a - b).max() < tolerance
            assert np.abs(a - c).max() < 1e-6  # the first one encoded for itself
        assert np.ptp(exact[1]) > 0


def test_keys_do_not_depend_on_precision_folding_or_the_encoder(files, image):
    whole, half, _ = files
    source, box = ImageSource(image), Box(0, 0, 120, 150)
    keys = {
        key_for(model, source, box, (77, 96))
        for model in (
            loaded(whole),
            loaded(whole, precision="bfloat16"),
            loaded(whole, optimise=False),
            loaded(half),
            loaded(half, precision="bfloat16"),
            encoder_hash(read_checkpoint(whole)),
        )
    }
    assert len(keys) == 1


def test_the_decoder_moves_and_tries_half_precision(files):
    decoder = loaded(files[1], precision="auto")
    assert decoder.to("cpu") is decoder
    other = decoder.to(precision="bfloat16")
    assert other.dtype == torch.bfloat16
    assert other.encoder_hash == decoder.encoder_hash
    with pytest.raises(EncoderMissingError, match="decoder"):
        other.encode(torch.zeros(1, 3, 64, 64))
    with pytest.raises(EncoderMissingError):
        other.network.get_submodule(files[2][0])(torch.zeros(1, 3, 64, 64))


def test_the_decoder_is_folded_and_checked_like_the_whole_model(files, image):
    """Folded or not, the same answer; and no batch norm is left to run."""
    whole, half, _ = files
    plain, folded = loaded(half, optimise=False), loaded(half)
    features = loaded(whole).encode(torch.rand(1, 3, 64, 96))
    points = torch.tensor([[[30.0, 40.0, 0.0], [-1.0, -1.0, -1.0]]])
    with torch.inference_mode():
        a, b = (m.decode(features, points) for m in (plain, folded))
    assert torch.allclose(a, b, atol=1e-3 * float(a.abs().max().clamp(min=1)))
    norms = [m for m in folded.network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    whole_norms = [
        m
        for m in loaded(whole).network.modules()
        if isinstance(m, torch.nn.BatchNorm2d)
    ]
    assert len(norms) == len(whole_norms)


# -- what does not work, and says so --------------------------------------------------


def test_no_encoder_no_decoder(tmp_path):
    path = tmp_path / "fbrs.safetensors"
    save_checkpoint(path, FBRS("resnet34").eval(), metadata={})
    assert encoder_parts(FBRS("resnet34").eval()) == ()
    with pytest.raises(ModelError, match="no encoder"):
        export_decoder(path, tmp_path / "decoder.safetensors")
    model = loaded(path)
    with pytest.raises(ModelError, match="no encoder"):
        key_for(model, ImageSource(np.zeros((40, 40))), Box(0, 0, 40, 40), (40, 40))


def test_export_refuses(small_file, tmp_path):
    half = tmp_path / "half.safetensors"
    export_decoder(small_file, half)
    with pytest.raises(CheckpointError, match="exists already"):
        export_decoder(small_file, half)
    with pytest.raises(CheckpointError, match="decoder only already"):
        export_decoder(half, tmp_path / "quarter.safetensors")
    with pytest.raises(CheckpointError, match="should end"):
        export_decoder(small_file, tmp_path / "half.pth")
    assert half.stat().st_size < 0.6 * small_file.stat().st_size
    small = tmp_path / "float16.safetensors"
    export_decoder(small_file, small, dtype=torch.float16)
    assert small.stat().st_size < 0.7 * half.stat().st_size
    assert isinstance(loaded(small), DecoderModel)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w, c, k: w.pop("neck.patch_embed"), "missing"),
        (lambda w, c, k: w.update({"backbone.x": torch.ones(1)}), "not part of it"),
        (lambda w, c, k: k["encoder"].update(parts=["nowhere"]), "how it is built"),
        (lambda w, c, k: k["encoder"].update(parts=[]), "missing"),
        (lambda w, c, k: k.pop("encoder"), "how it is built"),
        (lambda w, c, k: w.pop("example.2"), "no example"),
        (lambda w, c, k: c.update(width="wide"), "how it is built"),
    ],
)
def test_damaged_decoder_files_are_refused(small_file, tmp_path, change, message):
    from napari_clickseg.models.checkpoint import FORMAT
    from napari_clickseg.models.weight_files import encode_safetensors

    path = tmp_path / "half.safetensors"
    whole = export_decoder(small_file, path)
    weights, config, card = whole.state_dict, whole.config, whole.metadata
    change(weights, config, card)
    header = {
        "format": FORMAT,
        "architecture": whole.architecture,
        "config": json.dumps(config),
        "card": json.dumps(card),
    }
    path.write_bytes(encode_safetensors(weights, header))
    with pytest.raises(CheckpointError, match=message):
        loaded(path)


def test_the_encoder_s_memory_is_never_asked_for(tmp_path, monkeypatch):
    """A wide ViT costs its decoder nothing: it is built of shapes alone."""
    torch.manual_seed(0)
    path, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    save_checkpoint(path, InterFormer(dim=96, depth=3, heads=4).eval(), metadata={})
    export_decoder(path, half)
    built = []
    empty = torch.empty

    def watched(*args, **options):
        result = empty(*args, **options)
        if result.device.type != "meta" and result.numel() > 96 * 96:
            built.append(tuple(result.shape))
        return result

    monkeypatch.setattr(torch, "empty", watched)
    model = loaded(half, optimise=False)
    assert not built
    kept = sum(x.numel() for x in model.network.state_dict().values())
    assert kept < sum(x.numel() for x in read_checkpoint(path).state_dict.values()) / 2


# -- encoders and keys ----------------------------------------------------------------


def test_other_weights_another_hash(small_file, tmp_path):
    network = InterFormerMobileNetV2((8, 16, 32, 64), (1, 1, 1, 1), 16, 16).eval()
    first = encoder_hash(network)
    assert encoder_hash(network) == first
    with torch.no_grad():
        network.neck.patch_embed.add_(1)
    assert encoder_hash(network) == first  # of the decoder
    with torch.no_grad():
        next(network.pyramid.parameters()).add_(1)
    assert encoder_hash(network) != first
    assert len(encoder_of(read_checkpoint(small_file))[1]) == 32


def test_a_model_without_a_file(image):
    torch.manual_seed(0)
    build = NETWORKS["interformer-mobilenetv2"][0]
    info = load_info()
    model = Model(build().eval(), info, "", "cpu", "float32")
    other = model.to(precision="bfloat16")
    box = Box(0, 0, 120, 150)
    assert key_for(model, ImageSource(image), box, (96, 96)) == key_for(
        other, ImageSource(image), box, (96, 96)
    )


def load_info():
    from napari_clickseg.models.registry import ModelInfo

    return ModelInfo("made", "segmentation", "made", "made", "none", "here")


def test_what_a_key_depends_on(image):
    box = Box(10, 20, 70, 100)

    def key(pixels=image, box=box, size=(48, 64), flipped=False, model="e", **shown):
        return key_for(model, ImageSource(pixels, **shown), box, size, flipped)

    same = key()
    assert key(image.copy()) == same
    assert key(image[10:70, 20:100], Box(0, 0, 60, 80)) == same  # as a cut-out
    assert key(contrast=(0, 255)) == same  # what it is anyway
    changed = image.copy()
    changed[40, 50, 1] += 1
    outside = image.copy()
    outside[0, 0] += 1
    assert key(outside) == same
    others = [
        key(changed),
        key(box=Box(10, 20, 70, 101)),
        key(size=(48, 63)),
        key(flipped=True),
        key(model="f"),
        key(contrast=(0, 254)),
        key(channels=(2, 1, 0), contrast=(0, 255)),
    ]
    assert len({same, *others}) == len(others) + 1


def test_a_pixel_between_the_sampled_blocks_counts():
    """Large images are only sampled for their signature; keys look at all pixels."""
    pixels = np.zeros((1500, 1500), np.uint8)
    other = pixels.copy()
    other[200, 200] = 255
    one, two = ImageSource(pixels), ImageSource(other)
    assert one.signature() == two.signature()
    box = Box(0, 0, 1500, 1500)
    assert key_for("e", one, box, (512, 512)) != key_for("e", two, box, (512, 512))


def test_prepared_settings_ask_for_the_one_window(small_file, image, store):
    model = WithStore(loaded(small_file), store)
    settings = prepared_settings(96)
    predictor, state = Predictor(model, settings), None
    source = ImageSource(image)
    for count in range(1, 5):
        clicks = [Click(60, 60 + 3 * i) for i in range(count)]
        state = predictor.predict(source, clicks, state).state
    assert store.info().entries == 1
    (window,) = windows_of(source.shape, 96)
    assert model.prepared(source, window.box, window.size)
    assert not model.prepared(source, window.box, window.size, True)


def test_the_mirror_image_too(small_file, image, store):
    model, source = loaded(small_file), ImageSource(image)
    stored = WithStore(model, store)
    settings = prepared_settings(96, flip=True)
    first = Predictor(stored, settings).predict(source, [Click(60, 70)])
    assert store.info().entries == 2
    assert {
        store.has(key_for(model, source, w.box, w.size, w.flipped))
        for w in windows_of(source.shape, 96, flip=True)
    } == {True}
    passes = Passes(stored)
    both = passes.encode(source, Box(0, 0, 120, 150), (77, 96), (False, True))
    assert both.batch == 2
    assert both.content[0].shape[0] == 2
    again = Predictor(stored, settings).predict(source, [Click(60, 70)])
    assert np.abs(first.probability - again.probability).max() < 0.03


def test_refinement_runs_on_stored_features(files, image, store):
    whole, half, _ = files
    source, settings = ImageSource(image), prepared_settings(96)
    clicks = [Click(60, 70), Click(60, 75, positive=False)]
    for model in (loaded(whole), loaded(half)):
        predictor = Predictor(WithStore(model, store), settings, "f-brs-b")
        first = predictor.predict(source, clicks[:1])
        answer = predictor.predict(source, clicks, first.state)
        assert answer.unsatisfied == () or answer.corrected or answer.state.refined
    assert store.info().entries == 1


def test_a_session_with_a_decoder(small_file, image, tmp_path):
    half = tmp_path / "half.safetensors"
    export_decoder(small_file, half)
    store = FeatureStore(tmp_path / "store")
    source = ImageSource(image)
    model = loaded(small_file)
    (window,) = windows_of(source.shape, 96)
    features = Passes(model).encode(source, window.box, window.size, (False,))
    store.put(key_for(model, source, window.box, window.size), features)
    session = cs.ClickSession(
        WithStore(loaded(half), store), settings=prepared_settings(96)
    )
    session.set_image(image)
    session.add_click((60, 70))
    session.add_click((5, 5), positive=False)
    session.undo()
    assert session.probability.shape == image.shape[:2]
    assert np.ptp(session.probability) > 0


def test_a_store_that_cannot_be_written_costs_no_answer(
    small_file, image, store, monkeypatch, caplog
):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "put", full)
    model = WithStore(loaded(small_file), store)
    predictor = Predictor(model, prepared_settings(96))
    assert predictor.predict(ImageSource(image), [Click(60, 70)]).settled
    assert "No space" in caplog.text


# -- windows --------------------------------------------------------------------------


def test_windows():
    assert [w.size for w in windows_of((400, 300), 512)] == [(400, 300)]
    whole, *tiles = windows_of((1000, 2000), 500, tiles=True)
    assert (whole.box, whole.size) == (Box(0, 0, 1000, 2000), (250, 500))
    assert len(tiles) == 3 + 3 * 7
    assert all(max(tile.size) == 500 for tile in tiles)
    assert all(tile.box.shape == tile.size == (500, 500) for tile in tiles[3:])
    near = Box(0, 0, 10, 10)
    some = list(windows_of((1000, 2000), 500, tiles=True, flip=True, within=near))
    assert [w.flipped for w in some] == [False, True] * 3
    assert {w.box for w in some} == {
        w.box for w in (whole, *tiles) if not w.box.intersect(near).empty
    }
    huge = list(windows_of((5000, 5000), 512))
    assert huge
    assert Box(0, 0, 5000, 5000) not in [w.box for w in huge]
    with pytest.raises(SettingsError, match="32"):
        list(windows_of((100, 100), 8))


def test_side_of(small_file):
    assert side_of(loaded(small_file)) == 448
    info = get_info("ritm-mobilenetv2-starter")
    vit = Model(InterFormer(dim=48, depth=1, heads=4), info)
    assert (vit.encodes_once, vit.tile_side, side_of(vit)) == (True, 512, 512)
