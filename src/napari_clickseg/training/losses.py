"""Losses of the RITM family, each per sample and over logits.

Labels are 1 (object), 0 (background) and -1 (ignored). Definitions as in
Sofiiuk et al. (RITM, 2021), section 3, and its released training code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-12


def _masked(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return probability, binary target and validity, all ``(N, 1, H, W)``."""
    if logits.shape != labels.shape:
        raise ValueError(
            f"logits {tuple(logits.shape)} and labels {tuple(labels.shape)} differ; "
            "give both as (N, 1, H, W)"
        )
    valid = (labels != -1).to(logits.dtype)
    target = (labels > 0.5).to(logits.dtype)
    return torch.sigmoid(logits), target, valid


def _focal(
    logits: Tensor,
    labels: Tensor,
    alpha: float,
    gamma: float,
    normalised: bool,
    max_multiplier: float | None,
    eps: float = EPS,
) -> Tensor:
    probability, target, valid = _masked(logits, labels)
    alpha_t = torch.where(target > 0.5, alpha, 1 - alpha) * valid
    # pt is 1 on ignored pixels, so that they weigh nothing
    pt = torch.where(valid > 0.5, 1 - (target - probability).abs(), 1.0)
    beta = (1 - pt) ** gamma
    if normalised:
        count = valid.sum((-2, -1), keepdim=True)
        multiplier = count / (beta.sum((-2, -1), keepdim=True) + eps)
        multiplier = multiplier.detach()
        if max_multiplier is not None:
            multiplier = multiplier.clamp(max=max_multiplier)
        beta = beta * multiplier
    loss = -alpha_t * beta * torch.log((pt + eps).clamp(max=1.0)) * valid
    return loss.sum((1, 2, 3)) / (valid.sum((1, 2, 3)) + eps)


def normalized_focal_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    alpha: float = 0.5,
    gamma: float = 2.0,
    max_multiplier: float | None = None,
) -> Tensor:
    """Focal loss whose weights are rescaled to sum to the number of pixels.

    Parameters
    ----------
    logits, labels : Tensor, shape (N, 1, H, W)
        Labels 1, 0 or -1 (ignored).
    alpha : float
        Weight of the object against ``1 - alpha`` of the background.
    gamma : float
        Exponent of the focal weight.
    max_multiplier : float, optional
        Bound of the rescaling.

    Returns
    -------
    Tensor, shape (N,)
        Mean over each sample's valid pixels. No gradient flows through the
        rescaling.
    """
    return _focal(logits, labels, alpha, gamma, True, max_multiplier)


def two_class_focal_loss(
    logits: Tensor, labels: Tensor, *, alpha: float = 0.5, gamma: float = 2.0
) -> Tensor:
    """Normalised focal loss of a network with two classes, as InterFormer's.

    Parameters
    ----------
    logits : Tensor, shape (N, 2, H, W)
        Background and object; their difference counts.
    labels : Tensor, shape (N, 1, H, W)
        1, 0, or 255 (ignored).

    Returns
    -------
    Tensor, shape (N,)
    """
    known = torch.where(labels == 255, -1, labels).to(logits.dtype)
    eps = torch.finfo(torch.float32).eps
    margin = logits[:, 1:] - logits[:, :1]
    return _focal(margin, known, alpha, gamma, True, None, eps)


def focal_loss(
    logits: Tensor, labels: Tensor, *, alpha: float = 0.5, gamma: float = 2.0
) -> Tensor:
    """Focal loss (Lin et al., 2017) per sample, ``(N, 1, H, W) -> (N,)``."""
    return _focal(logits, labels, alpha, gamma, False, None)


def soft_iou_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """One minus the soft intersection over union, ``(N, 1, H, W) -> (N,)``."""
    probability, target, valid = _masked(logits, labels)
    intersection = (probability * target * valid).sum((1, 2, 3))
    union = (torch.maximum(probability, target) * valid).sum((1, 2, 3))
    return 1 - intersection / (union + 1e-8)


def sigmoid_bce_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy, averaged over all pixels, ``(N, 1, H, W) -> (N,)``.

    Ignored pixels add nothing but count in the mean, as released.
    """
    _, target, valid = _masked(logits, labels)
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (loss * valid).mean((1, 2, 3))


def window_ious(probability: Tensor, labels: Tensor) -> Tensor:
    """Return each sample's IoU at 0.49, ``(N,)``; label -1 does not count."""
    answer, truth = probability > 0.49, labels > 0.5
    valid = labels != -1
    both = (answer & truth & valid).sum((1, 2, 3)).float()
    either = ((answer | truth) & valid).sum((1, 2, 3)).float()
    return both / either.clamp_min(1)


def mean_iou(probability: Tensor, labels: Tensor) -> float:
    """Return the mean IoU of a batch at 0.49; label -1 does not count."""
    return float(window_ious(probability, labels).mean())
