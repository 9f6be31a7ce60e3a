"""How time and memory grow with images, sources and classes.

    python benchmarks/growth.py [--images 1000 10000 100000] [--sources 1 2 4 8]
                                [--classes 2 10 100]

Generated images of 16 x 16 pixels and a network of one small convolution, so that what is measured
is medfuse: digests, batches, the bank. Heads learn for two epochs from random features of 64
values a source. Every measurement is a process of its own, started from one that has imported
everything; memory is what its peak adds to what it had at its start. Below each table stands the
exponent of time that fits best: 1 is linear. Read it from sizes at which the fixed costs are small.
A run keeps decoded images until they are computed, up to 512 MB; here the bound is passed from 250
images on, so that memory shows what is held of every image for good.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from whole_runs import machine

from medfuse.config import ComponentConfig, TrainingConfig
from medfuse.features.bank import FeatureBank
from medfuse.features.extract import extract_features
from medfuse.features.images import ImageIndex
from medfuse.features.request import CaseImage, ExtractionRequest
from medfuse.registry import load_registry
from medfuse.training import Run, TrainingData, build_classifier, fit
from medfuse.training.classifier import SourceWidth

SIDE, WIDTH, EPOCHS = 16, 64, 2
KEPT = 250_000  # bytes
MIB = 2**20


@dataclass(frozen=True)
class Size:
    """One point of a curve."""

    images: int = 1000
    sources: int = 1
    classes: int = 2


@dataclass(frozen=True)
class Cost:
    """Seconds, and MiB that the peak of memory added."""

    seconds: float
    memory: float


@dataclass
class Loaded:
    pixels: np.ndarray
    digest: str
    pixel_digest: str


class Tiny(nn.Module):
    """Features ``(N, 8)``."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1))

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.body(images).flatten(1)
        return features


@dataclass
class TinySource:
    label: str
    feature_dim: int = 8
    tokens: int = 0
    slices: int = 0
    extractor: nn.Module = field(default_factory=lambda: Tiny().eval())

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"weights": self.label}


def main() -> None:
    """Print a table for each way to grow."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--sources", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 10, 100])
    arguments = parser.parse_args()
    print(machine())
    middle = sorted(arguments.images)[len(arguments.images) // 2]
    for work, name in ((extraction, "extraction"), (head, "head, 2 epochs")):
        curve(f"{name}, by images", work, [Size(images=n) for n in arguments.images])
        curve(f"{name}, by sources", work, [Size(middle, n) for n in arguments.sources])
    curve("head, 2 epochs, by classes", head, [Size(middle, 2, n) for n in arguments.classes])
    print(machine())


def curve(name: str, work: Callable[[Size], object], sizes: Sequence[Size]) -> None:
    """Measure all sizes and print them with the exponent of time."""
    print(f"\n| {name} | images | sources | classes | seconds | MiB |\n|---|---|---|---|---|---|")
    costs = []
    for size in sizes:
        costs.append(cost_of(work, size))
        cells = f"{size.images} | {size.sources} | {size.classes}"
        print(f"| | {cells} | {costs[-1].seconds:.2f} | {costs[-1].memory:.0f} |", flush=True)
    along = [size.images * size.sources * size.classes for size in sizes]
    print(f"exponent of time: {exponent(along, [cost.seconds for cost in costs]):.2f}")


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Return the slope of the line through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def cost_of(work: Callable[[Size], object], size: Size) -> Cost:
    """Return what a piece of work costs in a process that does nothing else."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(work, size, there))
    process.start()
    there.close()
    try:
        return Cost(*here.recv())
    finally:
        process.join()


def _measured(work: Callable[[Size], object], size: Size, answer: Connection) -> None:
    work(Size(images=32, sources=size.sources))  # what is loaded once
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    before, start = _peak(), time.perf_counter()
    work(size)
    answer.send((time.perf_counter() - start, _peak() - before))


def _peak() -> float:
    """Return the largest resident memory of this process, MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(one for one in lines if one.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / MIB


def extraction(size: Size) -> int:
    """Extract into an empty bank; return how many images were computed."""
    torch.manual_seed(0)
    sources = [TinySource(f"tiny {number}") for number in range(size.sources)]
    cases = [CaseImage(str(number), str(number)) for number in range(size.images)]
    with tempfile.TemporaryDirectory() as folder:
        bank = FeatureBank(Path(folder))
        index = ImageIndex(image, "generated", bank, keep_bytes=KEPT)
        request = ExtractionRequest(sources, cases, index, bank, shape=(1, SIDE, SIDE))
        return extract_features(request, progress=False).computed


def image(name: str) -> Loaded:
    pixels = np.random.default_rng(int(name)).random((1, SIDE, SIDE), dtype=np.float32)
    digest = hashlib.sha256(pixels).hexdigest()
    return Loaded(pixels, digest, digest)


def head(size: Size) -> int:
    """Train concatenation and the default head; return for how many classes it has logits."""
    random = np.random.default_rng(0)
    labels = np.arange(size.images) % size.classes
    features = [
        random.standard_normal((size.images, 1, WIDTH), np.float32) for _ in range(size.sources)
    ]
    parts = ComponentConfig(use="concat"), ComponentConfig(use="mlp")
    widths = [SourceWidth(WIDTH)] * size.sources
    built = build_classifier(*parts, load_registry(), widths, num_classes=size.classes)
    data = TrainingData.of(features, labels)
    few = TrainingData.of([x[:32] for x in features], labels[:32])
    config = TrainingConfig(epochs=EPOCHS, early_stopping=None)
    classes = tuple(str(number) for number in range(size.classes))
    network = built.fresh(seed=0)
    fit(network, data, few, config, Run(classes=classes, head_loss=built.head.loss))
    return len(network.head.output.bias)


if __name__ == "__main__":
    main()
