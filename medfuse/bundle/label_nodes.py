"""The nodes of cases that have several labels, some of them unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medfuse.bundle.answer_nodes import AnswerNodes
from medfuse.bundle.label_metric import MEASURES
from medfuse.bundle.nodes import (
    LABEL_ANSWERS,
    LABEL_LOSS,
    LABEL_METRIC,
    LABEL_TABLE,
    LABEL_WRITER,
)
from medfuse.bundle.request import BundleRequest

# The loss is of logits, all metrics are of probabilities.
_LOGITS = {"_target_": "CopyItemsd", "keys": "pred", "names": "logits"}
_SIGMOID = {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}


def of_labels(request: BundleRequest) -> AnswerNodes:
    """Return the nodes of a table with a column for each label.

    The candidate is the one of the lowest loss, as in training, and the weights that it starts
    from are measured first: accuracy hardly tells anything of rare labels, and AUROC is undefined
    where few answers are known.
    """
    return AnswerNodes(
        listing={
            "_target_": f"{LABEL_TABLE}.list_answered_images",
            "class_names": "@class_names",
        },
        reader={
            "_target_": LABEL_ANSWERS,
            "keys": "label",
            "labels": "$len(@class_names)",
        },
        loss=_loss(request),
        learned=(_LOGITS, _SIGMOID),
        train_metric={"train_accuracy": _metric("accuracy")},
        val_metric={"val_loss": _mean_loss()},
        further={f"val_{measure}": _metric(measure) for measure in ("accuracy", "auroc")},
        saver={"key_metric_negative_sign": True},
        evaluator={"metric_cmp_fn": "$lambda current, best: current < best"},
        first=("$@validate::evaluator.run()",),
        measured=(_SIGMOID,),
        metrics={measure: _metric(measure, request.thresholds) for measure in MEASURES},
        writer=LABEL_WRITER,
    )


def _loss(request: BundleRequest) -> dict[str, Any]:
    """Return binary cross entropy of known answers, with weights by the rule of the training."""
    weights: Any = request.label_weights
    if weights == "balanced":
        answers = "[item['label'] for item in @train_list]"
        weights = {
            "_target_": f"{LABEL_LOSS}.positive_weights",
            "labels": f"$torch.tensor({answers}).nan_to_num(-1)",
        }
    tensor = "torch.as_tensor(@label_weights, dtype=torch.float32, device=@device)"
    return {
        "label_weights": None if weights == "none" else weights,
        "loss": {
            "_target_": f"{LABEL_LOSS}.LabelLoss",
            "weights": f"$None if @label_weights is None else {tensor}",
        },
    }


def _mean_loss() -> dict[str, Any]:
    stacked = [f"torch.stack([item['{key}'] for item in items])" for key in ("logits", "label")]
    return {
        "_target_": "ignite.metrics.Loss",
        "loss_fn": "$@loss.unsmoothed()",
        "output_transform": f"$lambda items: ({', '.join(stacked)})",
    }


def _metric(measure: str, thresholds: Sequence[float] = ()) -> dict[str, Any]:
    limits = {"thresholds": list(thresholds)} if thresholds else {}
    return {
        "_target_": "IgniteMetricHandler",
        "metric_fn": {"_target_": LABEL_METRIC, "measure": measure, **limits},
        "save_details": False,
        "output_transform": "$monai.handlers.from_engine(['pred', 'label'])",
    }
