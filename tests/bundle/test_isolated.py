"""Bundles of volumes and of several inputs, in a process where medfuse cannot be imported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from medfuse.serving.inputs import expand_inputs, table_cases
from medfuse.serving.predict import load_bundle

pytestmark = [pytest.mark.slow, pytest.mark.long]


def run_card(bundle: Path, data: Path, out: Path) -> str:
    """Run the command of the model card; return what it printed as an error."""
    card = (bundle / "docs" / "README.md").read_text()
    (command,) = re.findall(r"```sh\n(.*?)\n```", card, re.DOTALL)
    out.mkdir()
    (out / "sitecustomize.py").write_text("import sys\nsys.modules['medfuse'] = None\n")
    environment = {
        **os.environ,
        "PYTHONPATH": str(out),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "B": str(bundle),
        "IN": str(data),
        "OUT": str(out),
    }
    done = subprocess.run(
        ["sh", "-c", command],
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else done.stderr[-3000:]


@pytest.mark.parametrize("name", ["solid", "sliced", "several"])
def test_the_card_s_command_gives_what_medfuse_gives(
    name: str, written, volumes: Path, cases: Path, synthetic, read_table, tmp_path: Path
) -> None:
    bundle, data = written[name], cases
    if name != "several":
        data = tmp_path / "in"
        synthetic.write_series(data / "series", 6)
        (data / "ward").symlink_to(volumes / "ward")
        (data / "a.nii.gz").write_bytes((volumes / "ward" / "scan-0.nii.gz").read_bytes())
    assert run_card(bundle, data, tmp_path / "out") == ""
    rows = read_table(tmp_path / "out" / "predictions.csv")
    predictor = load_bundle(bundle)
    if predictor.table is not None:
        found = predictor.predict(table_cases([str(data)], predictor.table))
    else:
        inputs = expand_inputs([str(data)], predictor.suffixes, predictor.volumes)
        found = predictor.predict([reference for _, reference in inputs])
    assert len(rows) == len(found) > 1
    for row, prediction in zip(rows, found, strict=True):
        assert prediction.status == "ok", prediction.reason
        for label, value in prediction.probabilities.items():
            assert value == pytest.approx(float(row[f"prob_{label}"]), abs=1e-5)
