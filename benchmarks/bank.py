"""How fast the feature bank writes and reads, beside a plain array file.

    python benchmarks/bank.py [--images 1600] [--views 5] [--features 1280]

Prints rows per second, the ratio to ``numpy.save``/``numpy.load`` of the same values, how long a
second run of ``extract_features`` takes in which everything is known, and how long fusion and head
learn for 50 epochs from features of two sources as they come from the bank.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from medfuse.config import ComponentConfig, TrainingConfig
from medfuse.features.bank import FeatureBank
from medfuse.features.extract import extract_features
from medfuse.features.images import ImageIndex
from medfuse.features.request import Augmentation, CaseImage, ExtractionRequest
from medfuse.features.wanted import Row, WantedRows
from medfuse.registry import load_registry
from medfuse.storage import digest_of
from medfuse.training import Run, TrainingData, build_classifier, fit
from medfuse.training.classifier import SourceWidth

BATCH = 80


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1600)
    parser.add_argument("--views", type=int, default=5, help="with the clean one")
    parser.add_argument("--features", type=int, default=1280)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows_per_second(args, Path(folder))
        second_run(args, Path(folder))
    head(args)


def rows_per_second(args: argparse.Namespace, folder: Path) -> None:
    digests = [digest_of(str(image)) for image in range(args.images)]
    numbers = {digest: number for number, digest in enumerate(digests)}
    views = np.full(args.images, args.views - 1)
    wanted = WantedRows(numbers, digests, views, augmentation="ab")
    keys = [
        wanted.key(Row(image, view, 0))
        for image in range(args.images)
        for view in range(args.views)
    ]
    values = np.random.default_rng(0).standard_normal((len(keys), args.features), np.float32)
    with timed() as save:
        np.save(folder / "plain.npy", values)
    with timed() as load:
        np.load(folder / "plain.npy")
    with FeatureBank(folder / "rows").recipe({"weights": "benchmark"}) as store:
        with timed() as write:
            for start in range(0, len(keys), BATCH):
                some = slice(start, start + BATCH)
                store.put(dict(zip(keys[some], values[some], strict=True)))
        with timed() as read:
            found = sum(len(rows) for rows, _ in store.read(wanted))
        size = store.path.stat().st_size
    assert found == len(keys)
    print(f"{len(keys)} rows of {args.features} float32 = {values.nbytes / 1e6:.1f} MB")
    print(f"size   {size / 1e6:8.1f} MB  {size / values.nbytes:6.2f} x the values")
    report("write", len(keys), write.seconds, save.seconds, f"numpy.save; commits of {BATCH}")
    report("read", len(keys), read.seconds, load.seconds, "numpy.load")


def second_run(args: argparse.Namespace, folder: Path) -> None:
    bank = FeatureBank(folder / "bank")
    cases = []
    for number in range(args.images):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 32), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        path = str(folder / f"{number}.png")
        cases.append(CaseImage(str(number), path, args.views - 1))
    sources = [Source("a", 40 * 32), Source("b", 40 * 32)]
    views = Augmentation(lambda pixels, _, view: pixels + 0.01 * view, {"recipe": "shift"})
    for name in ("first", "second"):
        request = ExtractionRequest(sources, cases, ImageIndex(load, "1", bank), bank, views)
        with timed() as run:
            features = extract_features(request, progress=False)
        print(
            f"{name} run of extract_features, 2 sources: {run.seconds:.2f} s, "
            f"{features.known} images known, {features.forwards} forward passes"
        )


def head(args: argparse.Namespace) -> None:
    """Time the default fusion and head, one classifier, without early stopping."""
    rng = np.random.default_rng(0)
    labels = np.arange(args.images) % 4
    widths = [SourceWidth(args.features), SourceWidth(1024)]
    features = [
        (rng.standard_normal((args.images, 1, w.features)) + labels[:, None, None]).astype("f4")
        for w in widths
    ]
    parts = ComponentConfig(use="attention"), ComponentConfig(use="mlp")
    built = build_classifier(*parts, load_registry(), widths, num_classes=4)
    everything = np.arange(args.images)
    data, clean = (
        TrainingData.of([x[rows] for x in features], labels[rows])
        for rows in (everything, everything[::6])
    )
    config = TrainingConfig(epochs=50, early_stopping=None)
    run = Run(classes=tuple("abcd"), head_loss=built.head.loss)
    processor = time.process_time()
    with timed() as whole:
        fit(built.fresh(seed=0), data, clean, config, run)
    print(
        f"50 epochs of fusion and head on {args.images} images, 2 sources: {whole.seconds:.1f} s, "
        f"{time.process_time() - processor:.1f} s of the processor"
    )


@dataclass
class Loaded:
    pixels: np.ndarray
    digest: str
    pixel_digest: str


def load(reference: str) -> Loaded:
    pixels = np.asarray(Image.open(reference), dtype=np.float32)[None] / 255
    digest = digest_of(reference)
    return Loaded(pixels, digest, digest)


class Flat(torch.nn.Module):
    """A network that costs next to nothing."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


@dataclass
class Source:
    label: str
    feature_dim: int
    tokens: int = 0
    slices: int = 0
    extractor: torch.nn.Module = field(default_factory=Flat)

    @property
    def identity(self) -> dict[str, Any]:
        return {"weights": self.label}


@dataclass
class Timing:
    seconds: float = 0.0
    clock: Callable[[], float] = field(default=time.perf_counter, repr=False)


@contextmanager
def timed() -> Iterator[Timing]:
    timing = Timing()
    start = timing.clock()
    yield timing
    timing.seconds = timing.clock() - start


def report(what: str, rows: int, seconds: float, plain: float, beside: str) -> None:
    print(
        f"{what:6} {rows / seconds:8.0f} rows/s  {seconds:6.2f} s  "
        f"{seconds / plain:6.1f} x {beside}"
    )


if __name__ == "__main__":
    main()
