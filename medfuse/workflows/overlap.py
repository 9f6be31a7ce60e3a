"""Whether a source was trained on the very data set that it is compared on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

from medfuse.backbones.build import BuiltSource
from medfuse.config import Experiment
from medfuse.errors import SourceError


def find_overlap(experiment: Experiment, sources: Sequence[BuiltSource]) -> dict[str, list[str]]:
    """Return the data sets that are both, by name: trained on by a source, and the cohort.

    A cohort is known by the names of its file or folder, of the folder around it, and of the
    experiment; letters and digits alone count. Another name hides an overlap, so that sources
    which list the images they saw are checked by these as well.

    Args:
        experiment: names the cohort.
        sources: with what they say of their training data.
    """
    path = PurePath(experiment.cohort.path)
    names = {_plain(text) for text in (path.name, path.stem, path.parent.name, experiment.name)}
    found = {
        source.label: [one for one in source.card["training_data"] if _plain(one) in names]
        for source in sources
    }
    return {label: shared for label, shared in found.items() if shared}


def refuse_overlap(overlap: dict[str, list[str]]) -> None:
    """Refuse sources that were trained on the cohort.

    Raises:
        SourceError: naming them, their data set, and how to accept it.
    """
    if overlap:
        label, shared = next(iter(overlap.items()))
        more = f" (and {len(overlap) - 1} more)" if len(overlap) > 1 else ""
        raise SourceError(
            f"source {label}{more} was trained on {', '.join(shared)}, the data set that it is "
            "compared on, which flatters it. Leave it out, or accept it with --accept-overlap; the "
            "results will say so."
        )


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())
