"""Losses of networks that answer every pixel: classes, alpha, depth.

Each returns one number, the mean over what counts.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Keeps square roots and quotients finite.
EPSILON = 1e-6


def class_loss(
    logits: Tensor, labels: Tensor, weights: Tensor, dice: float = 1.0
) -> Tensor:
    """Weighted cross-entropy plus Dice, averaged over classes.

    Parameters
    ----------
    logits : Tensor, shape (N, C, H, W)
    labels : Tensor of int64, shape (N, H, W)
        Classes; below 0 is ignored.
    weights : Tensor, shape (C,)
        Of each class in cross-entropy, which is a weighted mean.
    dice : float
        Weight of ``1 - Dice`` (Milletari et al., 2016), each class counted over the
        whole batch.
    """
    valid = labels >= 0
    loss = F.cross_entropy(logits, labels.clamp_min(-1), weights, ignore_index=-1)
    if not dice:
        return loss
    share = logits.softmax(1) * valid[:, None]
    truth = F.one_hot(labels.clamp_min(0), logits.shape[1]).movedim(-1, 1)
    truth = truth * valid[:, None]
    both = (share * truth).sum((0, 2, 3))
    size = share.sum((0, 2, 3)) + truth.sum((0, 2, 3))
    return loss + dice * (1 - (2 * both + 1) / (size + 1)).mean()


def alpha_error(alpha: Tensor, truth: Tensor, unknown: Tensor) -> Tensor:
    """Mean absolute error where alpha is unknown, smooth at zero (Xu et al., 2017).

    All of shape (N, 1, H, W).
    """
    error = torch.sqrt((alpha - truth) ** 2 + EPSILON) * unknown
    return error.sum() / unknown.sum().clamp_min(1)


def composition_error(
    alpha: Tensor, image: Tensor, front: Tensor, back: Tensor, unknown: Tensor
) -> Tensor:
    """Mean error of the image composed anew (Xu et al., 2017).

    Parameters
    ----------
    alpha, unknown : Tensor, shape (N, 1, H, W)
    image, front, back : Tensor, shape (N, 3, H, W)
        In [0, 1].
    """
    error = alpha * front + (1 - alpha) * back - image
    error = torch.sqrt(error**2 + EPSILON) * unknown
    return error.sum() / (3 * unknown.sum()).clamp_min(1)


def laplacian_error(
    alpha: Tensor, truth: Tensor, unknown: Tensor, levels: int = 5
) -> Tensor:
    """L1 distance of Laplacian pyramids (Hou and Liu, ICCV 2019), coarse ones heavier.

    What is known is taken from the truth. Sides must be multiples of
    ``2 ** (levels - 1)``.
    """
    difference = (alpha - truth) * unknown
    total = difference.new_zeros(())
    for level in range(levels):
        if level == levels - 1:
            band = difference
        else:
            small = F.avg_pool2d(_smooth(difference), 2)
            up = F.interpolate(
                small, scale_factor=2.0, mode="bilinear", align_corners=False
            )
            band, difference = difference - up, small
        # a coarse pixel stands for 4 ** level fine ones; half of that is usual
        total = total + 2.0**level * band.abs().sum()
    return total / unknown.sum().clamp_min(1)


def _smooth(x: Tensor) -> Tensor:
    row = x.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    kernel = (row[:, None] * row).view(1, 1, 5, 5)
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), kernel)


def gradient_error(value: Tensor, truth: Tensor, counts: Tensor) -> Tensor:
    """Mean absolute error of differences between neighbours, both directions.

    All of shape (N, 1, H, W); pairs count where both pixels do.
    """
    error = value - truth
    total = error.new_zeros(())
    pairs = counts.new_zeros(())
    for axis in (2, 3):
        both = counts.narrow(axis, 1, counts.shape[axis] - 1)
        both = both * counts.narrow(axis, 0, counts.shape[axis] - 1)
        total = total + (error.diff(dim=axis).abs() * both).sum()
        pairs = pairs + both.sum()
    return total / pairs.clamp_min(1)


def scale_invariant_error(
    depth: Tensor, truth: Tensor, valid: Tensor, forgiven: float = 0.85
) -> Tensor:
    """Scale-invariant error of logarithms, one for each image, averaged.

    ``10 sqrt(mean(g ** 2) - forgiven * mean(g) ** 2)`` with g the difference of
    logarithms (Eigen et al., 2014, as Lee et al., 2019, use it).

    Parameters
    ----------
    depth, truth : Tensor, shape (N, 1, H, W)
        Above 0.
    valid : Tensor, shape (N, 1, H, W)
        1 where the truth is known.
    forgiven : float
        1 forgives any wrong scale of an image, 0 none.
    """
    gap = _log_gap(depth, truth, valid)
    count = valid.sum((1, 2, 3)).clamp_min(1)
    square = (gap**2).sum((1, 2, 3)) / count
    mean = gap.sum((1, 2, 3)) / count
    inside = (square - forgiven * mean**2).clamp_min(0)
    return 10 * torch.sqrt(inside + EPSILON).mean()


def depth_gradient_error(
    depth: Tensor, truth: Tensor, valid: Tensor, scales: int = 4
) -> Tensor:
    """Error of the gradients of log depth at several scales (Li and Snavely, 2018)."""
    gap = _log_gap(depth, truth, valid)
    total = gap.new_zeros(())
    for scale in range(scales):
        step = 2**scale
        some, known = gap[..., ::step, ::step], valid[..., ::step, ::step]
        total = total + gradient_error(some, torch.zeros_like(some), known)
    return total


def _log_gap(depth: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    near = 1e-3
    gap = depth.clamp_min(near).log() - truth.clamp_min(near).log()
    return gap * valid
