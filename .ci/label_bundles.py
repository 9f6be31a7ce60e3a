"""Train a bundle of images, which abstains below a confidence, and one of volumes."""

import sys
from pathlib import Path

from medfuse.workflows.phantom_volumes import write_volumes
from medfuse.workflows.phantoms import write_phantoms
from medfuse.workflows.train import train

SLICED = {"kind": "volume", "modality": "CT", "size": [32, 32, 16], "windows": ["brain"]}
EXPERIMENTS = {
    "flat": {
        "inputs": {"image": {"size": [48, 48], "modality": "XR", "intensity": "percentile"}},
        "sources": ["mini:resnet"],
        "training": {"epochs": 10, "members": 2},
        "evaluation": {"bootstrap": 0, "abstain": {"confidence": 0.6}},
    },
    "deep": {
        "inputs": {"image": SLICED},
        "sources": ["monai:resnet10_3d.random"],
        "augmentation": {"views": 1},
        "training": {"epochs": 1, "members": 1},
        "evaluation": {"bootstrap": 0},
    },
}


def write_fresh(out: Path) -> dict[str, Path]:
    """Train in ``OUT/NAME/run`` on images in ``OUT/NAME/images``; return the runs by name."""
    write_phantoms(out / "flat" / "images", patients_per_class=8)
    write_volumes(out / "deep" / "images", patients_per_class=6)
    runs = {}
    for name, experiment in EXPERIMENTS.items():
        cohort = {"path": str(out / name / "images")}
        runs[name] = out / name / "run"
        train({"name": name, "cohort": cohort, **experiment}, runs[name], progress=False)
    return runs


if __name__ == "__main__":
    write_fresh(Path(sys.argv[1]))
