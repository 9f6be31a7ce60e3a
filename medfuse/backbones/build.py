"""Build: a configured source -> a network with checked weights, and all that identifies it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from medfuse.backbones import recipe
from medfuse.backbones.adapter import Adapter
from medfuse.backbones.description import card_of, identity_of, label_of
from medfuse.backbones.draft import Draft, Loaded, Shaped
from medfuse.backbones.input_contract import SourceTarget, input_contract
from medfuse.backbones.level_stages import with_levels
from medfuse.backbones.loading import load_into
from medfuse.backbones.low_rank_adapter import check_adapters
from medfuse.backbones.slices import SlicedSource
from medfuse.backbones.source import Source
from medfuse.backbones.stages import Cut, cut_backbone, trainable_paths
from medfuse.backbones.unknown_option import nearest_option
from medfuse.backbones.weights import weights_digest
from medfuse.config import SourceConfig
from medfuse.contract import BackboneSpec
from medfuse.errors import SourceError
from medfuse.registry.factories import load_factory
from medfuse.registry.references import (
    RANDOM_WEIGHTS,
    SourceReference,
    parse_source,
    select_weights,
)

__all__ = ["BuiltSource", "SourceTarget", "build_source", "build_sources", "trainable_paths"]

_LOG = logging.getLogger("medfuse.backbones")
_BUILD_ERRORS = (TypeError, ValueError, RuntimeError, KeyError, AssertionError, AttributeError)


class BackboneRegistry(Protocol):
    """The part of the registry that building needs."""

    def backbone(self, reference: SourceReference) -> tuple[str, BackboneSpec]:
        """Return the plugin's name and the description of a backbone."""

    def qualified(self, reference: SourceReference) -> SourceReference:
        """Return a source with its family in front, where it has a plain name."""


@dataclass(frozen=True)
class BuiltSource:
    """A source that is ready to extract features.

    Attributes:
        label: display name; holds no path.
        module: in eval mode; maps the canonical image to features.
        feature_dim: width F, measured.
        tokens: tokens T for each image, measured; 0 for one vector.
        slices: slices D of a volume that a network for images sees one by one; 0 otherwise.
        identity: plain data; two sources with equal identity give equal features.
        node: MONAI configuration node that rebuilds ``module`` without weights, or ``None`` if
            the backbone lives in bundles as a traced graph alone.
        vendored: modules whose files a bundle needs.
        requires: distributions that a bundle needs.
        card: origin, license and digests of the weights, for reports.
        spec: the backbone's description, with the stages that a cut left; for `trainable_paths`.
            ``None`` where there is no backbone.
        levels: resolutions that give features, as found.
        image: ``(C, *spatial)`` of what `extractor` takes.
    """

    label: str
    module: nn.Module
    feature_dim: int
    tokens: int
    slices: int
    identity: dict[str, Any]
    node: dict[str, Any] | None
    vendored: tuple[str, ...]
    requires: tuple[str, ...]
    card: dict[str, Any]
    spec: BackboneSpec | None
    levels: int = 1
    image: tuple[int, ...] = ()

    @property
    def extractor(self) -> nn.Module:
        """What the bank runs: the module, or the part of it that sees one slice."""
        return self.module.source if isinstance(self.module, SlicedSource) else self.module


def build_sources(
    configs: Sequence[SourceConfig],
    registry: BackboneRegistry,
    targets: Sequence[SourceTarget],
) -> list[BuiltSource]:
    """Return one source for each configuration, with labels that differ."""
    pairs = zip(configs, targets, strict=True)
    sources = [build_source(config, registry, target) for config, target in pairs]
    labels: list[str] = []
    for source in sources:
        count = sum(source.label == other.label for other in sources[: len(labels)])
        labels.append(f"{source.label} ({count + 1})" if count else source.label)
    return [replace(source, label=label) for source, label in zip(sources, labels, strict=True)]


def build_source(
    config: SourceConfig, registry: BackboneRegistry, target: SourceTarget
) -> BuiltSource:
    """Return the network of a source, its weights checked and its features measured.

    Raises:
        SourceError: the backbone cannot be resolved, built, cut or run.
        WeightsError: the weights are absent, unsafe, have another digest or do not fit.
        ConfigError: an unknown option.
    """
    draft = _draft(config, registry, target)
    backbone = _construct(draft)
    draft = replace(draft, spec=_with_built_stages(backbone, draft))
    cut = _cut(backbone, draft)
    loaded = _load(backbone, cut, draft)
    shaped = _shaped(backbone, cut, draft)
    module = Source(
        shaped.backbone,
        Adapter(**draft.contract.adapter),
        shaped.pooling(draft.target.tokens),
        target.grid,
        _trainable(shaped, draft),
        config.batch_norm,
    ).eval()
    features = _measured(module, draft)
    return _described(draft, shaped, loaded, module, features)


def _trainable(shaped: Shaped, draft: Draft) -> Sequence[str] | str:
    """Return what of the network itself learns from the first epoch: nothing beside adapters.

    Raises:
        SourceError: it has no such stage, or nothing that could be adapted.
    """
    config = draft.config
    paths = trainable_paths(shaped.spec, config.train)
    if config.adapter is None or not config.learns:
        return paths
    where = str(draft.reference)
    count = check_adapters(
        shaped.backbone, config.adapter, learning_paths(shaped.spec, config), where
    )
    _LOG.info("source %s: adapters of %d numbers learn, the network's own stay", where, count)
    return ()


def learning_paths(spec: BackboneSpec, config: SourceConfig) -> tuple[str, ...] | str:
    """Return what of a source learns at some time; see `trainable_paths`."""
    policies = [config.train, *(step.train for step in config.unfreeze)]
    found = [trainable_paths(spec, policy) for policy in policies]
    return "all" if "all" in found else tuple(path for paths in found for path in paths)


def reference_of(config: SourceConfig) -> SourceReference:
    """Return what a source names; from scratch it is the network of that name without weights.

    Raises:
        SourceError: the name cannot be read, or weights are described where none are loaded.
    """
    reference = parse_source(config.use)
    if config.train == "scratch":
        return replace(reference, weights=RANDOM_WEIGHTS, file=None)
    check_untrained(reference, config)
    return reference


def check_untrained(reference: SourceReference, config: SourceConfig) -> None:
    """Refuse what says something about weights where none are loaded.

    Raises:
        SourceError: naming what to remove.
    """
    if reference.weights != RANDOM_WEIGHTS:
        return
    given = {"a file behind @": reference.file, "sha256": config.sha256, "remap": config.remap}
    found = [name for name, value in given.items() if value]
    if found:
        raise SourceError(
            f"source {reference}: .{RANDOM_WEIGHTS} loads no weights, but found "
            f"{' and '.join(found)}. Remove .{RANDOM_WEIGHTS} to load weights, or remove the rest."
        )


def _draft(config: SourceConfig, registry: BackboneRegistry, target: SourceTarget) -> Draft:
    asked = reference_of(config)
    plugin, spec = registry.backbone(asked)
    reference = registry.qualified(asked)
    weights = select_weights(spec, reference)
    config = _as_described(config, reference)
    target = target.for_backbone(spec, config)
    contract = input_contract(spec, weights, config, target)
    return Draft(config, target, reference, plugin, spec, weights, contract)


def _as_described(config: SourceConfig, reference: SourceReference) -> SourceConfig:
    """Return the configuration with what the weights say of the network that they are of."""
    found = reference.described
    if found is None:
        return config
    changes = {"options": {**found.options, **config.options}, "cut": config.cut or found.cut}
    return config.model_copy(update=changes)


def _construct(draft: Draft) -> nn.Module:
    """Build with the target's seed, without moving the random state of anybody else."""
    factory = load_factory(draft.spec)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(draft.target.seed)
        try:
            backbone: nn.Module = factory(**draft.contract.options)
        except _BUILD_ERRORS as error:
            text = " ".join(str(error).split())[:200]
            hint = nearest_option(factory, draft.contract.options, error)
            raise SourceError(
                f"source {draft.reference}: cannot be built with options "
                f"{draft.contract.options} ({type(error).__name__}: {text})."
                f"{hint or ' Check the options.'}"
            ) from error
    return backbone.eval()


def _with_built_stages(backbone: nn.Module, draft: Draft) -> BackboneSpec:
    """Return the description without stages that options took away, such as fewer layers."""
    if not draft.config.options:
        return draft.spec
    built = {name for name, _ in backbone.named_modules()}
    stages = tuple(stage for stage in draft.spec.stages if stage.module_path in built)
    return replace(draft.spec, stages=stages)


def _cut(backbone: nn.Module, draft: Draft) -> Cut | None:
    if draft.config.cut is None:
        return None
    return cut_backbone(backbone, draft.spec, draft.config.cut, draft.contract.size)


def _load(backbone: nn.Module, cut: Cut | None, draft: Draft) -> Loaded:
    module = cut.backbone.body if cut else backbone
    if draft.reference.weights == RANDOM_WEIGHTS:
        return Loaded(weights_digest(module))
    return load_into(module, backbone, draft)


def _shaped(backbone: nn.Module, cut: Cut | None, draft: Draft) -> Shaped:
    """Return the backbone with the levels that the configuration wants."""
    whole = Shaped(backbone, draft.spec, None)
    shaped = Shaped(cut.backbone, cut.spec, cut.keywords) if cut else whole
    wanted = _wanted_levels(draft)
    if wanted == 1:
        return shaped
    size = draft.contract.size
    try:
        levels = with_levels(shaped.backbone, shaped.spec, wanted, size)
    except _BUILD_ERRORS as error:
        raise _does_not_run(draft, error) from error
    if levels is not None:
        return Shaped(levels.backbone, levels.spec, shaped.cut, levels.keywords, levels.count)
    if draft.config.levels != "auto":
        raise SourceError(
            f"source {draft.reference}: levels is {wanted}, but none of its stages gives a feature "
            "map beside the last one. Set levels: 1."
        )
    return shaped


def _wanted_levels(draft: Draft) -> int:
    config, target = draft.config, draft.target
    if config.levels == "auto":
        vector = not config.learns and not target.tokens and not target.slices
        return draft.spec.levels if vector else 1
    if config.levels > 1 and target.tokens:
        raise SourceError(
            f"source {draft.reference}: levels is {config.levels}, but the fusion takes feature "
            "maps. Set levels: 1, or use a fusion of vectors (attention, concat, ...)."
        )
    return config.levels


def _measured(module: Source, draft: Draft) -> Tensor:
    image = torch.zeros(1, draft.target.channels, *draft.target.size)
    try:
        with torch.no_grad():
            features: Tensor = module(image)
    except _BUILD_ERRORS as error:
        raise _does_not_run(draft, error) from error
    if features.ndim != 2 + draft.target.tokens:
        raise SourceError(
            f"source {draft.reference}: gives {tuple(features.shape)}, expected one "
            f"{'row of tokens' if draft.target.tokens else 'vector'} for each image."
        )
    return features


def _does_not_run(draft: Draft, error: Exception) -> SourceError:
    text = " ".join(str(error).split())[:200]
    size = " x ".join(map(str, draft.contract.size))
    return SourceError(
        f"source {draft.reference}: does not run at {size} ({text}). Set another input_size."
    )


def _described(
    draft: Draft, shaped: Shaped, loaded: Loaded, module: Source, features: Tensor
) -> BuiltSource:
    spec, contract = draft.spec, draft.contract
    trainable = module.trainable if module.trainable == "all" else list(module.trainable)
    keywords = {"pooling": module.pooling, "grid": draft.target.grid, "trainable": trainable}
    if module.batch_norm != "train":
        keywords["batch_norm"] = module.batch_norm
    backbone = recipe.backbone_node(spec, contract.options, shaped.cut)
    if shaped.levels:
        backbone = recipe.levels_node(backbone, shaped.levels)
    node = recipe.source_node(backbone, contract.adapter, keywords)
    slices = draft.target.slices
    return BuiltSource(
        label=label_of(draft),
        module=SlicedSource(module, slices).eval() if slices else module,
        feature_dim=features.shape[-1],
        tokens=features.shape[1] if draft.target.tokens else 0,
        slices=slices,
        identity=identity_of(draft, shaped, loaded),
        node=recipe.sliced_node(node, slices) if slices else node,
        vendored=recipe.vendored_modules(
            spec, cut=bool(shaped.cut), levels=bool(shaped.levels), sliced=slices > 0
        ),
        requires=recipe.required_distributions(spec),
        card=card_of(draft, loaded),
        spec=shaped.spec,
        levels=shaped.resolutions,
        image=(draft.target.channels, *draft.target.size),
    )
