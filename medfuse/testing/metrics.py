"""Metrics: a number within the bounds, better for better probabilities."""

from __future__ import annotations

import math

import numpy as np

from medfuse.contract import MetricSpec, resolve_options
from medfuse.errors import PluginError
from medfuse.registry import load_factory

_CASES, _CLASSES = 60, 3


def metric_measures(spec: MetricSpec) -> None:
    """Pass if right probabilities score within the bounds, and no worse than wrong ones."""
    metric = load_factory(spec)(**resolve_options(spec.options, {}, spec.name))
    random = np.random.default_rng(0)
    labels = random.permutation(np.arange(_CASES) % _CLASSES)
    right = 0.9 * np.eye(_CLASSES)[labels] + 0.1 / _CLASSES
    values = [metric(labels, right), metric(labels, right[:, [1, 2, 0]]), metric(labels, right)]
    low, high = spec.bounds
    for value in values:
        if not isinstance(value, float | int | np.floating) or not math.isfinite(value):
            raise PluginError(f"gave {value!r}, expected a finite number.")
        if not low <= value <= high:
            raise PluginError(f"gave {value:.4g}, outside its bounds {low:g} to {high:g}.")
    gain = values[0] - values[1]
    if values[0] != values[2]:
        raise PluginError("gave two numbers for the same input.")
    if (gain if spec.greater_is_better else -gain) < 0:
        raise PluginError(
            "wrong probabilities score better than right ones: "
            f"greater_is_better={spec.greater_is_better} is not true."
        )
