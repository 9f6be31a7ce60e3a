"""Build the trainable part of a network from a configuration: fusion and head."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medfuse.config import ComponentConfig, TrainingConfig
from medfuse.contract import (
    ComponentSpec,
    DecisionFusionSpec,
    FeatureFusionSpec,
    HeadSpec,
    PublicTarget,
    VendoredSource,
    resolve_options,
)
from medfuse.errors import ConfigError, PluginError
from medfuse.fusion.opinion_pool import OpinionPool
from medfuse.fusion.slice_attention import SliceAttention
from medfuse.model import DecisionClassifier, FeatureClassifier
from medfuse.registry.factories import load_factory
from medfuse.registry.registry import Registry
from medfuse.registry.vendoring import vendored_target

_Module: TypeAlias = "FeatureClassifier | DecisionClassifier | OpinionPool"

_LOG = logging.getLogger("medfuse")
_LINKS = {
    "multiclass": ("softmax", "sigmoid_pair"),
    "ordinal": ("coral", "corn"),
    "multilabel": ("sigmoid",),
}
_CLASS_LOSSES = ("cross_entropy", "binary_cross_entropy", "focal")
_LOSSES = {
    "multiclass": _CLASS_LOSSES,
    "ordinal": (*_CLASS_LOSSES, "coral", "corn"),
    "multilabel": ("binary_cross_entropy", "focal"),
}


@dataclass(frozen=True)
class SourceWidth:
    """What a source gives for a case.

    Attributes:
        features: width F.
        slices: D where it gives one vector for each slice of a volume; 0 otherwise.
    """

    features: int
    slices: int = 0


@dataclass(frozen=True)
class BuiltClassifier:
    """A classifier, and how it lives on in a bundle.

    Attributes:
        module: `FeatureClassifier`, `DecisionClassifier` or `OpinionPool`, untrained.
        node: MONAI configuration that rebuilds it, or ``None`` where only a traced graph remains.
        vendored: modules that the bundle must hold a copy of.
        requires: distributions that a user of the bundle must install.
        fusion: the fusion's spec.
        head: the head's spec.
        fusion_options: options of the fusion, defaults filled in.
        head_options: options of the head, defaults filled in.
        make: makes another, its parameters drawn from torch's global generator.
    """

    module: _Module
    node: dict[str, Any] | None
    vendored: tuple[str, ...]
    requires: tuple[str, ...]
    fusion: FeatureFusionSpec | DecisionFusionSpec
    head: HeadSpec
    fusion_options: Mapping[str, Any]
    head_options: Mapping[str, Any]
    make: Callable[[], _Module]

    @property
    def takes_maps(self) -> bool:
        """Whether the sources must give grid tokens rather than pooled vectors."""
        return isinstance(self.fusion, FeatureFusionSpec) and self.fusion.accepts == "maps"

    def fresh(self, seed: int) -> _Module:
        """Return a new module whose untrained parameters depend on ``seed`` alone."""
        return _seeded(self.make, seed)


def build_classifier(
    fusion: ComponentConfig,
    head: ComponentConfig,
    registry: Registry,
    widths: Sequence[SourceWidth],
    num_classes: int,
) -> BuiltClassifier:
    """Return the classifier of a configuration, its parameters drawn with seed 0.

    Args:
        fusion: name and options of the fusion.
        head: name and options of the head; a decision fusion gets one head per source.
        registry: knows both.
        widths: what each source gives.
        num_classes: number of classes K.

    Raises:
        ConfigError: an option is refused, or the head cannot be used for this task.
        PluginError: a name is unknown, a factory cannot be imported, or a fusion of decisions has
            parameters that its spec does not declare.
    """
    recipe = _Recipe(
        *_resolved(registry.fusion(fusion.use), fusion, "fusion"),
        *_resolved(registry.head(head.use), head, "head"),
        tuple(widths),
        num_classes,
    )
    check_head(recipe.head, num_classes)
    exports = (recipe.fusion.export, recipe.head.export)
    own = tuple(m for e in exports if isinstance(e, VendoredSource) for m in e.modules)
    public = (e for e in exports if isinstance(e, PublicTarget | VendoredSource))
    return BuiltClassifier(
        module=_first(recipe, fusion, head),
        node=recipe.node(),
        vendored=("medfuse.model", *recipe.pooling_modules, *dict.fromkeys(own)),
        requires=tuple(dict.fromkeys(r for e in public for r in e.requires)),
        fusion=recipe.fusion,
        head=recipe.head,
        fusion_options=recipe.fusion_options,
        head_options=recipe.head_options,
        make=recipe.make,
    )


def check_head(head: HeadSpec, num_classes: int) -> None:
    """Refuse a head that training cannot use.

    Raises:
        ConfigError: another task or link, one logit for several classes, or an unknown loss.
    """
    if head.link not in _LINKS.get(head.task, ()):
        known = (f"{task} heads with link {' or '.join(links)}" for task, links in _LINKS.items())
        raise ConfigError(
            f"head {head.name!r} is for {head.task} labels with link {head.link}; "
            f"training takes {', and '.join(known)}."
        )
    if head.single_logit and num_classes != 2:
        raise ConfigError(
            f"head {head.name!r} gives one logit for 2 classes, found {num_classes} classes. "
            "Use linear or mlp."
        )
    if head.loss not in _LOSSES[head.task]:
        raise ConfigError(
            f"head {head.name!r} asks for loss {head.loss!r}, "
            f"expected one of {', '.join(_LOSSES[head.task])}."
        )


def check_training(head: HeadSpec, config: TrainingConfig) -> None:
    """Refuse what a head cannot learn from.

    Raises:
        ConfigError: soft targets (mixup, label smoothing) for a head that cannot take them, a
            loss of grades for a head whose classes have no order, or oversampling of classes for
            one of labels.
    """
    if config.loss == "coral" and head.task != "ordinal":
        raise ConfigError(
            f"training.loss is coral, which asks how far off a grade is, but the classes of head "
            f"{head.name!r} have no order. Use head: coral or corn, or loss: auto."
        )
    if config.sampler == "oversample" and head.task == "multilabel":
        raise ConfigError(
            "training.sampler is oversample, which repeats cases of rare classes, but the labels "
            f"of head {head.name!r} overlap in a case. Set training.class_weights: balanced."
        )
    soft = config.mixup > 0 or config.label_smoothing > 0
    if soft and not head.supports_soft_targets:
        raise ConfigError(
            f"head {head.name!r} cannot learn from soft targets. "
            "Set training.mixup and training.label_smoothing to 0."
        )


def check_missing_inputs(fusion: str, registry: Registry, known: NDArray[np.bool_]) -> None:
    """Refuse cases that lack an input where the fusion cannot leave it out.

    Args:
        fusion: its name.
        registry: knows the fusions.
        known: which inputs each case has, ``(cases, I)``.

    Raises:
        ConfigError: naming the fusion, the number of such cases, and the fusions that can.
    """
    lacking = int((~known.all(axis=1)).sum())
    if registry.fusion(fusion).handles_missing:
        return
    if not lacking:
        if known.shape[1] > 1:
            _LOG.info("fusion %s needs every input: training.input_dropout hides none", fusion)
        return
    specs = [spec for _, spec in registry.components("fusion")]
    able = [spec.name for spec in specs if getattr(spec, "handles_missing", False)]
    raise ConfigError(
        f"fusion {fusion!r} cannot leave out a missing input, but {lacking} of {len(known)} cases "
        f"lack one. Choose a fusion that can: {', '.join(able)}; or remove these cases."
    )


@dataclass(frozen=True)
class _Recipe:
    fusion: FeatureFusionSpec | DecisionFusionSpec
    fusion_options: dict[str, Any]
    head: HeadSpec
    head_options: dict[str, Any]
    widths: tuple[SourceWidth, ...]
    num_classes: int

    @property
    def in_dims(self) -> tuple[int, ...]:
        """Feature width of each source."""
        return tuple(width.features for width in self.widths)

    @property
    def num_outputs(self) -> int:
        """How many classes decisions are about; a label is a choice of two."""
        return 2 if self.head.link == "sigmoid" else self.num_classes

    @property
    def pooling_modules(self) -> tuple[str, ...]:
        """Modules that the pooling of slices needs in a bundle."""
        return (SliceAttention.__module__,) if any(w.slices for w in self.widths) else ()

    def make(self) -> _Module:
        """Return a module with parameters drawn from torch's global generator."""
        make_fusion, make_head = load_factory(self.fusion), load_factory(self.head)
        if isinstance(self.fusion, DecisionFusionSpec):
            combine = make_fusion(len(self.in_dims), self.num_outputs, **self.fusion_options)
            _check_fitting(self.fusion, combine)
            heads = [make_head(d, self.num_classes, **self.head_options) for d in self.in_dims]
            return DecisionClassifier(self.in_dims, heads, combine, self.head.link, self._pooling())
        fused: Any = make_fusion(list(self.in_dims), **self.fusion_options)
        head = make_head(fused.out_dim, self.num_classes, **self.head_options)
        return FeatureClassifier(self.in_dims, fused, head, self.head.link, self._pooling())

    def node(self) -> dict[str, Any] | None:
        """Return the MONAI configuration of the module, or ``None``."""
        fusion = _target(self.fusion)
        head = _target(self.head)
        if fusion is None or head is None:
            return None
        dims = list(self.in_dims)
        link: dict[str, Any] = {"in_dims": dims, "link": self.head.link}
        if self.pooling_modules:
            link["pooling"] = self._pooling_nodes()
        if isinstance(self.fusion, DecisionFusionSpec):
            sizes = {"num_sources": len(dims), "num_outputs": self.num_outputs}
            heads = [self._head_node(head, dim) for dim in dims]
            combine = {**fusion, **sizes, **self.fusion_options}
            target = "scripts.model.DecisionClassifier"
            return {"_target_": target, **link, "heads": heads, "combine": combine}
        width = int(self._fusion_width())
        return {
            "_target_": "scripts.model.FeatureClassifier",
            **link,
            "fusion": {**fusion, "in_dims": dims, **self.fusion_options},
            "head": self._head_node(head, width),
        }

    def _pooling(self) -> list[SliceAttention | None]:
        return [SliceAttention(w.features) if w.slices else None for w in self.widths]

    def _pooling_nodes(self) -> list[dict[str, Any] | None]:
        target = vendored_target(f"{SliceAttention.__module__}:SliceAttention")
        return [{"_target_": target, "dim": w.features} if w.slices else None for w in self.widths]

    def _head_node(self, target: dict[str, Any], in_dim: int) -> dict[str, Any]:
        return {**target, "in_dim": in_dim, "num_classes": self.num_classes, **self.head_options}

    def _fusion_width(self) -> int:
        with torch.random.fork_rng(devices=[]):
            fused: Any = load_factory(self.fusion)(list(self.in_dims), **self.fusion_options)
        return int(fused.out_dim)


def _first(recipe: _Recipe, fusion: ComponentConfig, head: ComponentConfig) -> _Module:
    try:
        return _seeded(recipe.make, 0)
    except (ValueError, TypeError) as error:
        text = " ".join(str(error).split())[:200] or type(error).__name__
        raise ConfigError(
            f"fusion {fusion.use!r} {recipe.fusion_options} with head {head.use!r} "
            f"{recipe.head_options} cannot be built for features of width "
            f"{', '.join(map(str, recipe.in_dims))} ({text}). Change these options."
        ) from error


def _resolved(spec: Any, config: ComponentConfig, kind: str) -> tuple[Any, dict[str, Any]]:
    return spec, resolve_options(spec.options, config.options, f"{kind} {config.use!r}")


def _target(spec: ComponentSpec) -> dict[str, Any] | None:
    """Return the node that names a component's factory in a bundle."""
    export = spec.export
    if isinstance(export, PublicTarget):
        return {"_target_": export.target, **export.kwargs}
    if isinstance(export, VendoredSource):
        return {"_target_": vendored_target(spec.factory)}
    return None


def _check_fitting(fusion: DecisionFusionSpec, combine: nn.Module) -> None:
    if fusion.fitting == "none" and any(True for _ in combine.parameters()):
        raise PluginError(
            f"fusion {fusion.name!r} has parameters, but its fitting is 'none', so nothing would "
            "fit them. The plugin has to declare fitting='out_of_fold'."
        )


def _seeded(make: Callable[[], _Module], seed: int) -> _Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()
