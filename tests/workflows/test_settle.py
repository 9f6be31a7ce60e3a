"""Which images are looked at to settle ``auto``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medfuse.config import Experiment, parse_experiment
from medfuse.errors import CohortError
from medfuse.workflows import settle
from medfuse.workflows.settle import settle_cohort

ROWS = (  # case, patient, role, site; by column "image", whose file is named after the case
    ("a", "p1", "train", "north"),
    ("b", "p2", "train", "north"),
    ("c", "p3", "validation", "south"),
    ("d", "p4", "calibration", "south"),
    ("e", "p5", "test", "south"),
    ("f", "p1", "", "south"),
    ("g", "p5", "", "north"),
)


def experiment(folder: Path, *columns: str, **split: Any) -> Experiment:
    """Write the table with some of its columns, and 8-bit images of 16 x 16."""
    lines = ["case_id,image,label," + ",".join(columns)]
    for number, (case, patient, role, site) in enumerate(ROWS):
        pixels = np.full((16, 16), number, np.uint8)
        Image.fromarray(pixels).save(folder / f"{case}.png")
        known = {"patient_id": patient, "role": role, "site": site}
        cells = [case, f"{case}.png", "xy"[number % 2], *(known[name] for name in columns)]
        lines.append(",".join(cells))
    (folder / "cases.csv").write_text("\n".join(lines))
    cohort = {"path": str(folder / "cases.csv"), "split": split}
    return parse_experiment({"cohort": cohort, "sources": ["mini:resnet"]})


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are looked at."""
    seen: list[str] = []
    resolve = settle.resolve_known

    def noted(config: Any, references: list[str], *more: Any) -> Any:
        seen.extend(Path(reference).stem for reference in references)
        return resolve(config, references, *more)

    monkeypatch.setattr(settle, "resolve_known", noted)
    return seen


def test_given_test_and_calibration_cases_and_their_patients_are_not_looked_at(
    tmp_path: Path, looked_at: list[str]
) -> None:
    settle_cohort(experiment(tmp_path, "patient_id", "role"))
    assert looked_at == ["a", "b", "c", "f"]


def test_held_out_site_and_its_patients_are_not_looked_at(
    tmp_path: Path, looked_at: list[str]
) -> None:
    settle_cohort(experiment(tmp_path, "patient_id", "site", hold_out_site="south"))
    assert looked_at == ["b"]


@pytest.mark.parametrize("split", [{"test": 0.3}, {"folds": 3, "fold": 1}, {"seed": 5}])
def test_all_cases_are_looked_at_where_the_test_part_is_drawn_from_them(
    split: dict[str, Any], tmp_path: Path, looked_at: list[str]
) -> None:
    settle_cohort(experiment(tmp_path, "patient_id", **split))
    assert looked_at == list("abcdefg")


def test_bit_depth_of_a_given_test_part_decides_nothing(tmp_path: Path) -> None:
    asked = experiment(tmp_path, "role")
    for name in "e":
        Image.fromarray(np.full((16, 16), 4000, np.uint16)).save(tmp_path / f"{name}.png")
    found = settle_cohort(asked).inputs["image"]
    assert found.config.intensity == "range"
    assert found.fingerprint["intensity_max"] == 6


def test_input_that_only_test_cases_have_is_refused(tmp_path: Path) -> None:
    experiment(tmp_path)
    rows = ["case_id,ct,xray,label,role"]
    rows += [f"{c},{c}.png,,{'xy'[i % 2]},train" for i, c in enumerate("abcd")]
    rows += ["e,e.png,f.png,x,test"]
    (tmp_path / "cases.csv").write_text("\n".join(rows))
    sources = [{"use": "mini:resnet", "input": name} for name in ("ct", "xray")]
    asked = parse_experiment(
        {
            "cohort": {"path": str(tmp_path / "cases.csv")},
            "inputs": {"ct": {}, "xray": {}},
            "sources": sources,
        }
    )
    with pytest.raises(CohortError, match="no case to learn from has the input 'xray'"):
        settle_cohort(asked)
