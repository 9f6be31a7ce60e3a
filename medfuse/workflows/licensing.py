"""The licenses of all sources, known before anything is computed."""

from __future__ import annotations

from pathlib import Path

from medfuse.backbones.build import reference_of
from medfuse.backbones.recipe import stated_license
from medfuse.backbones.table_source import TABULAR
from medfuse.bundle.license_gate import require_accepted
from medfuse.config import Experiment, SourceConfig
from medfuse.contract import BackboneSpec
from medfuse.registry import RANDOM_WEIGHTS, Registry, select_weights
from medfuse.registry.references import SourceReference
from medfuse.storage import sha256_file


def check_licenses(experiment: Experiment, registry: Registry) -> None:
    """Refuse weights whose license restricts their use, unless the experiment accepts it.

    Raises:
        BundleError: naming the source, its license, what that forbids, and the remedy.
    """
    licenses = {
        f"sources.{number}, {config.use}": _license(config, registry)
        for number, config in enumerate(experiment.sources)
        if config.use != TABULAR
    }
    require_accepted(licenses, experiment.bundle.accept_licenses)


def _license(config: SourceConfig, registry: Registry) -> str:
    reference = reference_of(config)
    if reference.weights == RANDOM_WEIGHTS:
        return stated_license("Apache-2.0", config.license)
    _, spec = registry.backbone(reference)
    return stated_license(_published(spec, reference), config.license)


def _published(spec: BackboneSpec, reference: SourceReference) -> str:
    """Return the license of published weights; empty of a file that is none of them."""
    weights = select_weights(spec, reference)
    if weights is None:
        return ""
    own_file = reference.file is not None and reference.weights is None
    if own_file and reference.described is None:
        file = Path(reference.file or "")
        same = bool(weights.sha256) and file.is_file() and sha256_file(file) == weights.sha256
        return weights.license if same else ""
    return weights.license
