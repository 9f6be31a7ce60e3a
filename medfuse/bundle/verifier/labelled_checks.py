"""What a bundle does with labelled images: measures itself, and trains in several processes."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager

from .run_checks import monai_run
from .samples import labelled_folder, sample_answers
from .subject import Bundle, CheckFailedError, CheckSkippedError

MEASURING = "evaluate.json"
TRAINING = ("train.json", "multi_gpu_train.json")


def check_multi_gpu_properties(bundle: Bundle) -> str:
    """Training in several processes, here one of one, has the ids that MONAI expects."""
    import torch
    from monai.bundle.workflows import ConfigWorkflow

    _require(bundle, TRAINING[-1])
    if not torch.distributed.is_available():
        raise CheckSkippedError("this PyTorch has no torch.distributed")
    workflow = ConfigWorkflow(
        config_file=[bundle.config_path(name) for name in TRAINING],
        workflow_type="train",
        logging_file=False,
        bundle_root=str(bundle.root),
        dataset_dir=str(labelled_folder(bundle)),
        device="cpu",
    )
    with _one_process(bundle):
        workflow.initialize()
        wrong = workflow.check_properties()
    if wrong:
        raise CheckFailedError(f"{TRAINING[-1]}: {', '.join(wrong)}")
    return f"{TRAINING[-1]} has all ids MONAI expects"


@contextmanager
def _one_process(bundle: Bundle) -> Iterator[None]:
    """Be the only process of those that train."""
    from torch import distributed

    meeting = (bundle.work / "processes").as_uri()
    distributed.init_process_group("gloo", init_method=meeting, rank=0, world_size=1)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def check_labelled_run(bundle: Bundle) -> str:
    """MONAI measures the bundle on an image of each class, or with each label."""
    _require(bundle, MEASURING)
    out = bundle.work / MEASURING
    monai_run(bundle, [MEASURING], labelled_folder(bundle) / "val", out)
    names, columns = bundle.class_names(), ["label"]
    expected = [[name] for name in names]
    if bundle.several_labels:
        columns, expected = [f"true_{name}" for name in names], sample_answers(bundle)
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as file:
        labels = [[row[column] for column in columns] for row in csv.DictReader(file)]
    if sorted(labels) != sorted(expected):
        raise CheckFailedError(f"predictions.csv has labels {labels}, expected {expected}")
    found = dict(line.split(",") for line in (out / "metrics.csv").read_text().split())
    if not 0 <= float(found.get("accuracy", "nan")) <= 1:
        raise CheckFailedError(f"metrics.csv holds {found}, expected accuracy from 0 to 1")
    return f"{len(labels)} rows, and {', '.join(found)}"


def _require(bundle: Bundle, config: str) -> None:
    if not (bundle.root / "configs" / config).is_file():
        why = bundle.left_out.get(f"configs/{config}", "older bundles have none")
        raise CheckSkippedError(f"no configs/{config}: {why}")
