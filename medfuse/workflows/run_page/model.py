"""Section: fusion and head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medfuse.report import Section
from medfuse.workflows.run_page.facts import RunFacts


def model_section(facts: RunFacts) -> Section:
    """Return fusion, head, their options and the number of parameters."""
    model = facts.model
    classifier = sum(p.numel() for p in model.network.classifier.parameters())
    everything = sum(p.numel() for p in model.network.parameters())
    return Section(
        anchor="model",
        title="Fusion and head",
        facts={
            "fusion": _component(model.classifier.fusion.name, model.classifier.fusion_options),
            "head": _component(model.classifier.head.name, model.classifier.head_options),
            "classes, in the order of the output": ", ".join(facts.task.prepared.cohort.classes),
            "prediction": "every label whose probability reaches its threshold"
            if facts.task.prepared.cohort.multilabel
            else "the class of the highest probability",
            "classifiers averaged": str(model.members),
            "parameters of fusion and head": f"{classifier:,}",
            "parameters in all": f"{everything:,}",
            "calibration": f"{model.calibration.described}, from {model.calibrated_on}",
        },
    )


def _component(name: str, options: Mapping[str, Any]) -> str:
    shown = ", ".join(f"{key} {value}" for key, value in options.items())
    return f"{name} ({shown})" if shown else name
