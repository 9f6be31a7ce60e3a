"""Writes predictions. Copied into every bundle: torch and ignite only.

A handler, not a transform: MONAI Label and MONAI Deploy run the bundle's postprocessing, but not
its handlers, and a service must not write tables.
"""

from __future__ import annotations

import csv
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events

logger = logging.getLogger(__name__)
# Spreadsheets run cells that begin like this as formulas (OWASP, "CSV Injection").
_FORMULA_STARTS = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
    "\uff1d",
    "\uff0b",
    "\uff0d",
    "\uff20",
    "'",
)


class PredictionWriter:
    """Ignite handler that writes ``predictions.csv`` and ``predictions.json``.

    In the table a name that a spreadsheet would run as a formula gets a leading apostrophe.

    Args:
        output_dir: made if need be.
        dataset_dir: images are named relative to it; machine paths are never written.
        class_names: in the order of the probabilities.
        exclusive: one class per image; else every class from its threshold on is predicted.
        thresholds: in the order of the classes; 0.5 each if ``None``.
        abstention: judges every case; without it, no case is judged.
        inferer: keeps the features of a batch, for ``abstention``.
    """

    columns: tuple[str, ...] = ("image",)

    def __init__(  # noqa: PLR0913, PLR0917 - the ids of a configuration node
        self,
        output_dir: str,
        dataset_dir: str,
        class_names: Sequence[str],
        exclusive: bool = True,
        thresholds: Sequence[float] | None = None,
        abstention: Any = None,
        inferer: Any = None,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.dataset_dir = Path(dataset_dir)
        self.class_names = list(class_names)
        self.exclusive = exclusive
        self.thresholds = list(thresholds or [0.5] * len(self.class_names))
        self.abstention = abstention
        self.inferer = inferer
        self.rows: list[dict[str, Any]] = []

    def attach(self, engine: Engine) -> None:
        """Collect every batch of ``engine``; write when it has ended."""
        engine.add_event_handler(Events.STARTED, lambda _: self.rows.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.COMPLETED, self.write)

    def __call__(self, engine: Engine) -> None:
        """Take the probabilities of one decollated batch."""
        state: Any = engine.state
        chances = [torch.as_tensor(o["pred"]).flatten().tolist() for o in state.output]
        judged = self._judged(chances)
        for item, values, judgement in zip(state.batch, chances, judged, strict=True):
            if len(values) != len(self.class_names):
                raise ValueError(f"{len(values)} outputs for {len(self.class_names)} classes")
            abstained = judgement.get("status") == "abstained"
            self.rows.append(
                {
                    **self.described(item),
                    **judgement,
                    "predicted": "" if abstained else self._predicted(values),
                    "probabilities": dict(zip(self.class_names, values, strict=True)),
                }
            )

    def _judged(self, chances: list[list[float]]) -> list[dict[str, Any]]:
        """Return what is said of each case's prediction; nothing where nobody judges."""
        if self.abstention is None:
            return [{} for _ in chances]
        judged = self.abstention.from_features(
            chances, self.inferer.features.numpy(), self.inferer.present.numpy()
        )
        return [
            {
                "status": j.status,
                "reason_code": j.reason_code,
                "reason": j.reason,
                "set": list(j.conformal_set),
                "distances": dict(j.distances),
            }
            for j in judged
        ]

    def described(self, item: Mapping[str, Any]) -> dict[str, str]:
        """Return what a row says of a case before its prediction, by `columns`."""
        return {"image": self._name(item["image"])}

    def write(self, _: Engine | None = None) -> None:
        """Write both files, each as a whole or not at all."""
        self.output_dir.mkdir(parents=True, exist_ok=True)
        self._write_csv(self.output_dir / "predictions.csv")
        text = json.dumps(self.rows, indent=1) + "\n"
        _replace(self.output_dir / "predictions.json", text)
        logger.info("%d predictions written to %s", len(self.rows), self.output_dir)

    def _write_csv(self, path: Path) -> None:
        part = path.with_name(f".{path.name}.part")
        with part.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle)
            judged = self.abstention is not None
            before = [*self.columns, *(("status", "reason_code") if judged else ()), "predicted"]
            after = ["set", "distance"] if judged else []
            writer.writerow([*before, *(f"prob_{c}" for c in self.class_names), *after])
            for row in self.rows:
                last = [";".join(row["set"]), _largest(row["distances"])] if judged else []
                first = [self._cell(str(row[name])) for name in before]
                writer.writerow([*first, *row["probabilities"].values(), *last])
        part.replace(path)

    def _cell(self, text: str) -> str:
        """Return the name of a class as it is, any other so that no spreadsheet runs it."""
        runs = text.startswith(_FORMULA_STARTS) and text not in self.class_names
        return f"'{text}" if runs else text

    def _name(self, image: Any) -> str:
        name = str(getattr(image, "meta", {}).get("filename_or_obj", ""))
        relative = os.path.relpath(name, self.dataset_dir) if name else ""
        outside = relative.startswith("..") or relative == "."
        return Path(name).name if outside else Path(relative).as_posix()

    def _predicted(self, values: list[float]) -> str:
        if self.exclusive:
            return self.class_names[max(range(len(values)), key=values.__getitem__)]
        rows = zip(self.class_names, values, self.thresholds, strict=True)
        return ";".join(name for name, value, least in rows if value >= least)


def _largest(distances: Mapping[str, float]) -> Any:
    return max(distances.values(), default="")


def _replace(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
