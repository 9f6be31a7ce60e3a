"""Folders in which a hospital's platform lays images and expects results, by its variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medfuse.errors import CohortError

# Mercure sets its own names and those of MONAI Deploy, old and new: the first pair that is there.
_PAIRS = (
    ("MERCURE_IN_DIR", "MERCURE_OUT_DIR"),
    ("HOLOSCAN_INPUT_PATH", "HOLOSCAN_OUTPUT_PATH"),
    ("MONAI_INPUTPATH", "MONAI_OUTPUTPATH"),
)
_KAAPANA = ("WORKFLOW_DIR", "BATCH_NAME", "OPERATOR_IN_DIR", "OPERATOR_OUT_DIR")


@dataclass(frozen=True)
class ExchangeFolders:
    """Where images lie, and where the results about them go."""

    images: Path
    results: Path


def exchange_folders(environment: Mapping[str, str]) -> list[ExchangeFolders]:
    """Return the folders that Mercure, MONAI Deploy or Kaapana name; none if nobody does.

    Kaapana has a folder for each series below ``WORKFLOW_DIR/BATCH_NAME``; the others have one.

    Raises:
        CohortError: a platform names one folder without the other, or a folder is absent.
    """
    for pair in _PAIRS:
        if any(environment.get(name) for name in pair):
            images, results = _all_of(pair, environment)
            return [ExchangeFolders(_present(images, pair[0]), Path(results))]
    if any(environment.get(name) for name in _KAAPANA):
        workflow, batch, images, results = _all_of(_KAAPANA, environment)
        root = _present(str(Path(workflow, batch)), "WORKFLOW_DIR/BATCH_NAME")
        series = sorted(one for one in root.iterdir() if (one / images).is_dir())
        if not series:
            raise CohortError(
                f"{root}: no folder in it has a folder {images}, expected one for each series. "
                "Check OPERATOR_IN_DIR."
            )
        return [ExchangeFolders(one / images, one / results) for one in series]
    return []


def _all_of(names: tuple[str, ...], environment: Mapping[str, str]) -> list[str]:
    absent = [name for name in names if not environment.get(name)]
    if absent:
        given = ", ".join(name for name in names if name not in absent)
        raise CohortError(f"{given}: set, but not {', '.join(absent)}. Set all of them, or none.")
    return [environment[name] for name in names]


def _present(folder: str, name: str) -> Path:
    if not Path(folder).is_dir():
        raise CohortError(f"{folder}: no such folder, but {name} names it.")
    return Path(folder)
