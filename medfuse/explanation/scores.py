"""Is a saliency map faithful, and does it point at what is known to matter?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.integrate import trapezoid
from scipy.ndimage import distance_transform_edt
from scipy.stats import spearmanr
from torch import Tensor

TOLERANCE = 0.03
_STEPS = 16

Map = NDArray[Any]


@dataclass(frozen=True)
class Faithfulness:
    """Mean probability of the class over the steps of one image.

    Attributes:
        deletion: while the most salient places are hidden first; low is faithful.
        insertion: while they are shown first; high is faithful.
    """

    deletion: float
    insertion: float


def faithfulness(
    judge: Callable[[Tensor], Tensor], image: Tensor, saliency: Map, steps: int = _STEPS
) -> Faithfulness:
    """Return deletion and insertion scores (Petsiuk, Das, Saenko 2018, arXiv 1806.07421).

    Places are hidden by a strong blur of the image, in both: black or gray would be a finding of
    its own in a radiograph. Equally salient places go in a fixed random order.

    Args:
        judge: images ``(N, C, *spatial)`` to the probability ``(N,)`` of the explained class.
        image: ``(1, C, *spatial)``.
        saliency: ``(*spatial)``.
        steps: of equally many places each.
    """
    hidden = blurred(image)
    shuffle = np.random.default_rng(0).permutation(saliency.size)
    order = shuffle[np.argsort(-saliency.reshape(-1)[shuffle], kind="stable")]
    rank = np.empty(saliency.size, np.int64)
    rank[order] = np.arange(saliency.size)
    place = torch.as_tensor(rank.reshape(saliency.shape), device=image.device)
    bounds = np.linspace(0, saliency.size, steps + 1)
    deleted = [judge(torch.where(place < bound, hidden, image)) for bound in bounds]
    inserted = [judge(torch.where(place < bound, image, hidden)) for bound in bounds]
    return Faithfulness(_area(deleted), _area(inserted))


def blurred(image: Tensor) -> Tensor:
    """Return an image in which no finding is left: averaged over an eighth of its sides, twice."""
    dims = image.ndim - 2
    pool: Any = F.avg_pool2d if dims == 2 else F.avg_pool3d
    sides = [max(1, side // 8) | 1 for side in image.shape[2:]]
    pads = [half for side in reversed(sides) for half in (side // 2, side // 2)]
    soft = image
    for _ in range(2):
        soft = pool(F.pad(soft, pads, mode="replicate"), sides, stride=1)
    return soft


def points_at(saliency: Map, mask: Map, tolerance: float = TOLERANCE) -> bool:
    """Tell whether the strongest place lies in the mask: the pointing game (Zhang et al. 2018,
    doi 10.1007/s11263-017-1059-x).

    A map without any positive place points nowhere.

    Args:
        saliency: ``(*spatial)``.
        mask: of the same shape, true where the finding is.
        tolerance: as a fraction of the longest side; the paper's 15 pixels of 500 are 0.03.
    """
    if not float(saliency.max()) > 0:
        return False
    place = np.unravel_index(int(np.argmax(saliency)), saliency.shape)
    distance = distance_transform_edt(~np.asarray(mask, bool))
    return bool(distance[place] <= tolerance * max(saliency.shape))


def energy_inside(saliency: Map, mask: Map) -> float:
    """Return which part of the map lies in the mask (Wang et al. 2020, arXiv 1910.01279); of an
    empty map 0.
    """
    total = float(saliency.sum(dtype=np.float64))
    inside = float(saliency[np.asarray(mask, bool)].sum(dtype=np.float64))
    return inside / total if total > 0 else 0.0


def rank_correlation(one: Map, other: Map) -> float:
    """Return Spearman's rank correlation of two maps; 0 where one of them is constant."""
    a, b = np.asarray(one).reshape(-1), np.asarray(other).reshape(-1)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(spearmanr(a, b).statistic)


def _area(probabilities: Sequence[Tensor]) -> float:
    return float(trapezoid([float(p[0]) for p in probabilities]) / (len(probabilities) - 1))
