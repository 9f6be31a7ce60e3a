"""Files are whole or absent, whatever happens while they are written."""

from __future__ import annotations

import json
import resource
import stat
from pathlib import Path

import pytest

from medfuse.errors import OutputError
from medfuse.storage import (
    atomic_folder,
    atomic_path,
    digest_of,
    locked,
    require_file_name,
    sha256_file,
    sweep_partial,
    write_json,
    write_text,
)


def test_written_text_replaces_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "file.txt"
    write_text(file, "old")
    write_text(file, "new", mode=0o600)
    assert file.read_text() == "new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [f.name for f in file.parent.iterdir()] == ["file.txt"]


def test_failure_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "file.txt"
    write_text(file, "old")
    with pytest.raises(RuntimeError, match="broken off"), atomic_path(file) as temporary:
        temporary.write_text("half")
        raise RuntimeError("broken off")
    assert file.read_text() == "old"
    assert [f.name for f in tmp_path.iterdir()] == ["file.txt"]


def test_full_disk_is_an_output_error_naming_the_file(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.raises(OutputError, match=r"big\.txt: cannot be written"):
            write_text(tmp_path / "big.txt", "x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_folder_that_is_a_file_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_text(tmp_path / "file" / "inside.txt", "text")


def test_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    with pytest.raises(RuntimeError, match="broken off"), atomic_folder(target) as staging:
        (staging / "part").write_text("half")
        raise RuntimeError("broken off")
    assert list(tmp_path.iterdir()) == []
    for text in ("one", "two"):
        with atomic_folder(target) as staging:
            (staging / "part").write_text(text)
    assert (target / "part").read_text() == "two"
    assert [f.name for f in tmp_path.iterdir()] == ["bundle"]


def test_what_a_killed_writer_left_is_swept(tmp_path: Path) -> None:
    write_text(tmp_path / "kept.txt", "text")
    writers = [atomic_path(tmp_path / "deep" / "file"), atomic_folder(tmp_path / "folder")]
    for writer in writers:
        writer.__enter__()
    assert len(list(tmp_path.rglob(".*.partial"))) == 2
    sweep_partial(tmp_path)
    assert [f.name for f in tmp_path.rglob("*") if f.is_file()] == ["kept.txt"]
    assert not (tmp_path / "folder").exists()


def test_json_refuses_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(tmp_path / "file.json", {"auroc": float("nan")})
    assert list(tmp_path.iterdir()) == []
    write_json(tmp_path / "file.json", {"auroc": 0.5})
    assert json.loads((tmp_path / "file.json").read_text()) == {"auroc": 0.5}


def test_second_lock_on_a_folder_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with (
        locked(lock, "run folder"),
        pytest.raises(OutputError, match="run folder is in use by another"),
        locked(lock, "run folder"),
    ):
        pass
    with locked(lock, "run folder"):
        pass


def test_digests_are_those_of_sha256(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_file(tmp_path / "file") == known
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 1.5})


def test_a_folder_is_no_place_for_a_file(tmp_path: Path) -> None:
    for attempt in (lambda: write_text(tmp_path, "x"), lambda: require_file_name(tmp_path)):
        with pytest.raises(OutputError, match=r": a folder, expected the name of a file\.$"):
            attempt()
    assert not list(tmp_path.iterdir())


def test_a_missing_disk_is_no_full_one() -> None:
    with pytest.raises(OutputError, match=r"cannot be written \(.*\)\. Choose another output"):
        write_text("/proc/nobody/here.txt", "x")
    with (
        pytest.raises(OutputError, match=r"cannot be locked \(.*\)\. Choose another folder\."),
        locked("/proc/nobody/lock", "run folder"),
    ):
        pass
