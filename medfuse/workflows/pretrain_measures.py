"""What a backbone is like before and after it learned: its features, and its labelled images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from medfuse.evaluation.metrics import evaluate
from medfuse.evaluation.predictions import Predictions
from medfuse.pretraining.health import features_of, neighbor_accuracy, sample_of, spread
from medfuse.pretraining.network import Trainee, WholeImages
from medfuse.pretraining.supervised import Supervised
from medfuse.workflows.pretrain_images import PoolOfSets
from medfuse.workflows.pretrain_sets import ImageSet

_MEASURED = 2000
_SCORES = ("accuracy", "balanced_accuracy", "auroc_macro")


def whole_images(trainee: Trainee) -> WholeImages:
    """Return the network that gives features as the finished source will."""
    return WholeImages(trainee.source, trainee.use_size)


def measured_features(trainee: Trainee, found: PoolOfSets) -> dict[str, Any]:
    """Return the spread of features, and how well neighbors tell the classes of each set apart."""
    whole = whole_images(trainee)
    neighbors = {}
    for one in found.sets:
        own = found.places_of(one)
        own = [own[i] for i in np.linspace(0, len(own) - 1, min(len(own), _MEASURED)).astype(int)]
        labels = np.array([found.labels[row] for row in own], dtype=np.int64)
        if len(set(labels.tolist())) > 1:
            values = features_of(whole, found.pool, own)
            neighbors[one.name] = round(neighbor_accuracy(values, labels), 4)
    values = features_of(whole, found.pool, sample_of(found.pool))
    return {**spread(values), "neighbor_accuracy": neighbors}


def validated(learner: nn.Module, trainee: Trainee, found: PoolOfSets) -> dict[str, Any]:
    """Return what supervised learning reaches on held-out images, by set, with intervals.

    Whole images are told apart among the classes of their set. Empty without held-out images.
    """
    if not isinstance(learner, Supervised):
        return {}
    scores = {}
    for one, predictions in _predicted(learner, trainee, found):
        overall = evaluate(predictions)["overall"]
        most = int(np.bincount(predictions.labels).max())
        scores[one.name] = {
            "images": len(predictions),
            "classes": list(one.classes),
            "most_frequent": round(most / len(predictions), 4),
            **{name: _rounded(overall[name]) for name in _SCORES},
        }
    return scores


def validation_accuracy(
    learner: nn.Module, trainee: Trainee, found: PoolOfSets
) -> dict[str, float]:
    """Return the fraction of all held-out images that are told apart; empty without any."""
    if not isinstance(learner, Supervised) or not len(found.validation):
        return {}
    right = [p.predicted == p.labels for _, p in _predicted(learner, trainee, found)]
    return {"validation_accuracy": float(np.concatenate(right).mean())}


def _predicted(
    learner: Supervised, trainee: Trainee, found: PoolOfSets
) -> Iterator[tuple[ImageSet, Predictions]]:
    """Yield each set that has held-out images, with the probabilities of their classes."""
    classifier = nn.Sequential(whole_images(trainee), learner.classifier)
    first = 0
    for one in found.sets:
        last = first + len(one.classes)
        rows = [r for r, file in enumerate(found.validation.files) if file.group == one.name]
        if rows:
            logits = features_of(classifier, found.validation, rows)[:, first:last]
            cases = [found.measured[row] for row in rows]
            labels = np.array([case.label for case in cases], dtype=np.int64)
            patients = [case.patient_id for case in cases]
            yield one, Predictions(labels, _softmax(logits), one.classes, patients)
        first = last


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    chances: NDArray[np.float64] = powers / powers.sum(1, keepdims=True)
    return chances


def _rounded(estimate: Mapping[str, Any]) -> dict[str, Any]:
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in estimate.items()}
