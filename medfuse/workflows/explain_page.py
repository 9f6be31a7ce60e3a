"""The page that shows explanations: what counts, whether the maps hold, and every case."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from medfuse.report import Figure, Section, SectionPage, Table
from medfuse.workflows.explain_table import seen_of

MOST_SHOWN = 60
_PACKAGES = ("medfuse", "monai", "torch", "numpy")
_READ = (
    "A map shows which places raised the log-odds of the class through one source. It does not "
    "show why, and a place that speaks against the class stays dark."
)


def explanation_page(summary: Mapping[str, Any], folder: Path) -> SectionPage:
    """Return the page; pictures come from the files in ``folder``."""
    records = summary["cases"]
    shown = [record for record in records if record["status"] == "ok"][:MOST_SHOWN]
    sections = [
        Section(
            anchor="sources", title="What each source counts", tables=_sources(summary),
        ),
        Section(anchor="scores", title="Do the maps hold?", tables=_scores(summary)),
        Section(
            anchor="random", title="Do they depend on the weights?",
            tables=_randomization(summary["randomization"]),
        ),
        Section(anchor="refused", title="Refused", tables=_refused(records)),
        *(_case(number, record, folder) for number, record in enumerate(shown, start=1)),
    ]  # fmt: skip
    return SectionPage(
        name=f"Explanation of {summary['bundle']}",
        verdict=_verdict(summary),
        headline={
            "cases": str(summary["explained"]),
            "methods": ", ".join(method["use"] for method in summary["methods"]),
        },
        warnings=_warnings(summary, len(shown)),
        sections=sections,
        versions={package: version(package) for package in _PACKAGES},
        created=date.today().isoformat(),
    )


def _verdict(summary: Mapping[str, Any]) -> str:
    known = [s for s in summary["scores"] if s["points_at_true_positives"] is not None]
    if not known:
        return _READ
    told = "; ".join(
        f"{s['method']} of {s['source']} points at the finding in "
        f"{s['points_at_true_positives']:.0%} of {s['true_positives']} true positives"
        for s in known
    )
    return f"{told}. {_READ}"


def _warnings(summary: Mapping[str, Any], shown: int) -> list[str]:
    warnings = []
    if summary["explained"] > shown:
        warnings.append(f"The first {shown} of {summary['explained']} cases are shown.")
    seen = seen_of(summary["cases"]).told("explained")
    warnings += [seen] if seen else []
    stay = [r for r in summary["randomization"] if r["randomized"] == "all weights"]
    warnings += [
        f"{row['method']} of {row['source']} hardly changes when all weights are random (rank "
        f"correlation {row['rank_correlation']:.2f}): its maps show the image, not the model."
        for row in stay
        if row["rank_correlation"] > 0.5
    ]
    return warnings


def _sources(summary: Mapping[str, Any]) -> list[Table]:
    rows = [
        [name, _number(one["share"]), _number(one["effect"], "+.2f")]
        for name, one in summary["sources"].items()
    ]
    caption = (
        "Means over the cases. Share: the weight that the fusion gives the source. Effect: fall of "
        "the log-odds of the class where the source is replaced by the mean training case."
    )
    return [Table(header=["source", "share", "effect"], rows=rows, caption=caption)] if rows else []


def _scores(summary: Mapping[str, Any]) -> list[Table]:
    rows = [
        [
            s["method"], s["source"], str(s["cases"]), _number(s["deletion"]),
            _number(s["insertion"]), _number(s["points_at"]), _number(s["energy_inside"]),
            str(s["with_mask"]),
        ]
        for s in summary["scores"]
        if any(s[name] is not None for name in ("deletion", "points_at"))
    ]  # fmt: skip
    header = [
        "method", "source", "cases", "deletion", "insertion", "points at", "energy inside",
        "with mask",
    ]  # fmt: skip
    caption = (
        "Deletion: mean probability while the strongest places are blurred first, low is good. "
        "Insertion: while they appear first, high is good. Points at: the strongest place lies in "
        "the mask, or within 3 % of the longest side of it. Energy inside: part of the map in the "
        "mask."
    )
    return [Table(header=header, rows=rows, caption=caption)] if rows else []


def _randomization(rows: Sequence[Mapping[str, Any]]) -> list[Table]:
    cells = [
        [r["randomized"], r["method"], r["source"], f"{r['rank_correlation']:+.2f}"] for r in rows
    ]
    caption = (
        "Spearman's rank correlation of the maps with those of ever more random weights. Near 1 "
        "the map shows the image whatever was learned."
    )
    header = ["randomized", "method", "source", "rank correlation"]
    return [Table(header=header, rows=cells, caption=caption)] if cells else []


def _refused(records: Sequence[Mapping[str, Any]]) -> list[Table]:
    rows = [[r["case"], r["reason_code"]] for r in records if r["status"] == "refused"]
    return [Table(header=["case", "reason"], rows=rows)] if rows else []


def _case(number: int, record: Mapping[str, Any], folder: Path) -> Section:
    truth = f", in truth {record['label']}" if record["label"] else ""
    figures = [
        Figure(uri=_embedded(folder / file), caption=_caption(record, what), wide=True)
        for what, file in record["figures"].items()
    ]
    if record.get("sheet"):
        caption = "The training cases that each source finds most alike, with class and distance."
        left_out = record.get("same_image_left_out", 0)
        caption += f" Left out: {left_out} with this very image." if left_out else ""
        figures.append(Figure(uri=_embedded(folder / record["sheet"]), caption=caption, wide=True))
    effects = "; ".join(
        f"{name} " + (f"share {record['shares'][name]:.2f}, " if name in record["shares"] else "")
        + f"effect {effect:+.2f}"
        for name, effect in record["effects"].items()
    )  # fmt: skip
    return Section(
        anchor=f"case-{number}",
        title=f"Case {number}: {record['case']}",
        text=f"Predicted {record['predicted'] or 'none'}{truth}; probability of "
        f"{record['class']} {record['probabilities'][record['class']]:.3f}. {effects}",
        figures=figures,
    )


def _caption(record: Mapping[str, Any], what: str) -> str:
    name, _, method = what.partition(", ")
    return f"{method} on {name}: what speaks for {record['class']}, by source."


def _embedded(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def _number(value: float | None, form: str = ".2f") -> str:
    return "" if value is None else format(value, form)
