"""``napari-clickseg convert``: weights into the safe format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_clickseg.cli.common import check_choice, download_bar

DTYPES = ("keep", "float32", "float16", "bfloat16")


def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A .pth, .pt or .safetensors file, or the name of a model.",
        ),
    ],
    target: Annotated[
        Path | None,
        typer.Argument(
            metavar="[TARGET]",
            help="Default: SOURCE with the ending .safetensors; of a name, here.",
        ),
    ] = None,
    dtype: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="How numbers are stored: keep, float32, float16, bfloat16.",
        ),
    ] = "keep",
    decoder_only: Annotated[
        bool,
        typer.Option(
            "--decoder-only",
            help="Leave the encoder out, for machines that read a feature store.",
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace TARGET if it exists.")
    ] = False,
) -> None:
    r"""Rewrite published weights as [bold].safetensors[/].

    A .pth file is a pickle. It is read without running anything in it,
    understood as RITM or f-BRS, and written in a format of numbers only.

    [bold]Examples[/]
    napari-clickseg convert coco_lvis_h18s_itermask.pth
    napari-clickseg convert resnet34_dh128_sbd.pth fbrs.safetensors \
        --dtype float16
    napari-clickseg convert interformer.pth decoder.safetensors --decoder-only
    napari-clickseg convert interformer-mobilenetv2-starter --decoder-only
    """
    check_choice(dtype, DTYPES, "--dtype")
    from napari_clickseg.models.checkpoint import convert_checkpoint
    from napari_clickseg.models.given import weight_file

    file = Path(source).expanduser()
    named = not file.is_file()
    if named:
        with download_bar() as show:
            file = weight_file(source, show)
    ending = "-decoder.safetensors" if decoder_only else ".safetensors"
    goal = target
    if goal is None:
        goal = Path(source + ending) if named else file.with_name(file.stem + ending)
    stored = None
    if dtype != "keep":
        import torch

        stored = getattr(torch, dtype)
    if decoder_only:
        from napari_clickseg.models.decoder_only import export_decoder

        checkpoint = export_decoder(file, goal, dtype=stored, overwrite=overwrite)
    else:
        checkpoint = convert_checkpoint(file, goal, dtype=stored, overwrite=overwrite)
    numbers = sum(tensor.numel() for tensor in checkpoint.state_dict.values())
    typer.echo(
        f"{goal}: {checkpoint.architecture}, {numbers / 1e6:.2f} million numbers, "
        f"{goal.stat().st_size / 2**20:.1f} MiB"
    )
