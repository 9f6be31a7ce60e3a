"""Check: a cohort -> what is in it, what is wrong with it, and a page with pictures of it."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from medfuse.audit import Audit, Look, audit, class_name, policy_of
from medfuse.config import CohortConfig, InputConfig
from medfuse.data import read_cohort
from medfuse.data.readers import installed_readers
from medfuse.evaluation.prediction_table import guarded
from medfuse.registry import load_registry
from medfuse.storage import write_json, write_text
from medfuse.workflows.check_figures import draw
from medfuse.workflows.check_page import check_page

_log = logging.getLogger(__name__)

_COLUMNS = (
    "case_id", "input", "class", "site", "role", "status", "kind", "modality", "shape", "spacing",
    "channels", "bits", "bytes", "mean", "std", "p1", "p50", "p99", "pixel_digest",
)  # fmt: skip


def check(
    cohort: CohortConfig,
    out: Path | str | None = None,
    *,
    inputs: str | Mapping[str, InputConfig] = "image",
    progress: bool = True,
) -> Audit:
    """Return the check of a cohort; with ``out``, write it as page, JSON, table and pictures.

    Written are ``check.html`` (self-contained, private), ``check.json``, ``files.csv`` and
    ``plots/``. Bad files are counted by code; none ends the check.

    Args:
        cohort: where the cases are, and what groups them.
        out: folder for the results.
        inputs: what a case has, as for `medfuse.data.read_cohort`.
        progress: tell on stderr how far it is, see `medfuse.progress`.

    Raises:
        CohortError: the cohort cannot be listed: nothing there, bad labels, a broken table.
        PluginError: two plugins read one ending, or a reader that is needed cannot be imported.
        OutputError: the results cannot be written.
    """
    readers = installed_readers(load_registry())
    listed = read_cohort(cohort, inputs, readers.endings)
    used = readers.used_by(reference for case in listed.cases for reference in case.inputs.values())
    files = sum(len(case.inputs) for case in listed.cases)
    _log.info("reading %d files of %d cases, then looking for duplicates", files, len(listed.cases))
    found = audit(
        listed,
        readers=[one.reader for one in used],
        policy=policy_of(cohort, inputs),
        progress=progress,
    )
    if out is not None:
        _write(found, Path(out), Path(cohort.path).name)
    return found


def _write(found: Audit, folder: Path, name: str) -> None:
    from medfuse.report import write_sections

    figures = draw(found, folder / "plots")
    created = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    write_json(folder / "check.json", found.summary(), mode=0o600)
    write_text(folder / "files.csv", _table(found), mode=0o600)
    write_sections(check_page(found, figures, name, created), folder / "check.html")


def _table(found: Audit) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for row in _rows(found):
        table.writerow([guarded(cell) if isinstance(cell, str) else cell for cell in row])
    return text.getvalue()


def _rows(found: Audit) -> Sequence[Sequence[Any]]:
    seen = {(item.case.case_id, item.input): item.look for item in found.scan.seen}
    codes = {(bad.case_id, bad.input): bad.code for bad in found.scan.refused}
    rows: list[Sequence[Any]] = []
    for case in found.cohort.cases:
        for name in case.inputs:
            key = (case.case_id, name)
            if key not in seen and key not in codes:
                continue
            who = (*key, class_name(found.cohort, case), case.site, case.role or "")
            look = seen.get(key)
            if look is None:
                rows.append((*who, codes[key], *[""] * (len(_COLUMNS) - len(who) - 1)))
                continue
            rows.append((*who, "ok", *_measures(look)))
    return rows


def _measures(look: Look) -> Sequence[Any]:
    numbers = (look.mean, look.std, *look.percentiles)
    return (
        look.kind,
        look.modality,
        " x ".join(map(str, look.shape)),
        " x ".join(f"{value:g}" for value in look.spacing or ()),
        look.channels,
        look.bits,
        look.size,
        *(f"{value:.6g}" for value in numbers),
        look.digest,
    )
