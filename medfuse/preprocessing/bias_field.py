"""Even out the brightness of an MR volume.

This file is copied into a bundle whose input asks for it, so it imports numpy, torch, monai and
SimpleITK.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config.type_definitions import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.transforms.transform import MapTransform
from numpy.typing import NDArray


class CorrectBiasFieldd(MapTransform):
    """The volume divided by its N4 bias field, estimated on a smaller copy inside the foreground.

    Tustison et al. 2010, doi 10.1109/TMI.2010.2046908, as SimpleITK has it, in one thread.

    Args:
        keys: of the volumes ``(1, X, Y, Z)``, not negative.
        shrink: longest side of the copy, in voxels.
    """

    def __init__(self, keys: KeysCollection, shrink: int = 64) -> None:
        super().__init__(keys)
        self.shrink = shrink

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with corrected volumes.

        Raises:
            ValueError: SimpleITK is not installed.
        """
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            corrected = _corrected(np.asarray(image[0], np.float32), self.shrink)
            plain = torch.from_numpy(corrected)[None]
            tracked = isinstance(image, MetaTensor)
            result[key] = MetaTensor(plain, affine=image.affine) if tracked else plain
        return result


def _corrected(voxels: NDArray[np.float32], longest: int) -> NDArray[np.float32]:
    try:
        import SimpleITK
    except ImportError as error:
        raise ValueError(
            "bias_field: n4 needs SimpleITK, which is not installed. pip install medfuse[n4]"
        ) from error
    sitk: Any = SimpleITK
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    low = float(voxels.min())
    image = sitk.GetImageFromArray(voxels - low)
    mask = sitk.Cast(image > float((voxels - low).mean()), sitk.sitkUInt8)
    factors = [max(1, -(-side // longest)) for side in image.GetSize()]
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations([20, 20, 20])
    n4.Execute(sitk.Shrink(image, factors), sitk.Shrink(mask, factors))
    field = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image))
    return np.asarray((voxels - low) / np.exp(field) + low, np.float32)
