"""The cohort with its split as one CSV file; it is checked for leaks on every load."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medfuse.data.cells import holds_cells, read_cells
from medfuse.data.cohort import Case, Cohort, Findings
from medfuse.data.digests import Digests, digests_of
from medfuse.data.leaks import resolve_leaks
from medfuse.data.pseudonyms import pseudonym, user_key
from medfuse.data.records import require_role, whole_number
from medfuse.data.split import ALGORITHM, LABELS_ALGORITHM
from medfuse.errors import CohortError
from medfuse.storage import digest_of, write_text

SCHEMA = "medfuse-cohort"
SCHEMA_VERSION = 2
LABELS_VERSION = 3
_COLUMNS = ("case_id", "patient_id", "site", "label", "role", "repeat", "fold")
_DIGEST, _LABEL = "pixel_digest", "label"
_FURTHER = "column:"


@dataclass(frozen=True)
class _Layout:
    """Which columns hold the inputs.

    Attributes:
        kinds: input name to ``file`` or ``cells``.
        version: 1 for one image per case, as ever; 2 for all else; 3 for several labels per case.
        further: columns of subgroups.
        labels: names of several labels, each with a column of its own.
    """

    kinds: Mapping[str, str]
    version: int
    further: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    @property
    def answers(self) -> list[str]:
        """The columns of several labels, in their order."""
        return [f"{_LABEL}:{name}" for name in self.labels]

    @property
    def digests(self) -> dict[str, str]:
        """The column with the pixel digest of each input that is a file."""
        if self.version == 1:
            return dict.fromkeys(self.kinds or ("image",), _DIGEST)
        return {n: f"{_DIGEST}:{n}" for n, kind in self.kinds.items() if kind == "file"}

    @property
    def columns(self) -> list[str]:
        """All columns, in order."""
        further = [f"{_FURTHER}{name}" for name in self.further]
        digests = dict.fromkeys(self.digests.values())
        return [*_COLUMNS, *self.answers, *digests, *self.kinds, *further]


def write_cohort(
    cohort: Cohort,
    path: Path | str,
    header: Mapping[str, Any],
    digests: Digests | None = None,
    key: bytes | None = None,
) -> None:
    """Write the cohort as CSV behind a first line ``# {json}``, patients as keyed hashes.

    Args:
        cohort: with or without roles.
        path: the new file; it is private (0600).
        header: what else the first line says, for example ``{"seed": 0}``.
        digests: pixel digest by case id, or by case id and input name, so that a later load finds
            identical images too.
        key: for the hashes; the user's own if ``None``.
    """
    hidden = pseudonymized(cohort, key)
    layout = _layout_of(cohort)
    body = _body(hidden, digests or {}, layout)
    first = {
        "schema": SCHEMA,
        "version": layout.version,
        "task": "multilabel" if cohort.multilabel else "multiclass",
        "algorithm": LABELS_ALGORITHM if cohort.multilabel else ALGORITHM,
        **header,
        **({"inputs": dict(layout.kinds)} if layout.version > 1 else {}),
        **({"columns": list(layout.further)} if layout.further else {}),
        "classes": list(cohort.classes),
        "given_roles": cohort.given_roles,
        "root": str(cohort.root.absolute()),
        "split_digest": split_digest(cohort),
        "table_digest": hashlib.sha256(body.encode()).hexdigest(),
    }
    write_text(path, f"# {json.dumps(first, allow_nan=False)}\n{body}", mode=0o600)


def read_split(path: Path | str) -> tuple[Cohort, dict[str, Any]]:
    """Return the cohort of a split file and its header.

    Raises:
        CohortError: another schema or version, a changed or damaged table, or a leak.
    """
    file = Path(path)
    header, body = _load(file)
    if header.get("version") not in (1, SCHEMA_VERSION, LABELS_VERSION):
        raise CohortError(
            f"{file}: split file version {header.get('version')!r}, expected 1, {SCHEMA_VERSION} "
            f"or {LABELS_VERSION}."
        )
    if hashlib.sha256(body.encode()).hexdigest() != header.get("table_digest"):
        raise CohortError(
            f"{file}: the table was changed after it was written. Split again, or pass the rows "
            "as a CSV file without the first line."
        )
    _require_header(header, file)
    root = Path(header["root"])
    layout, rows = _rows(body, file, header)
    classes = tuple(header["classes"])
    inputs = [_inputs(row, layout, root, f"{file}, row {n}") for n, row in enumerate(rows, 3)]
    cases = tuple(
        replace(
            _case(row, classes, given, f"{file}, row {n}"),
            findings=_findings(row, layout, f"{file}, row {n}"),
        )
        for n, (row, given) in enumerate(zip(rows, inputs, strict=True), 3)
    )
    cohort = Cohort(
        cases, classes, root, (), header["given_roles"], pseudonymous=True,
        multilabel=bool(layout.labels),
    )  # fmt: skip
    digests = {
        row["case_id"]: {n: row[column] for n, column in layout.digests.items() if row[column]}
        for row in rows
    }
    try:
        resolve_leaks(cohort, digests, "refuse")
    except CohortError as error:
        raise CohortError(f"{file}: {error}") from error
    return cohort, header


def is_split_file(path: Path) -> bool:
    """Return whether the file begins as `write_cohort` writes it."""
    with path.open("rb") as file:
        return file.read(256).startswith(f'# {{"schema": "{SCHEMA}"'.encode())


def pseudonymized(cohort: Cohort, key: bytes | None = None) -> Cohort:
    """Return the cohort with keyed hashes as patient ids; unchanged if it has them already."""
    if cohort.pseudonymous:
        return cohort
    secret = user_key() if key is None else key
    cases = (replace(c, patient_id=pseudonym(c.patient_id, secret)) for c in cohort.cases)
    return replace(cohort, cases=tuple(cases), pseudonymous=True)


def split_digest(cohort: Cohort) -> str:
    """Return a digest of who is where: the same on every machine, in any order of the cases."""
    names = (*cohort.classes, None)
    rows = sorted(
        [c.case_id, c.repeat, c.role, c.fold, names[-1 if c.label is None else c.label]]
        + ([list(c.findings)] if cohort.multilabel else [])
        for c in cohort.cases
    )
    return digest_of([list(cohort.classes), *rows])


def _layout_of(cohort: Cohort) -> _Layout:
    kinds = {
        name: "cells" if holds_cells(reference) else "file"
        for case in cohort.cases
        for name, reference in case.inputs.items()
    }
    further = tuple(sorted({name for case in cohort.cases for name in case.columns}))
    simple = list(kinds.values()) in ([], ["file"]) and not further
    inputs = dict(sorted(kinds.items()))
    if cohort.multilabel:
        return _Layout(inputs, LABELS_VERSION, further, cohort.classes)
    return _Layout(inputs, 1 if simple else SCHEMA_VERSION, further)


def _body(cohort: Cohort, digests: Digests, layout: _Layout) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(layout.columns)
    for case in cohort.cases:
        label = "" if case.label is None else cohort.classes[case.label]
        fold = "" if case.fold is None else case.fold
        table.writerow(
            [case.case_id, case.patient_id, case.site, label, case.role or "", case.repeat, fold]
            + ["" if one is None else one for one in case.findings]
            + [digests_of(digests, case).get(name, "") for name in layout.digests]
            + [_relative(case.inputs.get(name, ""), cohort.root) for name in layout.kinds]
            + [case.columns.get(name, "") for name in layout.further]
        )
    return text.getvalue()


def _relative(reference: str, root: Path) -> str:
    if holds_cells(reference):
        return reference
    path, separator, inside = reference.partition("::")
    try:
        path = Path(path).relative_to(root).as_posix()
    except ValueError:
        path = str(Path(path).absolute()) if path else ""
    return path + separator + inside


def _load(file: Path) -> tuple[dict[str, Any], str]:
    try:
        text = file.read_text(encoding="utf-8")
        first, _, body = text.partition("\n")
        header = json.loads(first.removeprefix("# "))
    except (OSError, ValueError, RecursionError) as error:
        raise CohortError(f"{file}: cannot be read as a split file ({error}).") from error
    if not isinstance(header, dict) or header.get("schema") != SCHEMA:
        raise CohortError(f"{file}: its first line is no split file header.")
    return header, body


def _require_header(header: Mapping[str, Any], file: Path) -> None:
    classes = header.get("classes")
    sound = {
        "root": isinstance(header.get("root"), str),
        "classes": _are_texts(classes),
        "given_roles": isinstance(header.get("given_roles"), bool),
        "inputs": header["version"] == 1 or _are_kinds(header.get("inputs")),
        "columns": _are_texts(header.get("columns", [])),
    }
    bad = [name for name, fine in sound.items() if not fine]
    if bad:
        raise CohortError(f"{file}: its header has no usable {' and '.join(bad)}. Split again.")


def _are_texts(names: Any) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


def _are_kinds(inputs: Any) -> bool:
    return isinstance(inputs, dict) and all(kind in ("file", "cells") for kind in inputs.values())


def _layout_in(names: Sequence[str], header: Mapping[str, Any]) -> _Layout:
    if header["version"] == 1:
        inputs = [name for name in names if name not in (*_COLUMNS, _DIGEST)]
        return _Layout(dict.fromkeys(inputs, "file"), 1)
    labels = header["classes"] if header["version"] == LABELS_VERSION else ()
    further = tuple(header.get("columns", ()))
    return _Layout(header["inputs"], header["version"], further, tuple(labels))


def _rows(body: str, file: Path, header: Mapping[str, Any]) -> tuple[_Layout, list[dict[str, str]]]:
    try:
        table = csv.DictReader(io.StringIO(body), strict=True)
        rows = list(table)
    except csv.Error as error:
        raise CohortError(f"{file}: cannot be read as a split file ({error}).") from error
    layout = _layout_in(table.fieldnames or (), header)
    missing = [name for name in layout.columns if name not in (table.fieldnames or ())]
    if missing:
        raise CohortError(f"{file}: has no column {missing[0]!r}, as every split file has.")
    for number, row in enumerate(rows, 3):
        if None in row or None in row.values():
            raise CohortError(f"{file}, row {number}: has more or fewer cells than the header.")
        if not row["case_id"] or not row["patient_id"]:
            raise CohortError(f"{file}, row {number}: case_id or patient_id is empty.")
    return layout, rows


def _case(
    row: Mapping[str, str], classes: tuple[str, ...], inputs: Mapping[str, str], where: str
) -> Case:
    if row["label"] and row["label"] not in classes:
        raise CohortError(
            f"{where}: label {row['label']!r} is not in the class list ({', '.join(classes)})."
        )
    return Case(
        case_id=row["case_id"],
        inputs=inputs,
        label=classes.index(row["label"]) if row["label"] else None,
        patient_id=row["patient_id"],
        site=row["site"],
        role=require_role(row["role"], where),
        repeat=whole_number(row["repeat"], "repeat", where) or 0,
        fold=whole_number(row["fold"], "fold", where),
        columns={
            name.removeprefix(_FURTHER): text
            for name, text in row.items()
            if name.startswith(_FURTHER)
        },
    )


def _findings(row: Mapping[str, str], layout: _Layout, where: str) -> Findings:
    cells = [row[column] for column in layout.answers]
    strange = next((cell for cell in cells if cell not in ("", "0", "1")), None)
    if strange is not None:
        raise CohortError(f"{where}: a label is {strange[:40]!r}, expected 1, 0 or blank.")
    return tuple(int(cell) if cell else None for cell in cells)


def _inputs(row: Mapping[str, str], layout: _Layout, root: Path, where: str) -> dict[str, str]:
    found = {name: row[name] for name in layout.kinds if row[name]}
    for name, text in found.items():
        if layout.kinds[name] == "file":
            found[name] = str(root / text)
            continue
        try:
            read_cells(text)
        except ValueError as error:
            raise CohortError(f"{where}: input {name!r}: {error}") from error
    return found
