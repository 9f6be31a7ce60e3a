from __future__ import annotations

from pathlib import Path

import pytest

from medfuse.errors import CohortError, OutputError
from medfuse.serving.inputs import expand_inputs, require_apart


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def test_folders_name_their_images_relative_and_files_by_themselves(tmp_path: Path) -> None:
    touch(tmp_path, "in/b/2.png", "in/1.png", "3.png")
    found = expand_inputs([str(tmp_path / "in"), str(tmp_path / "3.png")], [".png"])
    assert [name for name, _ in found] == ["1.png", "b/2.png", "3.png"]
    assert all(Path(reference).is_file() for _, reference in found)


def test_names_that_occur_twice_are_given_in_full(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "b/1.png", "b/2.png")
    found = expand_inputs([str(tmp_path / "a"), str(tmp_path / "b")], [".png"])
    assert [name for name, _ in found] == [
        str(tmp_path / "a" / "1.png"),
        str(tmp_path / "b" / "1.png"),
        "2.png",
    ]


def test_files_of_any_ending_are_taken_if_named(tmp_path: Path) -> None:
    touch(tmp_path, "scan.bin")
    assert expand_inputs([str(tmp_path / "scan.bin")], [".png"])[0][0] == "scan.bin"


def test_images_inside_archives_are_references(tmp_path: Path) -> None:
    touch(tmp_path, "x.npz")
    reference = f"{tmp_path / 'x.npz'}::test_images::3"
    assert expand_inputs([reference], [])[0] == ("x.npz::test_images::3", reference)


def test_a_table_is_refused_with_what_takes_one(tmp_path: Path) -> None:
    table = tmp_path / "cases.csv"
    table.write_text("image,label\n")
    message = r"cases\.csv: a table of cases, which a bundle of several inputs takes\. This bundle"
    with pytest.raises(CohortError, match=message):
        expand_inputs([str(table)], (".png",))


def test_what_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"absent\.png: no such file or folder"):
        expand_inputs([str(tmp_path / "absent.png")], [".png"])


def test_folders_without_images_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"no image in this folder, expected files with \.png"):
        expand_inputs([str(tmp_path)], [".png"])


def test_no_name_of_one_image_is_that_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "x/a.png", "z/a.png", "y/x/a.png")
    monkeypatch.chdir(tmp_path)
    found = expand_inputs(["x/a.png", "z/a.png", "y"], [".png"])
    assert len({name for name, _ in found}) == len(found) == 3


@pytest.mark.parametrize(
    ("out", "why"),
    [
        ("in/1.png", "is what is read"),
        ("cases.csv", "is what is read"),
        ("in/cases.csv", "is what is read"),
        ("in/2.png", "is what is read"),
        ("B/SHA256SUMS", "lies in the bundle"),
        ("B/new/predictions.csv", "lies in the bundle"),
    ],
)
def test_results_never_replace_what_is_read_or_a_part_of_the_bundle(
    tmp_path: Path, out: str, why: str
) -> None:
    touch(tmp_path, "in/1.png", "in/2.png", "in/cases.csv", "cases.csv", "B/SHA256SUMS")
    inputs = [str(tmp_path / name) for name in ("in/1.png", "cases.csv", "in")]
    with pytest.raises(OutputError, match=why):
        require_apart(tmp_path / out, inputs, tmp_path / "B")
    touch(tmp_path, "in/predictions.csv")
    require_apart(tmp_path / "in/predictions.csv", inputs, tmp_path / "B")
    require_apart(tmp_path / "out.csv", inputs, tmp_path / "B")
