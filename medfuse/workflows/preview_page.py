"""The pictures and the page of a preview."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from medfuse import plots
from medfuse.config import InputConfig
from medfuse.data.cells import read_cells
from medfuse.preprocessing import Drawing, flips_of, tabular_slots
from medfuse.report import Figure, Section, SectionPage, Table
from medfuse.workflows.gallery import Gallery
from medfuse.workflows.preview import InputPreview, Preview, ShownCase
from medfuse.workflows.preview_panels import PLANES

_PACKAGES = ("medfuse", "monai", "numpy", "torch")
_OF_IMAGES = ("kind", "modality", "channels", "crop", "intensity", "foreground", "size", "fit")
_OF_VOLUMES = ("orientation", "bias_field", "spacing")


def draw(found: Preview, folder: Path) -> dict[str, list[Figure]]:
    """Return the figures by input, each also written to ``folder``: one for each class."""
    figures: dict[str, list[Figure]] = {}
    for read in found.inputs:
        gallery = Gallery(folder)
        groups: dict[str, list[ShownCase]] = {}
        for item in read.shown:
            groups.setdefault(item.label, []).append(item)
        for number, (label, items) in enumerate(groups.items()):
            rows = [row for item in items for row in _rows(item)]
            if rows:
                name = f"{number:02d}_{_slug(read.name)}_{_slug(label)}"
                drawing = plots.panel_grid(rows, f"{read.name}: {label}")
                gallery.add(name, drawing, _caption(read, label), wide=True)
        figures[read.name] = gallery.figures
    return figures


def preview_page(
    found: Preview, figures: Mapping[str, Sequence[Figure]], name: str, created: str
) -> SectionPage:
    """Return the page; case ids are shown, patients and paths are not."""
    shown = {item.case.case_id for read in found.inputs for item in read.shown}
    return SectionPage(
        name=f"Preview of {name}",
        verdict="What the networks get to see; nothing was trained.",
        headline={
            "cases": f"{len(found.cohort.cases)} {found.cohort.kinds}",
            "shown here": str(len(shown)),
            "inputs": ", ".join(read.name for read in found.inputs),
        },
        warnings=[
            f"{read.name}: {text}"
            for read in found.inputs
            for text in read.fingerprint.get("warnings", ())
        ],
        sections=[
            Section(
                anchor=f"input-{number}",
                title=f"{read.name}: {read.resolved.modality} {read.resolved.kind}"
                if read.drawing
                else f"{read.name}: table",
                tables=list(_tables(read)),
                figures=figures[read.name],
            )
            for number, read in enumerate(found.inputs)
        ],
        versions={package: version(package) for package in _PACKAGES},
        created=created,
    )


def settings_table(read: InputPreview) -> Table:
    """Return what was configured and what it became."""
    return Table(
        header=["setting", "given", "became"],
        rows=list(_settings(read.given, read.resolved)),
        caption="How files are read. What is auto was chosen from the files of the cohort.",
    )


def _settings(given: InputConfig, resolved: InputConfig) -> Iterator[list[str]]:
    if given.kind == "tabular":
        for name, column in sorted(resolved.columns.items()):
            yield [name, _text(given.columns[name]), _text(column)]
        return
    names = [*_OF_IMAGES, *(_OF_VOLUMES if resolved.kind == "volume" else ())]
    if resolved.intensity == "percentile":
        names.append("percentiles")
    for name in names:
        yield [name, _text(getattr(given, name)), _text(getattr(resolved, name))]
    if resolved.bounds:
        given_windows = given.windows or ([given.window] if given.window else "auto")
        yield ["windows", _text(given_windows), _windows(resolved)]


def _windows(resolved: InputConfig) -> str:
    windows = resolved.windows or (resolved.window,)
    named = zip(windows, resolved.bounds, strict=True)
    return "; ".join(
        f"{name} {low:g} to {high:g}" if isinstance(name, str) else f"{low:g} to {high:g}"
        for name, (low, high) in named
    )


def _tables(read: InputPreview) -> Iterator[Table]:
    yield settings_table(read)
    facts = {k: v for k, v in read.fingerprint.items() if v is not None and k != "warnings"}
    if facts and read.drawing:
        rows = [[name.replace("_", " "), _text(value)] for name, value in facts.items()]
        yield Table(header=["fingerprint", "found"], rows=rows, caption="What the files are.")
    if read.drawing:
        yield _augmentation(read.drawing, read.resolved)
    else:
        yield _encoded(read)
    events = Counter(event.code for item in read.shown for event in item.events)
    events.update(code for _, code in read.refused)
    if events:
        refused = [case_id for case_id, _ in read.refused]
        rows = [[code, str(count)] for code, count in sorted(events.items())]
        text = "What reading and preprocessing the shown files took"
        text += f"; cannot be read: {', '.join(refused)}." if refused else "."
        yield Table(header=["event", "files"], rows=rows, caption=text)


def _augmentation(drawing: Drawing, resolved: InputConfig) -> Table:
    ranges = drawing.ranges
    rows = [["recipe", drawing.recipe], ["seed", str(drawing.seed)]]
    if ranges is not None:
        rows += [
            ["turned", f"up to {ranges.rotate:g} degrees {_about(drawing, resolved)}"],
            ["shifted", f"up to {ranges.shift:.0%} of each side"],
            ["zoomed", f"up to {ranges.zoom:.0%}, all axes alike"],
            ["contrast", f"gamma {1 / ranges.gamma:.2f} to {ranges.gamma:.2f}"],
            ["noise", f"standard deviation up to {ranges.noise:g} of the range"],
            ["outside", ranges.padding],
            ["mirrored", " and ".join(flips_of(drawing, resolved)) or "never: left stays left"],
        ]
    caption = "Augmented views, drawn by seed and image."
    return Table(header=["augmentation", "value"], rows=rows, caption=caption)


def _about(drawing: Drawing, resolved: InputConfig) -> str:
    if not drawing.axes:
        return "in the plane"
    steps = " x ".join(f"{step:.3g}" for step in drawing.spacing)
    if len(drawing.axes) == 3:
        return f"about each axis, in mm ({steps})"
    return f"about the axis {resolved.orientation[drawing.axes[0]]} alone, in mm ({steps})"


def _encoded(read: InputPreview) -> Table:
    columns = sorted(read.resolved.columns)
    slots = tabular_slots(read.resolved.columns)
    rows = []
    for item in read.shown:
        cells = read_cells(item.case.inputs[read.name])
        given = [cells.get(column, "") or "-" for column in columns]
        rows.append([item.case.case_id, item.label, *given, *(f"{v:.3g}" for v in item.vector)])
    return Table(
        header=["case", "class", *columns, *(f"→ {slot}" for slot in slots)],
        rows=rows,
        caption="Cells, and behind the arrows the numbers that the networks get.",
    )


def _rows(item: ShownCase) -> list[plots.PanelRow]:
    about = "\n".join((item.case.case_id, *item.facts))
    count = max((len(planes) for planes in item.planes.values()), default=0)
    names = PLANES if count == 3 else ("",)
    return [
        plots.PanelRow(
            "\n".join(filter(None, (about if n == 0 else "", name))),
            {column: planes[n] for column, planes in item.planes.items()},
        )
        for n, name in enumerate(names[:count])
    ]


def _caption(read: InputPreview, label: str) -> str:
    text = f"Files of {label} as stored, as the networks get them"
    if read.drawing is not None and read.drawing.ranges is not None:
        text += ", and augmented views"
    planes = "; middle slices, anterior and superior up, the patient's right at the left"
    return text + (planes if read.resolved.kind == "volume" else "") + "."


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_text(v)}" for k, v in value.items()) or "-"
    if isinstance(value, list | tuple):
        numbers = all(isinstance(one, int | float) for one in value)
        return (" x " if numbers else ", ").join(map(_text, value)) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:40] or "class"
