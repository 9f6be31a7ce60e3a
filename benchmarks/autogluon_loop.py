"""medfuse beside AutoGluon MultiModal on the same cases, in ``.venvs/autogluon``.

    MEDFUSE_DATA=... MEDFUSE_WEIGHTS=... python benchmarks/autogluon_loop.py [--measured 1]

AutoGluon has no frozen networks and fuses no two image networks: it gets MobileNetV2-0.35 with its
ImageNet weights from a file and trains all of it (`benchmarks/autogluon_script.py`), so each of its
epochs does more than one of a frozen network. Seconds of all epochs are extrapolated linearly from
those measured; its accuracy is that after the measured ones.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from keras_loop import class_folders
from whole_runs import (
    RANDOM,
    Spent,
    experiment_in,
    machine,
    medfuse_times,
    subject_of,
    table,
    timed,
    with_real_sets,
)

HERE = Path(__file__).resolve().parent
PYTHON = HERE.parent / ".venvs" / "autogluon" / "bin" / "python"


def main() -> None:
    """Print one table: seconds and how often each time of medfuse fits into AutoGluon's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--measured", type=int, default=1, help="epochs of AutoGluon")
    arguments = parser.parse_args()
    reason = why_not()
    if reason:
        print(f"AutoGluon: not run, {reason}")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        experiment = experiment_in(folder, arguments.epochs, 0, RANDOM)
        print(machine(), flush=True)
        times = medfuse_times(experiment, folder)
        class_folders(subject_of(experiment), folder / "classes")
        found, spent = timed(lambda: autogluon(folder, arguments.measured))
    times_more = arguments.epochs / arguments.measured
    whole = Spent(found["seconds"] * times_more, spent.processor * times_more)
    after = f"after {arguments.measured} epochs"
    print(f"test accuracy: AutoGluon {after} {found['accuracy']:.3f}, medfuse {times.accuracy:.3f}")
    print("\n".join(table(f"AutoGluon, {arguments.measured} epochs measured", whole, times)))
    print(machine())


def why_not() -> str:
    """Return why AutoGluon cannot be run here; empty if it can."""
    if not with_real_sets():
        return "MEDFUSE_DATA and MEDFUSE_WEIGHTS are not set"
    return "" if PYTHON.exists() else ".venvs/autogluon is absent (bash benchmarks/environments)"


def autogluon(folder: Path, epochs: int) -> dict[str, Any]:
    """Return what the script prints last."""
    script = [HERE / "autogluon_script.py", folder / "classes", "--epochs", epochs]
    command = [PYTHON, *script, "--out", folder / "autogluon"]
    done = subprocess.run(
        [str(word) for word in command], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
