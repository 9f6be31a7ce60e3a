import os
from pathlib import Path

import pytest

from medfuse.config import CohortConfig
from medfuse.data import read_cohort, tally
from medfuse.errors import CohortError


def _touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def _read(path: Path, **settings):
    return read_cohort(CohortConfig(path=str(path), **settings))


@pytest.mark.parametrize("stray", ["0.png", "train/0.png"])
def test_an_image_beside_the_class_folders_is_counted(tmp_path, stray, caplog):
    folder = "train/" if "/" in stray else ""
    cohort = _read(_touch(tmp_path, f"{folder}a/1.png", f"{folder}b/2.png", stray, "README.txt"))
    assert len(cohort.cases) == 2
    assert tally(cohort.events)["IMAGE_WITHOUT_CLASS_SKIPPED"] == 1
    assert "1 images lie in no class folder" in caplog.text


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["01", "02"], ("01", "02")),
        (["00", "0", "1"], ("0", "00", "1")),
        (["10", "9"], ("9", "10")),
    ],
)
def test_number_labels_keep_their_text(tmp_path, names, expected):
    cohort = _read(_touch(tmp_path, *(f"{name}/1.png" for name in names)))
    assert cohort.classes == expected
    assert all(c.case_id == f"{cohort.classes[c.label]}/1.png" for c in cohort.cases)


def test_a_file_name_of_stray_bytes_is_named_in_escapes(tmp_path):
    _touch(tmp_path, "a/1.png", "b/2.png")
    try:
        Path(os.fsdecode(os.fsencode(tmp_path / "b") + b"/\xff.png")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(CohortError, match=r"b/\\udcff\.png: its name is not UTF-8") as caught:
        _read(tmp_path)
    str(caught.value).encode()
