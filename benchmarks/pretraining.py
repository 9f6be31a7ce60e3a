"""Does a pretrained source beat the same network with random weights, on a set it never saw?

    medfuse pretrain cxr_covid3 ct_covid2 pneumoniamnist medicalmnist64 --exclude brain_mri4 \
        --backbone mini:resnet --size 48 --epochs 2 --batch-size 64 --lr 0.001 --out PRETRAINED
    python benchmarks/pretraining.py PRETRAINED --data DATA --sets brain_mri4 --out FILE.json

Frozen features of both networks, logistic regression, folds by near duplicates and figures, and
paired tests: the protocol of plugins/medfuse-mini/training/evidence.py, which this imports. The
network with random weights is the very one that the pretraining began from, and more of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from medfuse.backbones.build import SourceTarget, build_source
from medfuse.backbones.seen import seen_images
from medfuse.config import SourceConfig
from medfuse.data.pixel_digest import pixel_digest
from medfuse.registry import load_registry, parse_source

sys.path.insert(0, str(Path(__file__).parents[1] / "plugins" / "medfuse-mini" / "training"))
from evidence import LeftOutSet, classify, compare, left_out_sets, pixels, table

_BATCH = 64


@dataclass(frozen=True)
class Candidate:
    """A source by name, and the seed of its random weights."""

    name: str
    use: str
    seed: int = 0


def main() -> None:
    """Print the table, and store it."""
    options = _options()
    torch.set_num_threads(options.threads)
    reference = parse_source(options.source)
    network = f"{reference.plugin}:{reference.name}"
    chosen = [Candidate(f"random {s}", f"{network}.random", s) for s in range(options.seeds)]
    chosen.append(Candidate("pretrained", options.source))
    rows = []
    for data in left_out_sets(options.data, options.sets):
        require_unseen(data, options.source)
        outcomes = {c.name: classify(data, features(c, data, options.source)) for c in chosen}
        trained = outcomes.pop("pretrained")
        rows += [compare(data, name, outcome, None) for name, outcome in outcomes.items()]
        for name, outcome in outcomes.items():
            rows.append(compare(data, f"pretrained, against {name}", trained, outcome))
        print(json.dumps(rows[-len(outcomes)]), flush=True)
    options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(table(rows))


def features(candidate: Candidate, data: LeftOutSet, trained: str) -> np.ndarray:
    """Features ``(N, F)`` at the input size of the pretrained source."""
    _, spec = load_registry().backbone(parse_source(trained))
    size = spec.weights[0].input_size
    config = SourceConfig(use=candidate.use, levels=1, input_size=size)
    target = SourceTarget(1, size, seed=candidate.seed)
    source = build_source(config, load_registry(), target).module
    images = pixels(data.images, size[0])
    found = []
    with torch.inference_mode():
        for start in range(0, len(images), _BATCH):
            batch = torch.from_numpy(images[start : start + _BATCH]).unsqueeze(1).float() / 255
            found.append(source(batch).numpy())
    return np.concatenate(found)


def require_unseen(data: LeftOutSet, trained: str) -> None:
    """Pass if the source lists no image of the set as seen."""
    _, spec = load_registry().backbone(parse_source(trained))
    seen = seen_images(spec.weights[0])
    found = sum(pixel_digest(image) in seen for image in data.images)
    if found or not seen:
        raise SystemExit(f"{data.name}: {found} images were seen in the pretraining of {trained}.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="folder that medfuse pretrain wrote")
    parser.add_argument("--data", type=Path, required=True, help="folder with the sets")
    parser.add_argument("--sets", nargs="+", default=["brain_mri4"])
    parser.add_argument("--seeds", type=int, default=3, help="networks with random weights")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
