"""Section: when the model gives no answer, and what it cannot rule out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from medfuse.report import Section, Table, group_table
from medfuse.workflows.measure import ANSWER
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
    sets = trust["sets"]
    return Section(
        anchor="abstention",
        title=title,
        text="The model gives no answer where a source sees what is unlike the training cases, "
        f"or where the configuration asks for more. {_promise(trust) if sets else ''}".strip(),
        facts=_counts(trust),
        tables=(*_answer_tables(measured), *([_set_table(sets)] if sets else [])),
        figures=measured.drawn("distances", "risk_coverage"),
    )


def _counts(trust: Mapping[str, Any]) -> dict[str, str]:
    """Return how many cases were not answered, by reason, and which sources saw strange ones."""
    cases = trust["cases"]
    why = {f"abstained, {code}": _share(n, cases) for code, n in trust["abstained"].items()}
    beyond = trust["beyond_limit"].items()
    accepted = trust["acceptance"]
    facts = {
        "limits accept": "everything: too few patients were held out for a limit"
        if accepted is None
        else f"{accepted:.0%} of cases like the training cases",
        "measured cases": str(cases),
        **(why or {"abstained": "0"}),
    }
    facts |= {f"beyond the limit of {source}": _share(n, cases) for source, n in beyond}
    if trust["selective"]:
        facts["area under risk over coverage"] = f"{trust['selective']['aurc']:.4f}"
    return facts


def _share(count: int, cases: int) -> str:
    return f"{count} ({count / cases:.1%})"


def _answer_tables(measured: MeasuredCases) -> list[Table]:
    """Return the metrics of cases with an answer and of those without, where there are both."""
    metrics = measured.part.metrics if measured.part else {"groups": {}}
    if ANSWER not in metrics["groups"]:
        return []
    table = group_table(metrics, ANSWER)
    caption = (
        "Cases with an answer, and those that the model abstained from, had it been asked for one."
    )
    return [replace(table, caption=caption)]


def _promise(trust: Mapping[str, Any]) -> str:
    base = _BASE.get(trust["held_out"], f"They were fitted on the {trust['held_out']}.")
    return _PROMISE.format(base=base)


def _set_table(sets: Mapping[str, Any]) -> Table:
    asked = "" if sets["asked"] is None else f" in {sets['asked']:.0%} of cases"
    each = {"all": sets, **{k: v for k, v in sets["per_class"].items() if v}}
    rows = [
        [name, str(row["cases"]), f"{row['coverage']:.3f}", f"{row['mean_size']:.2f}"]
        for name, row in each.items()
    ]
    return Table(
        header=["true class", "cases", "held the true class", "classes in a set"],
        rows=rows,
        caption=f"Sets made to hold the true class{asked}, on the measured cases.",
    )
