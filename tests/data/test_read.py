import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest

from medfuse.config import CohortConfig
from medfuse.data import read_cohort, tally
from medfuse.errors import CohortError, ConfigError


def _touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def _table(path: Path, *rows: str) -> Path:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def _read(path: Path, **settings):
    return read_cohort(CohortConfig(path=str(path), **settings))


def test_flat_class_folders_give_sorted_classes_and_no_roles(tmp_path):
    cohort = _read(_touch(tmp_path, "sick/b.png", "healthy/a.PNG", "healthy/deep/c.tif"))
    assert cohort.classes == ("healthy", "sick")
    assert [(c.case_id, c.label, c.role) for c in cohort.cases] == [
        ("healthy/a.PNG", 0, None),
        ("healthy/deep/c.tif", 0, None),
        ("sick/b.png", 1, None),
    ]
    assert not cohort.given_roles


@pytest.mark.parametrize(
    "names", [("Training", "Testing"), ("train", "TEST"), ("train", "val", "test")]
)
def test_split_folders_give_roles_in_any_case_and_say_so(tmp_path, names, caplog):
    with caplog.at_level(logging.INFO, "medfuse"):
        cohort = _read(_touch(tmp_path, *(f"{name}/{c}/1.png" for name in names for c in "ab")))
    roles = {"training": "train", "train": "train", "val": "validation"}
    expected = {roles.get(name.lower(), "test") for name in names}
    assert {case.role for case in cohort.cases} == expected
    assert cohort.given_roles
    assert f"folder {names[0]} is the train part" in caplog.text


def test_the_class_order_of_the_configuration_holds(tmp_path):
    cohort = _read(_touch(tmp_path, "a/1.png", "b/1.png"), classes=["b", "a"])
    assert [case.label for case in cohort.cases] == [1, 0]


def test_other_files_are_counted_not_silently_skipped(tmp_path):
    cohort = _read(_touch(tmp_path, "a/1.png", "a/notes.txt", "a/.hidden.png", "b/1.png"))
    assert len(cohort.cases) == 2
    assert tally(cohort.events)["OTHER_FILE_SKIPPED"] == 2


def test_a_link_to_a_folder_is_named_and_never_followed_in_circles(tmp_path):
    _touch(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "a/loop").symlink_to(tmp_path / "a", target_is_directory=True)
    cohort = _read(tmp_path)
    assert len(cohort.cases) == 2
    assert tally(cohort.events)["LINKED_FOLDER_SKIPPED"] == 1


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "found no image in class folders"),
        (["1.png"], "found no image in class folders"),
        (["a/notes.txt"], "holds no image, expected at least one of the class 'a'"),
        (["train/a/1.png", "extra/a/1.png"], "either class folders or one folder each"),
        (["train/a/1.png", "Training/a/1.png"], "either class folders or one folder each"),
    ],
)
def test_folders_that_are_no_cohort_are_refused(tmp_path, names, message):
    with pytest.raises(CohortError, match=message):
        _read(_touch(tmp_path, *names))


def test_a_missing_path_is_named(tmp_path):
    with pytest.raises(CohortError, match=r"absent: there is no such file or folder"):
        _read(tmp_path / "absent")


def test_case_ids_do_not_depend_on_where_the_folder_lies(tmp_path):
    one = _read(_touch(tmp_path / "x", "a/1.png", "b/2.png"))
    two = _read(_touch(tmp_path / "elsewhere/y", "a/1.png", "b/2.png"))
    assert [c.case_id for c in one.cases] == [c.case_id for c in two.cases]


def test_a_group_pattern_gives_patients_and_keeps_them_out_of_the_case_ids(tmp_path):
    root = _touch(tmp_path, "a/smith%1.png", "a/smith%2.png", "b/jones%1.png")
    cohort = _read(root, group_pattern=r"^([^%]+)%")
    assert [case.patient_id for case in cohort.cases] == ["smith", "smith", "jones"]
    assert len({case.case_id for case in cohort.cases}) == 3
    assert not any("smith" in case.case_id or "jones" in case.case_id for case in cohort.cases)


def test_a_file_without_a_patient_is_named(tmp_path):
    root = _touch(tmp_path, "a/smith%1.png", "b/odd.png")
    with pytest.raises(CohortError, match=r"odd\.png: the file name does not match"):
        _read(root, group_pattern=r"^([^%]+)%")


@pytest.mark.parametrize(("pattern", "text"), [("[", "no regular"), ("abc", "no group in paren")])
def test_a_useless_group_pattern_is_refused(tmp_path, pattern, text):
    with pytest.raises(ConfigError, match=text):
        _read(_touch(tmp_path, "a/1.png", "b/2.png"), group_pattern=pattern)


def test_without_patients_each_case_is_its_own_and_it_is_said(tmp_path, caplog):
    cohort = _read(_touch(tmp_path, "a/1.png", "b/2.png"))
    assert len({case.patient_id for case in cohort.cases}) == 2
    assert "2 of 2 cases name no patient" in caplog.text
    assert tally(cohort.events)["NO_PATIENT"] == 2


def test_only_the_cases_without_a_patient_are_counted(tmp_path):
    rows = ("1.png,a,p1", "2.png,b,", "3.png,b,")
    table = _table(tmp_path / "t.csv", "image,label,patient_id", *rows)
    assert tally(_read(table).events)["NO_PATIENT"] == 2


def test_a_table_is_read_column_by_column(tmp_path):
    path = _table(
        tmp_path / "t.csv",
        "image,label,patient_id,site,split,fold,case_id",
        "img/1.png,sick,p1,north,train,0,c1",
        "img/2.png,,p2,south,Testing,1,c2",
        "img/3.png,well,p2,south,,2,c3",
    )
    cohort = _read(path)
    first, second, third = cohort.cases
    assert cohort.classes == ("sick", "well")
    assert first.inputs == {"image": str(tmp_path / "img/1.png")}
    assert (first.case_id, first.patient_id, first.site, first.role, first.fold) == (
        "c1",
        "p1",
        "north",
        "train",
        0,
    )
    assert (second.label, second.role, third.role) == (None, "test", None)


def test_labels_may_be_indices_of_the_class_list(tmp_path):
    path = _table(tmp_path / "t.csv", "image,label", "1.png,1", "2.png,sick", "3.png,0")
    cohort = _read(path, classes=["well", "sick"])
    assert [case.label for case in cohort.cases] == [1, 1, 0]


def test_number_labels_sort_as_numbers(tmp_path):
    path = _table(tmp_path / "t.csv", "image,label", "1.png,10", "2.png,9")
    assert _read(path).classes == ("9", "10")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["image,label"], "holds a header but no row"),
        (["image,lable", "1.png,a"], 'no column .label.; found .*Did you mean "lable"'),
        (["scan,label", "1.png,a"], "no column 'image' with the image paths"),
        (["image,label", "1.png,a,b"], "row 2: found 3 cells, expected 2"),
        (["image,label,role", "1.png,a,tset"], "row 2: role 'tset', expected train"),
        (["image,label,fold", "1.png,a,x"], "row 2: fold is 'x'"),
        (["image,label", ",a"], "row 2: has no input: image is blank"),
        (["image,image", "1.png,a"], "names a column twice"),
        (
            ["image,label,case_id", "1.png,a,c", "2.png,b,c"],
            "row 3: case_id 'c' is also in .*row 2",
        ),
        (["image,label", "1.png,a", "1.png,b"], "row 3: case_id '1.png' is also in .*row 2"),
    ],
)
def test_a_bad_table_is_refused_by_row_and_column(tmp_path, rows, message):
    with pytest.raises(CohortError, match=message):
        _read(_table(tmp_path / "t.csv", *rows))


def test_a_label_outside_the_class_list_names_the_row(tmp_path):
    path = _table(tmp_path / "t.csv", "image,label", "1.png,sick", "2.png,sikc")
    with pytest.raises(CohortError, match=r'row 3: label .sikc. is not .*Did you mean "sick"'):
        _read(path, classes=["sick", "well"])


def test_binary_rubbish_named_csv_is_refused(tmp_path):
    (tmp_path / "t.csv").write_bytes(bytes(range(128, 256)))
    with pytest.raises(CohortError, match="cannot be read as a UTF-8 table"):
        _read(tmp_path / "t.csv")


def test_an_unknown_kind_of_file_is_refused(tmp_path):
    with pytest.raises(CohortError, match=r"found a \.xlsx file, expected a folder"):
        _read(_touch(tmp_path, "t.xlsx") / "t.xlsx")


def test_a_monai_data_list_is_read(tmp_path):
    content = {
        "name": "x",
        "labels": {"0": "well", "1": "sick"},
        "training": [{"image": "a.png", "label": 1, "fold": 0, "patient_id": "p"}],
        "validation": [{"image": "b.png", "label": "well"}],
        "test": ["c.png"],
    }
    (tmp_path / "d.json").write_text(json.dumps(content))
    cohort = _read(tmp_path / "d.json")
    assert cohort.classes == ("well", "sick")
    assert [(c.label, c.role, c.fold) for c in cohort.cases] == [
        (1, "train", 0),
        (0, "validation", None),
        (None, "test", None),
    ]
    assert cohort.cases[0].patient_id == "p"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "found list, expected an object"),
        ("{", "cannot be read as JSON"),
        ('{"items": []}', "expected lists named training"),
        ('{"training": []}', "its lists are empty"),
        ('{"training": [{"image": ["a", "b"], "label": 0}]}', r"training\[0\]: image is"),
        ('{"training": [{"image": "a", "label": [0, 1]}]}', r"training\[0\]: label is \[0, 1\]"),
    ],
)
def test_a_bad_data_list_is_refused(tmp_path, content, message):
    (tmp_path / "d.json").write_text(content)
    with pytest.raises(CohortError, match=message):
        _read(tmp_path / "d.json")


def _archive(path: Path, **arrays) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def test_a_medmnist_archive_is_read(tmp_path):
    images = np.zeros((2, 4, 5), np.uint8)
    path = _archive(
        tmp_path / "m.npz",
        train_images=images,
        train_labels=np.array([[0], [1]]),
        test_images=images[:1],
        test_labels=np.array([[1]]),
    )
    cohort = _read(path, classes=["well", "sick"])
    assert [(c.case_id, c.label, c.role) for c in cohort.cases] == [
        ("train/000000", 0, "train"),
        ("train/000001", 1, "train"),
        ("test/000000", 1, "test"),
    ]
    assert cohort.cases[2].inputs["image"] == f"{path}::test_images::0"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros(3)}, "holds x, expected train_images"),
        ({"train_images": np.zeros((2, 4, 4))}, "but no train_labels"),
        ({"train_images": np.zeros((2, 4, 4)), "train_labels": np.zeros(3, int)}, "2 images but 3"),
        (
            {"train_images": np.zeros((2, 4, 4)), "train_labels": np.zeros((2, 1, 2), int)},
            "expected one whole number per image",
        ),
    ],
)
def test_a_bad_archive_is_refused(tmp_path, arrays, message):
    with pytest.raises(CohortError, match=message):
        _read(_archive(tmp_path / "m.npz", **arrays))


def test_rubbish_named_npz_is_refused(tmp_path):
    with pytest.raises(CohortError, match=r"cannot be read as a \.npz archive"):
        _read(_touch(tmp_path, "m.npz") / "m.npz")


def test_real_sets_have_the_sizes_that_are_written_of_them(shared_data):
    brain = _read(shared_data / "brain_mri4")
    assert brain.classes == ("glioma", "meningioma", "notumor", "pituitary")
    assert {role: sum(row.values()) for role, row in brain.counts().items()} == {
        "train": 1600,
        "test": 600,
    }
    pneumonia = _read(shared_data / "pneumoniamnist/pneumoniamnist.npz", classes=["normal", "ill"])
    sizes = [sum(row.values()) for row in pneumonia.counts().values()]
    assert sizes == [4708, 524, 624]


def test_one_figure_of_the_real_ct_set_is_one_patient(shared_data):
    cohort = _read(shared_data / "ct_covid2", group_pattern=r"^([^%]+)")
    names = {Path(case.inputs["image"]).name.partition("%")[0] for case in cohort.cases}
    assert {case.patient_id for case in cohort.cases} == names
    assert len(names) < len(cohort.cases)


@pytest.mark.parametrize(
    ("name", "settings", "key"),
    [
        ("folders", {"group": "patient"}, "cohort.group"),
        ("folders", {"label": "kind"}, "cohort.label"),
        ("m.npz", {"group": "patient"}, "cohort.group"),
        ("m.npz", {"group_pattern": "(.)"}, "cohort.group_pattern"),
        ("m.npz", {"label": "kind"}, "cohort.label"),
    ],
)
def test_a_setting_that_the_source_has_no_place_for_is_refused(tmp_path, name, settings, key):
    _touch(tmp_path / "folders", "a/1.png", "b/2.png")
    _archive(tmp_path / "m.npz", train_images=np.zeros((2, 4, 4)), train_labels=np.arange(2))
    with pytest.raises(CohortError, match=rf"{name}: found {key}, but .* Remove {key}\."):
        _read(tmp_path / name, **settings)


@pytest.mark.parametrize("text", ["x" * 5000, "a\0b", "~nobody-of-this-name/x"])
def test_an_impossible_path_is_refused_in_one_short_line(text):
    with pytest.raises(CohortError, match="there is no such file or folder") as caught:
        _read(text)
    assert len(str(caught.value)) < 250
    assert "\n" not in str(caught.value)


def test_a_pipe_as_cohort_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "t.npz")
    with pytest.raises(CohortError, match="is neither a file nor a folder"):
        _read(tmp_path / "t.npz")


def test_a_data_list_without_end_is_refused(tmp_path):
    (tmp_path / "d.json").write_text("[" * 100_000)
    with pytest.raises(CohortError, match=r"d\.json: is nested too deeply"):
        _read(tmp_path / "d.json")
