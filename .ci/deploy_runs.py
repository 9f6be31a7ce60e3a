"""Run the applications on each folder of DICOM, and compare them with ``monai.bundle run``."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pydicom

JUDGED, FAILED, REFUSED = 0, 1, 3
WITHIN = 1e-5
REFUSALS = {"volume": "AMBIGUOUS_SERIES", "picture": "SEVERAL_IMAGES"}
KNOWN = "known-"  # a folder of this name says which class is right


def run(python: str, arguments: list[str | Path], log: Path, **variables: Path) -> int:
    """Run a program away from the clone, with variables of the environment; return its code."""
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    command = [python, *map(str, arguments)]
    with log.open("w") as file:
        done = subprocess.run(
            command, cwd="/", env=environment, stdout=file, stderr=file, check=False
        )
    return done.returncode


def run_app(python: str, app: Path, given: Path, out: Path) -> tuple[int, str]:
    """Run an application; return its code and log. Pictures come as from Mercure."""
    log = out.with_suffix(".app.log")
    if given.parent.name == "picture":
        code = run(python, [app], log, MERCURE_IN_DIR=given, MERCURE_OUT_DIR=out)
    else:
        code = run(python, [app, "--input", given, "--output", out], log)
    return code, log.read_text()


def truth(python: str, bundle: Path, folder: Path, out: Path) -> dict[str, str]:
    """Return the one row that MONAI's own run writes."""
    config = bundle / "configs" / "inference.json"
    arguments = ["--config_file", config, "--bundle_root", bundle]
    where = ["--dataset_dir", folder, "--output_dir", out]
    code = run(python, ["-m", "monai.bundle", "run", *arguments, *where], out.with_suffix(".log"))
    assert code == 0, out.with_suffix(".log").read_text()[-2000:]
    with (out / "predictions.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    return row


def check_answer(case: dict[str, Any], out: Path, row: dict[str, str]) -> float:
    """Pass if JSON and report say what MONAI's run says; return the largest difference."""
    status = row.get("status", "ok")
    assert case["status"] == status, (case, row)
    assert case["predicted"] == row["predicted"], (case, row)
    chances = case["probabilities"]
    worst = max(abs(chance - float(row[f"prob_{name}"])) for name, chance in chances.items())
    assert worst <= WITHIN, (case, row)
    report = pydicom.dcmread(out / case["report"])
    evaluations = report.ContentSequence[-1].ContentSequence
    named = [i.ConceptCodeSequence[0] for i in evaluations if i.ValueType == "CODE"]
    told = [row["predicted"]] if status == "ok" else []
    assert [code.CodeMeaning for code in named] == [status, *told], named
    return worst


def main(folder: Path, python: str) -> int:
    """Print one line for each folder of DICOM."""
    passed = 0
    for kind in sorted(path.name for path in (folder / "dicom").iterdir()):
        (bundle,) = (folder / kind).glob("*_classification")
        for given in sorted((folder / "dicom" / kind).iterdir()):
            out = folder / "out" / kind / given.name
            out.parent.mkdir(parents=True, exist_ok=True)
            code, log = run_app(python, folder / kind / "app", given, out)
            assert (out / "result.json").is_file(), log[-3000:]
            (case,) = json.loads((out / "result.json").read_text())["cases"]
            if given.name == "several":
                refusal = REFUSALS[kind]
                assert (code, case["status"], case["reason_code"]) == (REFUSED, "refused", refusal)
                assert case["probabilities"] == {}
                assert not list(out.glob("*.dcm"))
                print(f"passed  {kind} {given.name}: refused, {refusal}")
            else:
                assert code == JUDGED, log[-3000:]
                row = truth(python, bundle, given, out.with_name(f"{given.name}-monai"))
                worst = check_answer(case, out, row)
                if given.name.startswith(KNOWN):
                    assert case["predicted"] == given.name.removeprefix(KNOWN), case
                said = case["predicted"] or case["reason_code"]
                print(f"passed  {kind} {given.name}: {said}, differs by {worst:.1e}")
            passed += 1
    results = [folder / "out" / "picture" / f"monochrome{n}" / "result.json" for n in (1, 2)]
    first, second = (json.loads(path.read_text())["cases"][0] for path in results)
    assert first["probabilities"] == second["probabilities"], "MONOCHROME1 is not its twin"
    again, _ = run_app(
        python, folder / "volume" / "app", folder / "dicom" / "volume" / "series",
        folder / "out" / "volume" / "series",
    )  # fmt: skip
    assert again == FAILED, "a result was replaced"
    print(f"{passed + 2} passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
