"""Look at every file of a cohort once, in threads; a bad one is counted, never fatal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from medfuse.audit.look import Look, look
from medfuse.data import Case, Cohort
from medfuse.data.cells import holds_cells
from medfuse.data.image_facts import ImageFileError
from medfuse.data.plugin_reader import PluginReader
from medfuse.features.ahead import map_ahead
from medfuse.progress import progress_bar

_WORKERS = 2


@dataclass(frozen=True, eq=False)
class Seen:
    """One file of a case, and what it shows."""

    case: Case
    input: str
    look: Look

    @property
    def reference(self) -> str:
        """The file itself, to be opened again for a picture."""
        return self.case.inputs[self.input]


@dataclass(frozen=True)
class Refusal:
    """A file that cannot be used.

    Attributes:
        case_id: its case.
        input: which of the case's inputs.
        code: why, as in the error that training would raise.
    """

    case_id: str
    input: str
    code: str


@dataclass(frozen=True, eq=False)
class Scan:
    """What all files show.

    Attributes:
        seen: the readable files, in the order of the cases.
        refused: the others.
        readers: of plugins, that some files need.
    """

    seen: tuple[Seen, ...]
    refused: tuple[Refusal, ...]
    readers: tuple[PluginReader, ...] = ()

    def codes(self) -> dict[str, int]:
        """Return how many files were refused by code."""
        return dict(sorted(Counter(refusal.code for refusal in self.refused).items()))

    def events(self) -> dict[str, int]:
        """Return how often each conversion was needed, by code."""
        return dict(
            sorted(Counter(code for seen in self.seen for code in seen.look.events).items())
        )

    def left_out(self) -> dict[str, int]:
        """Return how many files lay beside images in folders and are none, by code."""
        counts: Counter[str] = Counter()
        for code, count in (item for seen in self.seen for item in seen.look.left_out):
            counts[code] += count
        return dict(sorted(counts.items()))


def scan(
    cohort: Cohort,
    *,
    readers: Sequence[PluginReader] = (),
    workers: int = _WORKERS,
    progress: bool = True,
) -> Scan:
    """Return what every file of the cohort shows.

    Args:
        cohort: columns of a table (tabular inputs) are no files, and are left out.
        readers: of plugins, for files whose ending is theirs.
        workers: threads that decode.
        progress: tell on stderr how far it is, see `medfuse.progress`.
    """
    files = [
        (case, name)
        for case in cohort.cases
        for name, reference in case.inputs.items()
        if not holds_cells(reference)
    ]
    references = (case.inputs[name] for case, name in files)
    results = map_ahead(partial(_try_look, readers), references, workers, 4 * workers)
    bar = progress_bar(results, "checking", len(files), shown=progress, unit="file")
    seen: list[Seen] = []
    refused: list[Refusal] = []
    for (case, name), result in zip(files, bar, strict=True):
        if isinstance(result, Look):
            seen.append(Seen(case, name, result))
        else:
            refused.append(Refusal(case.case_id, name, result))
    return Scan(tuple(seen), tuple(refused), tuple(readers))


def _try_look(readers: Sequence[PluginReader], reference: str) -> Look | str:
    try:
        return look(reference, readers)
    except ImageFileError as error:
        return error.code
