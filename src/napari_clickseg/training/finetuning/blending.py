"""Weights between the parent's and the learned ones.

On the way from one to the other what was learned comes early and what is forgotten
late: halfway a click network is as good on the new images, and much less worse on all
others (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022, equation
1).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

#: How far click networks go from the parent towards what was learned, where other
#: images are to be remembered and no gate leaves them to the parent.
HALFWAY = 0.5


def blended(
    parent: Mapping[str, Tensor], learned: Mapping[str, Tensor], share: float
) -> dict[str, Tensor]:
    """Return weights on the straight line between two.

    Parameters
    ----------
    parent, learned : mapping of str to Tensor
        Of one architecture; numbers that are not real ones are taken as learned.
    share : float
        0 is the parent, 1 what was learned.
    """
    mixed = {}
    for name, value in learned.items():
        if not value.is_floating_point():
            mixed[name] = value
            continue
        start = parent[name].to(value.device, value.dtype)
        mixed[name] = start.lerp(value, share)
    return mixed
