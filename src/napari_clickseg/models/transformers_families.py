"""What families of models of transformers expect, answer, and where clicks act in them.

The numbers are those of the published preprocessing of each family; what a model
brings itself counts before them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from napari_clickseg.networks.layers import IMAGENET, Normalise

Statistics = tuple[Sequence[float], Sequence[float]]

#: From -1 to 1.
HALF: Statistics = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
#: RGB as it is.
PLAIN: Statistics = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
#: Inverse depth up to scale and shift, as users read it.
RELATIVE = "relative units (larger is nearer)"
#: No image is stretched to more than so many times the working side.
LONGEST = 4
#: How processors call interpolation; others are not in use here.
_RESAMPLING = {2: "bilinear", 3: "bicubic"}

#: Why some models cannot be had.
UNSUPPORTED: Mapping[str, str] = MappingProxyType(
    {
        "depth_pro": "its depths depend on a field of view that it finds besides.",
        "prompt_depth_anything": "it needs a measured depth map besides the image.",
    }
)


def _metres(config: Any) -> str:  # noqa: ARG001
    return "m"


def _relative(config: Any) -> str:  # noqa: ARG001
    return RELATIVE


def _depth_anything(config: Any) -> str:
    metric = getattr(config, "depth_estimation_type", "relative") == "metric"
    return "m" if metric else RELATIVE


def _never(config: Any) -> bool:  # noqa: ARG001
    return False


def _always(config: Any) -> bool:  # noqa: ARG001
    return True


def _without_backbone(config: Any) -> bool:
    """Whether positions were learned for one square size, as in the first DPT."""
    return getattr(config, "backbone_config", None) is None or bool(
        getattr(config, "is_hybrid", False)
    )


def _no_limit(config: Any) -> float | None:  # noqa: ARG001
    return None


def _max_depth(config: Any) -> float | None:
    most = getattr(config, "max_depth", None)
    return None if most is None else float(most)


def _metric_limit(config: Any) -> float | None:
    return _max_depth(config) if _depth_anything(config) == "m" else None


@dataclass(frozen=True)
class Family:
    """What models of one kind have in common.

    Parameters
    ----------
    places : tuple of str
        Where clicks act, from low to high resolution; empty: it is tried out.
    statistics : (mean, std)
        Of RGB in [0, 1].
    side : int or None
        Shorter side that the published preprocessing resizes to; None: none.
    multiple : int or None
        Sides are multiples of it; None: of the patches of its transformer.
    square : callable
        Given the config: whether both sides must be the same.
    unit, largest : callable
        Given the config: unit of depths, and what they cannot go beyond.
    floor : str or None
        The last ReLU, behind which depths of zero give no gradient.
    description : str
    """

    places: tuple[str, ...] = ()
    statistics: Statistics = IMAGENET
    side: int | None = 512
    multiple: int | None = 32
    square: Callable[[Any], bool] = _never
    unit: Callable[[Any], str] = _relative
    largest: Callable[[Any], float | None] = _no_limit
    floor: str | None = None
    description: str = ""


_FUSION = ("neck.fusion_stage.layers.2", "neck.fusion_stage.layers.3")
_UPER = ("decode_head.fpn_bottleneck",)

FAMILIES: Mapping[tuple[str, str], Family] = MappingProxyType(
    {
        ("depth", "depth_anything"): Family(
            _FUSION,
            side=518,
            multiple=None,
            unit=_depth_anything,
            largest=_metric_limit,
            floor="head.activation2",
            description="Depth Anything",
        ),
        ("depth", "dpt"): Family(
            _FUSION,
            HALF,
            side=384,
            multiple=None,
            square=_without_backbone,
            floor="head.head.5",
            description="Dense prediction transformer, relative depth",
        ),
        ("depth", "glpn"): Family(
            ("decoder.stages.2", "decoder.stages.3"),
            PLAIN,
            side=480,
            unit=_metres,
            largest=_max_depth,
            description="Global-local path network, metric depth",
        ),
        ("depth", "zoedepth"): Family(
            _FUSION,
            HALF,
            side=384,
            unit=_metres,
            description="ZoeDepth, metric depth",
        ),
        ("semantic", "segformer"): Family(
            ("decode_head.batch_norm",), description="SegFormer"
        ),
        ("semantic", "upernet"): Family(_UPER, description="UperNet"),
        ("semantic", "beit"): Family(
            _UPER, HALF, side=640, square=_always, description="BEiT"
        ),
        ("semantic", "data2vec-vision"): Family(
            _UPER,
            HALF,
            side=640,
            square=_always,
            description="Data2Vec",
        ),
        ("semantic", "dpt"): Family(
            (*_FUSION, "head.head.2"),
            HALF,
            side=480,
            square=_always,
            description="Dense prediction transformer",
        ),
        ("matting", "vitmatte"): Family(
            (
                "decoder.fusion_blocks.1",
                "decoder.fusion_blocks.2",
                "decoder.fusion_blocks.3",
            ),
            HALF,
            side=None,
            description="ViTMatte, with a trimap",
        ),
    }
)


def family_of(task: str, config: Any) -> Family:
    """Return what is known of a model's family, or what is usual."""
    known = FAMILIES.get((task, config.model_type))
    return known or Family(side=None if task == "matting" else 512)


class Preparation:
    """RGB (N, 3, H, W) in [0, 1], resized and normalised for a model.

    Parameters
    ----------
    statistics : (mean, std)
    side : int or None
        Shorter side of what the model sees; None: images keep their size.
    multiple : int
        Sides are multiples of it.
    square : bool
        Both sides are ``side``.
    mode : str
        ``"bilinear"`` or ``"bicubic"``.
    """

    def __init__(
        self,
        statistics: Statistics,
        side: int | None,
        multiple: int,
        square: bool = False,
        mode: str = "bicubic",
    ) -> None:
        self.normalise = Normalise(*statistics)
        self.side, self.multiple = side, multiple
        self.square, self.mode = square, mode

    @property
    def multiple_outside(self) -> int:
        """Of which sides are multiples before it: 1 where it resizes itself."""
        return self.multiple if self.side is None else 1

    @property
    def probe_side(self) -> int | None:
        """A side that is as small as may be, to try a model out."""
        if self.side is None or self.square:
            return self.side
        return min(self.side, 6 * self.multiple)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width that the model sees."""
        if self.side is None:
            return height, width
        if self.square:
            return self.side, self.side
        scale = self.side / min(height, width)
        scale = min(scale, LONGEST * self.side / max(height, width))
        rows, columns = (
            max(1, round(n * scale / self.multiple)) * self.multiple
            for n in (height, width)
        )
        return rows, columns

    def __call__(self, image: Tensor) -> Tensor:
        """Return what the model is called with."""
        before, dtype = (int(image.shape[2]), int(image.shape[3])), image.dtype
        size = self.size(*before)
        if size != before:
            # there is no such resizing in half precision
            image = F.interpolate(
                image.float(), size, mode=self.mode, align_corners=False, antialias=True
            ).clamp(0, 1)
        result: Tensor = self.normalise.to(image.device)(image.float())
        return result.to(dtype)


def preparation_of(
    family: Family,
    config: Any,
    processor: Mapping[str, Any],
    *,
    side: int | None = None,
    normalise: Statistics | None = None,
) -> Preparation:
    """Return the preparation that a family, or the model's own processor, asks for.

    Parameters
    ----------
    family : Family
    config : PretrainedConfig
    processor : mapping
        What ``preprocessor_config.json`` says; empty where there is none.
    side, normalise : optional
        Count before both.
    """
    statistics = family.statistics
    if processor.get("do_normalize") is False:
        statistics = PLAIN
    elif "image_mean" in processor and "image_std" in processor:
        statistics = (processor["image_mean"], processor["image_std"])
    usual = family.side
    if usual is not None and processor.get("do_resize") is not False:
        usual = _side_in(processor.get("size")) or usual
    chosen, square = (usual if side is None else side), family.square(config)
    patch = _patch(config)
    multiple = int(
        processor.get("ensure_multiple_of")
        or processor.get("size_divisor")
        or family.multiple
        or patch
    )
    multiple = multiple if multiple % patch == 0 else patch
    if square and chosen is not None:
        chosen = max(1, round(chosen / multiple)) * multiple
    mode = _RESAMPLING.get(processor.get("resample", 3), "bicubic")
    return Preparation(normalise or statistics, chosen, multiple, square, mode)


def _side_in(size: Any) -> int | None:
    """Return the shorter side that a processor's ``size`` speaks of."""
    if isinstance(size, int):
        return size
    if isinstance(size, Mapping):
        sides = [size[k] for k in ("height", "width", "shortest_edge") if k in size]
        return min(map(int, sides), default=None)
    if isinstance(size, Sequence) and size:
        return min(map(int, size))
    return None


def _patch(config: Any) -> int:
    inner = getattr(config, "backbone_config", None)
    for each in (config, inner):
        patch = getattr(each, "patch_size", None)
        if isinstance(patch, int):
            return patch
    return 1


class PassingReLU(nn.Module):
    """A ReLU whose gradient passes where it answers zero, too.

    Else no click could raise what a network holds at zero.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the positive part of ``x``, of any shape."""
        return x + (x.clamp(min=0) - x).detach()
