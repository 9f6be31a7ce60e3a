"""Build: a torchvision classifier without its last layer -> feature map and pooled vector.

This file is copied into bundles, so it imports torch and torchvision alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models

_ENDS = ("avgpool", "flatten", "fc", "head", "heads", "classifier", "dropout", "AuxLogits")
_AUXILIARY = ("googlenet", "inception_v3")


class TorchvisionBackbone(nn.Module):
    """``(map (N, F, h, w), pooled (N, P) or None)`` of images ``(N, 3, H, W)``.

    The pooled vector is what the classifier's last layer would see; ``None`` stands for the
    average of the map.

    Args:
        model: a name of ``torchvision.models``.
        img_size: height and width, for architectures that are built for one size.
        options: further keywords of the model's builder.
    """

    net: Any

    def __init__(self, model: str, img_size: Sequence[int] | None = None, **options: Any) -> None:
        super().__init__()
        keywords = {**options, "weights": None, **_fixed_keywords(model, img_size)}
        self.net = models.get_model(model, **keywords)
        self.is_tokens = isinstance(self.net, models.VisionTransformer)
        self.is_densenet = isinstance(self.net, models.DenseNet)
        self.steps = [n for n, _ in self.net.named_children() if n not in _ENDS]
        self.last = _drop_last_layer(self.net)
        layers = isinstance(getattr(self.net, "classifier", None), nn.Sequential)
        self.pools = self.is_tokens or layers

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return map and pooled vector."""
        if self.is_tokens:
            return self._map_and_class_token(x)
        for name in self.steps:
            step = getattr(self.net, name)
            for module in step if isinstance(step, nn.ModuleList) else (step,):
                x = module(x)
        feature_map = functional.relu(x) if self.is_densenet else x
        return feature_map, self._pooled(feature_map)

    def _pooled(self, feature_map: Tensor) -> Tensor | None:
        if not self.pools:
            return None
        classifier = self.net.classifier
        average = getattr(self.net, "avgpool", None)
        y = feature_map if average is None else average(feature_map)
        if isinstance(classifier[0], nn.Linear | nn.Dropout):
            y = (y.mean((2, 3), keepdim=True) if average is None else y).flatten(1)
        pooled: Tensor = classifier(y)
        return pooled

    def _map_and_class_token(self, x: Tensor) -> tuple[Tensor, Tensor]:
        patches = self.net._process_input(x)
        class_token = self.net.class_token.expand(patches.shape[0], -1, -1)
        tokens = self.net.encoder(torch.cat([class_token, patches], dim=1))
        side = self.net.image_size // self.net.patch_size
        feature_map = tokens[:, 1:].transpose(1, 2)
        return feature_map.reshape(*feature_map.shape[:2], side, side), tokens[:, 0]


def _fixed_keywords(model: str, img_size: Sequence[int] | None) -> dict[str, Any]:
    """Return what is not for the configuration: no second classifier, no hidden normalization."""
    if model in _AUXILIARY:
        return {"aux_logits": False, "transform_input": False, "init_weights": False}
    if img_size is None:
        return {}
    if model.startswith("vit_"):
        if len(set(img_size)) > 1:
            raise ValueError(f"img_size is {list(img_size)}, expected equal height and width")
        return {"image_size": img_size[0]}
    return {"input_size": tuple(img_size)}


def _drop_last_layer(net: nn.Module) -> str:
    """Take the classifying layer out and return its path; SqueezeNet's classifier goes whole."""
    if isinstance(net, models.SqueezeNet):
        net.classifier = nn.Identity()
        return "classifier"
    linear = [name for name, module in net.named_modules() if isinstance(module, nn.Linear)]
    path: str = linear[-1]
    parent, _, name = path.rpartition(".")
    setattr(net.get_submodule(parent), name, nn.Identity())
    return path
