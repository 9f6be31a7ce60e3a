"""Build: a configured source -> a network with checked weights, and all that identifies it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from medfuse.backbones import recipe
from medfuse.backbones.adapter import Adapter
from medfuse.backbones.input_contract import InputContract, SourceTarget, input_contract
from medfuse.backbones.level_stages import with_levels
from medfuse.backbones.locate import locate_weights
from medfuse.backbones.slices import SlicedSource
from medfuse.backbones.source import Source
from medfuse.backbones.stages import Cut, cut_backbone, trainable_paths
from medfuse.backbones.unknown_option import nearest_option
from medfuse.backbones.weights import load_state, load_strictly, remap_keys, state_digest
from medfuse.config import SourceConfig
from medfuse.contract import BackboneSpec, WeightsSpec
from medfuse.errors import SourceError
from medfuse.registry.factories import load_factory
from medfuse.registry.provenance import origin_of
from medfuse.registry.references import (
    RANDOM_WEIGHTS,
    SourceReference,
    parse_source,
    select_weights,
)
from medfuse.storage import sha256_file

__all__ = ["BuiltSource", "SourceTarget", "build_source", "build_sources", "trainable_paths"]

IDENTITY_VERSION = 2
_LOG = logging.getLogger("medfuse.backbones")
_BUILD_ERRORS = (TypeError, ValueError, RuntimeError, KeyError, AssertionError, AttributeError)


class BackboneRegistry(Protocol):
    """The part of the registry that building needs."""

    def backbone(self, reference: SourceReference) -> tuple[str, BackboneSpec]:
        """Return the plugin's name and the description of a backbone."""


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

    @property
    def extractor(self) -> nn.Module:
        """What the bank runs: the module, or the part of it that sees one slice."""
        return self.module.source if isinstance(self.module, SlicedSource) else self.module


@dataclass(frozen=True)
class _Loaded:
    """Weights as they were loaded."""

    digest: str
    file: Path | None = None
    sha256: str | None = None
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Draft:
    """What is known of a source before it is built."""

    config: SourceConfig
    target: SourceTarget
    reference: SourceReference
    plugin: str
    spec: BackboneSpec
    weights: WeightsSpec | None
    contract: InputContract


@dataclass(frozen=True)
class _Shaped:
    """A backbone as its source runs it: perhaps cut, perhaps read at several levels.

    Attributes:
        backbone: the network.
        spec: its description, with the stages where they lie now.
        cut: keywords of `CutBackbone`, or ``None``.
        levels: keywords of `LevelsBackbone`, or ``None``.
    """

    backbone: nn.Module
    spec: BackboneSpec
    cut: dict[str, Any] | None
    levels: dict[str, Any] | None = None

    def pooling(self, tokens: bool) -> str:
        """Return the keyword of `Source`."""
        if tokens:
            return "grid"
        return "native" if self.spec.native_pooling else "average"


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
    cut = _cut(backbone, draft)
    loaded = _load(backbone, cut, draft)
    shaped = _shaped(backbone, cut, draft)
    module = Source(
        shaped.backbone,
        Adapter(**draft.contract.adapter),
        shaped.pooling(draft.target.tokens),
        target.grid,
        trainable_paths(shaped.spec, config.train),
    ).eval()
    features = _measured(module, draft)
    return _described(draft, shaped, loaded, module, features)


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


def _draft(config: SourceConfig, registry: BackboneRegistry, target: SourceTarget) -> _Draft:
    reference = parse_source(config.use)
    check_untrained(reference, config)
    plugin, spec = registry.backbone(reference)
    weights = select_weights(spec, reference)
    target = target.for_backbone(spec, config)
    contract = input_contract(spec, weights, config, target)
    return _Draft(config, target, reference, plugin, spec, weights, contract)


def _construct(draft: _Draft) -> nn.Module:
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


def _cut(backbone: nn.Module, draft: _Draft) -> Cut | None:
    if draft.config.cut is None:
        return None
    return cut_backbone(backbone, draft.spec, draft.config.cut, draft.contract.size)


def _load(backbone: nn.Module, cut: Cut | None, draft: _Draft) -> _Loaded:
    module = cut.backbone.body if cut else backbone
    if draft.reference.weights == RANDOM_WEIGHTS:
        return _Loaded(state_digest(module.state_dict()))
    file = locate_weights(draft.reference, draft.weights, draft.target.download)
    expected = draft.config.sha256 or _published_digest(draft)
    state, left_out = remap_keys(load_state(file, expected), draft.config.remap)
    if draft.weights is not None:
        state, more = remap_keys(state, draft.weights.remap)
        left_out += more
    if cut is not None:
        behind = set(backbone.state_dict()) - set(module.state_dict())
        left_out += tuple(key for key in state if key in behind)
        state = {key: tensor for key, tensor in state.items() if key not in behind}
    load_strictly(module, state, f"source {draft.reference}")
    return _Loaded(state_digest(state), file, sha256_file(file), left_out)


def _shaped(backbone: nn.Module, cut: Cut | None, draft: _Draft) -> _Shaped:
    """Return the backbone with the levels that the configuration wants."""
    whole = _Shaped(backbone, draft.spec, None)
    shaped = _Shaped(cut.backbone, cut.spec, cut.keywords) if cut else whole
    wanted = _wanted_levels(draft)
    if wanted == 1:
        return shaped
    size = draft.contract.size
    try:
        levels = with_levels(shaped.backbone, shaped.spec, wanted, size)
    except _BUILD_ERRORS as error:
        raise _does_not_run(draft, error) from error
    if levels is not None:
        return _Shaped(levels.backbone, levels.spec, shaped.cut, levels.keywords)
    if draft.config.levels != "auto":
        raise SourceError(
            f"source {draft.reference}: levels is {wanted}, but none of its stages gives a feature "
            "map. Set levels: 1."
        )
    return shaped


def _wanted_levels(draft: _Draft) -> int:
    config, target = draft.config, draft.target
    if config.levels == "auto":
        frozen = config.train == "frozen" and config.unfreeze is None
        return draft.spec.levels if frozen and not target.tokens and not target.slices else 1
    if config.levels > 1 and target.tokens:
        raise SourceError(
            f"source {draft.reference}: levels is {config.levels}, but the fusion takes feature "
            "maps. Set levels: 1, or use a fusion of vectors (attention, concat, ...)."
        )
    return config.levels


def _published_digest(draft: _Draft) -> str | None:
    """Return the digest of the weights a name stands for; a file of one's own has none."""
    if draft.weights is None or (draft.reference.file and not draft.reference.weights):
        return None
    return draft.weights.sha256


def _measured(module: Source, draft: _Draft) -> Tensor:
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


def _does_not_run(draft: _Draft, error: Exception) -> SourceError:
    text = " ".join(str(error).split())[:200]
    size = " x ".join(map(str, draft.contract.size))
    return SourceError(
        f"source {draft.reference}: does not run at {size} ({text}). Set another input_size."
    )


def _described(
    draft: _Draft, shaped: _Shaped, loaded: _Loaded, module: Source, features: Tensor
) -> BuiltSource:
    spec, contract = draft.spec, draft.contract
    trainable = module.trainable if module.trainable == "all" else list(module.trainable)
    keywords = {"pooling": module.pooling, "grid": draft.target.grid, "trainable": trainable}
    backbone = recipe.backbone_node(spec, contract.options, shaped.cut)
    if shaped.levels:
        backbone = recipe.levels_node(backbone, shaped.levels)
    node = recipe.source_node(backbone, contract.adapter, keywords)
    slices = draft.target.slices
    return BuiltSource(
        label=_label(draft),
        module=SlicedSource(module, slices).eval() if slices else module,
        feature_dim=features.shape[-1],
        tokens=features.shape[1] if draft.target.tokens else 0,
        slices=slices,
        identity=_identity(draft, shaped, loaded),
        node=recipe.sliced_node(node, slices) if slices else node,
        vendored=recipe.vendored_modules(
            spec, cut=bool(shaped.cut), levels=bool(shaped.levels), sliced=slices > 0
        ),
        requires=recipe.required_distributions(spec),
        card=_card(draft, loaded),
        spec=shaped.spec,
    )


def _label(draft: _Draft) -> str:
    reference = draft.reference
    name = f"{reference.plugin or draft.plugin}:{reference.name}"
    weights = f".{reference.weights}" if reference.weights else ""
    file = f"@{Path(reference.file).name}" if reference.file else ""
    cut = f" to {draft.config.cut}" if draft.config.cut else ""
    return f"{name}{weights}{file}{cut}"


def _identity(draft: _Draft, shaped: _Shaped, loaded: _Loaded) -> dict[str, Any]:
    return {
        "version": IDENTITY_VERSION,
        "weights": loaded.digest,
        "plugin": draft.plugin,
        "origin": origin_of(draft.plugin, draft.spec),
        "backbone": draft.spec.name,
        "target": recipe.export_target(draft.spec),
        "options": dict(draft.contract.options),
        "providers": recipe.provider_versions(draft.spec),
        "adapter": draft.contract.adapter,
        "input_size": list(draft.contract.size),
        "cut": shaped.cut,
        "pooling": shaped.pooling(draft.target.tokens),
        "grid": draft.target.grid if draft.target.tokens else 0,
        **({"levels": shaped.levels} if shaped.levels else {}),
        **({"sliced": True} if draft.target.slices else {}),
    }


def _card(draft: _Draft, loaded: _Loaded) -> dict[str, Any]:
    own_file = draft.reference.file is not None and draft.reference.weights is None
    untrained = draft.reference.weights == RANDOM_WEIGHTS
    matches = bool(draft.weights and draft.weights.sha256 == loaded.sha256)
    known = not own_file or matches
    assumed = not (untrained or known or draft.config.normalization)
    if assumed:
        _LOG.warning(
            "source %s: the input contract of this file is unknown; that of %s is assumed "
            "(mean %s, std %s). Set normalization to say otherwise.",
            _label(draft),
            draft.spec.name,
            draft.contract.adapter["mean"],
            draft.contract.adapter["std"],
        )
    stated = {"license": draft.config.license} if draft.config.license else {}
    return {
        **recipe.weights_card(None if untrained else draft.weights, known=known),
        **stated,
        "providers": recipe.provider_versions(draft.spec),
        "source": _label(draft),
        "file": loaded.file.name if loaded.file else None,
        "sha256": loaded.sha256,
        "state_digest": loaded.digest,
        "left_out": list(loaded.left_out),
        "contract_assumed": assumed,
    }
