"""medfuse beside GaNDLF on the same cases, in ``.venvs/gandlf``.

    MEDFUSE_DATA=... MEDFUSE_WEIGHTS=... python benchmarks/gandlf_loop.py [--images 200]

GaNDLF has no frozen networks and fuses no two, and its ImageNet weights come from a hub that cannot
be asked here: it trains all of a ResNet-18 from random weights, so each of its epochs does more
than one of a frozen network, and its accuracy is not compared. One epoch of some of the images is
measured, with as large a part of the validation images; the rest is extrapolated linearly.
"""

from __future__ import annotations

import argparse
import csv
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml
from whole_runs import (
    RANDOM,
    Spent,
    Subject,
    experiment_in,
    machine,
    medfuse_times,
    subject_of,
    table,
    timed,
)

COMMAND = Path(__file__).resolve().parent.parent / ".venvs" / "gandlf" / "bin" / "gandlf"
SIZE = [224, 224]
# Those of medfuse where GaNDLF has them; nothing is augmented, and no metric but accuracy is asked.
SETTINGS = {
    "version": {"minimum": "0.1.0", "maximum": "0.2.0"},
    "modality": "rad",
    "problem_type": "classification",
    "loss_function": "cel",
    "metrics": ["accuracy"],
    "optimizer": {"type": "adamw"},
    "scheduler": {"type": "cosineannealing"},
    "learning_rate": 0.001,
    "num_epochs": 1,
    "patience": 50,
    "batch_size": 32,
    "patch_size": SIZE,
    "patch_sampler": "uniform",
    "q_max_length": 64,
    "q_samples_per_volume": 1,
    "q_num_workers": 0,
    "nested_training": {"testing": 1, "validation": -5},
    "weighted_loss": False,
    "save_training": False,
    "memory_save_mode": False,
    "data_preprocessing": {"resize_image": SIZE, "normalize": True},
    "data_augmentation": {},
}


def main() -> None:
    """Print one table: seconds and how often each time of medfuse fits into GaNDLF's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--images", type=int, default=200, help="training images to measure")
    arguments = parser.parse_args()
    if not COMMAND.exists():
        print("GaNDLF: not run, .venvs/gandlf is absent (bash benchmarks/environments)")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        experiment = experiment_in(folder, arguments.epochs, 1600, RANDOM)
        print(machine(), flush=True)
        times = medfuse_times(experiment, folder)
        subject = subject_of(experiment)
        every = len(subject.cases("train")) / arguments.images
        _, start = timed(
            lambda: subprocess.run([COMMAND, "run", "--help"], capture_output=True, check=True)
        )
        seconds, spent = timed(lambda: gandlf(subject, folder, max(1.0, every)))
    more = max(1.0, every) * arguments.epochs
    whole = Spent(seconds * more, (spent.processor - start.processor) * more)
    print("\n".join(table("GaNDLF, ResNet-18, extrapolated from a part", whole, times)))
    print(machine())


def gandlf(subject: Subject, folder: Path, every: float) -> float:
    """Return the seconds of training one epoch with every so many-th image."""
    classes = list(range(len(subject.classes)))
    model = {
        "dimension": 2,
        "architecture": "resnet18",
        "final_layer": "softmax",
        "norm_type": "batch",
        "num_channels": 1,
        "class_list": classes,
    }
    config = folder / "gandlf.yaml"
    config.write_text(yaml.safe_dump({**SETTINGS, "model": model}))
    tables = [rows_of(subject, part, every, folder) for part in ("train", "validation")]
    command = [COMMAND, "run", "-c", config, "-i", ",".join(map(str, tables)), "-t"]
    return trained([*map(str, command), "-m", str(folder / "gandlf")])


def trained(command: Sequence[str]) -> float:
    """Return the seconds that GaNDLF says its training took, without its imports."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Total time taken for training :\s+([\d.]+)\s+mins", done.stdout)
    if done.returncode or found is None:
        raise SystemExit(done.stderr[-2000:])
    return 60 * float(found[1])


def rows_of(subject: Subject, part: str, every: float, folder: Path) -> Path:
    """Write a table of cases as GaNDLF reads it, and return its path."""
    cases = subject.cases(part)
    chosen = [cases[int(i * every)] for i in range(int(len(cases) / every))]
    path = folder / f"{part}.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["SubjectID", "Channel_0", "ValueToPredict"])
        for number, case in enumerate(chosen):
            writer.writerow([f"{part}{number}", case.inputs["image"], case.label])
    return path


if __name__ == "__main__":
    main()
