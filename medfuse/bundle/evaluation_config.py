"""``evaluate.json``: labelled images -> metrics, and a row for each case."""

from __future__ import annotations

from typing import Any

from medfuse.bundle.inference_config import (
    WEIGHTS,
    evaluator,
    judging,
    preprocessing,
    shared,
    writer,
)
from medfuse.bundle.nodes import CLASS_LABEL, EVALUATION_WRITER, compose, loader, with_code
from medfuse.bundle.request import BundleRequest
from medfuse.bundle.train_config import accuracy, answers, batch_size, labelled

# One class against all others, averaged over classes; the first is also balanced accuracy.
_AVERAGED: dict[str, dict[str, Any]] = {
    "sensitivity": {"_target_": "ignite.metrics.Recall", "average": "macro"},
    "precision": {"_target_": "ignite.metrics.Precision", "average": "macro"},
    "f1": {"_target_": "ignite.metrics.Fbeta", "beta": 1.0, "average": True},
}


def evaluation_config(request: BundleRequest) -> dict[str, Any]:
    """Return the configuration that measures the bundle on labelled images.

    It reads ``dataset_dir`` as ``train.json`` reads each of its parts, and writes ``metrics.csv``
    and ``predictions.csv``. The weights are loaded as in ``inference.json``.
    """
    return {
        **shared(request),
        "output_dir": "$@bundle_root + '/eval'",
        "batch_size": batch_size(request),
        "datalist": labelled(request, "@dataset_dir"),
        "preprocessing": compose(
            [
                {"_target_": CLASS_LABEL, "keys": "label", "class_names": "@class_names"},
                *preprocessing(request),
            ]
        ),
        "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
        "dataloader": loader("@dataset", "@batch_size", shuffle=False),
        **judging(request),
        "postprocessing": _postprocessing(),
        "key_metric": {"accuracy": accuracy("pred", "truth")},
        "additional_metrics": _metrics(),
        "handlers": _handlers(request),
        "evaluator": {
            **evaluator(request),
            "key_val_metric": "@key_metric",
            "additional_metrics": "@additional_metrics",
        },
        "initialize": [],
        "run": ["$@evaluator.run()"],
        "finalize": [],
    }


def _postprocessing() -> dict[str, Any]:
    """Return what makes probabilities, and the truth as one of K."""
    return compose(
        [
            {"_target_": "Activationsd", "keys": "pred", "softmax": True},
            {"_target_": "CopyItemsd", "keys": "label", "names": "truth"},
            {"_target_": "AsDiscreted", "keys": "truth", "to_onehot": "$len(@class_names)"},
        ]
    )


def _metrics() -> dict[str, Any]:
    pairs = answers("pred", "truth")
    auroc = {
        "_target_": "ROCAUC",
        "average": "macro",
        "output_transform": "$monai.handlers.from_engine(['pred', 'truth'])",
    }
    averaged = {name: {**node, "output_transform": pairs} for name, node in _AVERAGED.items()}
    return {"auroc": auroc, **averaged}


def _handlers(request: BundleRequest) -> list[Any]:
    saver = {"_target_": "MetricsSaver", "save_dir": "@output_dir", "metrics": "*"}
    stats = {"_target_": "StatsHandler", "iteration_log": False}
    rows = {**writer(request), "_target_": EVALUATION_WRITER}
    return list(with_code([WEIGHTS, stats, saver, rows]))
