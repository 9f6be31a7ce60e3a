import hashlib
import json
import stat
from pathlib import Path

import pytest

from medfuse.config import CohortConfig
from medfuse.data import Case, Cohort, read_cohort, read_split, split_digest, write_cohort
from medfuse.errors import CohortError

KEY = b"k" * 32


def _cohort(root: Path) -> Cohort:
    cases = (
        Case("c1", {"image": str(root / "a/1.png")}, 0, "Smith^John", "north", "train", 0, 2),
        Case("c2", {"image": "/elsewhere/2.png"}, None, "Jones", role="test"),
        Case("c3", {"image": f"{root / 'm.npz'}::train_images::4"}, 1, "Smith^John", role="train"),
    )
    return Cohort(cases, ("well", "sick"), root, given_roles=True)


def test_a_cohort_comes_back_as_it_was_written(tmp_path):
    cohort = _cohort(tmp_path)
    write_cohort(cohort, tmp_path / "run/cohort.csv", {"seed": 3}, {"c1": "ab"}, KEY)
    back, header = read_split(tmp_path / "run/cohort.csv")
    assert [(c.case_id, c.inputs, c.label, c.role, c.fold, c.site) for c in back.cases] == [
        (c.case_id, c.inputs, c.label, c.role, c.fold, c.site) for c in cohort.cases
    ]
    assert back.classes == cohort.classes
    assert back.given_roles
    assert header["seed"] == 3
    assert header["split_digest"] == split_digest(cohort) == split_digest(back)


def test_patients_are_hashed_with_the_key_once(tmp_path):
    write_cohort(_cohort(tmp_path), tmp_path / "1.csv", {}, key=KEY)
    text = (tmp_path / "1.csv").read_text()
    assert "Smith" not in text
    assert "Jones" not in text
    back, _ = read_split(tmp_path / "1.csv")
    assert back.cases[0].patient_id == back.cases[2].patient_id != back.cases[1].patient_id
    write_cohort(back, tmp_path / "2.csv", {}, key=b"other" * 7)
    assert read_split(tmp_path / "2.csv")[0].cases == back.cases
    write_cohort(_cohort(tmp_path), tmp_path / "3.csv", {}, key=b"o" * 32)
    assert read_split(tmp_path / "3.csv")[0].cases[0].patient_id != back.cases[0].patient_id


def test_the_users_key_is_private_and_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDFUSE_CACHE", str(tmp_path / "cache"))
    for name in ("1.csv", "2.csv"):
        write_cohort(_cohort(tmp_path), tmp_path / name, {})
    key = tmp_path / "cache/pseudonyms.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "1.csv").stat().st_mode) == 0o600
    assert (tmp_path / "1.csv").read_text() == (tmp_path / "2.csv").read_text()
    assert [path.name for path in key.parent.iterdir()] == ["pseudonyms.key"]


def test_a_runs_cohort_can_be_the_cohort_of_another(tmp_path):
    write_cohort(_cohort(tmp_path), tmp_path / "cohort.csv", {}, key=KEY)
    cohort = read_cohort(CohortConfig(path=str(tmp_path / "cohort.csv")))
    assert [case.role for case in cohort.cases] == ["train", "test", "train"]


def test_a_changed_table_is_refused(tmp_path):
    path = tmp_path / "cohort.csv"
    write_cohort(_cohort(tmp_path), path, {}, key=KEY)
    path.write_text(path.read_text().replace(",test,", ",train,"))
    with pytest.raises(CohortError, match=r"cohort\.csv: the table was changed"):
        read_split(path)


def test_another_version_is_refused(tmp_path):
    path = tmp_path / "cohort.csv"
    write_cohort(_cohort(tmp_path), path, {"version": 99}, key=KEY)
    with pytest.raises(CohortError, match="split file version 99, expected 1"):
        read_split(path)


@pytest.mark.parametrize("kind", ["patient", "pixels"])
def test_a_leak_is_found_on_loading(tmp_path, kind):
    second = "p1" if kind == "patient" else "p2"
    cases = (
        Case("c1", {"image": "1.png"}, 0, "p1", role="train"),
        Case("c2", {"image": "2.png"}, 0, second, role="test"),
    )
    path = tmp_path / "cohort.csv"
    digests = {"c1": "ab", "c2": "ab"} if kind == "pixels" else {}
    write_cohort(Cohort(cases, ("a", "b"), tmp_path), path, {}, digests, KEY)
    with pytest.raises(CohortError, match=r"cohort\.csv: the cohort leaks: 1 x .*c1 = c2"):
        read_split(path)


def test_a_plain_table_is_no_split_file(tmp_path):
    (tmp_path / "t.csv").write_text("image,label\n1.png,a\n")
    with pytest.raises(CohortError, match="cannot be read as a split file"):
        read_split(tmp_path / "t.csv")


@pytest.mark.parametrize(
    "settings",
    [{"group": "site"}, {"group_pattern": "(.)"}, {"label": "site"}, {"classes": ["sick", "well"]}],
)
def test_settings_that_a_runs_cohort_fixes_are_refused(tmp_path, settings):
    path = tmp_path / "cohort.csv"
    write_cohort(_cohort(tmp_path), path, {}, key=KEY)
    with pytest.raises(CohortError, match=f"found cohort.{next(iter(settings))}, but a run's"):
        read_cohort(CohortConfig(path=str(path), **settings))
    assert read_cohort(CohortConfig(path=str(path), classes=["well", "sick"])).cases


def _rewritten(path: Path, change) -> Path:
    """Change the header and the table, with a digest that fits again."""
    first, _, body = path.read_text().partition("\n")
    header = json.loads(first.removeprefix("# "))
    body = change(header, body) or body
    header["table_digest"] = hashlib.sha256(body.encode()).hexdigest()
    path.write_text(f"# {json.dumps(header)}\n{body}")
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h, _: h.pop("root") and None, "its header has no usable root"),
        (lambda h, _: h.pop("classes") and None, "its header has no usable classes"),
        (lambda h, _: h.update(root=3), "its header has no usable root"),
        (lambda h, _: h.update(classes="ab"), "its header has no usable classes"),
        (lambda h, _: h.pop("given_roles") and None, "its header has no usable given_roles"),
        (lambda _, b: b.replace(",sick,", ",sikc,"), r"row 5: label 'sikc' is not in the class"),
        (lambda _, b: b.replace(",train,0,2,", ",train,x,2,"), "row 3: repeat is 'x'"),
        (lambda _, b: b.replace(",train,0,2,", ",train,0,-2,"), "row 3: fold is '-2'"),
        (lambda _, b: b.replace("case_id", "id"), "has no column 'case_id'"),
        (lambda _, b: b.replace("\nc2,", "\n,"), "row 4: case_id or patient_id is empty"),
        (lambda _, b: b + "c4,p\n", "row 6: has more or fewer cells"),
        (lambda _, b: b + "c4" + ",p" * 20 + "\n", "row 6: has more or fewer cells"),
        (lambda _, b: b + '"c4', "cannot be read as a split file"),
    ],
)
def test_a_damaged_file_of_the_right_digest_is_refused_in_one_line(tmp_path, change, message):
    write_cohort(_cohort(tmp_path), tmp_path / "cohort.csv", {}, key=KEY)
    path = _rewritten(tmp_path / "cohort.csv", change)
    with pytest.raises(CohortError, match=rf"cohort\.csv.*{message}") as caught:
        read_split(path)
    assert "\n" not in str(caught.value)


def test_a_header_without_end_is_refused(tmp_path):
    path = tmp_path / "cohort.csv"
    path.write_text('# {"schema": "medfuse-cohort", "x": ' + "[" * 100_000)
    with pytest.raises(CohortError, match="cannot be read as a split file"):
        read_cohort(CohortConfig(path=str(path)))
