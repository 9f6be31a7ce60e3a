"""Small stand-ins: images on disk, a loader, sources with real convolutions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medfuse.errors import ImageError
from medfuse.features.bank import FeatureBank
from medfuse.features.extract import extract_features
from medfuse.features.images import ImageIndex
from medfuse.features.request import Augmentation, CaseImage, ExtractionRequest


@dataclass
class Loaded:
    pixels: np.ndarray
    digest: str
    pixel_digest: str
    events: tuple = ()


@dataclass
class Event:
    code: str
    detail: str


class Loader:
    """Decodes gray PNGs to ``(1, H, W)`` and counts."""

    def __init__(self, events: bool = False) -> None:
        self.calls: list[str] = []
        self.events = events

    def __call__(self, reference: str) -> Loaded:
        self.calls.append(reference)
        try:
            array = np.asarray(Image.open(reference))
        except OSError as error:
            raise ImageError("NOT_AN_IMAGE", f"{reference}: not an image") from error
        pixels = (array[None] / 255).astype(np.float32)
        digest = hashlib.sha256(pixels.tobytes()).hexdigest()
        events = (Event("RESIZED", f"{reference} was resized"),) if self.events else ()
        return Loaded(pixels, digest, hashlib.sha256(array.tobytes()).hexdigest(), events)


class ConvNet(torch.nn.Module):
    """Convolutions, depthwise ones, batch norm and a linear layer: what backbones are made of."""

    def __init__(self, features: int, tokens: int = 0) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(1, 12, 3, stride=2, padding=1),
            torch.nn.BatchNorm2d(12),
            torch.nn.ReLU(),
            torch.nn.Conv2d(12, 12, 3, padding=1, groups=12),
            torch.nn.Conv2d(12, features, 1),
            torch.nn.ReLU(),
        )
        self.last = torch.nn.Linear(features, features)
        self.tokens = tokens
        self.batches: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(images))
        maps = self.body(images)
        if self.tokens:
            return self.last(maps.flatten(2).transpose(1, 2)[:, : self.tokens])
        return self.last(maps.mean((2, 3)))


@dataclass
class Source:
    label: str
    feature_dim: int
    tokens: int = 0
    slices: int = 0
    identity: dict = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self.extractor = ConvNet(self.feature_dim, self.tokens).eval()
        self.identity = self.identity or {"weights": self.label, "seed": self.seed}

    @property
    def forwards(self) -> int:
        return len(self.extractor.batches)


def shaken(pixels: torch.Tensor, digest: str, view: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(int(digest[:8], 16) + view)
    return pixels + 0.1 * torch.randn(pixels.shape, generator=generator)


class Kit:
    """Everything that a test of extraction needs."""

    Loader = Loader
    Loaded = Loaded
    Source = Source
    Case = CaseImage

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bank = FeatureBank(folder / "bank")

    def images(self, count: int, size: int = 16, start: int = 0) -> list[str]:
        paths = []
        for number in range(start, start + count):
            pixels = np.random.default_rng(number).integers(0, 256, (size, size), dtype=np.uint8)
            path = self.folder / f"patient-{number}.png"
            Image.fromarray(pixels).save(path)
            paths.append(str(path))
        return paths

    def cases(self, references: list[str], views: int = 0) -> list[CaseImage]:
        return [CaseImage(f"c{i}", r, views) for i, r in enumerate(references)]

    def request(self, cases: list[CaseImage], *sources: Source, **others) -> ExtractionRequest:
        bank = others.pop("bank", self.bank)
        loader = others.pop("loader", None) or Loader()
        views = Augmentation(shaken, others.pop("identity", {"recipe": "shaken", "seed": 0}))
        given = {"batch_size": 4, "augmentation": views, **others}
        return ExtractionRequest(sources, cases, ImageIndex(loader, "p1", bank), bank, **given)

    def extract(self, cases: list[CaseImage], *sources: Source, **others):
        return extract_features(self.request(cases, *sources, **others), progress=False)


@pytest.fixture(autouse=True)
def one_thread_of_torch() -> Iterator[None]:
    """Batches come one after another, so that tests can count them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)
