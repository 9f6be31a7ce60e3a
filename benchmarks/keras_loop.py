"""medfuse beside a Keras script with the same frozen MobileNets, in ``.venvs/keras``.

    bash benchmarks/environments && python benchmarks/keras_loop.py [--epochs 20] [--measured 2]

`benchmarks/keras_script.py` trains on the very cases that medfuse trains on, copied to class
folders. With the weights of ``MEDFUSE_WEIGHTS``, the features of a few images are compared with
those of timm first. Epochs that are not run are extrapolated as in `benchmarks/plain_loop.py`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from whole_runs import (
    PARTS,
    RANDOM,
    Subject,
    experiment_in,
    extrapolated,
    machine,
    medfuse_times,
    subject_of,
    table,
    with_real_sets,
)

from medfuse.backbones.build import build_source
from medfuse.backbones.input_contract import SourceTarget
from medfuse.config import Experiment
from medfuse.registry import load_registry

HERE = Path(__file__).resolve().parent
PYTHON = HERE.parent / ".venvs" / "keras" / "bin" / "python"


def main() -> None:
    """Print one table: seconds and how often each time of medfuse fits into the script's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--measured", type=int, default=2, help="epochs of Keras, at least 2")
    parser.add_argument("--all-epochs", action="store_true", help="extrapolate nothing")
    parser.add_argument("--images", type=int, default=1600, help="generated ones to learn from")
    arguments = parser.parse_args()
    if not PYTHON.exists():
        print("Keras: not run, .venvs/keras is absent (bash benchmarks/environments)")
        return
    measured = arguments.epochs if arguments.all_epochs else arguments.measured
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        experiment = experiment_in(folder, arguments.epochs, arguments.images, RANDOM)
        print(machine(), flush=True)
        times = medfuse_times(experiment, folder)
        class_folders(subject_of(experiment), folder / "classes")
        np.save(folder / "probe.npy", probe())
        found = keras(folder, arguments.epochs, measured)
        if with_real_sets():
            features = np.load(folder / "features.npy")
            print(f"features: largest difference to timm {difference(experiment, features):.1e}")
    whole = extrapolated(found["epochs"], found["processor"], arguments.epochs)
    print(f"Keras's epochs: {', '.join(f'{one:.1f} s' for one in found['epochs'])}")
    print(f"test accuracy: Keras {found['accuracy']:.3f}, medfuse {times.accuracy:.3f}")
    print("\n".join(table(f"Keras, {measured} epochs measured", whole, times)))
    print(machine())


def class_folders(subject: Subject, folder: Path) -> None:
    """Copy the images to ``folder/PART/CLASS``, as Keras lists them."""
    for part in PARTS:
        for number, case in enumerate(subject.cases(part)):
            image = Path(case.inputs["image"])
            target = folder / part / subject.classes[case.label or 0]
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(image, target / f"{number:05d}{image.suffix}")


def keras(folder: Path, epochs: int, measured: int) -> dict[str, Any]:
    """Return what the script prints last."""
    options = ["--epochs", epochs, "--measured", measured, "--probe", folder / "probe.npy"]
    command = [PYTHON, HERE / "keras_script.py", folder / "classes", *options]
    done = subprocess.run(
        [str(word) for word in command], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def probe() -> np.ndarray:
    """Return a few images ``(N, 224, 224, 3)`` in [-1, 1]."""
    random = np.random.default_rng(0)
    return random.uniform(-1, 1, (4, 224, 224, 1)).astype(np.float32).repeat(3, axis=3)


def difference(experiment: Experiment, features: np.ndarray) -> float:
    """Return the largest difference between Keras's features and timm's, of the probe."""
    gray = torch.from_numpy(probe()[..., 0])[:, None]
    target, registry = SourceTarget(1, (224, 224)), load_registry()
    found = []
    with torch.inference_mode():
        for config in experiment.sources:
            alone = config.model_copy(update={"levels": 1})
            found.append(build_source(alone, registry, target).extractor((gray + 1) / 2))
    return float(np.abs(torch.cat(found, dim=1).numpy() - features).max())


if __name__ == "__main__":
    main()
