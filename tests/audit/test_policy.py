"""What training accepts is not called fatal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medfuse.audit import Policy, audit, policy_of
from medfuse.config import CohortConfig, InputConfig
from tests.audit.conftest import picture, volume_file

ACCEPTED = {
    "skips_bad_images": ("REFUSED_FILES",),
    "drops_leaks": (
        "EXACT_DUPLICATES_ACROSS_LABELS", "EXACT_DUPLICATES_ACROSS_PARTS", "PATIENT_ACROSS_PARTS",
    ),
}  # fmt: skip


@pytest.fixture
def faulty(save, cohort_of, tmp_path: Path):
    """A cohort with a copy across labels, parts and patients, and a file that is not there."""
    same = [save("a.png", picture(0)), save("b.png", picture(0))]
    others = [save(f"{place}.png", picture(place)) for place in range(2, 6)]
    rows = [
        {"file": same[0], "label": 0, "role": "train"},
        {"file": same[1], "label": 1, "role": "test"},
        {"file": others[0], "label": 0, "role": "train", "patient_id": "p"},
        {"file": others[1], "label": 0, "role": "test", "patient_id": "p"},
        {"file": others[2], "label": 1, "role": "train"},
        {"file": str(tmp_path / "absent.png"), "label": 1, "role": "train"},
    ]
    return cohort_of(rows)


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_the_configuration_accepts_is_a_warning(name: str, faulty) -> None:
    strict = {f.code: f.level for f in audit(faulty, progress=False).findings}
    policy = Policy(**{name: True})
    lenient = {f.code: f for f in audit(faulty, policy=policy, progress=False).findings}
    for code in ACCEPTED[name]:
        assert strict[code] == "fatal"
        assert lenient[code].level == "warning"
        assert "Training" in lenient[code].text
        assert "set cohort" not in lenient[code].text
    others = {code for codes in ACCEPTED.values() for code in codes} - set(ACCEPTED[name])
    assert {lenient[code].level for code in others} == {"fatal"}


def test_mixed_depth_of_images_is_fatal_unless_scaled_by_percentile(save, cohort_of) -> None:
    files = [save("a.png", picture(0)), save("b.png", picture(1).astype(np.uint16) * 9)]
    cohort = cohort_of([{"file": file} for file in files])
    (found,) = (f for f in audit(cohort, progress=False).findings if f.code == "MIXED_BIT_DEPTH")
    assert found.level == "fatal"
    assert "images of 8, 16 bits side by side in input image" in found.text
    policy = Policy(any_depth=frozenset({"image"}))
    codes = {f.code for f in audit(cohort, policy=policy, progress=False).findings}
    assert "MIXED_BIT_DEPTH" not in codes


def test_volumes_of_several_types_are_fine_as_in_training(tmp_path: Path, cohort_of) -> None:
    files = [
        volume_file(tmp_path / "a.nii.gz"),
        volume_file(tmp_path / "b.nii.gz", dtype=np.float32),
        volume_file(tmp_path / "c.nii.gz", dtype=np.uint8),
    ]
    found = audit(cohort_of([{"file": file} for file in files]), progress=False)
    assert found.tables["class"][-1].counts["bits"] == {"16": 1, "32": 1, "8": 1}
    assert "MIXED_BIT_DEPTH" not in {finding.code for finding in found.findings}


def test_the_policy_is_that_of_the_configuration() -> None:
    assert policy_of(CohortConfig(path="x"), "image") == Policy()
    lenient = CohortConfig(path="x", on_bad_image="skip", on_leak="drop_from_training")
    inputs = {"ct": InputConfig(), "xray": InputConfig(intensity="percentile")}
    assert policy_of(lenient, inputs) == Policy(True, True, frozenset({"xray"}))
