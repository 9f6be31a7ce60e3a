"""The nodes of cases that have one class each."""

from __future__ import annotations

from typing import Any

from medfuse.bundle.answer_nodes import AnswerNodes
from medfuse.bundle.inference_config import has_volume
from medfuse.bundle.nodes import CLASS_LABEL, EVALUATION_WRITER, IMAGE_LIST, VOLUME_LIST
from medfuse.bundle.request import BundleRequest

_COUNT = "$len(@class_names)"
# One class against all others, averaged over classes; the first is also balanced accuracy.
_AVERAGED: dict[str, dict[str, Any]] = {
    "sensitivity": {"_target_": "ignite.metrics.Recall", "average": "macro"},
    "precision": {"_target_": "ignite.metrics.Precision", "average": "macro"},
    "f1": {"_target_": "ignite.metrics.Fbeta", "beta": 1.0, "average": True},
}


def of_classes(request: BundleRequest) -> AnswerNodes:
    """Return the nodes of class folders, or of a table with the column ``label``."""
    return AnswerNodes(
        listing=_listing(request),
        reader={"_target_": CLASS_LABEL, "keys": "label", "class_names": "@class_names"},
        loss={"loss": {"_target_": "torch.nn.CrossEntropyLoss"}},
        learned=(
            {
                "_target_": "AsDiscreted",
                "keys": ["pred", "label"],
                "argmax": [True, False],
                "to_onehot": _COUNT,
            },
        ),
        train_metric={"train_accuracy": _accuracy("pred", "label")},
        val_metric={"val_accuracy": _accuracy("pred", "label")},
        measured=(
            {"_target_": "Activationsd", "keys": "pred", "softmax": True},
            {"_target_": "CopyItemsd", "keys": "label", "names": "truth"},
            {"_target_": "AsDiscreted", "keys": "truth", "to_onehot": _COUNT},
        ),
        metrics={"accuracy": _accuracy("pred", "truth"), **_further_metrics()},
        writer=EVALUATION_WRITER,
    )


def _listing(request: BundleRequest) -> dict[str, Any]:
    images = f"{IMAGE_LIST}.list_labelled_images"
    return {
        "_target_": f"{VOLUME_LIST}.list_labelled_volumes" if has_volume(request) else images,
        "class_names": "@class_names",
        "suffixes": "@suffixes",
        "modality": request.inputs[0].modality,
    }


def _answers(answer: str, truth: str) -> str:
    """Return what makes ``(N, K)`` and ``(N,)`` of two keys of the output, each one of K."""
    return (
        f"$lambda items: (torch.stack([item['{answer}'] for item in items]), "
        f"torch.stack([item['{truth}'].argmax() for item in items]))"
    )


def _accuracy(answer: str, truth: str) -> dict[str, Any]:
    """Return the share of right answers between two keys of the output."""
    return {
        "_target_": "ignite.metrics.Accuracy",
        "output_transform": _answers(answer, truth),
    }


def _further_metrics() -> dict[str, Any]:
    pairs = _answers("pred", "truth")
    auroc = {
        "_target_": "ROCAUC",
        "average": "macro",
        "output_transform": "$monai.handlers.from_engine(['pred', 'truth'])",
    }
    averaged = {name: {**node, "output_transform": pairs} for name, node in _AVERAGED.items()}
    return {"auroc": auroc, **averaged}
