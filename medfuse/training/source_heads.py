"""Give a fused classifier one more head for each source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from torch import nn

from medfuse.fusion.opinion_pool import OpinionPool
from medfuse.model import FeatureClassifier
from medfuse.registry.factories import load_factory
from medfuse.registry.vendoring import vendored_target
from medfuse.training.classifier import BuiltClassifier


def with_source_heads(built: BuiltClassifier, num_classes: int) -> BuiltClassifier:
    """Return the classifier with a head per source, their opinions pooled with the fused one's.

    A single source and a fusion of decisions stay as they are.

    Args:
        built: of all sources.
        num_classes: number of classes K.
    """
    dims = [part.mean.shape[0] for part in cast("Any", built.module.standardize)]
    if not isinstance(built.module, FeatureClassifier) or len(dims) < 2:
        return built

    def make() -> OpinionPool:
        fused, make_head = built.make(), load_factory(built.head)
        heads = [make_head(dim, num_classes, **built.head_options) for dim in dims]
        return OpinionPool(fused, cast("Sequence[nn.Module]", heads))

    pooled = replace(
        built,
        node=_node(built, dims),
        vendored=(*built.vendored, OpinionPool.__module__),
        make=make,
    )
    return replace(pooled, module=pooled.fresh(0))


def _node(built: BuiltClassifier, dims: Sequence[int]) -> dict[str, Any] | None:
    """Return the MONAI configuration of the pool, or ``None``."""
    if built.node is None:
        return None
    return {
        "_target_": vendored_target(f"{OpinionPool.__module__}:OpinionPool"),
        "fused": built.node,
        "heads": [{**built.node["head"], "in_dim": dim} for dim in dims],
    }
