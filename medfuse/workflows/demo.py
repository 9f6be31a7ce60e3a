"""Demo: generated images, the embedded sources, a fused classifier, its bundle."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

from medfuse.config import Experiment, parse_experiment
from medfuse.errors import OutputError
from medfuse.registry import load_registry
from medfuse.workflows.phantom_volumes import CLASSES as VOLUME_CLASSES
from medfuse.workflows.phantom_volumes import write_cases, write_volumes
from medfuse.workflows.phantoms import CLASSES, write_phantoms
from medfuse.workflows.train import TrainingOutcome, train

Kind = Literal["image", "volume", "several"]

_log = logging.getLogger(__name__)
_PATIENTS = 60
_VOLUMES = 24
_CASES = 99
_SIZE = (128, 128)


def demo(
    out: Path | str, kind: Kind = "image", *, fresh: bool = False, progress: bool = True
) -> TrainingOutcome:
    """Write generated images to ``out/images`` and train on them in ``out/run``.

    Args:
        out: made if absent; other content in it is left alone.
        kind: chest X-rays of three classes (``image``), head CTs (``volume``), or cases of a head
            CT, a chest X-ray, age and sex, a third of it missing (``several``). The latter two
            lie in folders of their own, ``out/volume`` and ``out/several``.
        fresh: replace an earlier demo.
        progress: tell on stderr how far it is, see `medfuse.progress`.

    Raises:
        OutputError: ``out`` cannot be written.
        PluginError: no embedded source is installed.
    """
    folder = Path(out) if kind == "image" else Path(out) / kind
    images = folder / "images"
    if fresh or not _complete(images, kind):
        _log.info("writing generated images to %s", images)
        try:
            _write(images, kind)
        except OSError as error:
            raise OutputError(f"{images}: cannot be written ({error.strerror}).") from error
    experiment = {
        "image": demo_experiment,
        "volume": volume_experiment,
        "several": several_experiment,
    }[kind](images)
    return train(experiment, folder / "run", fresh=fresh, progress=progress)


def volume_experiment(images: Path) -> Experiment:
    """Return the demo of head CTs: the embedded networks see every slice."""
    return parse_experiment(
        {
            "name": "head-phantom",
            "cohort": {"path": str(images.resolve())},
            "inputs": {"image": {"kind": "volume", "modality": "CT", "windows": ["brain"]}},
            "sources": [{"use": f"mini:{name}"} for name in _embedded()],
        },
        "demo",
    )


def several_experiment(images: Path) -> Experiment:
    """Return the demo of cases with several inputs; half are tested, so that each pattern of
    missing inputs has enough cases to be measured.
    """
    first, second = (_embedded() * 2)[:2]
    return parse_experiment(
        {
            "name": "several-inputs-phantom",
            "cohort": {
                "path": str((images / "cases.csv").resolve()),
                "split": {"test": 0.5},
            },
            "inputs": {
                "ct": {"kind": "volume", "modality": "CT", "windows": ["brain"]},
                "xray": {"kind": "image", "modality": "XR", "size": list(_SIZE)},
                "clinical": {"kind": "tabular", "columns": {"age": "number", "sex": "category"}},
            },
            "sources": [
                {"use": f"mini:{first}", "input": "ct"},
                {"use": f"mini:{second}", "input": "xray"},
                {"use": "tabular", "input": "clinical"},
            ],
        },
        "demo",
    )


def demo_experiment(images: Path) -> Experiment:
    """Return the demo of X-rays: all embedded sources of 2D images, fused by attention."""
    return parse_experiment(
        {
            "name": "chest-phantom",
            "cohort": {"path": str(images.resolve()), "group_pattern": r"p(\d+)_"},
            "inputs": {"image": {"modality": "XR", "size": list(_SIZE)}},
            "augmentation": {"views": 1},
            "sources": [{"use": f"mini:{name}"} for name in _embedded()],
            "fusion": {"use": "attention"},
            "training": {"epochs": 30, "members": 3},
        },
        "demo",
    )


def _embedded() -> list[str]:
    registry = load_registry()
    return [spec.name for plugin, spec in registry.components("backbone") if plugin == "mini"]


def _write(images: Path, kind: Kind) -> None:
    if kind == "image":
        write_phantoms(images, _PATIENTS)
    elif kind == "volume":
        write_volumes(images, _VOLUMES)
    else:
        write_cases(images, _CASES)


def _complete(images: Path, kind: Kind) -> bool:
    if kind == "several":
        return (images / "cases.csv").is_file()
    names, suffix, count = (
        (CLASSES, "*.png", 2 * _PATIENTS)
        if kind == "image"
        else (VOLUME_CLASSES, "*.nii.gz", _VOLUMES)
    )
    return all(len(list((images / name).glob(suffix))) == count for name in names)
