"""Train the bundles that lie here, with three generated examples each and what they give.

    MEDFUSE_DATA=... python bundles/build.py chest_xray brain_mr chest_ct --runs runs

Each is trained by the configuration NAME.yaml beside this file and replaces the folder of before.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from medfuse.bundle.digests import write_digests
from medfuse.cli.main import run as medfuse
from medfuse.config import load_experiment
from medfuse.workflows.train import train

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "plugins" / "medfuse-mini" / "training"))

from phantoms import chest, head, trunk  # noqa: E402

Drawn = Callable[[np.random.Generator, int], np.ndarray]

DRAWN: dict[str, Drawn] = {"chest_xray": chest, "brain_mr": head, "chest_ct": trunk}
EXAMPLES, SIZE, SEED = 3, 256, 7


def main() -> None:
    """Train, add examples, and put the bundles beside this file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(DRAWN), help=", ".join(DRAWN))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    for name in arguments.names:
        print(build(name, arguments.runs / name))


def build(name: str, run: Path) -> Path:
    """Return the bundle of ``NAME.yaml``, trained in ``run`` and copied here."""
    return publish(name, train(load_experiment(HERE / f"{name}.yaml"), run).bundle)


def publish(name: str, trained: Path) -> Path:
    """Put a trained bundle beside this file, with examples; return where it lies."""
    target = HERE / trained.name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(trained, target)
    images = target / "examples" / "images"
    draw_examples(DRAWN[name], images)
    with tempfile.TemporaryDirectory() as work:
        answers = Path(work) / "predictions.csv"
        if medfuse(["predict", str(target), str(images), "--out", str(answers)]) != 0:
            raise SystemExit(f"{target}: its examples get no answer")
        shutil.copy(answers, images.parent)
    write_digests(target)
    return target


def draw_examples(draw: Drawn, folder: Path) -> None:
    """Write 8-bit gray PNGs that owe nothing to any patient; the same bytes each time."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(SEED)
    for number in range(EXAMPLES):
        pixels = np.clip(draw(rng, SIZE), 0, 1) * 255
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"generated-{number + 1}.png")


if __name__ == "__main__":
    main()
