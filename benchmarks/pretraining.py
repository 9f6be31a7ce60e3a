"""Does a pretrained source beat the same network with random weights, on a set it never saw?

    python benchmarks/pretraining.py DATA --left-out brain_mri4 --seeds 3 --work FOLDER

For each left-out set and seed a network learns, without labels, from the training parts of all
other sets (``FOLDER/SET-SEED``; one that is finished is not trained again). Then frozen features of
it and of the very network that it began from, logistic regression, folds by near duplicates and
figures, and paired tests: the protocol of plugins/medfuse-mini/training/evidence.py, which this
imports. An image of the left-out set among those that were learned from ends it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

from medfuse.backbones.build import SourceTarget, build_source
from medfuse.backbones.seen import seen_images
from medfuse.config import SourceConfig
from medfuse.data.pixel_digest import pixel_digest
from medfuse.pretraining.settings import parse_settings
from medfuse.registry import load_registry, parse_source
from medfuse.workflows.pretrain import pretrain

sys.path.insert(0, str(Path(__file__).parents[1] / "plugins" / "medfuse-mini" / "training"))
from evidence import LeftOutSet, classify, compare, left_out_sets, pixels, table

POOL = ("brain_mri4", "cxr_covid3", "ct_covid2", "pneumoniamnist", "medicalmnist64")
_BATCH = 64


def main() -> None:
    """Print the table, and store it."""
    options = _options()
    torch.set_num_threads(options.threads)
    rows: list[dict] = []
    for data in left_out_sets(options.data, options.left_out):
        for seed in range(options.seeds):
            began = time.process_time()
            folder = pretrained(data.name, seed, options)
            spent = time.process_time() - began
            rows += compared(data, seed, folder)
            print(f"{data.name}, seed {seed}: {spent:.0f} s of processor time", file=sys.stderr)
            (options.work / "rows.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(table(rows))


def pretrained(left_out: str, seed: int, options: argparse.Namespace) -> Path:
    """Return the folder of a source that learned from all sets but one."""
    settings = {
        "backbone": options.backbone, "size": options.size, "epochs": options.epochs,
        "method": options.method, "seed": seed,
    }  # fmt: skip
    folder = options.work / f"{left_out}-{seed}"
    paths = [str(options.data / name) for name in POOL if name != left_out]
    pretrain(paths, parse_settings(settings), folder, exclude=[str(options.data / left_out)])
    return folder


def compared(data: LeftOutSet, seed: int, folder: Path) -> list[dict]:
    """Return what the network reached before and after, with the paired tests."""
    _, spec = load_registry().backbone(parse_source(str(folder)))
    weights = spec.weights[0]
    seen = seen_images(weights)
    found = sum(pixel_digest(image) in seen for image in data.images)
    if found or not seen:
        raise SystemExit(f"{data.name}: {found} of its images are among those of {folder}.")
    begun = f"{json.loads((folder / 'card.json').read_text())['backbone']}.random"
    outcomes = [
        classify(data, features(use, seed, data, weights.input_size))
        for use in (begun, str(folder))
    ]
    return [
        compare(data, f"random, seed {seed}", outcomes[0], None),
        compare(data, f"pretrained, seed {seed}", outcomes[1], outcomes[0]),
    ]


def features(use: str, seed: int, data: LeftOutSet, size: tuple[int, ...]) -> np.ndarray:
    """Features ``(N, F)`` of a source at a size."""
    config = SourceConfig(use=use, levels=1, input_size=size)
    source = build_source(config, load_registry(), SourceTarget(1, size, seed=seed)).module
    source.eval()
    images = pixels(data.images, size[0])
    found = []
    with torch.inference_mode():
        for start in range(0, len(images), _BATCH):
            batch = torch.from_numpy(images[start : start + _BATCH]).unsqueeze(1).float() / 255
            found.append(source(batch).numpy())
    return np.concatenate(found)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with the sets")
    parser.add_argument("--left-out", nargs="+", default=["brain_mri4"], choices=POOL[:3])
    parser.add_argument("--seeds", type=int, default=3, help="of the network and its training")
    parser.add_argument("--work", type=Path, required=True, help="folder for the sources")
    parser.add_argument("--backbone", default="mini:resnet")
    parser.add_argument("--method", default="auto")
    parser.add_argument("--size", type=int, default=64, help="pixels along a side of a view")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
