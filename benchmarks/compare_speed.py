"""How long `medfuse compare` takes with a filled bank, and what its training loop saves.

    python benchmarks/compare_speed.py [--cases 1600] [--folds 5] [--fusions ...]

Images are generated: noise, in which the class sets the mean of a patch. First one candidate after
another is trained once by each of three ways, in turn, on one thread: by the engines of
`medfuse train`, by the plain loop of `medfuse compare`, which must give the same bits, and by that
loop with torch's dropout and with features standardized in every batch. Prints the milliseconds of
the processor for one step, the least of the rounds, since other work only adds to it. Then the
bank is filled and the whole command is timed, from its start to the page.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path
from unittest.mock import patch

import numpy as np

from medfuse.config import ComponentConfig, TrainingConfig
from medfuse.registry import load_registry
from medfuse.threads import one_thread
from medfuse.training import Run, TrainingData, build_classifier, fit, predict_logits
from medfuse.training import quick as quick_loop
from medfuse.training.classifier import SourceWidth
from medfuse.training.quick import fit_quickly

SOURCES = {"timm:mobilenetv2_035.random": 1440, "mini:resnet": 416, "mini:densenet": 516}
FUSIONS = ("concat", "weighted", "gated", "attention", "low_rank", "average")
CLASSES = ("a", "b", "c")
BATCH, STEPS, EPOCHS = 32, 32, 4


def main() -> None:
    """Print the milliseconds of a step for each fusion, then the seconds of the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1600)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--fusions", nargs="+", default=list(FUSIONS))
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    print("fusion, ms a step: engines / plain loop as it was / plain loop / ratios to the last")
    for fusion in args.fusions:
        with one_thread():
            slow, before, now = steps(fusion, args.rounds)
        ratios = f"{slow / now:.2f} {before / now:.2f}"
        print(f"{fusion:20s} {slow:6.2f} {before:6.2f} {now:6.2f}   {ratios}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        whole_command(args, Path(folder))


def steps(fusion: str, rounds: int) -> tuple[float, float, float]:
    """Return the least milliseconds of a step by the engines, the loop before, and the loop now."""
    labels = np.arange(BATCH * STEPS) % len(CLASSES)
    numbers = np.random.default_rng(0)
    features = [
        numbers.standard_normal((len(labels), 1, width), np.float32) for width in SOURCES.values()
    ]
    data = TrainingData.of(features, labels)
    found: list[tuple[float, ...]] = []
    for _ in range(rounds):
        (engines, expected), (loop, same) = (
            timed(fusion, data, fit),
            timed(fusion, data, fit_quickly),
        )
        np.testing.assert_array_equal(same, expected)
        with ExitStack() as stack:
            stack.enter_context(patch.object(quick_loop, "quick_layers", nullcontext))
            stack.enter_context(patch.object(quick_loop, "standardized_once", as_they_are))
            before, _ = timed(fusion, data, fit_quickly)
        found.append((engines, before, loop))
    slow, before, now = np.min(found, axis=0)
    return float(slow), float(before), float(now)


def as_they_are(_learner: object, parts: object) -> nullcontext[object]:
    return nullcontext(parts)


def timed(
    fusion: str, data: TrainingData, train: Callable[..., object]
) -> tuple[float, np.ndarray]:
    widths = [SourceWidth(width) for width in SOURCES.values()]
    parts = ComponentConfig(use=fusion), ComponentConfig(use="mlp")
    built = build_classifier(*parts, load_registry(), widths, len(CLASSES))
    model = built.fresh(0)
    config = TrainingConfig(epochs=EPOCHS, batch_size=BATCH, device="cpu")
    start = time.process_time()
    train(model, data, None, config, Run(classes=CLASSES, head_loss=built.head.loss))
    spent = time.process_time() - start
    return spent / EPOCHS / STEPS * 1e3, predict_logits(model, data)


def whole_command(args: argparse.Namespace, folder: Path) -> None:
    experiment = folder / "experiment.yaml"
    sources = "".join(f"\n  - use: {use}" for use in SOURCES)
    experiment.write_text(
        f"name: speed\ncohort: {{path: {generated(args.cases, folder)}, split: {{test: 0}}}}\n"
        f"inputs: {{image: {{modality: XR, channels: 1, size: [32, 32]}}}}\n"
        f"sources:{sources}\nfusion: {{use: {args.fusions[0]}}}\nhead: {{use: mlp}}\n"
    )
    command = [sys.executable, "-m", "medfuse", "compare", str(experiment)]
    options = ["--folds", str(args.folds), "--fusions"]
    cache = {"MEDFUSE_CACHE": str(folder / "cache")}
    few = [*options, "concat", "--no-baselines", "--folds", "2", "--out", str(folder / "bank")]
    print(f"filling the bank, and a first look: {seconds(command + few, cache):.1f} s")
    whole = [*options, ",".join(args.fusions), "--out", str(folder / "comparison")]
    took = seconds(command + whole, cache)
    print(
        f"comparison of {args.cases} cases, {len(args.fusions)} fusions: {took:.1f} s by the clock"
    )


def generated(cases: int, folder: Path) -> Path:
    numbers, labels = np.random.default_rng(0), np.arange(cases) % len(CLASSES)
    images = numbers.normal(110, 40, (cases, 32, 32))
    images[:, 8:16, 8:16] += 25 * labels[:, None, None]
    path = folder / "generated.npz"
    np.savez(path, train_images=images.clip(0, 255).astype(np.uint8), train_labels=labels[:, None])
    return path


def seconds(command: list[str], variables: dict[str, str]) -> float:
    start = time.monotonic()
    done = subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return time.monotonic() - start


if __name__ == "__main__":
    main()
