"""Options of commands that look at one image, and the image they mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_clickseg.imagefiles import read_image

if TYPE_CHECKING:
    from napari_clickseg.image import ImageSource

ImageArgument = Annotated[
    Path, typer.Argument(metavar="IMAGE", help="TIFF (any bit depth), PNG, ...")
]
PageOption = Annotated[
    int | None, typer.Option(min=0, metavar="N", help="Plane of a stack, from 0.")
]
ChannelsOption = Annotated[
    str | None,
    typer.Option(metavar="A[,B[,C]]", help="Channels to show the model, from 0."),
]
ChannelAxisOption = Annotated[
    int | None,
    typer.Option(metavar="N", help="Axis of the channels, if not the last."),
]
ContrastOption = Annotated[
    str | None,
    typer.Option(metavar="LOW,HIGH", help="Values shown as black and white."),
]


def read_pixels(image: Path, page: int | None, channel_axis: int | None) -> Any:
    """Return the file's values; with all axes if it is said which holds channels."""
    return read_image(image, page=page, whole=channel_axis is not None)


def source_of(
    pixels: Any, channels: str | None, channel_axis: int | None, contrast: str | None
) -> ImageSource:
    """Return what the model looks at."""
    from napari_clickseg.image import ImageSource

    return ImageSource(
        pixels,
        numbers(channels, "--channels", int),
        numbers(contrast, "--contrast", float),
        channel_axis=channel_axis,
    )


def numbers(text: str | None, option: str, kind: type) -> Any:
    """Return the numbers of ``1,2,3``, or None."""
    if text is None:
        return None
    try:
        values = [kind(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} should be numbers with commas.", param_hint=option
        ) from None
    if option == "--contrast" and len(values) != 2:
        raise typer.BadParameter("Give two numbers: LOW,HIGH.", param_hint=option)
    return values
