import numpy as np
import pytest

from medfuse.audit import probe_shortcuts, scan
from tests.audit.conftest import picture


def _report(save, cohort_of, count, make, classes=("a", "b")):
    """``make(i)`` gives the pixels and the fields of a case."""
    rows = []
    for place in range(count):
        pixels, fields = make(place)
        rows.append({"file": save(f"{place}.png", pixels), **fields})
    cohort = cohort_of(rows, classes)
    return probe_shortcuts(scan(cohort, progress=False).seen, cohort.classes)


def _named(report):
    return {shortcut.name: shortcut for shortcut in report.shortcuts}


@pytest.mark.slow
def test_a_size_that_tells_the_class_is_found_and_named(save, cohort_of):
    def make(place):
        side = 64 + 8 * (place % 2) if place % 10 else 64
        return picture(place, 96)[:side], {"label": place % 2}

    found = _named(_report(save, cohort_of, 120, make))
    assert found["size"].strength == "strong"
    assert found["size"].low <= found["size"].auroc <= found["size"].high
    assert found["intensity"].strength == "none"


@pytest.mark.slow
def test_nothing_is_found_where_nothing_is(save, cohort_of):
    def make(place):
        return picture(place, 64 + 4 * (place % 3)), {"label": (place // 3) % 2}

    report = _report(save, cohort_of, 120, make)
    assert {s.strength for s in report.shortcuts if s.acquired} == {"none"}
    assert "file type" in report.constant
    assert "site" in report.constant


@pytest.mark.slow
def test_a_site_that_tells_one_class_of_three(save, cohort_of):
    def make(place):
        return picture(place, 64), {
            "label": place % 3,
            "site": "north" if place % 3 == 2 else "south",
        }

    site = _named(_report(save, cohort_of, 90, make, ("a", "b", "c")))["site"]
    assert site.strength == "strong"
    assert site.per_class["c"] == pytest.approx(1.0)
    assert max(site.per_class["a"], site.per_class["b"]) < 0.85


@pytest.mark.slow
def test_what_tells_patients_apart_is_no_shortcut(save, cohort_of):
    """Each patient has a size and a label of his own: only folds by patient see no link."""
    labels = np.random.default_rng(0).permutation(np.arange(40) % 2)

    def make(place):
        patient = place // 6
        fields = {"label": int(labels[patient]), "patient_id": f"p{patient}"}
        return picture(place, 40 + 2 * patient), fields

    size = _named(_report(save, cohort_of, 240, make))["size"]
    assert size.auroc < 0.75
    assert size.strength == "none"


def test_too_few_cases_are_said(save, cohort_of):
    report = _report(save, cohort_of, 8, lambda place: (picture(place), {}))
    assert report.shortcuts == ()
    assert "at least 10 are needed" in report.reason


def _two_inputs(save, cells_of):
    from pathlib import Path

    from medfuse.data import Case, Cohort

    cases = []
    for place in range(60):
        inputs = {"image": save(f"{place}.png", picture(place, 64)), **cells_of(place)}
        cases.append(Case(f"c{place}", inputs, place % 2, f"p{place}"))
    cohort = Cohort(tuple(cases), ("a", "b"), Path("x"))
    seen = scan(cohort, progress=False).seen
    return _named(probe_shortcuts(seen, cohort.classes, (), cohort.cases))


@pytest.mark.slow
@pytest.mark.parametrize(
    "cells_of",
    [
        lambda i: {"ct": "ct.png"} if i % 2 or i % 20 == 0 else {},
        lambda i: {"facts": '{"age": "5", "psa": "2"}' if i % 2 else '{"age": "5"}'},
    ],
)
def test_an_input_or_a_cell_that_only_one_class_has_is_a_shortcut(save, cells_of):
    found = _two_inputs(save, cells_of)["inputs present"]
    assert found.strength == "strong"
    assert found.acquired
    assert "input_dropout" in found.advice


@pytest.mark.slow
def test_what_is_missing_by_chance_is_no_shortcut(save):
    missing = np.random.default_rng(0).random(60) < 0.5
    found = _two_inputs(save, lambda i: {} if missing[i] else {"facts": '{"age": "5"}'})
    assert found["inputs present"].strength == "none"
    assert "inputs present" not in _two_inputs(save, lambda _i: {"facts": '{"age": "5"}'})


@pytest.mark.slow
def test_each_of_several_inputs_is_probed_alone(save):
    from pathlib import Path

    from medfuse.data import Case, Cohort

    cases, small = [], save("small.png", picture(0, 40))
    for place in range(40):
        large = save(f"{place}.png", picture(place, 60 + 8 * (place % 2)))
        cases.append(Case(f"c{place}", {"ct": large, "xray": small}, place % 2, f"p{place}"))
    seen = scan(Cohort(tuple(cases), ("a", "b"), Path("x")), progress=False).seen
    report = probe_shortcuts(seen, ("a", "b"))
    (size,) = (s for s in report.shortcuts if s.name == "size")
    assert (size.input, size.title, size.strength) == ("ct", "ct: size", "strong")
    assert "xray: size" in report.constant
    assert report.files == 80
