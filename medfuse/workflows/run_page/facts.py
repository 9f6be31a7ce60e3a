"""What the sections of a report are made from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from medfuse.report import Figure
from medfuse.workflows.figures import TestPart
from medfuse.workflows.learn import LearnedModel, LearningTask


@dataclass(frozen=True)
class MeasuredCases:
    """Cases that a model was measured on, and what was drawn of them.

    Attributes:
        part: what the cases show; ``None`` without labeled ones.
        figures: by the name of their file, without its ending.
        trust: of `trust_facts`; ``None`` where nothing was measured.
    """

    part: TestPart | None
    figures: Mapping[str, Figure] = field(default_factory=dict)
    trust: Mapping[str, Any] | None = None

    def drawn(self, *names: str) -> list[Figure]:
        """Return the figures of these names, and of those that begin so and go on with ``_``."""
        return [
            figure
            for wanted in names
            for name, figure in self.figures.items()
            if name == wanted or name.startswith(f"{wanted}_")
        ]


@dataclass(frozen=True)
class RunFacts:
    """Everything that the report of a run tells of.

    Attributes:
        task: configuration, cohort and sources.
        model: the trained, fused model.
        measured: the test cases.
        comparison: with each single source; ``None`` where there is none.
        bundle: folder of the bundle that the run wrote.
    """

    task: LearningTask
    model: LearnedModel
    measured: MeasuredCases
    comparison: Mapping[str, Any] | None
    bundle: Path

    @cached_property
    def card(self) -> Mapping[str, Any]:
        """The bundle's ``metadata.json``: what it says of itself."""
        file = self.bundle / "configs" / "metadata.json"
        card: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return card
