"""Fine-tuning on the labels in the store, by the bundle's own ``train.json``, to a candidate."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai.bundle.scripts import run as run_bundle
from monailabel.tasks.train.bundle import BundleTrainTask
from monailabel.utils.others.class_utils import unload_module
from monailabel.utils.others.generic import name_to_device

from .labels import Item, LabelError, divide, read_label
from .refusals import NOT_FOUND, UNUSABLE, coded_cause, image_refusal, refusal
from .report import Training, last_summary, report_of, write_report
from .served_bundle import CANDIDATE, WEIGHTS, ServedBundle, digest_of


class ClassificationTrain(BundleTrainTask):
    """Labels are ``{"label": "<class>"}``; the result is ``models/model_candidate.pt``.

    The weights that are served are read, never written. What was trained on is told in the folder
    ``reports``, not in the bundle, which names no case.
    """

    def __init__(self, bundle: ServedBundle, conf: dict[str, str], reports: Path) -> None:
        super().__init__(str(bundle.root), conf, load_strict=True)
        self.bundle = bundle
        self.reports = reports

    def config(self) -> dict[str, Any]:
        """Return what can be asked for; MONAI Label's other options have no effect here."""
        known = super().config()
        epochs = self.bundle_config["train::trainer::max_epochs"]
        return {
            "device": known["device"],
            "model_filename": known["model_filename"],
            "max_epochs": epochs,
            "val_split": 0.2,
        }

    def stats(self) -> dict[str, Any]:
        """Return what the last training told, in this process or another."""
        return last_summary(self.reports)

    def __call__(self, request: Any, datastore: Any) -> dict[str, Any]:
        """Return what was trained on, and how the candidate does beside what it started from."""
        asked = {**self.config(), **request}
        start = self._start(_chosen(asked["model_filename"]))
        device, epochs = name_to_device(_chosen(asked["device"])), int(asked["max_epochs"])
        items = self._fetch_datalist(request, datastore)
        parts = self._partition_datalist(items, asked)
        served = self.bundle.weights(WEIGHTS)
        before = digest_of(served)
        with tempfile.TemporaryDirectory(prefix=".training-", dir=served.parent) as work:
            candidate = Path(work) / CANDIDATE
            training = Training(self.bundle, start, candidate, device, epochs)
            self._run(training, *parts)
            report = report_of(training, *parts)
            if digest_of(served) != before:
                raise RuntimeError(f"{WEIGHTS} changed meanwhile; the candidate is not kept.")
            candidate.replace(served.parent / CANDIDATE)
        return write_report(report, self.reports)

    def _fetch_datalist(self, request: Any, datastore: Any) -> list[Item]:  # noqa: ARG002
        """Return the labelled images with the index of their class."""
        listed = datastore.datalist()
        if not listed:
            raise refusal(
                UNUSABLE, "NO_LABELS", 'no labelled images; put {"label": NAME} for some first.'
            )
        items: list[Item] = []
        for pair in listed:
            try:
                label = read_label(pair["label"], self.bundle.classes)
            except LabelError as error:
                text = f"{Path(pair['image']).name}: {error}"
                raise refusal(UNUSABLE, "BAD_LABEL", text) from error
            items.append({"image": pair["image"], "label": label})
        return items

    def _partition_datalist(
        self,
        datalist: Sequence[Item],
        request: Any,
        shuffle: bool = False,  # noqa: ARG002
    ) -> tuple[list[Item], list[Item]]:
        """Return items to train and to validate; MONAI Label would cut the list in two."""
        try:
            return divide(datalist, self.bundle.classes, float(request["val_split"]))
        except LabelError as error:
            raise refusal(UNUSABLE, "TOO_FEW_LABELS", str(error)) from error

    def _start(self, name: str) -> Path:
        found = self.bundle.weights(name)
        if not found.is_file():
            raise refusal(NOT_FOUND, "NO_WEIGHTS", f"there are no weights {name[:80]!r} here.")
        return found

    def _run(self, training: Training, *parts: list[Item]) -> None:
        """Run ``train.json`` in this process; its ``logging.conf`` would replace the server's."""
        settings: dict[str, Any] = {
            "logging_file": False,
            "bundle_root": self.bundle_path,
            "device": training.device,
            "ckpt_path": str(training.start),
            "ckpt_dir": str(training.candidate.parent),
            "train::trainer::max_epochs": training.epochs,
            "train::dataset::data": parts[0],
            "validate::dataset::data": parts[1],
        }
        sys.path.insert(0, self.bundle_path)
        unload_module("scripts")
        try:
            run_bundle(
                meta_file=self.bundle_metadata_path,
                config_file=self.bundle_config_path,
                **settings,
            )
        except Exception as error:
            if coded_cause(error) is None:
                raise
            raise image_refusal(error, parts[0][0]["image"]) from error
        finally:
            sys.path.remove(self.bundle_path)


def _chosen(option: Any) -> str:
    """Return the option itself; clients send back the list of choices where nobody chose."""
    return option if isinstance(option, str) else str(option[0])
