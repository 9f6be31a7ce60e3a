"""Section: the pretrained networks, their weights and what those learned from."""

from __future__ import annotations

from collections.abc import Sequence

from medfuse.backbones.build import BuiltSource
from medfuse.report import Section, Table
from medfuse.workflows.run_page.facts import RunFacts


def sources_section(facts: RunFacts) -> Section:
    """Return origin, license, digest and use of each source."""
    sources = facts.task.features.sources
    return Section(
        anchor="sources",
        title="Sources",
        points=[f"{s.label}: {s.card['citation']}" for s in sources if s.card["citation"]],
        tables=(_origin_table(sources), _use_table(facts)),
    )


def _origin_table(sources: Sequence[BuiltSource]) -> Table:
    rows = [
        [
            source.label,
            source.card["domain"] or "not stated",
            ", ".join(source.card["training_data"]) or "not stated",
            source.card["license"],
            (source.card["digest"] or "none")[:16],
        ]
        for source in sources
    ]
    return Table(
        header=["source", "trained on", "data sets", "license", "weights (SHA-256)"],
        rows=rows,
        caption="Where the weights come from. Digests are cut to 16 digits.",
    )


def _use_table(facts: RunFacts) -> Table:
    configs, features = facts.task.experiment.sources, facts.task.features
    rows = [
        [
            source.label,
            config.input,
            " x ".join(map(str, source.image)) or "table row",
            config.train if not config.unfreeze else f"{config.train}, then unfrozen",
            str(source.levels),
            str(source.feature_dim),
            ", ".join(f"{name} {found}" for name, found in source.card["providers"].items()),
        ]
        for source, config in zip(features.sources, configs, strict=True)
    ]
    return Table(
        header=["source", "input", "image", "trained", "levels", "features", "built from"],
        rows=rows,
        caption="What each network gets and gives: channels x size in, numbers per case out.",
    )
