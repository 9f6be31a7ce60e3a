"""Does a map depend on what the network learned? The same maps with random weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from medfuse.errors import BundleError
from medfuse.explanation.occlusion import is_graph
from medfuse.explanation.randomize import cascade
from medfuse.explanation.scores import rank_correlation
from medfuse.workflows.explain_case import ReadCase
from medfuse.workflows.explain_subject import Subject, explainers_of

MOST_CASES = 8


def randomization(
    subject: Subject, cases: Sequence[ReadCase], methods: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return how alike maps are to those of ever more random weights.

    A method whose maps stay alike shows the image, not the network (Adebayo et al. 2018,
    arXiv 1810.03292).

    Args:
        subject: the model.
        cases: up to eight are enough.
        methods: as for `explainers_of`.

    Returns:
        Rows of ``randomized``, ``method``, ``source`` and ``rank_correlation``, the mean over the
        cases of Spearman's correlation with the maps of the trained network.

    Raises:
        BundleError: the network is a traced graph, whose weights cannot be changed.
    """
    if is_graph(subject.network):
        raise BundleError(
            f"{subject.bundle}: the weights of a traced graph cannot be randomized. "
            "Leave out --check."
        )
    trained = _maps(subject, subject.network, cases, methods)
    rows = []
    for step, network in cascade(subject.network):
        for key, maps in _maps(subject, network, cases, methods).items():
            alike = [rank_correlation(a, b) for a, b in zip(trained[key], maps, strict=True)]
            rows.append(
                {
                    "randomized": step,
                    "method": key[0],
                    "source": key[1],
                    "rank_correlation": float(np.mean(alike)),
                }
            )
    return rows


def _maps(
    subject: Subject, network: Any, cases: Sequence[ReadCase], methods: Sequence[Mapping[str, Any]]
) -> dict[tuple[str, str], list[Any]]:
    """Return the maps of each method and source, for the class that the trained network names."""
    changed = replace(subject, network=network)
    found: dict[tuple[str, str], list[Any]] = {}
    for read in cases:
        index = int(subject.network(*read.images)[0].argmax())
        image: Any = read.images if len(read.images) > 1 else read.images[0]
        for method, explain in explainers_of(changed, methods).items():
            for source, values in explain(image, index).items():
                found.setdefault((method, source), []).append(values.cpu().numpy())
    return found
