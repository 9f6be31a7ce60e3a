"""What a configuration lets training accept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from medfuse.config import CohortConfig, InputConfig


@dataclass(frozen=True)
class Policy:
    """What training accepts although it is wrong; by default nothing.

    Attributes:
        skips_bad_images: files that cannot be read are left out.
        drops_leaks: copies on the training side are dropped.
        any_depth: inputs whose images may have several bit depths.
    """

    skips_bad_images: bool = False
    drops_leaks: bool = False
    any_depth: frozenset[str] = frozenset()


def policy_of(cohort: CohortConfig, inputs: str | Mapping[str, InputConfig]) -> Policy:
    """Return what training accepts under a configuration."""
    configured = {} if isinstance(inputs, str) else inputs
    return Policy(
        skips_bad_images=cohort.on_bad_image == "skip",
        drops_leaks=cohort.on_leak == "drop_from_training",
        any_depth=frozenset(n for n, c in configured.items() if c.intensity == "percentile"),
    )
