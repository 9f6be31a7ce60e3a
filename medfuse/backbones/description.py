"""What is told of a source: its label, what identifies its features, and its card."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from medfuse.backbones import recipe
from medfuse.backbones.draft import Draft, Loaded, Shaped
from medfuse.registry.described import WEIGHTS
from medfuse.registry.provenance import origin_of
from medfuse.registry.references import RANDOM_WEIGHTS, SourceReference

IDENTITY_VERSION = 3
_LOG = logging.getLogger("medfuse.backbones")


def label_of(draft: Draft) -> str:
    """Return the display name of a source; it holds no path."""
    reference = draft.reference
    name = f"{reference.plugin or draft.plugin}:{reference.name}"
    weights = f".{reference.weights}" if reference.weights else ""
    file = f"@{_file_label(reference)}" if reference.file else ""
    cut = f" to {draft.config.cut}" if draft.config.cut else ""
    return f"{name}{weights}{file}{cut}"


def _file_label(reference: SourceReference) -> str:
    """Return the file's name without what `label_of` says anyway, the network's name and a suffix.

    Of weights in a folder or bundle of their own it is that one's name.
    """
    if reference.described is not None and reference.described.label:
        return reference.described.label
    file = Path(reference.file or "")
    if file.name == WEIGHTS and file.parent.name:
        return file.parent.name
    return file.stem.removeprefix(reference.name).lstrip("._-") or file.stem


def identity_of(draft: Draft, shaped: Shaped, loaded: Loaded) -> dict[str, Any]:
    """Return plain data; two sources with equal identity give equal features."""
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
        **({"key_format": loaded.key_format} if loaded.key_format else {}),
    }


def card_of(draft: Draft, loaded: Loaded) -> dict[str, Any]:
    """Return origin, license and digests of the weights; warn where the contract is assumed."""
    own_file = draft.reference.file is not None and draft.reference.weights is None
    untrained = draft.reference.weights == RANDOM_WEIGHTS
    matches = bool(draft.weights and draft.weights.sha256 == loaded.sha256)
    known = not own_file or matches
    assumed = not (untrained or known or draft.config.normalization)
    if assumed:
        _LOG.warning(
            "source %s: the input contract of this file is unknown; that of %s is assumed "
            "(mean %s, std %s). Set normalization to say otherwise.",
            label_of(draft),
            draft.spec.name,
            draft.contract.adapter["mean"],
            draft.contract.adapter["std"],
        )
    card = recipe.weights_card(None if untrained else draft.weights, known=known)
    return {
        **card,
        "license": recipe.stated_license(card["license"], draft.config.license),
        "providers": recipe.provider_versions(draft.spec),
        "source": label_of(draft),
        "file": loaded.file.name if loaded.file else None,
        "sha256": loaded.sha256,
        "sha256_checked": loaded.checked or None,
        "state_digest": loaded.digest,
        "digest": _shown_digest(draft, loaded),
        "left_out": list(loaded.left_out),
        "container": loaded.container,
        "remap": dict(loaded.remap),
        "key_format": loaded.key_format or None,
        "stem": loaded.stem or None,
        "contract_assumed": assumed,
        **_of_bundle(draft, untrained),
    }


def _shown_digest(draft: Draft, loaded: Loaded) -> str:
    """Return the digest that names the weights: of their file, unless others lie in it too."""
    return (None if _shares_its_file(draft) else loaded.sha256) or loaded.digest


def _shares_its_file(draft: Draft) -> bool:
    found = draft.reference.described
    return found is not None and bool(found.earlier)


def _of_bundle(draft: Draft, untrained: bool) -> dict[str, Any]:
    """Return where weights out of a bundle come from, and who in it has learned with them."""
    found = draft.reference.described
    if found is None or untrained or not found.earlier:
        return {}
    return {"earlier": dict(found.earlier), "learners": list(found.learners)}
