"""medfuse beside a plain MONAI and Ignite loop over the same frozen networks.

    python benchmarks/plain_loop.py [--epochs 20] [--measured 2 | --all-epochs] [--images 1600]

The loop is what a MONAI user writes: `LoadImaged`, `Resized` and `ScaleIntensityRanged` in the
workers of a `DataLoader`, the networks in eval mode under ``no_grad``, features side by side, the
head of medfuse (`MlpHead`) behind a batch norm, `SupervisedTrainer`, validation after each epoch.
Every epoch looks at every image again. Epochs that are not run are extrapolated: each takes as long
as the mean of those after the first. The loop's accuracy after all epochs is that of its head,
trained by the same trainer from banked features, which are those of the networks.
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from ignite.metrics import Accuracy
from monai.data.dataloader import DataLoader
from monai.data.dataset import Dataset
from monai.data.image_reader import PILReader
from monai.engines.evaluator import SupervisedEvaluator
from monai.engines.trainer import SupervisedTrainer
from monai.handlers.utils import from_engine
from monai.handlers.validation_handler import ValidationHandler
from monai.transforms.compose import Compose
from monai.transforms.intensity.dictionary import ScaleIntensityRanged
from monai.transforms.io.dictionary import LoadImaged
from monai.transforms.spatial.dictionary import Resized
from monai.transforms.utility.dictionary import EnsureTyped
from torch import Tensor, nn
from whole_runs import (
    PARTS,
    RANDOM,
    Spent,
    Subject,
    Times,
    experiment_in,
    extrapolated,
    machine,
    medfuse_times,
    processor,
    subject_of,
    table,
)

from medfuse.heads.mlp import MlpHead

BATCH = 32
Loaders = Mapping[str, Iterable[Any]]


class FrozenTwins(nn.Module):
    """Logits from frozen networks whose features stand side by side."""

    def __init__(self, backbones: Sequence[nn.Module], width: int, classes: int) -> None:
        super().__init__()
        self.backbones = nn.ModuleList(backbones).requires_grad_(False)
        self.classify = nn.Sequential(nn.BatchNorm1d(width, affine=False), MlpHead(width, classes))

    def train(self, mode: bool = True) -> FrozenTwins:
        super().train(mode)
        self.backbones.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            features = torch.cat([backbone(images) for backbone in self.backbones], dim=1)
        logits: Tensor = self.classify(features)
        return logits


def main() -> None:
    """Print one table: seconds and how often each time of medfuse fits into the loop's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--measured", type=int, default=2, help="epochs of the loop, at least 2")
    parser.add_argument("--all-epochs", action="store_true", help="extrapolate nothing")
    parser.add_argument("--images", type=int, default=1600, help="generated ones to learn from")
    arguments = parser.parse_args()
    measured = arguments.epochs if arguments.all_epochs else arguments.measured
    with tempfile.TemporaryDirectory() as folder:
        experiment = experiment_in(Path(folder), arguments.epochs, arguments.images, RANDOM)
        print(machine(), flush=True)
        times = medfuse_times(experiment, Path(folder))
        subject = subject_of(experiment)
        spent, used = image_loop(subject, measured)
        accuracy = banked_accuracy(subject, arguments.epochs)
    whole = extrapolated(spent, used, arguments.epochs)
    print("\n".join(report(subject, spent, whole, times, accuracy)))
    print(machine())


def report(
    subject: Subject, spent: Sequence[float], whole: Spent, times: Times, accuracy: float
) -> list[str]:
    """Return the table and what stands above it."""
    counts = ", ".join(f"{len(subject.cases(part))} {part}" for part in PARTS)
    return [
        f"{counts}; {' + '.join(source.label for source in subject.sources)}",
        f"the loop's epochs: {', '.join(f'{one:.1f} s' for one in spent)}",
        f"test accuracy: loop {accuracy:.3f}, medfuse {times.accuracy:.3f}",
        *table(f"MONAI loop, {len(spent)} epochs measured", whole, times),
    ]


def image_loop(subject: Subject, epochs: int) -> tuple[list[float], float]:
    """Return the seconds of each epoch over the images, and those of processors of all of them."""
    workers = os.cpu_count() or 1
    loaders = {part: image_loader(subject, part, workers) for part in ("train", "validation")}
    width = sum(source.feature_dim for source in subject.sources)
    backbones = [source.extractor for source in subject.sources]
    network = FrozenTwins(backbones, width, len(subject.classes))
    before = processor()
    spent = fit(network, loaders, epochs)
    del loaders
    gc.collect()  # ends the workers, whose time is counted then
    return spent, processor() - before


def image_loader(subject: Subject, part: str, workers: int) -> DataLoader:
    read = subject.prepared.inputs["image"].config
    steps = Compose(
        [
            LoadImaged("image", PILReader(reverse_indexing=False), ensure_channel_first=True),
            Resized("image", read.shape, mode="bilinear", anti_aliasing=True),
            ScaleIntensityRanged("image", 0, 255, 0, 1),
            EnsureTyped("image", track_meta=False),
        ]
    )
    items = [{"image": c.inputs["image"], "label": c.label} for c in subject.cases(part)]
    return DataLoader(
        Dataset(items, steps),
        batch_size=BATCH,
        shuffle=part == "train",
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def banked_accuracy(subject: Subject, epochs: int) -> float:
    """Return the test accuracy of the loop's head after all epochs, from banked features."""
    values = [torch.from_numpy(found[:, 0]) for found in subject.features.values]
    features, loaders = torch.cat(values, dim=1), {}
    everything = subject.prepared.cohort.cases
    for part in PARTS:
        items = [
            {"image": row, "label": case.label}
            for row, case in zip(features, everything, strict=True)
            if case.role == part
        ]
        loaders[part] = DataLoader(Dataset(items), batch_size=BATCH, shuffle=part == "train")
    network = FrozenTwins([nn.Identity()], features.shape[1], len(subject.classes))
    fit(network, loaders, epochs)
    tester = evaluator(network, loaders["test"])
    tester.run()
    return float(tester.state.metrics["accuracy"])


def fit(network: FrozenTwins, loaders: Loaders, epochs: int) -> list[float]:
    """Train the head, and return the seconds of each epoch."""
    torch.manual_seed(0)
    validator = evaluator(network, loaders["validation"])
    trainer = SupervisedTrainer(
        torch.device("cpu"),
        epochs,
        loaders["train"],
        network,
        torch.optim.AdamW(network.classify.parameters(), lr=1e-3),
        nn.CrossEntropyLoss(),
        train_handlers=[ValidationHandler(interval=1, validator=validator)],
    )
    ends = [time.perf_counter()]
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: ends.append(time.perf_counter()))
    trainer.run()
    return [after - before for before, after in pairwise(ends)]


def evaluator(network: nn.Module, loader: Iterable[Any]) -> SupervisedEvaluator:
    metric = Accuracy(output_transform=_stacked)
    return SupervisedEvaluator(
        torch.device("cpu"), loader, network, key_val_metric={"accuracy": metric}
    )


def _stacked(output: Any) -> tuple[Tensor, Tensor]:
    logits, labels = from_engine(["pred", "label"])(output)
    return torch.stack(logits), torch.stack([torch.as_tensor(label) for label in labels])


if __name__ == "__main__":
    main()
