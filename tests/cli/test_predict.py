from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest

from medfuse.cli.main import run
from medfuse.errors import BundleError, MedfuseError, PeerError
from medfuse.processes import Shard
from medfuse.serving import Answer, Prediction
from medfuse.serving import predict as serving


class FakePredictor:
    classes = ("no", "yes")
    suffixes = (".png",)
    table = None
    volumes = False
    modality = "other"
    judges = False

    metadata: ClassVar = {"name": "B", "version": "0.1.0"}

    def answers(self, images: Iterable[str], _: int | None) -> Iterator[Answer]:
        for image in images:
            yield Answer(self._one(str(image)))

    def _one(self, image: str) -> Prediction:
        if "bad" in image:
            return Prediction(case=image, status="refused", reason_code="TRUNCATED", reason="short")
        chances = {"no": 0.25, "yes": 0.75}
        if "foot" in image:
            return Prediction(
                case=image,
                status="abstained",
                reason_code="OUT_OF_DISTRIBUTION",
                reason="far away",
                probabilities=chances,
                conformal_set=("yes", "no"),
                distances={"a": 0.5, "b": 2.5},
            )
        return Prediction(case=image, status="ok", predicted="yes", probabilities=chances)


@pytest.fixture(autouse=True)
def _fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("B", "configs").mkdir(parents=True)
    Path("B", "SHA256SUMS").write_text("")
    for name in ("WORLD_SIZE", "MERCURE_IN_DIR", "HOLOSCAN_INPUT_PATH", "WORKFLOW_DIR"):
        monkeypatch.delenv(name, raising=False)
    Path("broken", "configs").mkdir(parents=True)

    def load(path: str, device: str) -> FakePredictor:
        if path == "broken":
            raise BundleError("broken: model.pt: changed since the bundle was written.")
        return FakePredictor()

    monkeypatch.setattr(serving, "load_bundle", load)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "in" / "ward").mkdir(parents=True)
    (tmp_path / "in" / "ward" / "1.png").write_bytes(b"")
    return tmp_path / "in"


def test_csv_goes_to_stdout_with_names_relative_to_the_folder(images: Path, capsys) -> None:
    assert run(["predict", "B", str(images)]) == 0
    assert capsys.readouterr().out == (
        "case,status,reason_code,predicted,prob_no,prob_yes\nward/1.png,ok,,yes,0.25,0.75\n"
    )


def test_refused_images_have_an_exit_code_of_their_own(images: Path, capsys) -> None:
    (images / "bad.png").write_bytes(b"")
    assert run(["predict", "B", str(images)]) == 3
    captured = capsys.readouterr()
    assert "bad.png,refused,TRUNCATED,,,\n" in captured.out


def test_the_name_of_the_file_says_json_and_is_not_contradicted(
    images: Path, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "p.json"
    assert run(["predict", "B", str(images), "--out", str(out)]) == 0
    assert json.loads(out.read_text())[0]["case"] == "ward/1.png"
    assert run(["predict", "B", str(images), "--json", "--out", str(tmp_path / "p.csv")]) == 1
    assert "JSON in a file named as CSV. Name it .json" in capsys.readouterr().err
    assert not (tmp_path / "p.csv").exists()


def test_abstention_is_an_answer_that_names_no_class(
    images: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakePredictor, "judges", True)
    (images / "foot.png").write_bytes(b"")
    assert run(["predict", "B", str(images)]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "case,status,reason_code,predicted,prob_no,prob_yes,set,distance",
        "foot.png,abstained,OUT_OF_DISTRIBUTION,,0.25,0.75,yes;no,2.5",
        "ward/1.png,ok,,yes,0.25,0.75,,",
    ]
    assert "abstained foot.png: far away" in captured.err
    (images / "bad.png").write_bytes(b"")
    assert run(["predict", "B", str(images), "--json"]) == 3
    foot = json.loads(capsys.readouterr().out)[1]
    assert foot["set"] == ["yes", "no"]
    assert foot["distances"] == {"a": 0.5, "b": 2.5}


def test_json_is_a_list_of_predictions(images: Path, capsys) -> None:
    assert run(["predict", "B", str(images / "ward" / "1.png"), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["case"] == "1.png"
    assert found["probabilities"] == {"no": 0.25, "yes": 0.75}


def test_out_is_written_as_a_whole_and_stdout_stays_empty(
    images: Path, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "results" / "p.csv"
    assert run(["predict", "B", str(images), "--out", str(out)]) == 0
    assert out.read_text().startswith("case,status")
    assert capsys.readouterr().out == ""
    assert [p.name for p in out.parent.iterdir()] == ["p.csv"]


def test_a_bad_bundle_is_an_error_in_one_line_and_writes_nothing(
    images: Path, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "p.csv"
    assert run(["predict", "broken", str(images), "--out", str(out)]) == 1
    assert "medfuse: error: broken: model.pt: changed" in capsys.readouterr().err
    assert not out.exists()


def test_inputs_that_do_not_exist_are_an_error(capsys) -> None:
    assert run(["predict", "B", "nowhere.png"]) == 1
    assert "nowhere.png: no such file or folder" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["B", "nowhere.png"], ["C", "in"]])
def test_of_several_processes_one_says_what_is_not_there(
    arguments: list[str], images: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    @contextmanager
    def second(_: object) -> Iterator[Shard]:
        try:
            yield Shard(1, 2)
        except MedfuseError:
            raise PeerError("") from None

    monkeypatch.setattr("medfuse.processes.joined_shard", second)
    assert run(["predict", *arguments, "--out", "p.csv"]) == 1
    assert capsys.readouterr().err == ""


def test_a_bundle_that_does_not_exist_is_an_error(images: Path, capsys) -> None:
    assert run(["predict", "C", str(images)]) == 1
    assert "C: no such folder" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["B", "nowhere.png"], ["C", "in"]])
def test_what_is_not_there_is_refused_before_torch_is_imported(
    images: Path, arguments: list[str]
) -> None:
    code = (
        "import sys; from medfuse.cli.main import run; code = run(['predict', *sys.argv[1:]]); "
        "sys.exit(7 if 'torch' in sys.modules else code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=False)
    assert done.returncode == 1


def test_a_folder_as_out_is_refused_before_anything_is_computed(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(serving, "load_bundle", None)
    assert run(["predict", "B", str(images), "--out", str(tmp_path)]) == 1
    assert f"{tmp_path}: a folder, expected the name of a file." in capsys.readouterr().err


def test_a_table_among_the_reports_is_refused_before_anything_is_computed(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(serving, "load_bundle", None)
    reports = tmp_path / "reports"
    for out in (reports, reports / "predictions.csv"):
        command = ["predict", "B", str(images), "--out", str(out), "--dicom-out", str(reports)]
        assert run(command) == 1
        assert "lies in --dicom-out" in capsys.readouterr().err
    assert not reports.exists()


def test_an_input_as_out_is_refused(images: Path, capsys) -> None:
    image = images / "ward" / "1.png"
    assert run(["predict", "B", str(image), "--out", str(image)]) == 1
    assert "is what is read. Choose another name." in capsys.readouterr().err
    assert image.read_bytes() == b""


def test_mercure_s_folders_get_a_table_and_a_result(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (images / "bad#1.png").write_bytes(b"")
    (images / "task.json").write_text("{}")
    monkeypatch.setenv("MERCURE_IN_DIR", str(images))
    monkeypatch.setenv("MERCURE_OUT_DIR", str(tmp_path / "out"))
    assert run(["predict", "B"]) == 3
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "predictions.csv",
        "result.json",
    ]
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert [row["case"] for row in result["cases"]] == ["bad#1.png", "ward/1.png"]
    assert result["model"]["name"] == "B"


def test_a_series_of_kaapana_without_images_does_not_stop_the_others(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    batch = tmp_path / "batch"
    for series in ("1", "2"):
        (batch / series / "in").mkdir(parents=True)
    shutil.copy(images / "ward" / "1.png", batch / "2" / "in")
    monkeypatch.setenv("WORKFLOW_DIR", str(tmp_path))
    monkeypatch.setenv("BATCH_NAME", "batch")
    monkeypatch.setenv("OPERATOR_IN_DIR", "in")
    monkeypatch.setenv("OPERATOR_OUT_DIR", "out")
    assert run(["predict", "B"]) == 1
    assert f"error: {batch / '1' / 'in'}: no image in this folder" in capsys.readouterr().err
    assert (batch / "2" / "out" / "predictions.csv").read_text().count("\n") == 2
    assert not (batch / "1" / "out").exists()


def test_nothing_to_predict_and_two_places_for_results_are_errors(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    assert run(["predict", "B"]) == 1
    assert "no INPUT is given, and no platform names folders" in capsys.readouterr().err
    monkeypatch.setenv("MERCURE_IN_DIR", str(images))
    monkeypatch.setenv("MERCURE_OUT_DIR", str(tmp_path / "out"))
    assert run(["predict", "B", "--out", "p.csv"]) == 1
    assert "--out p.csv: without INPUT the results go into" in capsys.readouterr().err


def test_rows_of_other_inputs_are_refused_until_fresh(images: Path, capsys) -> None:
    row = {"case": "x.png", "status": "ok", "predicted": "no", "probabilities": {"no": 1.0}}
    part = Path("p.csv.part")
    part.mkdir()
    (part / "rows-0.jsonl").write_text(json.dumps(row) + "\n")
    mark = {"medfuse": {"kind": "predictions", "version": 1}, "identity": "of another"}
    (part / "state.json").write_text(json.dumps(mark))
    command = ["predict", "B", str(images), "--out", "p.csv"]
    assert run(command) == 1
    assert "p.csv.part: holds rows of another bundle or of other inputs" in capsys.readouterr().err
    assert run([*command, "--fresh"]) == 0
    assert "x.png" not in Path("p.csv").read_text()


@pytest.mark.parametrize("size", ["many", "-2"])
def test_a_batch_size_that_is_none_says_what_is_expected(images: Path, size: str, capsys) -> None:
    assert run(["predict", "B", str(images), "--batch-size", size]) == 2
    assert f"found '{size}', expected a whole number, 1 or more" in capsys.readouterr().err


def test_batches_need_at_least_one_image(images: Path, capsys) -> None:
    assert run(["predict", "B", str(images), "--batch-size", "0"]) == 2
