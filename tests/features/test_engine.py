from __future__ import annotations

import hashlib
import threading
import weakref
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

from medfuse.features import ahead
from medfuse.features.bank import FeatureBank
from medfuse.features.engine import batch_size_for
from medfuse.features.extract import extract_features
from medfuse.features.images import ImageIndex
from medfuse.features.ledger import _recipe
from medfuse.features.request import Augmentation, CaseImage, ExtractionRequest

SHAPE = (1, 12, 10, 8)


@dataclass
class Loaded:
    pixels: np.ndarray
    digest: str
    pixel_digest: str


@dataclass
class Volumes:
    """Makes a volume of a number, and counts the bytes of all that are alive."""

    shape: tuple[int, ...] = SHAPE
    alive: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, reference: str) -> Loaded:
        pixels = np.random.default_rng(int(reference)).random(self.shape, dtype=np.float32)
        self._count(pixels.nbytes)
        weakref.finalize(pixels, self._count, -pixels.nbytes)
        digest = hashlib.sha256(pixels.tobytes()).hexdigest()
        return Loaded(pixels, digest, digest)

    def _count(self, size: int) -> None:
        with self.lock:
            self.alive += size
            self.most = max(self.most, self.alive)


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = torch.nn.Conv3d(1, 6, 3, padding=1)
        self.batches: list[int] = []

    def forward(self, volumes: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(volumes))
        return self.body(volumes).relu().mean((2, 3, 4))


@dataclass
class Source:
    extractor: Net = field(default_factory=Net)
    label: str = "net"
    feature_dim: int = 6
    tokens: int = 0
    slices: int = 0
    identity: dict = field(default_factory=lambda: {"weights": "net"})


def _request(count: int, bank: FeatureBank | None = None, **given) -> ExtractionRequest:
    load = given.pop("load", None) or Volumes()
    views = given.pop("views", 0)
    augmentation = Augmentation(lambda x, _, view: x + 0.1 * view, {"recipe": "lighter"})
    settled = {"shape": load.shape, "augmentation": augmentation, **given}
    cases = [CaseImage(f"c{i}", str(i), views) for i in range(count)]
    images = ImageIndex(load, "1", bank, keep_bytes=0)
    return ExtractionRequest([Source()], cases, images, bank, **settled)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((1, 28, 28, 28), 16),
        ((1, 64, 64, 64), 4),
        ((3, 96, 96, 48), 2),
        ((1, 96, 96, 48), 2),
        ((3, 128, 128, 96), 1),
        ((1, 512, 512, 300), 1),
        ((3, 1024, 1024), 16),
        ((), 16),
    ],
)
def test_fewer_volumes_go_at_once_the_larger_they_are(shape, size) -> None:
    request = replace(_request(0), shape=shape)
    assert batch_size_for(request.sources[0], request) == size
    assert batch_size_for(replace(request.sources[0], slices=8), request) == 16


def test_the_batch_of_volumes_belongs_to_the_recipe_and_that_of_images_does_not() -> None:
    request = replace(_request(0), shape=(1, 64, 64, 64))
    (source,) = request.sources
    assert _recipe(source, request, "float32")["engine"]["batch"] == 4
    flat = replace(request, shape=(1, 64, 64))
    assert _recipe(source, flat, "float32") == _recipe(source, replace(flat, shape=()), "float32")


def test_features_of_volumes_do_not_depend_on_what_was_known(tmp_path) -> None:
    shape = (1, 64, 64, 64)
    whole = extract_features(_request(7, load=Volumes(shape), views=1), progress=False)
    bank = FeatureBank(tmp_path)
    for count in (2, 5):
        extract_features(_request(count, bank, load=Volumes(shape)), progress=False)
    request = _request(7, bank, load=Volumes(shape), views=1)
    pieces = extract_features(request, progress=False)
    assert pieces.known == 0
    assert set(request.sources[0].extractor.batches) == {4}
    assert pieces.values[0].tobytes() == whole.values[0].tobytes()


def test_volumes_that_wait_are_bounded_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "ROOM", 4_000_000)
    load = Volumes((1, 64, 64, 64))
    found = extract_features(_request(24, load=load, views=1), progress=False)
    assert np.isfinite(found.values[0]).all()
    assert load.most <= 10 * 4 * 64**3  # ahead, in the batch, and in the hands of the threads
