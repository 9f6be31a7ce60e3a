"""Many cases: one row each, whatever was killed and however many processes there were."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest

from medfuse.errors import ConfigError, MedfuseError, OutputError
from medfuse.processes import Shard, joined_shard
from medfuse.serving import Answer, Prediction
from medfuse.serving.batch import BatchOptions, Target, predict_to_files
from medfuse.serving.cases import ListedCase
from medfuse.serving.row_formats import Columns, csv_text, json_text

CASES = [ListedCase(f"ward/{n:03d}.png", f"/in/ward/{n:03d}.png") for n in range(40)]


@dataclass
class Fake:
    """Answers like a predictor; stops as a killed one does after some cases."""

    stop_after: int | None = None
    asked: list[str] = field(default_factory=list)

    def answers(self, cases: Iterable[Any], _: int | None = None) -> Iterator[Answer]:
        for case in cases:
            if len(self.asked) == self.stop_after:
                raise KeyboardInterrupt
            self.asked.append(case)
            number = int(Path(case).stem)
            bad = {"status": "refused", "reason_code": "TRUNCATED", "reason": "ends early"}
            chances = {"no": number / 100, "yes": 1 - number / 100}
            good = {"status": "ok", "predicted": "yes", "probabilities": chances}
            yield Answer(Prediction(case=case, **(bad if number % 10 == 9 else good)))


def target(out: Path, identity: str = "a") -> Target:
    return Target({out: lambda rows: csv_text(rows, Columns(["no", "yes"]))}, identity)


def names(out: Path) -> list[str]:
    return [line.partition(",")[0] for line in out.read_text().splitlines()[1:]]


QUIET = BatchOptions(progress=False)


@pytest.fixture
def expected(tmp_path: Path) -> str:
    """The file that one undisturbed process writes."""
    out = tmp_path / "expected.csv"
    assert predict_to_files(Fake(), CASES, target(out), QUIET) == 4
    assert names(out) == [case.name for case in CASES]
    return out.read_text()


def test_what_was_written_is_told_with_the_number_of_each_status(tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.INFO, "medfuse")
    predict_to_files(Fake(), CASES, target(tmp_path / "p.csv"), QUIET)
    assert caplog.messages[-1] == f"written {tmp_path / 'p.csv'}: 36 ok, 4 refused"
    predict_to_files(Fake(), [], target(tmp_path / "none.csv"), QUIET)
    assert caplog.messages[-1] == f"written {tmp_path / 'none.csv'}: no cases"


def test_what_was_interrupted_goes_on_and_ends_as_if_it_had_not_been(
    tmp_path: Path, expected: str, caplog
) -> None:
    out = tmp_path / "p.csv"
    for after in (7, 11):
        with pytest.raises(KeyboardInterrupt):
            predict_to_files(Fake(after), CASES, target(out), QUIET)
        assert not out.exists()
    last = Fake()
    caplog.set_level("INFO")
    assert predict_to_files(last, CASES, target(out), QUIET) == 4
    assert last.asked == [case.given for case in CASES[18:]]
    assert "going on: 18 of 40 cases have their row" in caplog.text
    assert out.read_text() == expected
    assert sorted(item.name for item in tmp_path.iterdir()) == ["expected.csv", "p.csv"]


def test_a_row_that_was_not_finished_or_was_damaged_is_computed_again(
    tmp_path: Path, expected: str
) -> None:
    out = tmp_path / "p.csv"
    with pytest.raises(KeyboardInterrupt):
        predict_to_files(Fake(9), CASES, target(out), QUIET)
    rows = tmp_path / "p.csv.part" / "rows-0.jsonl"
    lines = rows.read_bytes().splitlines(keepends=True)
    lines[2], lines[4] = b"\0" * 50 + b"\n", b'{"case": "ward/004.png"}\n'
    rows.write_bytes(b"".join([*lines[:-1], lines[-1][:20]]))
    last = Fake()
    assert predict_to_files(last, CASES, target(out), QUIET) == 4
    assert [Path(case).stem for case in last.asked[:4]] == ["002", "004", "008", "009"]
    assert out.read_text() == expected


def test_rows_of_another_command_are_neither_used_nor_lost(tmp_path: Path) -> None:
    out = tmp_path / "p.csv"
    with pytest.raises(KeyboardInterrupt):
        predict_to_files(Fake(9), CASES, target(out), QUIET)
    other = Fake()
    with pytest.raises(OutputError, match=r"p\.csv\.part: holds rows of another bundle.*--fresh"):
        predict_to_files(other, CASES, target(out, "b"), QUIET)
    assert (tmp_path / "p.csv.part" / "rows-0.jsonl").read_bytes().count(b"\n") == 9
    predict_to_files(other, CASES, target(out, "b"), replace(QUIET, fresh=True))
    assert len(other.asked) == len(CASES)


def test_cases_that_came_or_went_meanwhile_are_in_the_order_of_the_list(tmp_path: Path) -> None:
    out = tmp_path / "p.csv"
    with pytest.raises(KeyboardInterrupt):
        predict_to_files(Fake(9), CASES[::2], target(out), QUIET)
    predict_to_files(Fake(), CASES[5:30], target(out), QUIET)
    assert names(out) == [case.name for case in CASES[5:30]]


def test_a_start_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        predict_to_files(Fake(0), CASES, target(tmp_path / "p.csv"), QUIET)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_somebody_else_is_not_touched(tmp_path: Path) -> None:
    mine = tmp_path / "p.csv.part" / "thesis.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(OutputError, match=r"p\.csv\.part: in the way"):
        predict_to_files(Fake(), CASES, target(tmp_path / "p.csv"), replace(QUIET, fresh=True))
    assert mine.read_text() == "mine"


def test_a_case_that_is_named_twice_has_its_row_twice(tmp_path: Path) -> None:
    out = tmp_path / "p.csv"
    predict_to_files(Fake(), [CASES[0], CASES[1], CASES[0]], target(out), QUIET)
    assert names(out) == [CASES[0].name, CASES[1].name, CASES[0].name]


def test_a_name_that_is_not_utf_8_does_not_lose_the_others(tmp_path: Path) -> None:
    cases = [*CASES[:2], ListedCase("ward/b\udcff.png", "/in/ward/002.png")]
    out = tmp_path / "out.csv"
    assert predict_to_files(Fake(), cases, target(out), QUIET) == 0
    assert names(out) == ["ward/000.png", "ward/001.png", "ward/b\\udcff.png"]


def test_every_file_of_a_target_has_all_rows(tmp_path: Path) -> None:
    files = {
        tmp_path / "p.csv": lambda rows: csv_text(rows, Columns(["no", "yes"])),
        tmp_path / "p.json": lambda rows: json_text(one.to_dict() for one in rows),
    }
    then = list[str]()
    last = lambda rows: then.extend(one.case for one in rows)  # noqa: E731 - as short as can be
    predict_to_files(Fake(), CASES, Target(files, "a", last), QUIET)
    rows = json.loads((tmp_path / "p.json").read_text())
    assert [row["case"] for row in rows] == names(tmp_path / "p.csv") == then


@dataclass(frozen=True)
class Meeting(Shard):
    """A share whose process is a thread."""

    barrier: Barrier = field(default_factory=lambda: Barrier(1))
    numbers: list[int] = field(default_factory=list)

    def total(self, number: int) -> int:
        self.numbers.append(number)
        self.barrier.wait(10)
        found = sum(self.numbers)
        if self.barrier.wait(10) == 0:
            self.numbers.clear()
        self.barrier.wait(10)
        return found


def test_shares_of_several_processes_become_one_file(tmp_path: Path, expected: str) -> None:
    out, barrier, numbers = tmp_path / "p.csv", Barrier(3), list[int]()
    with pytest.raises(KeyboardInterrupt):
        predict_to_files(Fake(5), CASES, target(out), QUIET)
    fakes, refused = [Fake() for _ in range(3)], [0] * 3

    def one(rank: int) -> None:
        shard = Meeting(rank, 3, barrier=barrier, numbers=numbers)
        options = BatchOptions(shard=shard, progress=False)
        refused[rank] = predict_to_files(fakes[rank], CASES, target(out), options)

    threads = [Thread(target=one, args=(rank,)) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert out.read_text() == expected
    assert refused == [4, 4, 4], "all processes end with the same exit code"
    asked = [case for fake in fakes for case in fake.asked]
    assert sorted(asked) == [case.given for case in CASES[5:]]
    assert all(len(fake.asked) > 8 for fake in fakes)
    assert not target(out).part.exists()


def test_without_torchrun_there_is_one_share(tmp_path: Path) -> None:
    for environment in ({}, {"WORLD_SIZE": "1", "RANK": "0"}):
        with joined_shard(environment) as shard:
            assert shard == Shard()
            assert shard.of(CASES) is CASES
            assert shard.device("auto") == "auto"


@pytest.mark.parametrize("rank", ["", "2", "-1", "first"])
def test_a_rank_that_cannot_be_is_refused(rank: str) -> None:
    with (
        pytest.raises(ConfigError, match=f"RANK is '{rank}' and WORLD_SIZE is '2'.*torchrun"),
        joined_shard({"WORLD_SIZE": "2", "RANK": rank}),
    ):
        pass


CHILD = """
    import os, signal, sys
    from pathlib import Path
    from tests.serving.test_batch import CASES, QUIET, Fake, predict_to_files, target

    class Killed(Fake):
        def answers(self, cases, _=None):
            for number, answer in enumerate(super().answers(cases)):
                if number == int(sys.argv[2]):
                    os.kill(os.getpid(), signal.SIGKILL)
                yield answer

    predict_to_files(Killed(), CASES, target(Path(sys.argv[1])), QUIET)
"""


@pytest.mark.slow
def test_a_killed_process_loses_no_row(tmp_path: Path, expected: str) -> None:
    out = tmp_path / "p.csv"
    code = textwrap.dedent(CHILD)
    done = subprocess.run([sys.executable, "-c", code, str(out), "13"], check=False)
    assert done.returncode == -9
    with (tmp_path / "p.csv.part" / "rows-0.jsonl").open("ab") as rows:
        rows.write(b'{"case": "ward/013.p')
    last = Fake()
    assert predict_to_files(last, CASES, target(out), QUIET) == 4
    assert last.asked == [case.given for case in CASES[13:]]
    assert out.read_text() == expected


def test_a_process_that_is_left_alone_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(_: object) -> None:
        raise RuntimeError("pair.cc:561: Connection closed by peer")

    monkeypatch.setattr("torch.distributed.all_reduce", closed)
    with pytest.raises(
        MedfuseError, match="another process ended without a word, before its share"
    ):
        Shard(0, 2).total(1)


TOGETHER = """
    import os, sys
    from pathlib import Path
    from medfuse.serving.batch import BatchOptions
    from medfuse.processes import joined_shard
    from tests.serving.test_batch import CASES, Fake, predict_to_files, target

    fake = Fake()
    with joined_shard(os.environ) as shard:
        options = BatchOptions(shard=shard, progress=False)
        refused = predict_to_files(fake, CASES, target(Path(sys.argv[1])), options)
    sys.exit(0 if (refused, len(fake.asked)) == (4, 20) else 1)
"""


@pytest.mark.slow
def test_torchrun_divides_the_cases(tmp_path: Path, expected: str) -> None:
    (tmp_path / "together.py").write_text(textwrap.dedent(TOGETHER))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    program = [str(tmp_path / "together.py"), str(tmp_path / "p.csv")]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run([*command, *program], env=environment, check=False, timeout=120)
    assert done.returncode == 0
    assert (tmp_path / "p.csv").read_text() == expected
