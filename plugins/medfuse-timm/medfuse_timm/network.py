"""Build: a timm model -> feature map and pooled vector.

This file is copied into bundles, so it imports torch and timm alone.
"""

from __future__ import annotations

import math
from typing import Any

import timm
from torch import Tensor, nn


class TimmBackbone(nn.Module):
    """``(map (N, F, h, w), pooled (N, P))`` of images ``(N, 3, H, W)``, by a timm model.

    The pooled vector is the model's own, up to its classifier: where a layer follows the pooling
    (MobileNetV3, VGG), its width P is not the map's F.

    Args:
        model: a name of timm, without tag.
        options: keywords of ``timm.create_model``, for example ``pad_type="same"``.

    Raises:
        TypeError: the model gives several maps (when called).
    """

    net: Any

    def __init__(self, model: str, **options: Any) -> None:
        super().__init__()
        keywords = {"num_classes": 0, **options, "pretrained": False}
        self.net = timm.create_model(model, **keywords)
        self.channels_last = getattr(self.net, "output_fmt", "NCHW") == "NHWC"
        self.prefix_tokens = int(getattr(self.net, "num_prefix_tokens", 0) or 0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return map and pooled vector."""
        y = self.net.forward_features(x)
        pooled = self.net.forward_head(y, pre_logits=True)
        return self._as_map(y, x), pooled

    def _as_map(self, y: Tensor, x: Tensor) -> Tensor:
        if not isinstance(y, Tensor):
            raise TypeError(f"the model gives a {type(y).__name__}, expected one feature map")
        if y.ndim == 3:
            rows, columns = self._token_grid(y, x)
            tokens = y[:, -rows * columns :].transpose(1, 2)
            return tokens.reshape(*tokens.shape[:2], rows, columns)
        return y.movedim(-1, 1) if self.channels_last else y

    def _token_grid(self, y: Tensor, x: Tensor) -> tuple[int, int]:
        """Return rows and columns of the grid, whose tokens stand behind class and registers."""
        tokens, height, width = int(y.shape[1]), int(x.shape[2]), int(x.shape[3])
        tokens -= self.prefix_tokens
        rows = math.isqrt(tokens * height // width)
        return rows, tokens // rows
