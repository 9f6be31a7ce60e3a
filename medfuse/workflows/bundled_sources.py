"""A source that names a whole bundle stands for every network in it."""

from __future__ import annotations

import logging
from pathlib import Path

from medfuse.config import Experiment
from medfuse.errors import OutputError
from medfuse.registry.bundled import bundle_folder, bundled_uses, is_bundled

_log = logging.getLogger(__name__)


def with_each_network(experiment: Experiment) -> Experiment:
    """Return the experiment with one source for each network of the bundles that it names.

    Raises:
        SourceError: a bundle cannot be a source, or its networks read several inputs.
        BundleError: a bundle was changed or is damaged.
    """
    sources = []
    for config in experiment.sources:
        uses = bundled_uses(config.use)
        if len(uses) > 1:
            _log.info("source %s: the %d networks in it", config.use, len(uses))
        sources += [config.model_copy(update={"use": use}) for use in uses]
    return experiment.model_copy(update={"sources": sources})


def refuse_own_bundle(experiment: Experiment, out: Path) -> None:
    """Refuse to write where a source is read from: a new start there would delete it.

    Raises:
        OutputError: a bundle that the experiment names lies in ``out``.
    """
    for config in experiment.sources:
        if not is_bundled(config.use):
            continue
        if bundle_folder(config.use).resolve().is_relative_to(out.resolve()):
            raise OutputError(
                f"{out}: holds source {config.use}, which a run there would replace. "
                "Choose another --out."
            )
