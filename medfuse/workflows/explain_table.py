"""Explanations as one table, and what they say over all cases."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medfuse.evaluation.prediction_table import guarded
from medfuse.workflows.seen import SeenCases

SCORES = ("deletion", "insertion", "points_at", "energy_inside")
_COLUMNS = (
    "case", "key", "status", "reason_code", "label", "predicted", "probability", "class",
    "input", "source", "method", "share", "effect", *SCORES,
)  # fmt: skip


def explanation_table(records: Sequence[dict[str, Any]]) -> str:
    """Return CSV with a row per case, source and method; blank where nothing is known."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, restval="", lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for record in records:
        first = {**record, "probability": record["probabilities"].get(record["class"], "")}
        rows = record["maps"] or [{}]
        named = {one["source"] for one in record["maps"]}
        rows = rows + [{"source": s} for s in record["effects"] if s not in named]
        for one in rows:
            source = one.get("source", "")
            known = {
                "share": record["shares"].get(source, ""),
                "effect": record["effects"].get(source, ""),
            }
            cells = {**first, **known, **one}
            writer.writerow({k: guarded(v) if isinstance(v, str) else v for k, v in cells.items()})
    return text.getvalue()


def summary_of(
    records: Sequence[dict[str, Any]], randomized: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Return what the cases say together: shares, effects and scores by source and method.

    ``points_at`` counts all cases with a mask; ``points_at_true_positives`` those among them that
    have the explained class, and of which it was predicted.
    """
    ok = [record for record in records if record["status"] == "ok"]
    sources = list(dict.fromkeys(name for record in ok for name in record["effects"]))
    return {
        "explained": len(ok),
        "refused": len(records) - len(ok),
        "sources": {
            name: {
                "share": _mean([r["shares"].get(name) for r in ok]),
                "effect": _mean([r["effects"].get(name) for r in ok]),
            }
            for name in sources
        },
        "scores": [_scored(ok, *key) for key in _keys(ok)],
        "randomization": list(randomized),
        "seen": seen_of(records).summary(),
    }


def seen_of(records: Sequence[Mapping[str, Any]]) -> SeenCases:
    """Return which of the explained cases the model learned from."""
    explained = [record for record in records if record["status"] == "ok"]
    return SeenCases(tuple(tuple(record.get("seen_by", ())) for record in explained))


def _keys(records: Sequence[dict[str, Any]]) -> list[tuple[str, str, str]]:
    keys = ((m["method"], m["input"], m["source"]) for r in records for m in r["maps"])
    return list(dict.fromkeys(keys))


def _scored(
    records: Sequence[dict[str, Any]], method: str, name: str, source: str
) -> dict[str, Any]:
    pairs = [
        (record, one)
        for record in records
        for one in record["maps"]
        if (one["method"], one["input"], one["source"]) == (method, name, source)
    ]
    hits = [one["points_at"] for r, one in pairs if "points_at" in one and _is_right(r)]
    return {
        "method": method,
        "input": name,
        "source": source,
        "cases": len(pairs),
        **{score: _mean([one.get(score) for _, one in pairs]) for score in SCORES},
        "with_mask": sum("points_at" in one for _, one in pairs),
        "true_positives": len(hits),
        "points_at_true_positives": _mean(hits),
    }


def _is_right(record: dict[str, Any]) -> bool:
    return all(_names(record[key], record["class"]) for key in ("label", "predicted"))


def _names(text: str, name: str) -> bool:
    """Return whether a class is what is said of a case, or one of several labels of it."""
    return name == text or name in text.split(";")


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
