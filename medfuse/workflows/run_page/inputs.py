"""Section: how a file becomes what the networks see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medfuse.report import Section
from medfuse.workflows.resolved import input_facts
from medfuse.workflows.run_page.facts import RunFacts

_JOINTS = {"size": " x ", "spacing": " x ", "percentiles": " to ", "window": " to "}


def inputs_section(facts: RunFacts) -> Section:
    """Return the settings of each input, what was seen to settle them, and the augmentation."""
    rows = {}
    for name, found in input_facts(facts.task.prepared).items():
        rows[f"input {name}"] = _listed(found["settings"])
        rows[f"seen of {name}"] = _listed(found["fingerprint"])
    views = int(facts.task.features.views.max()) - 1  # the clean one is no augmented view
    recipe = facts.task.experiment.augmentation.recipe
    text = f"{views} beside the clean one, recipe {recipe}" if views else "none"
    rows["augmented views of a training case"] = text
    return Section(
        anchor="inputs",
        title="Preprocessing",
        text="The same steps run in training, in this report and in the bundle.",
        facts=rows,
    )


def _listed(facts: Mapping[str, Any]) -> str:
    """Return facts in one line; extents as ``48 x 48``, bounds as ``0.5 to 99.5``."""
    return ", ".join(
        f"{key.replace('_', ' ')} {_plain(value, _JOINTS.get(key.partition('_')[0], ', '))}"
        for key, value in facts.items()
        if value not in (None, "none", [], {})
    )


def _plain(value: Any, joint: str = " to ") -> str:
    if isinstance(value, Mapping):
        shown = "; ".join(f"{key}: {_plain(item)}" for key, item in value.items())
        return f"({shown})"
    if isinstance(value, list):
        return joint.join(_plain(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
