"""Split: a cohort -> the file that says which case is for what."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medfuse.config import parse_experiment
from medfuse.features.bank import FeatureBank
from medfuse.workflows.prepare import prepare_cohort


def split(
    cohort: Mapping[str, Any], out: Path | str, *, progress: bool = True
) -> dict[str, dict[str, int]]:
    """Write the split file of a cohort; `train` reads it like any other cohort.

    Args:
        cohort: the ``cohort`` section of a configuration, as plain data.
        out: the file; an existing one is replaced.
        progress: show a bar on stderr where that is a terminal.

    Returns:
        number of cases by part and class.

    Raises:
        CohortError: no usable cases, a leak, or a split that cannot be made.
        ImageError: an image cannot be read.
    """
    # A source is not needed to split; the section must only be there.
    experiment = parse_experiment({"cohort": dict(cohort), "sources": [{"use": "any"}]}, "cohort")
    prepared = prepare_cohort(experiment, FeatureBank(), progress=progress)
    prepared.write(out, experiment.cohort.split.seed)
    return prepared.cohort.counts()
