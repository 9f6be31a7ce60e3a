"""Several labels per case: what cells say, how such a cohort is divided, and its split file."""

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medfuse.audit import audit
from medfuse.config import CohortConfig, SplitConfig
from medfuse.data import (
    Case,
    Cohort,
    assign_roles,
    read_cohort,
    read_split,
    resolve_leaks,
    split_digest,
    write_cohort,
)
from medfuse.data.allocate import allocate
from medfuse.data.allocate_labels import allocate_labels
from medfuse.errors import CohortError, ConfigError

_LABELS = ["effusion", "edema"]


def _table(folder: Path, *rows: str, header: str = "image,effusion,edema") -> Path:
    path = folder / "cases.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def _read(path: Path, **config) -> Cohort:
    return read_cohort(CohortConfig(path=str(path), **{"label": _LABELS, **config}))


def _cohort(count: int = 300, seed: int = 0) -> Cohort:
    """Three labels, of which the rarest holds in about 4 %; patients of up to three cases."""
    rng = random.Random(seed)
    cases = []
    for i in range(count):
        answers = [int(rng.random() < share) for share in (0.5, 0.15, 0.04)]
        answers[i % 3] = None if rng.random() < 0.1 else answers[i % 3]
        patient = f"p{rng.randrange(count // 2)}"
        cases.append(Case(f"c{i}", {"image": f"{i}.png"}, None, patient, findings=tuple(answers)))
    return Cohort(tuple(cases), ("a", "b", "c"), Path("x"), multilabel=True)


def test_every_way_to_write_an_answer_is_understood(tmp_path: Path) -> None:
    cells = ["1,0", "yes,no", "TRUE,False", "1.0,0.0", ",1", "-1,-1.0"]
    rows = [f"{i}.png,{pair}" for i, pair in enumerate(cells)]
    cohort = _read(_table(tmp_path, *rows))
    assert [case.findings for case in cohort.cases] == [
        *[(1, 0)] * 4,
        (None, 1),
        (None, None),
    ]
    assert cohort.classes == ("effusion", "edema")
    assert [case.labeled for case in cohort.cases] == [True] * 5 + [False]


@pytest.mark.parametrize(("policy", "answer"), [("positive", 1), ("negative", 0)])
def test_uncertain_answers_follow_the_policy(tmp_path: Path, policy: str, answer: int) -> None:
    assert _read(_table(tmp_path, "a.png,-1,1"), uncertain=policy).cases[0].findings[0] == answer


def test_a_cell_that_is_no_answer_is_refused_by_row_and_column(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"row 3, column 'edema': found 'maybe', expected 1 or 0"):
        _read(_table(tmp_path, "a.png,1,0", "b.png,1,maybe"))


def test_a_label_column_that_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"no column 'edemas'.*Did you mean .edema."):
        _read(_table(tmp_path, "a.png,1,0"), label=["effusion", "edemas"])


@pytest.mark.parametrize("label", [["effusion"], ["edema", "edema"], []])
def test_a_list_of_labels_has_two_different_ones(label: list[str]) -> None:
    with pytest.raises(ValueError, match="at least two different columns"):
        CohortConfig(path="x", label=label)


def test_names_in_one_cell_are_divided(tmp_path: Path) -> None:
    rows = ["a.png,Effusion|Edema", "b.png,No Finding", "c.png,", "d.png, Mass "]
    path = _table(tmp_path, *rows, header="image,found")
    cohort = _read(path, label="found", label_separator="|")
    assert cohort.classes == ("Edema", "Effusion", "Mass")
    assert [case.findings for case in cohort.cases] == [
        (1, 1, 0),
        (0, 0, 0),
        (None, None, None),
        (0, 0, 1),
    ]
    with pytest.raises(CohortError, match=r"row 2: label 'Effusion' is none of Edema, Mass"):
        _read(path, label="found", label_separator="|", classes=["Edema", "Mass"])


def test_no_finding_beside_a_label_leaves_that_label_unknown(tmp_path: Path) -> None:
    rows = ["a.png,No Finding|Edema", "b.png,no finding", "c.png,Mass|Edema", "d.png,Mass"]
    path = _table(tmp_path, *rows, header="image,found")
    cohort = _read(path, label="found", label_separator="|")
    assert cohort.classes == ("Edema", "Mass")
    assert [case.findings for case in cohort.cases] == [(None, 0), (0, 0), (1, 1), (0, 1)]
    told = [e.subject for e in cohort.events if e.code == "NO_FINDING_CONTRADICTED"]
    assert told == [cohort.cases[0].case_id]
    finding = next(f for f in audit(cohort).findings if f.code == "NO_FINDING_CONTRADICTED")
    assert (finding.level, finding.count) == ("warning", 1)
    assert finding.text.startswith("1 case with No Finding and a label in one cell: that label is")


def test_no_finding_is_a_label_where_the_configuration_names_it(tmp_path: Path) -> None:
    path = _table(tmp_path, "a.png,No Finding", "b.png,Mass", header="image,found")
    classes = ["No Finding", "Mass"]
    cohort = _read(path, label="found", label_separator="|", classes=classes)
    assert [case.findings for case in cohort.cases] == [(1, 0), (0, 1)]


def test_a_data_list_may_give_several_labels(tmp_path: Path) -> None:
    items = [
        {"image": "a.png", "effusion": 1, "edema": False},
        {"image": "b.png", "effusion": None, "edema": "yes"},
        {"image": "c.png", "edema": 0},
    ]
    path = tmp_path / "list.json"
    path.write_text(json.dumps({"training": items}))
    found = [case.findings for case in _read(path).cases]
    assert found == [(1, 0), (None, 1), (None, 0)]
    with pytest.raises(CohortError, match="no item has the label 'mass'"):
        _read(path, label=["edema", "mass"])


def _archive(folder: Path, name: str, labels: np.ndarray) -> Path:
    path = folder / name
    images = np.zeros((len(labels), 8, 8), np.uint8)
    np.savez(path, train_images=images, train_labels=labels)
    return path


def test_an_archive_of_several_labels_has_their_names(tmp_path: Path) -> None:
    labels = np.eye(14, dtype=np.uint8)
    cohort = read_cohort(CohortConfig(path=str(_archive(tmp_path, "chestmnist_64.npz", labels))))
    assert cohort.multilabel
    assert cohort.classes[0] == "atelectasis"
    assert cohort.cases[1].findings == tuple(labels[1])
    other = str(_archive(tmp_path, "mine.npz", labels[:, :2]))
    assert read_cohort(CohortConfig(path=other)).classes == ("label 0", "label 1")
    named = read_cohort(CohortConfig(path=other, classes=["effusion", "edema"]))
    assert named.classes == ("effusion", "edema")
    with pytest.raises(ConfigError, match="names 3 labels, expected 2"):
        read_cohort(CohortConfig(path=other, classes=["a", "b", "c"]))


def test_an_archive_with_an_answer_of_2_is_refused(tmp_path: Path) -> None:
    path = _archive(tmp_path, "mine.npz", np.array([[0, 1], [2, 0]]))
    with pytest.raises(CohortError, match="column 'label 0': found '2', expected 1 or 0"):
        read_cohort(CohortConfig(path=str(path)))


def test_labels_are_spread_over_the_parts_and_patients_kept_together() -> None:
    split = assign_roles(_cohort(), SplitConfig(test=0.2, validation=0.2))
    assert len({(c.patient_id, c.role) for c in split.cases}) == len(
        {c.patient_id for c in split.cases}
    )
    sizes = split.sizes()
    for index in range(3):
        held, absent = split.answers(index)
        for role, share in (("test", 0.2), ("validation", 0.2), ("train", 0.6)):
            got, without = split.answers(index, role)
            assert abs(got - share * held) <= max(1.5, 0.1 * share * held)
            assert abs(without - share * absent) <= 0.12 * share * absent
    assert abs(sizes["test"] - 60) <= 6


def test_the_rarest_label_is_spread_better_than_by_chance_and_independently_of_order() -> None:
    cohort = _cohort()
    shuffled = list(cohort.cases)
    random.Random(3).shuffle(shuffled)
    one, two = (assign_roles(c, SplitConfig()) for c in (cohort, cohort.with_cases(shuffled)))
    assert split_digest(one) == split_digest(two)
    groups = [[case] for case in cohort.cases]
    parts = {str(i): 0.1 for i in range(10)}
    rare = [c.case_id for c in cohort.cases if c.findings[2] == 1]

    def spread(places: dict[str, str]) -> int:
        counts = [sum(places[case] == part for case in rare) for part in parts]
        return max(counts) - min(counts)

    assert spread(allocate_labels(groups, parts, "0")) <= 1
    blind = [[replace(case, findings=())] for case in cohort.cases]
    assert spread(allocate(blind, parts, "0")) > 1


def test_a_label_without_both_answers_is_refused() -> None:
    cases = [replace(case, findings=(*case.findings[:2], 1)) for case in _cohort().cases]
    cohort = _cohort().with_cases(cases)
    with pytest.raises(CohortError, match="label 'c' holds in 300 and is absent in 0 cases"):
        assign_roles(cohort, SplitConfig())


def test_a_split_file_of_several_labels_is_read_back(tmp_path: Path) -> None:
    split = assign_roles(_cohort(), SplitConfig())
    write_cohort(split, tmp_path / "cohort.csv", {"seed": 0}, key=b"k" * 32)
    found, header = read_split(tmp_path / "cohort.csv")
    assert header["task"] == "multilabel"
    assert header["version"] == 3
    assert [c.findings for c in found.cases] == [c.findings for c in split.cases]
    assert found.multilabel
    assert split_digest(found) == split_digest(split)
    again = read_cohort(CohortConfig(path=str(tmp_path / "cohort.csv")))
    assert again.classes == ("a", "b", "c")
    with pytest.raises(CohortError, match=r"found cohort\.label, but a run's cohort"):
        _read(tmp_path / "cohort.csv")


def test_only_opposite_answers_of_identical_images_contradict() -> None:
    def cohort(*findings) -> Cohort:
        cases = [
            Case(f"c{i}", {"image": "x"}, None, f"p{i}", findings=f) for i, f in enumerate(findings)
        ]
        return Cohort(tuple(cases), ("a", "b"), Path("x"), multilabel=True)

    same = {"c0": "d", "c1": "d"}
    assert not resolve_leaks(cohort((1, None), (1, 0)), same)[1].leaks
    with pytest.raises(CohortError, match="identical images with different labels"):
        resolve_leaks(cohort((1, 0), (0, 0)), same)


def test_counts_tell_how_often_each_label_holds() -> None:
    found = ((1, 1), (1, 0), (0, 0), (None, None))
    cases = [Case(f"c{i}", {}, None, f"p{i}", findings=f) for i, f in enumerate(found)]
    cohort = Cohort(tuple(cases), ("a", "b"), Path("x"), multilabel=True)
    assert cohort.counts() == {"unassigned": {"a": 2, "b": 1, "unknown": 1}}
    assert cohort.sizes() == {"unassigned": 4}
    assert [cohort.named(case) for case in cases] == ["a;b", "a", "none", "unknown"]


@pytest.mark.parametrize(("cell", "found"), [("edema", r"one label \(edema\)"), ("", "no label")])
def test_too_few_labels_are_refused_with_a_remedy(tmp_path: Path, cell: str, found: str) -> None:
    rows = [f"{name}.png,{cell}" for name in "abcdef"]
    cohort = _read(
        _table(tmp_path, *rows, header="image,finding"), label="finding", label_separator="|"
    )
    with pytest.raises(CohortError, match=f"found {found}.* Check cohort.label"):
        assign_roles(cohort, SplitConfig())


@pytest.mark.parametrize("name", ["none", "unknown", "effusion;mass"])
def test_a_name_that_a_cell_of_labels_could_not_tell_is_refused(tmp_path: Path, name: str) -> None:
    table = _table(tmp_path, "a.png,1,0", header=f"image,{name},edema")
    with pytest.raises(CohortError, match=f"called '{name}', but labels of a case .*Rename it"):
        _read(table, label=[name, "edema"])
