"""How much sooner an epoch ends where the frozen part of a source is banked.

    python benchmarks/activations.py [--source timm:resnet18.random] [--train last:1] [--images 64]

Trains twice from the same seed: with images through the whole network in every epoch, and on the
activations at the border of its frozen part. Images lie in memory, so that nothing is read or
decoded in either. Prints the share of the multiply-adds below the border, seconds of the processor
for an epoch of both ways (the fastest step times the number of steps), their ratio, and how far the
weights are apart at the end.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from medfuse.backbones.border import Border, LowerPart, find_border
from medfuse.backbones.build import BuiltSource, SourceTarget, build_source
from medfuse.backbones.source import selected_modules
from medfuse.config import ComponentConfig, SourceConfig, TrainingConfig
from medfuse.model import FusedNetwork
from medfuse.registry import load_registry
from medfuse.training import Run, TrainingData, build_classifier, fit
from medfuse.training.activations import Activations
from medfuse.training.classifier import SourceWidth

CLASSES = tuple("ab")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", default="timm:resnet18.random")
    parser.add_argument("--train", default="last:1")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=3)
    args = parser.parse_args()
    source, border = divided(args)
    module: Any = source.module
    images = torch.rand(args.images, *source.image, generator=torch.Generator().manual_seed(0))
    below, all_of_it = (
        multiply_adds(LowerPart(module, border), images),
        multiply_adds(module, images),
    )
    print(f"{source.label}, train: {args.train}, {args.images} images of {source.image}")
    print(f"border {border.path}: {below / all_of_it:.0%} of the multiply-adds lie below")
    data = TrainingData.of([None], np.arange(args.images) % 2, load_view=lambda i, _: (images[i],))
    start = time.process_time()
    banked = replace(data, activations={0: activations(module, border, images)})
    print(
        f"activations: {time.process_time() - start:.1f} s once, {border.width * 4e-3:.0f} kB each"
    )
    (slow, expected), (fast, found) = (trained(args, source, d) for d in (data, banked))
    print(f"an epoch: {slow:.2f} s with images, {fast:.2f} s with activations: {slow / fast:.1f} x")
    apart = max(float((found[k].double() - v.double()).abs().max()) for k, v in expected.items())
    print(f"weights after {args.epochs} epochs: {apart:.1e} apart")


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


def trained(
    args: argparse.Namespace, source: BuiltSource, data: TrainingData
) -> tuple[float, dict[str, Tensor]]:
    """Return the processor's seconds for an epoch, by its fastest step, and all weights."""
    parts = ComponentConfig(use="concat"), ComponentConfig(use="linear")
    built = build_classifier(*parts, load_registry(), [SourceWidth(source.feature_dim)], 2)
    fresh, _ = divided(args)
    network = FusedNetwork([fresh.module], built.fresh(seed=0))
    starts: list[float] = []
    steps: list[float] = []

    def attach(trainer: Any, _run: Run) -> None:
        from ignite.engine import Events

        def step() -> None:
            steps.append(time.process_time() - starts[-1])

        trainer.add_event_handler(
            Events.GET_BATCH_STARTED, lambda: starts.append(time.process_time())
        )
        trainer.add_event_handler(Events.ITERATION_COMPLETED, step)

    config = TrainingConfig(epochs=args.epochs, batch_size=16, early_stopping=None)
    run = Run(classes=CLASSES, attach_handlers=attach, head_loss=built.head.loss)
    fit(network, data, None, config, run)
    return min(steps) * len(steps) / args.epochs, network.state_dict()


if __name__ == "__main__":
    main()
