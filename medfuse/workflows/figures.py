"""The pictures of a run: written as PNG, and embedded in its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medfuse import plots
from medfuse.data import Case, Cohort
from medfuse.evaluation import (
    EvaluationSettings,
    LabelPredictions,
    Predictions,
    precision_recall_curves,
    roc_curves,
)
from medfuse.training import TrainingResult
from medfuse.workflows.gallery import Gallery
from medfuse.workflows.prepare import PreparedCohort, PreparedInput
from medfuse.workflows.seen import SeenCases

_SAMPLES = 6


@dataclass(frozen=True)
class TestPart:
    """What the test cases show.

    Attributes:
        predictions: labels and probabilities.
        metrics: of these predictions.
        shares: ``(N, S)`` of these cases, or ``None``.
        sources: names of the S sources.
        settings: how the metrics were measured.
        seen: which of the cases were learned from.
    """

    __test__ = False

    predictions: Predictions | LabelPredictions
    metrics: Mapping[str, Any]
    shares: np.ndarray | None
    sources: tuple[str, ...]
    settings: EvaluationSettings
    seen: SeenCases


def draw_cohort(gallery: Gallery, prepared: PreparedCohort) -> None:
    """Add the class counts and a few images per class."""
    cohort = prepared.cohort
    sizes = cohort.sizes() if cohort.multilabel else None
    counts = plots.class_counts(cohort.counts(), cohort.classes, sizes)
    what = "that have each label, by part" if cohort.multilabel else "by class and part"
    gallery.add("class_counts", counts, f"Cases {what} of the split.")
    for read in prepared.pictures:
        several = len(prepared.pictures) > 1
        grid = plots.sample_grid(_samples(cohort, read))
        caption = "Training images as the networks receive them"
        name = f"samples_{read.name}" if several else "samples"
        gallery.add(name, grid, f"{caption}: {read.name}." if several else f"{caption}.")


def draw_training(gallery: Gallery, results: Sequence[TrainingResult]) -> None:
    """Add the training history; of an ensemble, that of its first member."""
    result = results[0]
    names = {
        "train_loss": "training_loss",
        "train_accuracy": "training_accuracy",
        "validation_loss": "validation_loss",
        "validation_accuracy": "validation_accuracy",
    }
    history = {
        name: [record.get(key) for record in result.history]
        for name, key in names.items()
        if key in result.history[0]
    }
    drawing = plots.training_history(history, result.best_epoch)
    which = f" of the first of {len(results)} members" if len(results) > 1 else ""
    gallery.add("training_history", drawing, f"Loss and accuracy by epoch{which}.")


def draw_test(gallery: Gallery, part: TestPart) -> None:
    """Add everything that the test cases show."""
    if isinstance(part.predictions, LabelPredictions):
        _draw_labels(gallery, part, part.predictions)
        return
    predictions, metrics = part.predictions, part.metrics
    classes = predictions.classes
    matrix = plots.confusion_matrix(metrics["confusion_matrix"], classes)
    gallery.add("confusion_matrix", matrix, "Test cases: true class by predicted class.")
    roc = plots.roc(roc_curves(predictions, part.settings), _areas(metrics, "auroc"))
    gallery.add("roc", roc, "Receiver operating characteristic, each class against the rest.")
    recall = precision_recall_curves(predictions, part.settings)
    drawing = plots.precision_recall(recall, _areas(metrics, "auprc"))
    gallery.add("precision_recall", drawing, "Precision over recall, each class against the rest.")
    before = metrics.get("uncalibrated", {}).get("reliability", ())
    error = metrics["overall"].get("ece")
    reliability = plots.reliability_diagram(metrics["reliability"], error, before=before)
    gallery.add("reliability", reliability, "How often a confidence is right.")
    scores = plots.score_histogram(predictions.probabilities, predictions.labels, classes)
    gallery.add("scores", scores, "Predicted probability in the class and in the others.")
    if part.shares is not None:
        shares = plots.source_shares(part.shares, predictions.labels, part.sources, classes)
        gallery.add("source_shares", shares, "How much each source counts, by true class.")


def _draw_labels(gallery: Gallery, part: TestPart, predictions: LabelPredictions) -> None:
    """Add the curves of each label, on the cases where it is known."""
    metrics, names = part.metrics, predictions.classes
    known = [k for k in range(len(names)) if predictions.known[:, k].any()]
    pairs = {names[k]: predictions.of_label(k) for k in known}
    curves = {name: roc_curves(pair, part.settings) for name, pair in pairs.items()}
    roc = {name: found[name] for name, found in curves.items() if name in found}
    drawing = plots.roc(roc, _areas(metrics, "auroc"), "label")
    gallery.add("roc", drawing, "Receiver operating characteristic of each label.")
    curves = {name: precision_recall_curves(pair, part.settings) for name, pair in pairs.items()}
    recall = {name: found[name] for name, found in curves.items() if name in found}
    drawing = plots.precision_recall(recall, _areas(metrics, "auprc"), "label")
    gallery.add("precision_recall", drawing, "Precision over recall of each label.")
    error = metrics["overall"]["ece_macro"]
    of = ("all labels together", "label holds")
    before = metrics.get("uncalibrated", {}).get("reliability", ())
    reliability = plots.reliability_diagram(metrics["reliability"], error, of, before)
    gallery.add("reliability", reliability, "How often a label holds that was given a probability.")
    if part.shares is not None:
        everyone = np.zeros(len(predictions), dtype=np.int64)
        shares = plots.source_shares(part.shares, everyone, part.sources, ("all cases",), "")
        gallery.add("source_shares", shares, "How much each source counts.")


def picture_of(read: PreparedInput, case: Case) -> np.ndarray:
    """Return an image ``(C, H, W)`` of a case to look at: of a volume, its middle slice."""
    pixels = read.pixels(case)
    return pixels[..., pixels.shape[-1] // 2] if pixels.ndim == 4 else pixels


def _areas(metrics: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {label: entry[name] for label, entry in metrics["per_class"].items()}


def _samples(cohort: Cohort, read: PreparedInput) -> dict[str, list[np.ndarray]]:
    """Return the first few training images of every class; of a volume, its middle slice."""
    samples: dict[str, list[np.ndarray]] = {name: [] for name in cohort.classes}
    for case in cohort.part("train"):
        rows = [samples[cohort.classes[index]] for index in case.held] if read.has(case) else []
        for row in [row for row in rows if len(row) < _SAMPLES]:
            row.append(picture_of(read, case))
    return {name: images for name, images in samples.items() if images}
