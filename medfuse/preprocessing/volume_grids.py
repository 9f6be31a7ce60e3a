"""On which grids the volumes of a cohort lie."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfuse.config import InputConfig
from medfuse.data.volume_facts import VolumeHeader
from medfuse.preprocessing.nodes import config_nodes, instantiate
from medfuse.preprocessing.straight_grid import straight_grid

_LOGGER = logging.getLogger("medfuse")


@dataclass(frozen=True)
class Grids:
    """``spacings`` (mm, NaN where unknown) and ``shapes`` of N volumes, ``(N, 3)`` each."""

    spacings: NDArray[np.float64]
    shapes: NDArray[np.float64]


def oriented_grids(codes: str, headers: Sequence[VolumeHeader]) -> Grids:
    """Return the grids in the order of ``codes``; a sheared volume's once it is straight."""
    from nibabel import orientations  # imports pydicom as well

    nibabel: Any = orientations
    spacings, shapes = [], []
    for header in headers:
        if header.affine is None:
            spacings.append([math.nan] * 3)
            shapes.append(list(header.shape))
            continue
        grid, shape = straight_grid(header.affine, header.shape)
        stored = nibabel.io_orientation(grid)
        turn = nibabel.ornt_transform(stored, nibabel.axcodes2ornt(tuple(codes)))
        order = np.argsort(turn[:, 0]).tolist()
        spacings.append(np.linalg.norm(grid[:3, :3], axis=0)[order].tolist())
        shapes.append([shape[axis] for axis in order])
    return Grids(np.array(spacings, float), np.array(shapes, float))


def cropped_grids(input: InputConfig, references: Sequence[str]) -> Grids:  # noqa: A002
    """Return the grids that ``crop`` leaves of volumes; one that cannot be read is left out."""
    from monai.transforms.compose import Compose  # takes seconds

    nodes = config_nodes(input.model_copy(update={"spacing": "none", "size": (8, 8, 8)}))
    crop = next(i for i, node in enumerate(nodes) if node["_target_"].endswith("Foregroundd"))
    chain = Compose(instantiate(nodes[: crop + 1]))
    spacings, shapes = [], []
    for reference in references:
        try:
            volume: Any = chain({"image": reference})["image"]
        except RuntimeError as error:
            _LOGGER.debug("%s", error)
            continue
        spacings.append(np.linalg.norm(np.asarray(volume.affine)[:3, :3], axis=0).tolist())
        shapes.append(list(volume.shape[1:]))
    return Grids(np.array(spacings, float), np.array(shapes, float))
