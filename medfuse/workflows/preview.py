"""Preview: a cohort -> a few of its files as stored, as the networks get them, and augmented."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medfuse.audit import class_name, open_picture
from medfuse.config import AugmentationConfig, CohortConfig, InputConfig
from medfuse.data import Case, Cohort, Event, read_cohort
from medfuse.data.image_facts import ImageFileError
from medfuse.data.readers import installed_readers
from medfuse.errors import ImageError
from medfuse.preprocessing import (
    CanonicalImage,
    Drawing,
    Preprocessing,
    augment,
    augmentation_identity,
    drawing_for,
)
from medfuse.progress import progress_bar
from medfuse.registry import load_registry
from medfuse.storage import write_json
from medfuse.workflows.preview_panels import Planes, canonical_planes, stored_planes, view_planes
from medfuse.workflows.settle import InputFiles, cases_to_look_at, settle_input

MOST_CLASSES = 20


@dataclass(frozen=True)
class PreviewOptions:
    """What is shown.

    Attributes:
        cases: of each class and input.
        views: augmented views of each case.
        augmentation: recipe and seed of the views; its own number of views is not used.
    """

    cases: int = 3
    views: int = 4
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)


@dataclass(frozen=True, eq=False)
class ShownCase:
    """One file.

    Attributes:
        case: whose file it is.
        label: name of its class.
        facts: what the file says of itself, a line each.
        planes: pictures by column name, ``(H, W)`` or ``(H, W, 3)`` in [0, 1]; three each of a
            volume (axial, coronal, sagittal). Empty of a table's row.
        vector: of a table's row, encoded.
        events: what reading and preprocessing took.
    """

    case: Case
    label: str
    facts: tuple[str, ...] = ()
    planes: Planes = field(default_factory=dict)
    vector: tuple[float, ...] = ()
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, eq=False)
class InputPreview:
    """One input of the cases.

    Attributes:
        name: as the configuration calls it.
        given: the input as configured.
        resolved: without ``auto``.
        fingerprint: what was seen of the cohort.
        drawing: how views are drawn; ``None`` of a table.
        shown: in the order of the classes.
        refused: case id and code of files that cannot be read.
    """

    name: str
    given: InputConfig
    resolved: InputConfig
    fingerprint: Mapping[str, Any]
    drawing: Drawing | None
    shown: tuple[ShownCase, ...]
    refused: tuple[tuple[str, str], ...]


@dataclass(frozen=True, eq=False)
class Preview:
    """A few cases of a cohort, as files and as the networks get them."""

    cohort: Cohort
    options: PreviewOptions
    inputs: tuple[InputPreview, ...]

    def summary(self) -> dict[str, Any]:
        """Return everything but the pictures, as plain data."""
        return {
            "cases": len(self.cohort.cases),
            "classes": list(self.cohort.classes),
            "inputs": {read.name: _plain(read) for read in self.inputs},
        }


def preview(
    cohort: CohortConfig,
    out: Path | str | None = None,
    *,
    inputs: Mapping[str, InputConfig] | str = "image",
    options: PreviewOptions | None = None,
    progress: bool = True,
) -> Preview:
    """Return a few cases of each class as they are stored, preprocessed and augmented.

    With ``out``, ``preview.html`` (self-contained), ``preview.json`` and ``plots/`` are written,
    readable by their owner only: they show patients. Nothing is trained or divided. What is
    ``auto`` becomes what it does in training: cases of a given test part do not decide it.

    Args:
        cohort: where the cases are.
        out: folder for the results.
        inputs: what a case has, as for `medfuse.data.read_cohort`.
        options: how many cases and views, and the recipe of the views.
        progress: tell on stderr how far it is, see `medfuse.progress`.

    Raises:
        CohortError: the cohort cannot be listed, or no case to learn from has one of the inputs.
        ImageError: no file of an input can be read, or they differ in what must be alike.
        PluginError: a plugin's reader is needed and cannot be imported.
        OutputError: the results cannot be written.
    """
    wanted = {inputs: InputConfig()} if isinstance(inputs, str) else inputs
    chosen = options or PreviewOptions()
    readers = installed_readers(load_registry())
    listed = read_cohort(cohort, wanted, readers.endings)
    cases = cases_to_look_at(listed, cohort.split)
    found = Preview(
        cohort=listed,
        options=chosen,
        inputs=tuple(
            _input(InputFiles(name, config, listed, cases, readers), chosen, progress)
            for name, config in wanted.items()
        ),
    )
    if out is not None:
        _write(found, Path(out), Path(cohort.path).name)
    return found


def _write(found: Preview, folder: Path, name: str) -> None:
    from medfuse.report import write_sections
    from medfuse.workflows.preview_page import draw, preview_page

    figures = draw(found, folder / "plots")
    created = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    write_json(folder / "preview.json", found.summary(), mode=0o600)
    write_sections(preview_page(found, figures, name, created), folder / "preview.html")


def _input(files: InputFiles, options: PreviewOptions, progress: bool) -> InputPreview:
    name, given, cohort = files.name, files.config, files.cohort
    settled = settle_input(files)
    resolved, fingerprint = settled.config, settled.fingerprint
    table = given.kind == "tabular"
    drawing = None if table else drawing_for(options.augmentation, resolved, fingerprint)
    preprocessing = Preprocessing(resolved, fingerprint, settled.readers)
    reader = _Reader(name, preprocessing, drawing, options.views)
    shown: list[ShownCase] = []
    refused: list[tuple[str, str]] = []
    cases = [case for case in cohort.cases if name in case.inputs]
    picked = _picked(cohort, cases, options.cases)
    for case in progress_bar(picked, name, len(picked), shown=progress, unit="case", leave=True):
        found = reader.show(case, class_name(cohort, case))
        if isinstance(found, ShownCase):
            shown.append(found)
        else:
            refused.append((case.case_id, found))
    return InputPreview(name, given, resolved, fingerprint, drawing, tuple(shown), tuple(refused))


def _picked(cohort: Cohort, cases: Sequence[Case], count: int) -> list[Case]:
    """Return ``count`` cases of each class, evenly spread over them."""
    return [case for group in _by_class(cohort, cases) for case in _spread(group, count)]


def _by_class(cohort: Cohort, cases: Sequence[Case]) -> Iterator[list[Case]]:
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(class_name(cohort, case), []).append(case)
    names = [*cohort.classes, *(name for name in groups if name not in cohort.classes)]
    yield from [groups[name] for name in names if name in groups][:MOST_CLASSES]


def _spread(cases: Sequence[Case], count: int) -> list[Case]:
    places = np.linspace(0, len(cases) - 1, min(count, len(cases))).round().astype(int)
    return [cases[place] for place in np.unique(places)]


@dataclass(frozen=True)
class _Reader:
    """Reads single files of one input."""

    name: str
    preprocessing: Preprocessing
    drawing: Drawing | None
    views: int

    def show(self, case: Case, label: str) -> ShownCase | str:
        """Return the case, or the code of why its file cannot be read."""
        reference = case.inputs[self.name]
        try:
            image = self.preprocessing.load(reference)
            if self.drawing is None:
                vector = tuple(float(value) for value in image.pixels)
                return ShownCase(case, label, vector=vector, events=image.events)
            plugins = [one.reader for one in self.preprocessing.readers]
            facts, planes = stored_planes(open_picture(reference, plugins))
        except (ImageError, ImageFileError) as error:
            return str(error.code)
        config, spacing = self.preprocessing.input, self.drawing.spacing
        planes = {
            **planes,
            **canonical_planes(image.pixels, config, spacing),
            **view_planes(self._views(image), config, spacing),
        }
        return ShownCase(case, label, facts, planes, events=image.events)

    def _views(self, image: CanonicalImage) -> list[np.ndarray]:
        drawing = self.drawing
        if drawing is None or drawing.ranges is None:
            return []
        pixels = torch.from_numpy(image.pixels)
        numbers = range(1, 1 + self.views)
        return [augment(pixels, drawing, image.digest, number).numpy() for number in numbers]


def _plain(read: InputPreview) -> dict[str, Any]:
    drawn = None if read.drawing is None else augmentation_identity(read.drawing)
    return {
        "given": read.given.model_dump(mode="json", exclude_defaults=True),
        "resolved": read.resolved.model_dump(mode="json"),
        "fingerprint": dict(read.fingerprint),
        "augmentation": drawn,
        "shown": [
            {
                "case_id": item.case.case_id,
                "class": item.label,
                "facts": list(item.facts),
                "events": [[event.code, event.detail] for event in item.events],
                **({"vector": list(item.vector)} if item.vector else {}),
            }
            for item in read.shown
        ],
        "refused": [list(item) for item in read.refused],
    }
