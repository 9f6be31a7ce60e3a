"""A run folder belongs to one configuration and one process."""

from __future__ import annotations

from pathlib import Path

import pytest

from medfuse.config import Experiment, load_experiment, parse_experiment
from medfuse.errors import OutputError
from medfuse.workflows.run_folder import claim_run_folder, is_finished


def experiment(**changes: object) -> Experiment:
    return parse_experiment({"cohort": {"path": "x"}, "sources": [{"use": "mini:a"}], **changes})


def test_broken_off_run_of_the_same_configuration_is_resumed(tmp_path: Path) -> None:
    for _ in range(2):
        with claim_run_folder(tmp_path / "run", experiment()) as folder:
            folder.begin()
            assert not folder.finished
    with claim_run_folder(tmp_path / "run", experiment()) as folder:
        folder.mark_finished()
    with claim_run_folder(tmp_path / "run", experiment()) as folder:
        assert folder.finished
    assert "epochs" in (tmp_path / "run" / "config.yaml").read_text()


def test_folder_of_another_configuration_is_refused_unless_fresh(tmp_path: Path) -> None:
    with claim_run_folder(tmp_path, experiment()) as folder:
        folder.begin()
        (folder.path / "checkpoints").mkdir()
        (folder.path / "notes.txt").write_text("mine")
        folder.mark_finished()
    other = experiment(seed=1)
    with (
        pytest.raises(OutputError, match="another configuration.*--fresh"),
        claim_run_folder(tmp_path, other),
    ):
        pass
    with claim_run_folder(tmp_path, other, fresh=True) as folder:
        assert not folder.finished
        assert folder.checkpoints.exists()
        folder.begin()
        assert not folder.checkpoints.exists()
        assert (folder.path / "notes.txt").read_text() == "mine"
    assert "seed: 1" in (tmp_path / "config.yaml").read_text()


def test_fresh_removes_the_slice_weights_of_an_earlier_run(tmp_path: Path) -> None:
    with claim_run_folder(tmp_path, experiment()) as folder:
        folder.begin()
        (folder.path / "metrics.json").write_text("{}")
        (folder.path / "slice_weights.csv").write_text("of volumes")
    with claim_run_folder(tmp_path, experiment(seed=1), fresh=True) as folder:
        folder.begin()
        assert not (folder.path / "slice_weights.csv").exists()


def test_either_configuration_of_a_run_is_its_own(tmp_path: Path) -> None:
    asked, resolved, other = experiment(), experiment(name="resolved"), experiment(name="other")
    with claim_run_folder(tmp_path, asked) as folder:
        folder.begin()
        (folder.path / "members").mkdir()
        folder.write_resolved(resolved)
        folder.mark_finished()
    for known in (asked, resolved):
        assert is_finished(tmp_path, known)
        with claim_run_folder(tmp_path, known) as folder:
            assert folder.finished
        assert load_experiment(tmp_path / "config.yaml").name == "resolved"
    assert not is_finished(tmp_path, other)
    with pytest.raises(OutputError, match="another"), claim_run_folder(tmp_path, other):
        pass


def test_start_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(ZeroDivisionError), claim_run_folder(run, experiment()):
        1 / 0  # noqa: B018
    assert not run.exists()


def test_start_that_fails_leaves_a_folder_that_was_there_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), claim_run_folder(tmp_path, experiment()) as folder:
        folder.begin()
        (tmp_path / "plots").mkdir()
        (tmp_path / "notes.txt").write_text("mine")
        1 / 0  # noqa: B018
    assert {f.name for f in tmp_path.iterdir()} - {".lock"} == {"notes.txt"}


def test_a_fresh_start_that_fails_keeps_the_run_that_was_there(tmp_path: Path) -> None:
    with claim_run_folder(tmp_path, experiment()) as folder:
        folder.begin()
        (tmp_path / "metrics.json").write_text("{}")
        folder.mark_finished()
    other = experiment(seed=1)
    with pytest.raises(ZeroDivisionError), claim_run_folder(tmp_path, other, fresh=True):
        1 / 0  # noqa: B018
    assert (tmp_path / "metrics.json").is_file()
    assert is_finished(tmp_path, experiment())


def test_training_that_fails_can_go_on(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), claim_run_folder(tmp_path, experiment()) as folder:
        folder.begin()
        folder.checkpoints.mkdir()
        1 / 0  # noqa: B018
    assert (tmp_path / "checkpoints").is_dir()
    with (
        pytest.raises(OutputError, match="another"),
        claim_run_folder(tmp_path, experiment(seed=1)),
    ):
        pass


def test_refused_start_does_not_keep_the_folder(tmp_path: Path) -> None:
    with claim_run_folder(tmp_path, experiment()) as folder:
        folder.begin()
    with claim_run_folder(tmp_path, experiment(seed=1)) as folder:
        assert not folder.finished
        folder.begin()
    assert "seed: 1" in (tmp_path / "config.yaml").read_text()


@pytest.mark.parametrize("name", ["thesis.docx", ".env", "config.yaml", "run.json"])
def test_folder_with_other_files_is_never_touched(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"my": "years of work"}')
    for fresh in (False, True):
        with (
            pytest.raises(OutputError, match="not a medfuse run"),
            claim_run_folder(tmp_path, experiment(), fresh=fresh),
        ):
            pass
    assert [f.name for f in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == '{"my": "years of work"}'


def test_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with (
        pytest.raises(OutputError, match="a file, expected a folder"),
        claim_run_folder(tmp_path / "run", experiment()),
    ):
        pass


def test_damaged_state_is_named(tmp_path: Path) -> None:
    with claim_run_folder(tmp_path, experiment()) as folder:
        folder.begin()
    (tmp_path / "run.json").write_text('{"medfuse": {}}')
    with (
        pytest.raises(OutputError, match=r"run\.json: damaged"),
        claim_run_folder(tmp_path, experiment()),
    ):
        pass
    assert (tmp_path / "run.json").is_file()


def test_two_runs_at_once_in_one_folder_are_refused(tmp_path: Path) -> None:
    with (
        claim_run_folder(tmp_path, experiment()),
        pytest.raises(OutputError, match="in use by another"),
        claim_run_folder(tmp_path, experiment()),
    ):
        pass
