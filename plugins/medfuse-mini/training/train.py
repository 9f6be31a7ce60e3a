"""Distill the teachers into one student. Seeded; a stopped run goes on from its last epoch.

    python train.py --cache CACHE --student resnet --out RUN --weights FILE.safetensors

The student sees an image, a linear layer on its map predicts the teachers' targets of the same
image. Function matching over many different images is what carries knowledge (Beyer et al. 2022,
doi 10.1109/CVPR52688.2022.01065; Asano and Saeed 2023, arXiv 2112.00725).
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from medfuse_mini.network import MiniBackbone, MiniDenseNet, MiniResNet
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

CELLS = 4
MEAN, STD = 0.5, 0.25
CHECK_IMAGES = 500


@dataclass(frozen=True)
class Recipe:
    """What a student's training is made of; the stage inside gets a weaker copy of the loss."""

    network: type[MiniBackbone]
    inner_stage: str
    inner_width: int
    bfloat16: bool
    epochs: int
    rate: float = 2e-3
    batch: int = 32
    decay: float = 0.02
    inner_share: float = 0.3
    seed: int = 0


RECIPES = {
    "densenet": Recipe(MiniDenseNet, "network.features.denseblock3", 184, bfloat16=True, epochs=6),
    "resnet": Recipe(MiniResNet, "network.layer3", 112, bfloat16=True, epochs=14),
}


class Student(nn.Module):
    """The network and the linear layers that are thrown away after the training."""

    def __init__(self, recipe: Recipe, width: int, targets: int):
        super().__init__()
        self.backbone = recipe.network()
        self.outer = nn.Conv2d(width, targets, 1)
        self.inner = nn.Conv2d(recipe.inner_width, targets, 1)
        self._tap: torch.Tensor = torch.empty(0)
        stage = self.backbone.get_submodule(recipe.inner_stage)
        stage.register_forward_hook(lambda _module, _args, output: setattr(self, "_tap", output))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Two predictions ``(N, 16, D)``: from the last map and from the stage inside."""
        features, _ = self.backbone(images)
        tap = F.adaptive_avg_pool2d(self._tap, CELLS)
        return _cells(self.outer(features)), _cells(self.inner(tap))


def main(arguments: list[str] | None = None) -> None:
    """Train and write the weights."""
    options = _options(arguments)
    recipe = RECIPES[options.student]
    if options.epochs:
        recipe = Recipe(**{**vars(recipe), "epochs": options.epochs})
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(options.threads)
    images, targets = _load(options.cache, options.sets)
    order = np.random.default_rng(recipe.seed).permutation(len(images))
    check, learn = np.split(order, [min(CHECK_IMAGES, len(order) // 10)])
    width = int(recipe.network().eval()(torch.zeros(1, 1, 64, 64))[0].shape[1])
    session = _Session(Student(recipe, width, targets.shape[-1]), recipe, len(learn))
    options.out.mkdir(parents=True, exist_ok=True)
    session.resume(options.out / "state.pt")
    while session.epoch < recipe.epochs:
        session.train_epoch(images, targets, learn)
        session.log(options.out, explained(session.student, images[check], targets[check]))
    _write_weights(session.student.backbone, options.weights)


def explained(student: Student, images: np.ndarray, targets: np.ndarray) -> float:
    """The share of the targets' variance that the student predicts on unseen images."""
    student.eval()
    with torch.inference_mode():
        chunks = [student(_batch(images[i : i + 100]))[0] for i in range(0, len(images), 100)]
    truth = torch.from_numpy(targets.astype(np.float32))
    spread = (truth - truth.mean((0, 1))).square().mean()
    return float(1 - (torch.cat(chunks) - truth).square().mean() / spread)


class _Session:
    """Network, optimizer and schedule at the end of some epoch."""

    def __init__(self, student: Student, recipe: Recipe, images: int):
        self.student = student.to(memory_format=torch.channels_last)
        self.recipe, self.epoch, self.seconds = recipe, 0, 0.0
        self.optimizer = torch.optim.AdamW(student.parameters(), weight_decay=recipe.decay)
        steps = recipe.epochs * (images // recipe.batch)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, recipe.rate, total_steps=steps, pct_start=0.1
        )
        self.loss = 0.0

    def resume(self, path: Path) -> None:
        """Go on from a stored state, if there is one."""
        self.path = path
        if path.exists():
            state = torch.load(path, weights_only=True)
            self.student.load_state_dict(state["student"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            self.epoch, self.seconds = state["epoch"], state["seconds"]

    def train_epoch(self, images: np.ndarray, targets: np.ndarray, learn: np.ndarray) -> None:
        """One pass over the images in an order drawn from (seed, epoch)."""
        started = time.process_time()
        rng = np.random.default_rng([self.recipe.seed, self.epoch])
        order = rng.permutation(learn)
        losses = []
        self.student.train()
        for start in range(0, len(order) - self.recipe.batch + 1, self.recipe.batch):
            rows = order[start : start + self.recipe.batch]
            losses.append(self._step(images[rows], targets[rows], rng))
        self.epoch, self.loss = self.epoch + 1, float(np.mean(losses))
        self.seconds += time.process_time() - started

    def log(self, out: Path, share: float) -> None:
        """Store the state and append a line to the log."""
        state: dict[str, Any] = {
            "student": self.student.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "epoch": self.epoch,
            "seconds": self.seconds,
        }
        partial = self.path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.path)
        line = {"epoch": self.epoch, "loss": self.loss, "explained": share, "cpu_s": self.seconds}
        with (out / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        print(line, flush=True)

    def _step(self, images: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> float:
        batch, truth = _augment(images, targets, rng)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.bfloat16):
            outer, inner = self.student(batch)
        loss = _loss(outer.float(), truth)
        loss = loss + self.recipe.inner_share * _loss(inner.float(), truth)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), 2.0)
        self.optimizer.step()
        self.schedule.step()
        return float(loss.detach())


def _loss(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Squared error of the cells, and of their mean, which classifiers will look at."""
    whole = F.mse_loss(predicted.mean(1), truth.mean(1))
    return F.mse_loss(predicted, truth) + 2 * whole


def _augment(
    images: np.ndarray, targets: np.ndarray, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mirrored at random with their targets; gamma, gray levels and noise vary."""
    batch = torch.from_numpy(images).float() / 255
    truth = torch.from_numpy(targets).float().unflatten(1, (CELLS, CELLS))
    flip = torch.from_numpy(rng.random(len(images)) < 0.5)
    batch = torch.where(flip[:, None, None], batch.flip(2), batch)
    truth = torch.where(flip[:, None, None, None], truth.flip(2), truth).flatten(1, 2)
    draws = torch.from_numpy(rng.normal(0, 1, (3, len(images), 1, 1)).astype(np.float32))
    batch = batch.clamp(0, 1) ** torch.exp(0.15 * draws[0])
    batch = batch * (1 + 0.08 * draws[1]) + 0.03 * draws[2]
    batch = (batch - MEAN) / STD
    return batch.unsqueeze(1).contiguous(memory_format=torch.channels_last), truth


def _batch(images: np.ndarray) -> torch.Tensor:
    return ((torch.from_numpy(images).float() / 255 - MEAN) / STD).unsqueeze(1)


def _cells(grid: torch.Tensor) -> torch.Tensor:
    return grid.flatten(2).transpose(1, 2)


def _load(cache: Path, sets: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """All images ``(N, 128, 128)`` uint8 and targets ``(N, 16, D)`` float16 of the named sets."""
    files = [f for name in sets for f in sorted(cache.glob(f"{name}_[0-9]*.npz"))]
    files = [f for f in files if "partial" not in f.name]
    stored = [np.load(f) for f in files]
    return tuple(np.concatenate([s[k] for s in stored]) for k in ("images", "targets"))  # type: ignore[return-value]


def _write_weights(backbone: MiniBackbone, path: Path) -> None:
    """Floating point weights as float16, so that the file stays small; counters as they are."""
    state = backbone.state_dict()
    halves = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in halves.items()}, path)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True, help="made by prepare.py")
    parser.add_argument("--student", choices=sorted(RECIPES), required=True)
    parser.add_argument("--sets", nargs="+", default=["generated", "real_pneumoniamnist"])
    parser.add_argument("--out", type=Path, required=True, help="log and state of the run")
    parser.add_argument("--weights", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--epochs", type=int, default=0, help="0: as the recipe says")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
