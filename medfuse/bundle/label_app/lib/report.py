"""What a candidate was trained on, and how it does beside the weights that it started from."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from monai.bundle.config_parser import ConfigParser

from .labels import Item
from .served_bundle import CANDIDATE, ServedBundle, digest_of


@dataclass(frozen=True)
class Training:
    """One training.

    Attributes:
        bundle: what was trained.
        start: the weights that it started from.
        candidate: the weights that it wrote.
        device: where it ran.
        epochs: how many.
    """

    bundle: ServedBundle
    start: Path
    candidate: Path
    device: str
    epochs: int


def report_of(
    run: Training, training: Sequence[Item], validation: Sequence[Item]
) -> dict[str, Any]:
    """Return plain data: files, classes, digests, and both networks' answers to ``validation``."""
    classes = run.bundle.classes
    answers = {"started_from": _answers(run, run.start, validation)}
    answers["candidate"] = _answers(run, run.candidate, validation)
    truth = [classes[item["label"]] for item in validation]
    rows = [
        {"image": Path(item["image"]).name, "label": label}
        | {name: dict(zip(classes, found[n], strict=True)) for name, found in answers.items()}
        for n, (item, label) in enumerate(zip(validation, truth, strict=True))
    ]
    return {
        "written": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "started_from": {"file": run.start.name, "sha256": digest_of(run.start)},
        "candidate": {"file": CANDIDATE, "sha256": digest_of(run.candidate)},
        "epochs": run.epochs,
        "device": run.device,
        "validation_accuracy": {
            name: _accuracy([run.bundle.predicted(row) for row in found], truth)
            for name, found in answers.items()
        },
        "validation": rows,
        "training": [
            {"image": Path(item["image"]).name, "label": classes[item["label"]]}
            for item in training
        ],
    }


def write_report(report: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write the report, whole or not at all; return its summary."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{report['written'].replace(':', '').partition('+')[0]}.json"
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    part.replace(path)
    return _summary(report, path)


def last_summary(folder: Path) -> dict[str, Any]:
    """Return the summary of the last report; nothing where there is none."""
    found = sorted(folder.glob("[!.]*.json"))
    if not found:
        return {}
    return _summary(json.loads(found[-1].read_text(encoding="utf-8")), found[-1])


def _summary(report: dict[str, Any], path: Path) -> dict[str, Any]:
    names = ("started_from", "candidate", "epochs", "device", "validation_accuracy")
    counts = {"images": {part: len(report[part]) for part in ("training", "validation")}}
    place = f"{path.parent.name}/{path.name}"
    return {"report": place, **{name: report[name] for name in names}, **counts}


def _answers(run: Training, weights: Path, items: Sequence[Item]) -> list[list[float]]:
    """Return the probabilities that the bundle gives with these weights."""
    parser = ConfigParser()
    parser.read_config(str(run.bundle.root / "configs" / "inference.json"))
    parser["bundle_root"] = str(run.bundle.root)
    sys.path.insert(0, str(run.bundle.root))
    try:
        network = parser.get_parsed_content("network_def")
        before = parser.get_parsed_content("preprocessing")
        after = parser.get_parsed_content("postprocessing")
    finally:
        sys.path.remove(str(run.bundle.root))
    state = torch.load(weights, map_location="cpu", weights_only=True)
    network.load_state_dict(state, strict=True)
    network.to(run.device).eval()
    found = []
    for item in items:
        with torch.inference_mode():
            logits = network(before({"image": item["image"]})["image"][None].to(run.device))
        found.append(torch.as_tensor(after({"pred": logits[0]})["pred"]).flatten().tolist())
    return found


def _accuracy(predicted: Sequence[str], truth: Sequence[str]) -> float:
    pairs = list(zip(predicted, truth, strict=True))
    return sum(found == right for found, right in pairs) / len(pairs)
