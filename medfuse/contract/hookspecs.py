"""The hooks a plugin may implement. All but the last take no argument and yield specs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from medfuse.contract.components import (
        DecisionFusionSpec,
        ExplainerSpec,
        ExporterSpec,
        FeatureFusionSpec,
        HeadSpec,
        MetricSpec,
        ReaderSpec,
    )
    from medfuse.contract.sources import BackboneFamilySpec, BackboneSpec

API_VERSION = 1
ENTRY_POINT_GROUP = "medfuse"

hookspec = pluggy.HookspecMarker("medfuse")
hookimpl = pluggy.HookimplMarker("medfuse")


@hookspec
def medfuse_backbones() -> Iterable[BackboneSpec | BackboneFamilySpec]:
    """Yield backbones, or families of them."""
    raise NotImplementedError


@hookspec
def medfuse_fusions() -> Iterable[FeatureFusionSpec | DecisionFusionSpec]:
    """Yield fusions of features or of decisions."""
    raise NotImplementedError


@hookspec
def medfuse_heads() -> Iterable[HeadSpec]:
    """Yield classification heads."""
    raise NotImplementedError


@hookspec
def medfuse_readers() -> Iterable[ReaderSpec]:
    """Yield readers of image files."""
    raise NotImplementedError


@hookspec
def medfuse_metrics() -> Iterable[MetricSpec]:
    """Yield metrics computed from probabilities."""
    raise NotImplementedError


@hookspec
def medfuse_explainers() -> Iterable[ExplainerSpec]:
    """Yield saliency methods."""
    raise NotImplementedError


@hookspec
def medfuse_exporters() -> Iterable[ExporterSpec]:
    """Yield exporters of a finished bundle."""
    raise NotImplementedError


@hookspec
def medfuse_attach_handlers(trainer: Any, run: Any) -> None:
    """Attach Ignite handlers to the trainer of a run.

    It is called for every training of a run: each member of the fused model, then each member of
    each source alone. ``run.role``, ``run.sources`` and ``run.member`` tell which it is. Where
    several processes train together it is called in each; what those write that are not the first
    (``run.shard.first``) is thrown away.

    Args:
        trainer: the `monai.engines.SupervisedTrainer`, before it starts.
        run: a `medfuse.training.Run` with ``folder``, ``configuration``, ``classes``, ``role``
            (``fused`` or ``single``), ``sources`` (labels), ``member`` (from 1) and ``members``.
    """
