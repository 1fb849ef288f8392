"""Weights with terms are fetched only after somebody has agreed to them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_clickseg.errors import ConsentError, FetchError, ModelError
from napari_clickseg.models.consent import (
    consent_path,
    has_consented,
    record_consent,
    require_consent,
    terms_text,
    withdraw_consent,
)
from napari_clickseg.models.fetch import add_model_file, fetch_model, remove_model
from napari_clickseg.models.registry import ModelInfo, get_info

NAME = "indexnet-mobilenetv2-adobe"
FREE = "fbrs-hrnet18-sbd"
#: Nothing answers at port 9.
NOWHERE = ("http://127.0.0.1:9/indexnet_matting.pth.tar",)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_CLICKSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def some_model() -> ModelInfo:
    """Return a model with terms, of which nothing can be downloaded."""
    return replace(get_info(NAME), urls=NOWHERE)


def test_nothing_is_asked_where_there_are_no_terms() -> None:
    info = get_info(FREE)
    assert has_consented(info)
    assert terms_text(info) == ""
    require_consent(info)
    record_consent(info)
    assert not consent_path().exists()


def test_without_anybody_to_ask_nothing_is_downloaded() -> None:
    info = some_model()
    with pytest.raises(ConsentError) as caught:
        fetch_model(info)
    text = str(caught.value)
    assert info.licence in text
    assert info.terms in text
    assert f"models fetch {NAME} --accept-licence" in text
    assert "consent=lambda info: True" in text
    assert not info.path.parent.exists()
    assert isinstance(caught.value, ModelError)


def test_a_no_is_not_remembered() -> None:
    info, asked = some_model(), []

    def decline(model: ModelInfo) -> bool:
        asked.append(model)
        return False

    for _ in range(2):
        with pytest.raises(ConsentError):
            fetch_model(info, consent=decline)
    assert [model.name for model in asked] == [NAME, NAME]
    assert not has_consented(info)


def test_a_yes_is_asked_for_once() -> None:
    """The download itself fails here: that is another error, and comes later."""
    info, asked = some_model(), []

    def agree(model: ModelInfo) -> bool:
        asked.append(model)
        return True

    for _ in range(2):
        with pytest.raises(FetchError, match="could not be fetched"):
            fetch_model(info, consent=agree)
    assert asked == [info]
    with pytest.raises(FetchError):
        fetch_model(info)


def test_where_no_program_can_download_the_page_is_named() -> None:
    with pytest.raises(FetchError) as caught:
        fetch_model("hmsa-hrnet48-mapillary", consent=lambda _: True)
    assert "a page that a program cannot download from" in str(caught.value)
    assert "https://drive.google.com/drive/folders/" in str(caught.value)
    assert "models add mapillary_ocrnet" in str(caught.value)


@pytest.mark.parametrize("change", ["terms", "licence"])
def test_other_terms_are_asked_about_again(change: str) -> None:
    info = some_model()
    record_consent(info)
    assert has_consented(info)
    changed: dict[str, Any] = {change: "Only on Sundays."}
    assert not has_consented(replace(info, **changed))
    assert has_consented(replace(info, source="elsewhere", urls=()))


def test_another_user_of_the_folder_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    info = some_model()
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    record_consent(info)
    monkeypatch.setattr("getpass.getuser", lambda: "grace")
    assert not has_consented(info)
    record_consent(info)
    withdraw_consent(NAME)
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    assert has_consented(info)


def test_without_a_user_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise OSError("No username set in the environment")

    monkeypatch.setattr("getpass.getuser", nobody)
    record_consent(some_model())
    assert has_consented(some_model())


def test_removing_a_model_withdraws_it() -> None:
    record_consent(some_model())
    remove_model(NAME)
    assert not has_consented(some_model())
    assert not withdraw_consent(NAME)


def test_what_is_kept() -> None:
    record_consent(some_model())
    (user,) = json.loads(consent_path().read_text()).values()
    assert set(user) == {NAME}
    assert set(user[NAME]) == {"terms_sha256", "date"}
    assert len(user[NAME]["terms_sha256"]) == 64


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"a": 3}', '{"a": {"b": 1}}'])
def test_a_broken_file_means_that_nothing_was_agreed_to(content: str) -> None:
    consent_path().parent.mkdir(parents=True)
    consent_path().write_text(content)
    assert not has_consented(some_model())
    record_consent(some_model())
    assert has_consented(some_model())


def test_an_answer_that_cannot_be_kept(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(ConsentError, match="NAPARI_CLICKSEG_CACHE"):
        record_consent(some_model())


_TEXT = st.text(min_size=1, max_size=20)


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["record", "withdraw"]),
            st.sampled_from(["a", "b"]),
            st.sampled_from(["x", "y"]),
        ),
        max_size=8,
    ),
    terms=st.dictionaries(st.sampled_from(["x", "y"]), _TEXT, min_size=2),
)
def test_any_order_of_yes_and_no(
    steps: list[tuple[str, str, str]], terms: dict[str, str]
) -> None:
    """Only the last answer for a model counts, and only for the text it was to."""
    consent_path().unlink(missing_ok=True)
    agreed: dict[str, str] = {}
    for what, name, text in steps:
        if what == "record":
            record_consent(replace(some_model(), name=name, terms=terms[text]))
            agreed[name] = terms[text]
        else:
            assert withdraw_consent(name) == (agreed.pop(name, None) is not None)
    for name in ("a", "b"):
        for text in terms.values():
            info = replace(some_model(), name=name, terms=text)
            assert has_consented(info) == (agreed.get(name) == text)


def test_a_file_at_hand_is_not_asked_about(tmp_path: Path) -> None:
    import torch

    from napari_clickseg.models.checkpoint import read_checkpoint
    from napari_clickseg.networks.indexnet import IndexNet

    network = IndexNet("o2o", separable=True, context=16)
    state = {f"module.{k}": v for k, v in network.state_dict().items()}
    file = tmp_path / "indexnet_matting.pth.tar"
    torch.save({"state_dict": state, "epoch": 1}, file)
    info = add_model_file(file)
    assert info.name == NAME
    assert fetch_model(NAME) == info.path
    assert read_checkpoint(fetch_model(NAME)).architecture == "indexnet"
    assert not has_consented(info)
