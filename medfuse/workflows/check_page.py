"""What the page of a check says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from medfuse.audit import Audit, Breakdown
from medfuse.audit.findings import counted
from medfuse.data import tally
from medfuse.report import Figure, Section, SectionPage, Table

_MOST_GROUPS = 25
_TOGETHER = "combination of labels"
_MOST_FILES = 50
_PACKAGES = ("medfuse", "numpy", "scikit-learn", "pillow")
_LEVELS = {"fatal": "stops training", "warning": "may mislead", "note": "note"}


def check_page(
    found: Audit, figures: Mapping[str, Sequence[Figure]], name: str, created: str
) -> SectionPage:
    """Return the page; case ids are shown, patients and paths are not."""
    return SectionPage(
        name=f"Check of {name}",
        verdict=verdict(found),
        headline=_headline(found),
        sections=(
            Section(anchor="findings", title="Findings", tables=_findings(found)),
            Section(
                anchor="cohort",
                title="What is there",
                tables=cohort_tables(found),
                figures=figures["classes"],
            ),
            Section(anchor="files", title="Sizes and intensities", figures=figures["files"]),
            Section(anchor="refused", title="Files that cannot be read", tables=_refused(found)),
            Section(
                anchor="duplicates",
                title="Duplicates",
                tables=list(_duplicates(found)),
                figures=figures["duplicates"],
            ),
            Section(
                anchor="shortcuts",
                title="Shortcuts",
                text=_shortcut_text(found),
                tables=_shortcuts(found),
                figures=figures["shortcuts"],
            ),
            Section(anchor="events", title="Events", tables=_events(found)),
        ),
        versions={package: version(package) for package in _PACKAGES},
        created=created,
    )


def verdict(found: Audit) -> str:
    """Return one sentence: can the cohort be trained on as it is?"""
    fatal, warnings = len(found.level("fatal")), len(found.level("warning"))
    verb = "stops" if fatal == 1 else "stop"
    first = f"{counted(fatal, 'thing')} {verb} training" if fatal else "nothing stops training"
    more = f"{counted(warnings, 'thing')} may mislead" if warnings else "nothing misleads"
    return f"{first}; {more}."


def cohort_tables(found: Audit) -> list[Table]:
    """Return the cohort as tables: of several labels each label first, then what divides it."""
    tables = [breakdown_table(kind, rows) for kind, rows in found.tables.items()]
    if not found.cohort.multilabel:
        return tables
    together = breakdown_table(_TOGETHER, found.tables["class"])
    caption = f"{together.caption} An unknown answer is not told from an absent label here."
    others = [table for table in tables if table.header[0] != "class"]
    return [_answers_table(found), replace(together, caption=caption), *others]


def _answers_table(found: Audit) -> Table:
    rows = [[name, *map(str, counts.values())] for name, counts in found.answers.items()]
    caption = "By label: the cases in which it holds, is absent, and is unknown."
    return Table(header=["label", "holds", "absent", "unknown"], rows=rows, caption=caption)


def breakdown_table(kind: str, rows: Sequence[Breakdown]) -> Table:
    """Return the cohort by class, site, part or input as a table of texts."""
    header = [
        kind, "cases", "patients", "refused", "size", "spacing (mm)", "intensity", "modality",
        "bits", "file type",
    ]  # fmt: skip
    return Table(
        header=header,
        rows=[_cells(row) for row in rows],
        caption=(
            f"By {kind}. Size and spacing: median (smallest to largest). Intensity: medians of the "
            "1st, 50th and 99th percentile of a file, in stored units."
        ),
    )


def _cells(row: Breakdown) -> list[str]:
    return [
        row.name,
        str(row.cases),
        "-" if row.patients is None else str(row.patients),
        str(row.refused),
        _extent(row.shapes),
        _extent(row.spacing),
        " / ".join(f"{value:.4g}" for value in row.intensity) or "-",
        *(_counts(row.counts[key]) for key in ("modality", "bits", "kind")),
    ]


def _extent(values: Mapping[str, Sequence[Any]]) -> str:
    if not values:
        return "-"
    low, middle, high = (
        " x ".join(f"{number:.4g}" for number in values[key])
        for key in ("smallest", "median", "largest")
    )
    return middle if low == high else f"{middle} ({low} to {high})"


def _counts(counts: Mapping[str, int]) -> str:
    named = {name: count for name, count in counts.items() if name != "unknown"}
    if not named:
        return "-"
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _headline(found: Audit) -> dict[str, str]:
    count = len(found.cohort.classes)
    best = next(iter(found.shortcuts.shortcuts), None)
    return {
        "cases": f"{len(found.cohort.cases)} "
        + (found.cohort.kinds if found.cohort.multilabel else f"in {count} classes"),
        "files refused": str(len(found.scan.refused)),
        "identical / near duplicates": (
            f"{len(found.groups('exact'))} / {len(found.groups('near'))} groups"
        ),
        "best trivial predictor": f"{best.title} {best.auroc:.3f}" if best else "not measured",
    }


def _findings(found: Audit) -> list[Table]:
    rows = [[_LEVELS[f.level], f.text, f.code] for f in found.findings]
    return [Table(header=["level", "what", "code"], rows=rows)] if rows else []


def _refused(found: Audit) -> list[Table]:
    if not found.scan.refused:
        return []
    rows = [[code, str(count)] for code, count in found.scan.codes().items()]
    files = [[bad.case_id, bad.input, bad.code] for bad in found.scan.refused[:_MOST_FILES]]
    caption = f"The first {len(files)} of {len(found.scan.refused)}; all are in files.csv."
    return [
        Table(header=["code", "files"], rows=rows),
        Table(header=["case", "input", "code"], rows=files, caption=caption),
    ]


def _duplicates(found: Audit) -> Iterator[Table]:
    for kind, title in {"exact": "Identical pixels", "near": "Near duplicates"}.items():
        groups = found.groups(kind)
        if not groups:
            continue
        rows = [
            [
                ", ".join(group.cases[:4])
                + (f" + {len(group.cases) - 4}" * (len(group.cases) > 4)),
                str(len(group.cases)),
                ", ".join(found.cohort.classes[label] for label in group.labels),
                ", ".join(group.roles) or "-",
                "yes" if group.mirrored else "",
            ]
            for group in groups[:_MOST_GROUPS]
        ]
        caption = f"{title}: {len(rows)} of {len(groups)} groups; all are in check.json."
        header = ["cases", "files", "classes", "parts", "mirrored"]
        yield Table(header=header, rows=rows, caption=caption)


def _shortcut_text(found: Audit) -> str:
    report = found.shortcuts
    if not report.shortcuts:
        return f"Not measured: {report.reason}."
    same = f" The same in every file: {', '.join(report.constant)}." if report.constant else ""
    gaps = f" Not measured: {report.reason}." if report.reason else ""
    return (
        f"How well features that need no look at the patient predict the label, on {report.files} "
        "files: five folds by patient, duplicates kept together. AUROC 0.5 is nothing. A network "
        f"can learn whatever is found here.{same}{gaps}"
    )


def _shortcuts(found: Audit) -> list[Table]:
    rows = [
        [
            s.title,
            s.about,
            f"{s.auroc:.3f} [{s.low:.3f},\u00a0{s.high:.3f}]",
            ", ".join(f"{name} {value:.2f}" for name, value in s.per_class.items()),
            s.strength,
        ]
        for s in found.shortcuts.shortcuts
    ]
    header = [
        "features",
        "what they are",
        "AUROC [95 %]",
        "each class against the rest",
        "shortcut",
    ]
    return [Table(header=header, rows=rows)] if rows else []


def _events(found: Audit) -> list[Table]:
    events = {**found.scan.left_out(), **tally(found.cohort.events), **found.scan.events()}
    rows = [[code, str(count)] for code, count in events.items()]
    return [Table(header=["code", "times"], rows=rows)] if rows else []
