"""Images a second of frozen networks by each library, and what extraction reaches of that.

    python benchmarks/engines.py [--networks mobilenet_v2 resnet50 densenet121] [--rounds 3]

Random weights and generated images of 224 x 224, decoded and in memory, so that nothing but the
networks and medfuse is measured. In every round each way takes its turn on the same images:

- eager: a plain loop over batches of 16 as `torch` is called by most scripts.
- torch, openvino, onnxruntime: the forward passes alone, as the extraction of features calls them,
  two batches side by side.
- extraction: `medfuse.features.extract.extract_features` into an empty bank by that library.

Prints the rates of the fastest round, each library's rate over eager, and extraction over the pure
forward rate of the same library and over eager; ratios are medians over rounds. Translating a
network once is left out of the rates and printed apart.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from medfuse.backbones.build import BuiltSource, build_source
from medfuse.backbones.input_contract import SourceTarget
from medfuse.config import SourceConfig
from medfuse.features.bank import FeatureBank
from medfuse.features.choice import EngineName
from medfuse.features.engine import Engine, ready
from medfuse.features.extract import extract_features
from medfuse.features.forward import Network, TorchForward, TranslatedForward
from medfuse.features.images import ImageIndex
from medfuse.features.request import BATCH_SIZE, CaseImage, ExtractionRequest
from medfuse.registry import load_registry
from medfuse.threads import workers_of

CPU = torch.device("cpu")
LIBRARIES: tuple[EngineName, ...] = ("torch", "openvino", "onnxruntime")


@dataclass
class Loaded:
    """An image in memory, as preprocessing gives one."""

    pixels: np.ndarray
    digest: str
    pixel_digest: str


class Images:
    """Generated images ``(3, 224, 224)`` that are read at no cost."""

    def __init__(self, count: int) -> None:
        random = np.random.default_rng(0)
        self.pixels = random.random((count, 3, 224, 224), dtype=np.float32)
        self.names = [str(number) for number in range(count)]

    def __call__(self, name: str) -> Loaded:
        digest = hashlib.sha256(name.encode()).hexdigest()
        return Loaded(self.pixels[int(name)], digest, digest)

    def batches(self) -> list[list[torch.Tensor]]:
        tensors = [torch.from_numpy(one) for one in self.pixels]
        return [tensors[i : i + BATCH_SIZE] for i in range(0, len(tensors), BATCH_SIZE)]


def main() -> None:
    """Print one table for all networks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--networks", nargs="*", default=["mobilenet_v2", "resnet50", "densenet121"]
    )
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    images = Images(arguments.images)
    print(f"{arguments.images} images, {torch.get_num_threads()} threads of torch, images a second")
    header = ["network", "by", "forward", "over eager"]
    header += ["extraction", "of the forward", "over eager", "translated in"]
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for name in arguments.networks:
        for line in rows(name, images, arguments.rounds):
            print(line, flush=True)


def rows(name: str, images: Images, rounds: int) -> list[str]:
    """Return a network's rows of the table."""
    config = SourceConfig(use=f"{name}.random", input_size=(224, 224))
    source = build_source(config, load_registry(), SourceTarget(3, (224, 224)))
    engines = [e for e in LIBRARIES if e == "torch" or find_spec(e) is not None]
    forwards, translated = {}, {}
    first = torch.zeros((BATCH_SIZE, 3, 224, 224))
    for engine in engines:
        start = time.perf_counter()
        forwards[engine] = forward_by(engine, source)
        forwards[engine](first)
        translated[engine] = time.perf_counter() - start
    eager: list[float] = []
    pure: dict[str, list[float]] = {engine: [] for engine in engines}
    whole: dict[str, list[float]] = {engine: [] for engine in engines}
    for _ in range(rounds):
        eager.append(rate(images, lambda: plain_loop(source, images)))
        for engine in engines:
            pure[engine].append(
                rate(images, lambda e=engine: side_by_side(source, forwards[e], images))
            )
            whole[engine].append(extraction_rate(engine, source, images))
    lines = [f"| `{name}` | eager | {max(eager):.1f} | 1 | | | | |"]
    for engine in engines:
        gain, reached = ratio(pure[engine], eager), ratio(whole[engine], pure[engine])
        extracted = ratio(whole[engine], eager)
        seconds = "" if engine == "torch" else f"{translated[engine]:.1f} s"
        lines.append(
            f"| | {engine} | {max(pure[engine]):.1f} | {gain:.2f} | {max(whole[engine]):.1f} "
            f"| {reached:.2f} | {extracted:.2f} | {seconds} |"
        )
    return lines


def forward_by(engine: EngineName, source: BuiltSource) -> Network:
    """Return what computes a batch, for as many threads as torch has."""
    lanes = torch.get_num_threads()
    if engine == "torch":
        return TorchForward(source.extractor, CPU, lanes)
    with workers_of(1) as begin:
        begin()
        forward = TranslatedForward(engine, source.label, source.extractor, lanes)
        forward(torch.zeros((BATCH_SIZE, 3, 224, 224)))
    return forward


def plain_loop(source: BuiltSource, images: Images) -> None:
    with torch.inference_mode():
        for batch in images.batches():
            source.extractor(torch.stack(batch))


def side_by_side(source: BuiltSource, forward: Network, images: Images) -> None:
    engine = Engine(source, forward, BATCH_SIZE)
    count = torch.get_num_threads()
    with (
        ready([source.extractor], CPU),
        workers_of(1) as begin,
        ThreadPoolExecutor(count, initializer=begin) as pool,
    ):
        list(pool.map(engine.run, images.batches()))


def extraction_rate(engine: EngineName, source: BuiltSource, images: Images) -> float:
    """Return the rate with the seconds of translating taken off: they are paid once a run."""
    cases = [CaseImage(name, name) for name in images.names]
    few = cases[: 2 * BATCH_SIZE]
    begun = seconds(lambda: extract(engine, source, images, few))
    whole = seconds(lambda: extract(engine, source, images, cases))
    return (len(cases) - len(few)) / (whole - begun)


def extract(
    engine: EngineName, source: BuiltSource, images: Images, cases: list[CaseImage]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bank = FeatureBank(Path(folder))
        index = ImageIndex(images, "generated")
        request = ExtractionRequest([source], cases, index, bank, engine=engine)
        extract_features(request, progress=False)


def rate(images: Images, run: Callable[[], None]) -> float:
    return len(images.names) / seconds(run)


def seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def ratio(one: list[float], other: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


if __name__ == "__main__":
    main()
