"""Demo: generated chest phantoms, the embedded sources, a fused classifier, its bundle."""

from __future__ import annotations

import logging
from pathlib import Path

from medfuse.config import Experiment, parse_experiment
from medfuse.errors import OutputError
from medfuse.registry import load_registry
from medfuse.workflows.phantoms import CLASSES, write_phantoms
from medfuse.workflows.train import TrainingOutcome, train

_log = logging.getLogger(__name__)
_PATIENTS = 60
_SIZE = (128, 128)


def demo(out: Path | str, *, fresh: bool = False, progress: bool = True) -> TrainingOutcome:
    """Write generated images to ``out/images`` and train on them in ``out/run``.

    Args:
        out: made if absent; other content in it is left alone.
        fresh: replace an earlier demo.
        progress: show bars on stderr where that is a terminal.

    Raises:
        OutputError: ``out`` cannot be written.
        PluginError: no embedded source is installed.
    """
    folder = Path(out)
    images = folder / "images"
    if fresh or not _complete(images):
        _log.info("writing generated images to %s", images)
        try:
            write_phantoms(images, _PATIENTS)
        except OSError as error:
            raise OutputError(f"{images}: cannot be written ({error.strerror}).") from error
    return train(demo_experiment(images), folder / "run", fresh=fresh, progress=progress)


def demo_experiment(images: Path) -> Experiment:
    """Return the demo's configuration: all embedded sources of 2D images, fused by attention."""
    embedded = [
        spec.name for plugin, spec in load_registry().components("backbone") if plugin == "mini"
    ]
    return parse_experiment(
        {
            "name": "chest-phantom",
            "cohort": {"path": str(images.resolve()), "group_pattern": r"p(\d+)_"},
            "inputs": {"image": {"modality": "XR", "size": list(_SIZE)}},
            "augmentation": {"views": 1},
            "sources": [{"use": f"mini:{name}"} for name in embedded],
            "fusion": {"use": "attention"},
            "training": {"epochs": 30, "members": 3},
        },
        "demo",
    )


def _complete(images: Path) -> bool:
    return all(len(list((images / name).glob("*.png"))) == 2 * _PATIENTS for name in CLASSES)
