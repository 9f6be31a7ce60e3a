"""Heads that know the order of grades against one that does not, on generated features."""

from __future__ import annotations

import numpy as np
import pytest

from medfuse.config import ComponentConfig
from medfuse.registry.registry import load_registry
from medfuse.training import Run, TrainingData, build_classifier, fit, predict_logits
from medfuse.training.classifier import SourceWidth

from .conftest import make_config

GRADES, WIDTH = 5, 150


def _cases(count: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Return noisy features that bend with the severity, of two sources, and grades in doubt."""
    weights = np.random.default_rng(99).normal(size=(2, 6, WIDTH))
    numbers = np.random.default_rng(seed)
    grades = numbers.integers(0, GRADES, count)
    severity = grades + 0.5 * numbers.normal(size=count)
    bent = [np.sin(0.9 * severity), np.cos(0.9 * severity), severity / 2 - 1]
    hidden = np.stack([*bent, *numbers.normal(size=(3, count))], axis=1)
    noise = 3 * numbers.normal(size=(2, count, WIDTH))
    return [x[:, None] for x in (hidden @ weights + noise).astype(np.float32)], grades


def _mean_absolute_error(head: str, seed: int) -> float:
    (x, y), (held, held_y), (test, test_y) = (
        _cases(count, seed + start) for count, start in ((200, 0), (60, 1000), (1000, 2000))
    )
    use = ComponentConfig.model_validate({"use": head})
    widths = [SourceWidth(WIDTH)] * 2
    built = build_classifier(ComponentConfig(use="concat"), use, load_registry(), widths, GRADES)
    model, run = built.fresh(seed), Run(classes=tuple("01234"), head_loss=built.head.loss)
    fit(
        model,
        TrainingData.of(x, y),
        TrainingData.of(held, held_y),
        make_config(epochs=50, batch_size=32, lr=0.001),
        run,
    )
    predicted = predict_logits(model, TrainingData.of(test, test_y)).argmax(1)
    return float(np.abs(predicted - test_y).mean())


@pytest.mark.slow
@pytest.mark.parametrize("head", ["coral", "corn"])
def test_grading_heads_are_nearer_the_grade_than_softmax(head: str) -> None:
    seeds = range(4)
    graded = np.mean([_mean_absolute_error(head, seed) for seed in seeds])
    plain = np.mean([_mean_absolute_error("mlp", seed) for seed in seeds])
    assert graded < plain - 0.01
