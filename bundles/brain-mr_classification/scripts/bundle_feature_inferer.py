"""One pass for logits and features. Copied into every bundle with distances: torch and MONAI."""

from __future__ import annotations

from typing import Any

import torch
from monai.inferers.inferer import SimpleInferer
from torch import Tensor


class FeatureInferer(SimpleInferer):
    """A `SimpleInferer` that keeps the features of the last batch, for whoever judges it.

    MONAI Label and MONAI Deploy call it like any other and get the logits.

    Attributes:
        features: ``(N, sum of F)`` of the last batch, on the CPU.
        present: ``(N, I)`` bool, which inputs its cases have.
    """

    features: Tensor
    present: Tensor

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Return the logits ``(N, K)``.

        Args:
            inputs: the first input.
            network: with ``with_features``, as it is rebuilt or traced in a bundle.
            args: the other inputs.
            kwargs: none is known to the network.
        """
        images = (inputs, *args)
        logits: Tensor
        logits, features = network.with_features(*images, **kwargs)
        known = [~torch.isnan(image).flatten(1).any(1) for image in images]
        self.features = torch.as_tensor(features).as_subclass(Tensor).float().cpu()
        self.present = torch.stack([k.as_subclass(Tensor).cpu() for k in known], dim=1)
        return logits
