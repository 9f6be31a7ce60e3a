"""The two ImageNet networks that the students learn from, and their features as targets.

Teachers: MobileNetV2-0.35 and MobileNetV1 up to block 12, converted from Keras Applications
(Apache-2.0) to timm's names. They take RGB in [-1, 1] at 224 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

TEACHER_SIZE = 224
CELLS = 4


@dataclass(frozen=True)
class TeacherFile:
    """Where a teacher's weights are, and after which block its features are taken."""

    file: str
    architecture: str
    cut: tuple[int, int] | None


TEACHER_FILES = (
    TeacherFile("mobilenetv2_035.keras_in1k.safetensors", "mobilenetv2_035", None),
    TeacherFile("mobilenetv1_100.keras_in1k.block12.safetensors", "mobilenetv1_100", (4, 0)),
)


class Teacher(nn.Module):
    """A frozen network from gray images ``(N, 1, 224, 224)`` in [0, 1] to ``(N, 16, C)``."""

    def __init__(self, folder: Path, spec: TeacherFile):
        super().__init__()
        network = timm.create_model(spec.architecture, num_classes=0, pad_type="same", bn_eps=1e-3)
        if spec.cut is not None:
            stage, block = spec.cut
            network.blocks = network.blocks[: stage + 1]
            network.blocks[stage] = network.blocks[stage][: block + 1]
            network.conv_head, network.bn2 = nn.Identity(), nn.Identity()
        weights = load_file(folder / spec.file)
        network.load_state_dict({k: v for k, v in weights.items() if "classifier" not in k})
        self.network = network.eval().to(memory_format=torch.channels_last)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the last map, averaged to 4 x 4 cells."""
        features = self.network.forward_features(images.expand(-1, 3, -1, -1) * 2 - 1)
        return F.adaptive_avg_pool2d(features.float(), CELLS).flatten(2).transpose(1, 2)


def load_teachers(folder: Path) -> list[Teacher]:
    """Both teachers with their weights, in evaluation mode."""
    return [Teacher(folder, spec) for spec in TEACHER_FILES]


@torch.inference_mode()
def teacher_features(teachers: list[Teacher], images: np.ndarray) -> list[np.ndarray]:
    """Per teacher ``(N, 16, C)`` float32, from ``(N, 224, 224)`` uint8 images.

    Convolutions run in bfloat16: quick on new processors, and finer than the targets need.
    """
    parts: list[list[np.ndarray]] = [[] for _ in teachers]
    for start in range(0, len(images), 32):
        batch = torch.from_numpy(images[start : start + 32]).unsqueeze(1).float() / 255
        batch = batch.to(memory_format=torch.channels_last)
        for teacher, part in zip(teachers, parts, strict=True):
            with torch.autocast("cpu", torch.bfloat16):
                part.append(teacher(batch).numpy())
    return [np.concatenate(part) for part in parts]


@dataclass(frozen=True)
class Basis:
    """Principal axes of one teacher's standardized features, partly whitened.

    An axis with variance v is divided by ``v ** 0.25``, so that faint axes count as well.
    """

    mean: np.ndarray
    axes: np.ndarray

    def project(self, features: np.ndarray) -> np.ndarray:
        """``(N, T, C)`` features as ``(N, T, D)`` float16 targets."""
        return ((features - self.mean) @ self.axes).astype(np.float16)


def fit_basis(features: np.ndarray, dimensions: int) -> Basis:
    """The leading ``dimensions`` axes of ``(N, T, C)`` features, targets of mean variance 1."""
    rows = features.reshape(-1, features.shape[-1]).astype(np.float64)
    mean, std = rows.mean(0), rows.std(0) + 1e-3
    covariance = np.cov(((rows - mean) / std).T)
    variances, axes = np.linalg.eigh(covariance)
    variances, axes = variances[::-1][:dimensions], axes[:, ::-1][:, :dimensions]
    scale = variances**-0.25
    scale /= np.sqrt(np.mean(variances * scale**2))
    return Basis(mean.astype(np.float32), (axes * scale / std[:, None]).astype(np.float32))
