"""``napari-clickseg models``: which weights there are, and where."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_clickseg.cli.common import download_bar, say

if TYPE_CHECKING:
    from napari_clickseg.models.consent import Consent
    from napari_clickseg.models.registry import ModelInfo

app = typer.Typer(
    no_args_is_help=False,
    invoke_without_command=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of a model.")]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON, for scripts, instead of text.")
]


@app.callback()
def models(context: typer.Context) -> None:
    """List models, fetch and add weights, say where they lie.

    Without a subcommand it lists. Weights are kept in one folder (see
    [bold]models path[/]); NAPARI_CLICKSEG_CACHE moves it.

    [bold]Examples[/]
    napari-clickseg models
    napari-clickseg models fetch ritm-hrnet18s-cocolvis
    napari-clickseg models add coco_lvis_h18s_itermask.pth
    """
    if context.invoked_subcommand is None:
        show_list()


@app.command("list")
def show_list(
    task: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only those for this task.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List all models: name, where the weights are, size, licence."""
    from napari_clickseg.models.registry import list_models

    found = list_models(task)
    if as_json:
        typer.echo(json.dumps([_plain(info) for info in found], indent=2))
        return
    rows = [("NAME", "WEIGHTS", "SIZE", "TRAINED ON", "LICENCE")]
    rows += [
        (
            info.name,
            _state(info),
            info.size_text,
            info.training_data.split(",")[0] or "-",
            info.licence.split(" (")[0].split(";")[0],
        )
        for info in found
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        typer.echo("  ".join([*cells, row[-1]]).rstrip())


@app.command()
def info(name: NameArgument, as_json: JsonOption = False) -> None:
    """Say everything that is known of a model."""
    from napari_clickseg.models.consent import has_consented
    from napari_clickseg.models.registry import get_info

    found = get_info(name)
    if as_json:
        typer.echo(json.dumps(_plain(found), indent=2))
        return
    lines = {
        "name": found.name,
        "": found.description,
        "task": found.task,
        "architecture": f"{found.architecture} {found.backbone}".strip(),
        "trained on": found.training_data,
        "licence": found.licence,
        "terms": found.terms,
        "agreed to": found.terms and ("yes" if has_consented(found) else "no"),
        "source": found.source,
        "size": found.size_text,
        "weights": _state(found),
        "file": str(found.path),
        "verified by": found.hash_text,
    }
    for number, url in enumerate(found.urls):
        lines[f"URL {number + 1}"] = url
    for refinement, numbers in found.published.items():
        values = ", ".join(f"{key} {value:g}" for key, value in numbers.items())
        name_of = "clicks needed, as published"
        lines[name_of if refinement == "none" else f"{name_of} with {refinement}"] = (
            values
        )
    width = max(len(key) for key in lines)
    for key, text in lines.items():
        if text:
            typer.echo(f"{key.ljust(width)}  {text}")


@app.command()
def fetch(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Names of models.")
    ],
    accept_licence: Annotated[
        bool,
        typer.Option(
            "--accept-licence",
            help="Agree to the terms of models that have some, without being asked.",
        ),
    ] = False,
) -> None:
    """Download weights, verify them and say where they are.

    Some weights have terms of their own ([bold]models info[/] shows them), such as no
    commercial use. They are fetched after you have agreed; the answer is remembered
    until you remove the model.
    """
    from napari_clickseg.models.consent import require_consent
    from napari_clickseg.models.fetch import fetch_model
    from napari_clickseg.models.registry import get_info

    wanted = [get_info(name) for name in names]  # complain before downloading
    for model in wanted:
        if not model.downloaded:
            require_consent(model, _agrees(accept_licence))
        with download_bar() as show:
            path = fetch_model(model, show)
        typer.echo(str(path))


@app.command()
def add(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A .safetensors or .pth file.")
    ],
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name it goes by; default: from the file."),
    ] = None,
    accept: Annotated[
        bool,
        typer.Option(
            "--accept", help="Take it for a published model although its hash differs."
        ),
    ] = False,
) -> None:
    """Add weights that are at hand: downloaded by hand, or your own.

    A published file takes that model's place, so that nothing is downloaded. Any
    other becomes a model of its own. The file is copied.
    """
    from napari_clickseg.models.fetch import add_model_file

    added = add_model_file(file, name, accept)
    typer.echo(f"{added.name}: {added.path}")
    if added.terms:
        say(f"Mind its terms: {added.terms}")


@app.command()
def remove(name: NameArgument) -> None:
    """Delete fetched or added weights."""
    from napari_clickseg.models.fetch import remove_model

    removed = remove_model(name)
    say(f"{removed.path} is gone.")


@app.command()
def export(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Name, or a weight file.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE", help="Default: the model's name, here."
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="FORM",
            help="safetensors, onnx or bioimageio; default: as FILE ends.",
        ),
    ] = None,
    size: Annotated[
        int,
        typer.Option(
            min=32, metavar="PIXELS", help="Side of the images that it will be given."
        ),
    ] = 256,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="FILE may be there already.")
    ] = False,
) -> None:
    """Write a model for other programs, and check that it answers the same there.

    [bold]Examples[/]
    napari-clickseg models export my-cells -o my-cells.safetensors
    napari-clickseg models export my-cells --to bioimageio
    napari-clickseg models export my-cells -o my-cells.onnx --size 512
    """
    from napari_clickseg.cli.common import check_choice
    from napari_clickseg.models.handing_out import FORMS, export_model

    form: Any = None if to is None else check_choice(to, FORMS, "--to")
    written = export_model(model, out, form, size=(size, size), overwrite=overwrite)
    typer.echo(str(written))


@app.command()
def path(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Name of a model.")
    ] = None,
) -> None:
    """Say where a model's weights lie, or will; without NAME, the folder."""
    from napari_clickseg.models.cache import models_folder
    from napari_clickseg.models.registry import get_info

    typer.echo(str(models_folder() if name is None else get_info(name).path))


def _agrees(accepted: bool) -> Consent | None:
    """Return who is asked about terms: the option, a person at a terminal, nobody."""
    from napari_clickseg.models.consent import terms_text

    if not accepted and not sys.stdin.isatty():
        return None

    def ask(model: ModelInfo) -> bool:
        say(terms_text(model))
        return accepted or typer.confirm("Do you agree?", err=True)

    return ask


def _state(info: ModelInfo) -> str:
    if info.bundled:
        return "bundled" if info.downloaded else "bundled (missing)"
    if info.added:
        return "added"
    return "downloaded" if info.downloaded else "to fetch"


def _plain(info: ModelInfo) -> dict[str, Any]:
    """Return what JSON can hold."""
    return {
        **vars(info),
        "published": {key: dict(value) for key, value in info.published.items()},
        "learning_rates": dict(info.learning_rates),
        "path": str(info.path),
    }
