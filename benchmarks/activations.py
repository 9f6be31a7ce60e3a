"""How much sooner an epoch ends where the frozen part of a source is banked.

    python benchmarks/activations.py [--source timm:resnet18.random] [--train last:1] [--images 64]

An epoch is what it is in a run: it learns from the training cases and measures the loss of the
validation cases, of which there are as many as by the default split. Images lie in memory, so that
nothing is read or decoded. The same training is done both ways, in turn, several times from the
same seed: with images through the whole network in every epoch, and on the activations at the
border of its frozen part. Prints the share of the multiply-adds below the border; for the learning
alone and for whole epochs the median seconds of the processor and of the clock with their ratio
(the median of the ratios of neighbors in time, with their range); and how far the weights are apart
at the end.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from medfuse.backbones.border import Border, LowerPart, find_border
from medfuse.backbones.build import BuiltSource, SourceTarget, build_source
from medfuse.backbones.source import selected_modules
from medfuse.config import ComponentConfig, SourceConfig, SplitConfig, TrainingConfig
from medfuse.model import FusedNetwork
from medfuse.registry import load_registry
from medfuse.training import Run, TrainingData, build_classifier, fit
from medfuse.training.activations import Activations
from medfuse.training.classifier import SourceWidth

CLASSES = tuple("ab")
CLOCKS: dict[str, Callable[[], float]] = {"processor": time.process_time, "clock": time.monotonic}


@dataclass(frozen=True)
class Times:
    """Seconds of one epoch by each of `CLOCKS`, and all weights at the end of the training."""

    learning: dict[str, float]
    epoch: dict[str, float]
    weights: dict[str, Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", default="timm:resnet18.random")
    parser.add_argument("--train", default="last:1")
    parser.add_argument("--images", type=int, default=64, help="training cases")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    source, border = divided(args)
    split = SplitConfig()
    held_out = split.validation / (1 - split.validation - split.test)
    known = args.images + round(args.images * held_out)
    images = torch.rand(known, *source.image, generator=torch.Generator().manual_seed(0))
    describe(args, source, border, images)
    data = TrainingData.of([None], np.arange(known) % 2, load_view=lambda i, _: (images[i],))
    start = time.process_time()
    banked = replace(data, activations={0: activations(source.module, border, images)})
    data = replace(data, activations={0: Activations(None, border)})
    seconds = time.process_time() - start
    print(f"activations: {seconds:.1f} s once, {border.width * 4e-3:.0f} kB each")
    pairs = [
        (trained(args, source, data), trained(args, source, banked)) for _ in range(args.rounds)
    ]
    report(pairs, args.epochs)


def describe(args: argparse.Namespace, source: BuiltSource, border: Border, images: Tensor) -> None:
    module: Any = source.module
    share = multiply_adds(LowerPart(module, border), images) / multiply_adds(module, images)
    print(f"{source.label}, train: {args.train}, images of {source.image}")
    print(f"{args.images} training cases, {len(images) - args.images} validation cases")
    print(f"border {border.path}: {share:.0%} of the multiply-adds lie below")


def report(pairs: list[tuple[Times, Times]], epochs: int) -> None:
    for name in ("learning", "epoch"):
        for clock in CLOCKS:
            slow, fast = (
                [getattr(times, name)[clock] for times in way] for way in zip(*pairs, strict=True)
            )
            ratios = sorted(s / f for s, f in zip(slow, fast, strict=True))
            print(
                f"{name}, {clock}: {statistics.median(slow):.2f} s with images, "
                f"{statistics.median(fast):.2f} s with activations: "
                f"{statistics.median(ratios):.2f} x ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            )
    expected, found = pairs[0][0].weights, pairs[0][1].weights
    apart = max(float((found[k].double() - v.double()).abs().max()) for k, v in expected.items())
    print(f"weights after {epochs} epochs: {apart:.1e} apart")


def divided(args: argparse.Namespace) -> tuple[BuiltSource, Border]:
    target = SourceTarget(channels=1, size=(args.size, args.size))
    config = SourceConfig(use=args.source, train=args.train)
    source = build_source(config, load_registry(), target)
    module: Any = source.module
    assert source.spec is not None
    stages = [stage.module_path for stage in source.spec.stages]
    learning = selected_modules(module.backbone, module.trainable)
    border = find_border(module, stages, learning, source.image)
    assert border is not None, "this source cannot be divided"
    return source, border


def multiply_adds(module: nn.Module, images: Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(images[:1])
    return counter.get_total_flops() // 2


@torch.no_grad()
def activations(module: Any, border: Border, images: Tensor) -> Activations:
    lower = LowerPart(module, border).eval()
    return Activations(torch.cat([lower(x) for x in images.split(16)])[:, None], border)


def trained(args: argparse.Namespace, source: BuiltSource, data: TrainingData) -> Times:
    parts = ComponentConfig(use="concat"), ComponentConfig(use="linear")
    built = build_classifier(*parts, load_registry(), [SourceWidth(source.feature_dim)], 2)
    fresh, _ = divided(args)
    network = FusedNetwork([fresh.module], built.fresh(seed=0))
    learning, epochs = Stopwatch(), Stopwatch()

    def attach(trainer: Any, _run: Run) -> None:
        learning.follow(trainer, Events.GET_BATCH_STARTED, Events.ITERATION_COMPLETED)
        # Handlers run in the order they were attached: this one after the validation.
        epochs.follow(trainer, Events.EPOCH_STARTED, Events.EPOCH_COMPLETED)

    config = TrainingConfig(epochs=args.epochs, batch_size=16, early_stopping=None)
    run = Run(classes=CLASSES, attach_handlers=attach, head_loss=built.head.loss)
    chosen = np.arange(len(data))
    learned, held_out = data.select(chosen[: args.images]), data.select(chosen[args.images :])
    fit(network, learned, held_out, config, run)
    return Times(learning.seconds(args.epochs), epochs.seconds(args.epochs), network.state_dict())


class Stopwatch:
    """Seconds between two events of an engine, added up."""

    def __init__(self) -> None:
        self._started: dict[str, float] = {}
        self._total = dict.fromkeys(CLOCKS, 0.0)

    def follow(self, engine: Engine, begin: Events, end: Events) -> None:
        engine.add_event_handler(begin, self._begin)
        engine.add_event_handler(end, self._end)

    def seconds(self, parts: int) -> dict[str, float]:
        return {name: total / parts for name, total in self._total.items()}

    def _begin(self) -> None:
        self._started = {name: now() for name, now in CLOCKS.items()}

    def _end(self) -> None:
        for name, now in CLOCKS.items():
            self._total[name] += now() - self._started[name]


if __name__ == "__main__":
    main()
