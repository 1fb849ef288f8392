"""Models of the library transformers, as models of this package.

Each function downloads its weights at the first use, from the library's hub. Their
licences are their own: Depth Anything V2 Small and ViTMatte are Apache-2.0, SegFormer
is NVIDIA's, for research. Read the model cards first.

In napari give one as the model in the docks "Depth", "Semantic classes" and "Matting",
in a script to a session:

    cs.ClickSession("examples/transformers_models.py:relative_depth", task="depth")

It needs ``pip install "napari-clickseg[transformers]"``.
"""

from __future__ import annotations

from typing import Any

from napari_clickseg.models.from_transformers import from_transformers


def relative_depth() -> Any:
    """Return depth of any photo, larger where nearer, without a unit."""
    return from_transformers("depth-anything/Depth-Anything-V2-Small-hf")


def depth_indoors() -> Any:
    """Return depth of rooms in metres, up to 20 m."""
    return from_transformers("depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf")


def streets() -> Any:
    """Return the 19 classes of Cityscapes."""
    return from_transformers("nvidia/segformer-b0-finetuned-cityscapes-1024-1024")


def rooms_and_landscapes() -> Any:
    """Return 150 classes of scenes (ADE20K)."""
    return from_transformers("nvidia/segformer-b0-finetuned-ade-512-512")


def matting() -> Any:
    """Return alpha, with a trimap."""
    return from_transformers("hustvl/vitmatte-small-composition-1k")
