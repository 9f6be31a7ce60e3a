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
from medfuse.bundle.nodes import compose, loader, with_code
from medfuse.bundle.request import BundleRequest
from medfuse.bundle.train_config import answer_nodes, batch_size, labelled


def evaluation_config(request: BundleRequest) -> dict[str, Any]:
    """Return the configuration that measures the bundle on labelled images.

    It reads ``dataset_dir`` as ``train.json`` reads each of its parts, and writes ``metrics.csv``
    and ``predictions.csv``. The weights are loaded as in ``inference.json``.
    """
    nodes = answer_nodes(request)
    (name, key_metric), *further = with_code(nodes.metrics).items()
    return {
        **shared(request),
        "output_dir": "$@bundle_root + '/eval'",
        "batch_size": batch_size(request),
        "datalist": labelled(request, "@dataset_dir"),
        "preprocessing": compose([nodes.reader, *preprocessing(request)]),
        "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
        "dataloader": loader("@dataset", "@batch_size", shuffle=False),
        **judging(request),
        "postprocessing": compose([*nodes.measured]),
        "key_metric": {name: key_metric},
        "additional_metrics": dict(further),
        "handlers": _handlers(request, nodes.writer),
        "evaluator": {
            **evaluator(request),
            "key_val_metric": "@key_metric",
            "additional_metrics": "@additional_metrics",
        },
        "initialize": [],
        "run": ["$@evaluator.run()"],
        "finalize": [],
    }


def _handlers(request: BundleRequest, target: str) -> list[Any]:
    saver = {"_target_": "MetricsSaver", "save_dir": "@output_dir", "metrics": "*"}
    stats = {"_target_": "StatsHandler", "iteration_log": False}
    rows = {**writer(request), "_target_": target}
    return list(with_code([WEIGHTS, stats, saver, rows]))
