"""Section: when the model gives no answer, and what it cannot rule out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from medfuse.report import Section, Table
from medfuse.workflows.run_page.facts import MeasuredCases

_PROMISE = (
    "Sets hold the true class as often as stated for a case of a new patient who is exchangeable "
    "with the held-out ones: same kind of patients, scanner and share of diseases. {base} It holds "
    "on average over cases, not within each class or subgroup."
)
_BASE = {
    "calibration part": "They were fitted on a calibration part, apart from training.",
    "held-out folds": (
        "They were fitted on held-out folds, each case predicted by the member that had not seen "
        "it, so that the promise is close in practice but not proven (cross-conformal)."
    ),
}


def abstention_section(measured: MeasuredCases) -> Section:
    """Return how often and why the model abstained, its sets, and risk over coverage."""
    title, trust = "Abstention", measured.trust
    if trust is None:
        return Section(anchor="abstention", title=title)
    facts = {f"abstained, {code}": str(count) for code, count in trust["abstained"].items()}
    facts = {"test cases": str(trust["cases"]), **(facts or {"abstained": "0"})}
    if trust["selective"]:
        facts["area under risk over coverage"] = f"{trust['selective']['aurc']:.4f}"
    sets = trust["sets"]
    return Section(
        anchor="abstention",
        title=title,
        text="The model gives no answer where a source sees what is unlike the training cases, "
        f"or where the configuration asks for more. {_promise(trust) if sets else ''}".strip(),
        facts=facts,
        tables=(_set_table(sets),) if sets else (),
        figures=measured.drawn("distances", "risk_coverage"),
    )


def codes_of(reasons: Sequence[str]) -> dict[str, int]:
    """Return how often each reason to abstain occurred; empty texts are answers."""
    return dict(sorted(Counter(filter(None, reasons)).items()))


def _promise(trust: Mapping[str, Any]) -> str:
    base = _BASE.get(trust["held_out"], f"They were fitted on the {trust['held_out']}.")
    return _PROMISE.format(base=base)


def _set_table(sets: Mapping[str, Any]) -> Table:
    each = {"all": sets, **{k: v for k, v in sets["per_class"].items() if v}}
    rows = [
        [name, str(row["cases"]), f"{row['coverage']:.3f}", f"{row['mean_size']:.2f}"]
        for name, row in each.items()
    ]
    return Table(
        header=["true class", "cases", "held the true class", "classes in a set"],
        rows=rows,
        caption=f"Sets made to hold the true class in {sets['asked']:.0%} of cases, on test cases.",
    )
