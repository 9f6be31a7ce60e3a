"""Every kind of bundle does all that MONAI does (`.ci/matrix` makes what this needs and runs it).

One process for each bundle, in `.venvs/bundle`, where medfuse is absent. The name keeps this file
out of the ordinary suite.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(os.environ["MEDFUSE_MATRIX"])  # what .ci/matrix_bundles.py wrote
PYTHON = os.environ["MEDFUSE_MATRIX_PYTHON"]
REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = REPOSITORY / ".ci" / "matrix_steps.py"
SCHEMA = REPOSITORY.parent / "shared" / "schema" / "meta_schema_20240725.json"
MINUTES = 10
Outcomes = dict[str, tuple[str, str]]


def steps() -> list[str]:
    spec = importlib.util.spec_from_file_location("matrix_steps", PROGRAM)
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return list(module.STEPS)


STEPS = steps()
NAMES = sorted(path.parent.name for path in FOLDER.glob("*/expected.json"))
# What a bundle cannot do, beside formats that its input has not; all else must pass.
CANNOT = {
    "graph-only": {"properties, train", "ckpt_export", "onnx_export", "evaluate"},
}
PICTURES = {"run, JPEG", "run, 16-bit PNG", "run, DICOM"}
FORMATS = {
    **{key: {*PICTURES, "run, MONOCHROME1"} for key in NAMES},
    **dict.fromkeys(("brain-mr", "chest-ct"), PICTURES),
    **{key: {"run, NIfTI", "run, DICOM"} for key in ("deep", "sliced-volumes")},
}


def outcomes_of(name: str, reports: Path) -> Outcomes:
    report = reports / f"{name}.json"
    schema = str(SCHEMA) if SCHEMA.is_file() else "-"
    done = subprocess.run(
        [PYTHON, str(PROGRAM), str(FOLDER / name), schema, str(report)],
        cwd="/", capture_output=True, text=True, timeout=60 * MINUTES, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: Outcomes = json.loads(report.read_text())
    if any(status == "failed" for status, _ in found.values()):
        print(done.stderr[-6000:])
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcomes]:
    """What every bundle did; the table of it goes to a file, which `.ci/matrix` prints."""
    reports = tmp_path_factory.mktemp("reports")
    found = {name: outcomes_of(name, reports) for name in NAMES}
    (FOLDER / "matrix.md").write_text(table(found))
    return found


def table(results: dict[str, Outcomes]) -> str:
    rows = [f"| bundle | {' | '.join(STEPS)} |", "|---" * (len(STEPS) + 1) + "|"]
    for name, outcomes in results.items():
        cells = [
            detail if status == "passed" else "-" if status == "skipped" else status.upper()
            for status, detail in (outcomes[step] for step in STEPS)
        ]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", NAMES)
def test_a_bundle_does_all_that_monai_does(
    name: str, step: str, results: dict[str, Outcomes]
) -> None:
    status, detail = results[name][step]
    wanted = not (step.startswith("run, ") and step not in FORMATS[name])
    if step in CANNOT.get(name, ()) or not wanted:
        assert status == "skipped", detail
    elif step == "verify_metadata" and status == "skipped":
        pytest.skip(f"promise not shown: {detail}")
    else:
        assert status == "passed", detail


def test_every_kind_is_there() -> None:
    assert set(NAMES) == {
        "chest-xray", "brain-mr", "chest-ct", "flat", "deep", "public-target", "graph-only",
        "several-labels", "sliced-volumes",
    }  # fmt: skip
