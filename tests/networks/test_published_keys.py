"""Every weight has its published name, type and shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from tests.networks.tables import NETWORKS, parse, skeleton, table_of, tables

from napari_clickseg.networks.fbrs import FBRS
from napari_clickseg.networks.ritm import RITM

if TYPE_CHECKING:
    from pathlib import Path

PARAMETERS = {
    "ritm_h18s": 4_220_047,
    "ritm_h18": 10_032_019,
    "ritm_deeplab_r34": 23_350_930,
    "fbrs_r101_dh256": 58_431_612,
    "interformer_light": 97_373_348,
    "hmsa_hrnet48_ocr_cityscapes": 72_143_430,
    "hmsa_hrnet48_ocr_mapillary": 72_200_194,
    "indexnet_mbv2": 5_953_515,
    "bts_densenet161": 47_000_688,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_names_types_and_shapes(name: str) -> None:
    published = tables()[name]
    ours = table_of(skeleton(name))
    assert ours == published
    assert list(ours) == list(published)  # in the published order, too


def test_every_published_table_is_covered() -> None:
    assert tables().keys() == NETWORKS.keys()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_excerpt_is_the_full_table(name: str, golden_dir: Path) -> None:
    full = golden_dir.parent / "reference" / "keys" / f"{name}_keys.txt"
    if not full.is_file():
        pytest.skip(f"{full} is not there")
    assert parse(full.read_text().splitlines()) == tables()[name]


@pytest.mark.parametrize("name", PARAMETERS)
def test_number_of_parameters(name: str) -> None:
    network = skeleton(name)
    assert sum(x.numel() for x in network.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", NETWORKS)
def test_config_builds_the_same_network(name: str) -> None:
    network = skeleton(name)
    with torch.device("meta"):
        again = type(network)(**network.config)
    assert table_of(again) == table_of(network)
    assert again.config == network.config


@pytest.mark.parametrize("name", [n for n in NETWORKS if n.startswith("fbrs")])
@pytest.mark.parametrize("counters", [True, False])
def test_fbrs_is_recognised_from_its_weights(name: str, counters: bool) -> None:
    """Also in files converted without the counters of batch norm."""
    network = skeleton(name)
    state = {
        key: value
        for key, value in network.state_dict().items()
        if counters or not key.endswith("num_batches_tracked")
    }
    recognised = FBRS.recognise(state)
    assert recognised is not None
    with torch.device("meta"):
        assert FBRS(**recognised).config == network.config


@pytest.mark.parametrize("name", [n for n in NETWORKS if n.startswith("ritm")])
def test_ritm_is_not_taken_for_fbrs(name: str) -> None:
    assert FBRS.recognise(skeleton(name).state_dict()) is None


def test_small_hrnets_of_fbrs_are_recognised() -> None:
    with torch.device("meta"):
        network = FBRS("hrnet18s")
    assert FBRS.recognise(network.state_dict()) == {
        "backbone": "hrnet18s",
        "ocr_width": 48,
    }


def test_ritms_rgb_conv_is_not_taken_for_that_of_fbrs() -> None:
    with torch.device("meta"):
        network = RITM("hrnet18", use_rgb_conv=True, with_prev_mask=False)
    assert FBRS.recognise(network.state_dict()) is None
