"""``medfuse data check``, ``split`` and ``fetch``: options, output, exit codes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.audit.conftest import picture

from .conftest import shown_by


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 24 patients of two classes at three sites, with a second picture each."""
    folder = tmp_path_factory.mktemp("cohort")
    rows = ["case_id,finding,who,site,image,other"]
    for place in range(24):
        Image.fromarray(picture(place, 48)).save(folder / f"{place}.png")
        Image.fromarray(picture(100 + place, 40)).save(folder / f"o{place}.png")
        site = ("north", "south", "west")[place // 8]
        rows.append(f"c{place},{'ab'[place % 2]},P{place},{site},{place}.png,o{place}.png")
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    return folder / "cases.csv"


def roles(file: Path) -> list[dict[str, str]]:
    """Return the rows of a split file."""
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(line for line in stream if not line.startswith("#")))


@pytest.mark.slow
def test_check_prints_tables_findings_and_a_verdict(table: Path) -> None:
    shown = shown_by("data", "check", table, "--label", "finding", "--group", "who", "--quiet")
    assert shown.code == 0
    lines = shown.out.splitlines()
    assert lines[0].split()[:4] == ["CLASS", "CASES", "PATIENTS", "REFUSED"]
    assert any(line.split()[:2] == ["SITE", "CASES"] for line in lines)
    assert any(line.startswith("TRIVIAL FEATURES") for line in lines)
    assert lines[-1] == "VERDICT  nothing stops training; nothing misleads."


@pytest.mark.slow
def test_check_writes_its_page_where_it_says(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shown = shown_by("data", "check", table, "--label", "finding", "--out", out, "--quiet")
    assert shown.out.splitlines()[-1] == f"page     {out}/check.html"
    assert (out / "check.html").is_file()


@pytest.mark.slow
def test_check_as_json_is_the_file_and_nothing_else(table: Path, tmp_path: Path) -> None:
    options = ("--label", "finding", "--json", "--out", tmp_path, "--quiet")
    shown = shown_by("data", "check", table, *options)
    found = json.loads(shown.out)
    assert found == json.loads((tmp_path / "check.json").read_text())
    assert {finding["code"] for finding in found["findings"]} >= {"NO_PATIENT"}


@pytest.mark.slow
def test_check_of_named_inputs_reads_them_all(table: Path) -> None:
    options = ("--label", "finding", "--input", "image", "--input", "other", "--json", "--quiet")
    found = json.loads(shown_by("data", "check", table, *options).out)
    assert found["files"] == 48
    assert [row["name"] for row in found["tables"]["input"]][::3] == ["image", "other"]


def test_what_training_refuses_is_fatal_yet_the_exit_code_is_0(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for place in range(2):
            Image.fromarray(picture(place)).save(tmp_path / name / f"{place}.png")
    shown = shown_by("data", "check", tmp_path, "--quiet")
    assert shown.code == 0
    assert "FATAL    2 groups of identical images with different labels." in shown.out
    assert "VERDICT  1 thing stops training" in shown.out


def test_check_takes_the_policy_of_a_configuration(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "in" / name).mkdir(parents=True)
        for place in range(2):
            values = picture(place).astype(np.uint16) * 9 if place else picture(place + ord(name))
            Image.fromarray(values).save(tmp_path / "in" / name / f"{place}.png")
    data: dict[str, Any] = {
        "cohort": {"path": "in", "on_leak": "drop_from_training"},
        "inputs": {"image": {"intensity": "percentile"}},
        "sources": ["nothing:that_exists"],
    }
    file = tmp_path / "experiment.yaml"
    for lenient in (True, False):
        file.write_text(yaml.safe_dump(data if lenient else {**data, "inputs": {"image": {}}}))
        shown = shown_by("data", "check", file, "--json", "--quiet")
        codes = {f["code"]: f["level"] for f in json.loads(shown.out)["findings"]}
        assert codes["EXACT_DUPLICATES_ACROSS_LABELS"] == "warning"
        assert codes.get("MIXED_BIT_DEPTH") == (None if lenient else "fatal")


def test_a_cohort_that_is_not_there_is_one_line_and_exit_1(tmp_path: Path) -> None:
    shown = shown_by("data", "check", tmp_path / "absent", "--quiet")
    assert (shown.code, shown.out) == (1, "")
    assert shown.err.startswith("medfuse: error: ")
    assert len(shown.err.splitlines()) == 1


def test_split_writes_parts_and_counts_them(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "split.csv"
    options = ("--label", "finding", "--group", "who", "--test", "0.25", "--validation", "0.25")
    shown = shown_by("data", "split", table, *options, "--out", out, "--json", "--quiet")
    assert (shown.code, json.loads(shown.out)["counts"]) == (
        0,
        {role: {"a": n, "b": n} for role, n in {"train": 6, "validation": 3, "test": 3}.items()},
    )
    written = [row["role"] for row in roles(out)]
    assert {role: written.count(role) for role in set(written)} == {
        "train": 12, "validation": 6, "test": 6,
    }  # fmt: skip


def test_split_holds_out_a_site(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "split.csv"
    options = ("--label", "finding", "--hold-out-site", "south", "--out", out, "--quiet")
    shown = shown_by("data", "split", table, *options)
    assert shown.code == 0
    assert shown.out.splitlines()[-1] == f"written to {out}"
    sites = {row["role"]: set() for row in roles(out)}
    for row in roles(out):
        sites[row["role"]].add(row["site"])
    assert sites.pop("test") == {"south"}
    assert all("south" not in found for found in sites.values())


def test_split_of_an_unknown_site_suggests_the_nearest(table: Path, tmp_path: Path) -> None:
    options = ("--label", "finding", "--hold-out-site", "suoth", "--out", tmp_path / "s.csv")
    shown = shown_by("data", "split", table, *options)
    assert shown.code == 1
    assert "no case is of the site 'suoth', found north (8), south (8), west (8)" in shown.err
    assert 'Did you mean "south"?' in shown.err


def test_split_repeats_folds_in_one_file(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "split.csv"
    options = ("--label", "finding", "--folds", "3", "--repeats", "2", "--out", out, "--quiet")
    assert shown_by("data", "split", table, *options).code == 0
    rows = roles(out)
    assert len(rows) == 48
    for repeat in ("0", "1"):
        folds = [row["fold"] for row in rows if row["repeat"] == repeat]
        assert [folds.count(str(fold)) for fold in range(3)] == [8, 8, 8]
    divisions = [[row["fold"] for row in rows if row["repeat"] == repeat] for repeat in "01"]
    assert divisions[0] != divisions[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("check",),
        ("split", "x"),
        ("preview", "x"),
        ("split", "x", "--out", "y", "--on-leak", "ignore"),
        ("split", "x", "--out", "y", "--test", "many"),
        ("fetch", "--size", "large"),
        ("show",),
    ],
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    assert shown_by("data", *arguments).code == 2


def test_fetch_without_a_name_lists_the_sets() -> None:
    shown = shown_by("data", "fetch")
    assert shown.code == 0
    assert shown.out.split()[:2] == ["NAME", "LICENSE"]
    listed = json.loads(shown_by("data", "fetch", "--json").out)
    assert {"pneumoniamnist"} <= set(listed)
    assert set(listed["pneumoniamnist"]) == {"summary", "license"}


def test_fetch_of_an_unknown_set_suggests_the_nearest(tmp_path: Path) -> None:
    shown = shown_by("data", "fetch", "pneumonamnist", "--out", tmp_path)
    assert (shown.code, shown.out) == (1, "")
    assert "pneumoniamnist" in shown.err


def test_split_counts_cases_and_not_the_labels_that_hold(table: Path, tmp_path: Path) -> None:
    header, *rows = table.read_text().splitlines()
    rows = [row.rpartition(",")[0] for row in rows]  # of the first picture alone
    several = [f"{row},{i % 2},{i % 3 % 2}" for i, row in enumerate(rows)]
    labels = table.with_name("labels.csv")
    labels.write_text("\n".join([f"{header.rpartition(',')[0]},x,y", *several]) + "\n")
    config = tmp_path / "split.yaml"
    section = f"{{path: {labels}, label: [x, y], group: who}}"
    config.write_text(f"{{cohort: {section}, sources: [mini:resnet]}}")
    shown = shown_by("data", "split", config, "--out", tmp_path / "split.csv", "--quiet")
    assert shown.code == 0, shown.err
    counted = [int(line.split()[1]) for line in shown.out.splitlines()[:-1]]
    assert sum(counted) == len(rows)
