from medfuse.audit import audit
from tests.audit.conftest import picture


def _codes(found, level):
    return {finding.code for finding in found.level(level)}


def _audit(cohort):
    return audit(cohort, progress=False)


def test_a_sound_cohort_has_nothing_fatal(save, cohort_of):
    rows = [
        {
            "file": save(f"{place}.png", picture(place)),
            "patient_id": f"p{place // 2}",
            "label": place // 2 % 2,
        }
        for place in range(24)
    ]
    found = _audit(cohort_of(rows))
    assert found.level("fatal") == []
    assert found.summary()["trainable"] is True


def test_what_training_refuses_is_fatal(save, cohort_of, tmp_path):
    same = [save("a.png", picture(0)), save("b.png", picture(0)), save("c.png", picture(0))]
    rows = [
        {"file": same[0], "label": 0, "role": "train", "patient_id": "Doe^Jane"},
        {"file": same[1], "label": 1, "role": "train"},
        {"file": same[2], "label": 0, "role": "test"},
        {"file": save("d.png", picture(1)), "label": 1, "role": "test", "patient_id": "Doe^Jane"},
        {"file": str(tmp_path / "absent.png"), "label": 0, "role": "train"},
        {"file": save("e.png", picture(2).astype("uint16") * 9), "label": 1, "role": "train"},
    ]
    found = _audit(cohort_of(rows))
    assert _codes(found, "fatal") == {
        "EXACT_DUPLICATES_ACROSS_LABELS", "EXACT_DUPLICATES_ACROSS_PARTS",
        "PATIENT_ACROSS_PARTS", "REFUSED_FILES", "MIXED_BIT_DEPTH",
    }  # fmt: skip
    assert "PATIENT_WITH_SEVERAL_LABELS" in _codes(found, "warning")
    assert not any("Doe" in finding.text for finding in found.findings)


def test_fatal_is_what_the_split_refuses(save, cohort_of):
    """The two must agree: the same cohort is refused by the code that training calls."""
    import pytest

    from medfuse.data import resolve_leaks
    from medfuse.errors import CohortError

    files = [save("a.png", picture(0)), save("b.png", picture(0))]
    cohort = cohort_of([{"file": files[0], "label": 0}, {"file": files[1], "label": 1}])
    found = _audit(cohort)
    assert "EXACT_DUPLICATES_ACROSS_LABELS" in _codes(found, "fatal")
    digests = {item.case.case_id: item.look.digest for item in found.scan.seen}
    with pytest.raises(CohortError, match="identical images with different labels"):
        resolve_leaks(cohort, digests)


def test_blank_and_mixed_files_are_said(save, cohort_of):
    import numpy as np

    color = np.stack([picture(1), picture(2), picture(3)], axis=-1)
    files = [
        save("flat.png", np.full((64, 64), 9, np.uint8)),
        save("c.jpg", picture(1)),
        save("color.png", color),
        save("d.png", picture(4)),
    ]
    found = _audit(cohort_of([{"file": file} for file in files]))
    assert "BLANK" in _codes(found, "warning")
    assert {"MIXED_FILE_TYPES", "MIXED_COLOR"} <= _codes(found, "note")


def test_tables_count_by_class_site_and_part(save, cohort_of):
    rows = [
        {
            "file": save(f"{place}.png", picture(place, 64 + place)),
            "site": "north" if place < 2 else "south",
            "role": "train" if place % 2 else "test",
        }
        for place in range(6)
    ]
    tables = _audit(cohort_of(rows)).tables
    assert [(row.name, row.cases) for row in tables["class"]] == [("a", 3), ("b", 3), ("all", 6)]
    assert [(row.name, row.cases) for row in tables["site"]] == [("north", 2), ("south", 4)]
    assert [(row.name, row.cases) for row in tables["part"]] == [("test", 3), ("train", 3)]
    assert tables["class"][-1].shapes == {
        "smallest": (64, 64), "median": (66, 66), "largest": (69, 69),
    }  # fmt: skip


def test_several_inputs_are_not_a_mixture(save):
    from pathlib import Path

    from medfuse.data import Case, Cohort

    cases = tuple(
        Case(
            f"c{place}",
            {"ct": save(f"{place}.jpg", picture(place)), "xray": save(f"{place}.png", picture(9))},
            place % 2,
            f"p{place}",
        )
        for place in range(4)
    )
    codes = {finding.code for finding in _audit(Cohort(cases, ("a", "b"), Path("x"))).findings}
    assert "MIXED_FILE_TYPES" not in codes
