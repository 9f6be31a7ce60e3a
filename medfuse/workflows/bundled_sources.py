"""A source that names a whole bundle stands for every network in it."""

from __future__ import annotations

import logging

from medfuse.config import Experiment
from medfuse.registry.bundled import bundled_uses

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
