"""The report of a run: every section, and what the guidelines' items point at."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from medfuse.config import TrainingConfig
from medfuse.report import Section
from medfuse.workflows.run_page import claim_2024, tripod_ai
from medfuse.workflows.run_page.checklists import TO_BE_FILLED_IN, checklist_sections
from medfuse.workflows.run_page.training import _settings
from medfuse.workflows.train import TrainingOutcome

ALL = [*tripod_ai.ITEMS, *claim_2024.ITEMS]
OF_OTHER_STAGES = {"explanation", "abstention"}


@pytest.fixture(scope="module")
def html(finished_run: TrainingOutcome) -> str:
    return finished_run.report.read_text(encoding="utf-8").replace("<wbr>", "")


def sections(html: str) -> list[str]:
    return re.findall(r'<section id="(\w+)">', html)


def section(html: str, anchor: str) -> str:
    found = re.search(rf'<section id="{anchor}">(.*?)</section>', html, re.DOTALL)
    assert found is not None, anchor
    return found.group(1)


def test_augmented_views_are_as_many_as_the_configuration_says(html: str) -> None:
    found = re.search(r"augmented views of a training case</dt><dd>([^,<]*)", html)
    assert found is not None
    assert found.group(1) == "1 beside the clean one"


def test_the_report_has_every_section(html: str) -> None:
    assert sections(html) == [
        "metrics", "comparison", "calibration", "abstention", "shares", "errors", "cohort", "split",
        "inputs", "sources", "model", "training", "card", "limits", "events", "tripod",
        "claim", "versions",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("anchor", "figures"),
    [
        ("metrics", ["Receiver operating", "Precision over recall", "true class by predicted",
                     "Predicted probability"]),
        ("calibration", ["How often a confidence"]),
        ("shares", ["How much each source"]),
        ("cohort", ["Cases by class", "Training images"]),
        ("training", ["Loss and accuracy"]),
    ],
)  # fmt: skip
def test_every_figure_is_in_its_section(html: str, anchor: str, figures: list[str]) -> None:
    alts = re.findall(r'<img [^>]*alt="([^"]*)"', section(html, anchor))
    assert len(alts) == len(figures)
    assert all(alt.startswith(figure) or figure in alt for alt, figure in zip(alts, figures))  # noqa: B905


@pytest.mark.parametrize(
    ("decay", "kept"),
    [
        (
            0.5,
            "the mean of the network over the epochs up to the one kept, each counting 0.5 times "
            "the next; the validation curves are of this mean",
        ),
        (0.0, "the network as it was after the epoch kept"),
    ],
)
def test_the_report_says_whether_a_mean_over_epochs_is_kept(
    html: str, decay: float, kept: str
) -> None:
    settings = _settings(TrainingConfig(ema_decay=decay, early_stopping=None), several=False)
    assert settings["what is kept"] == kept
    assert (settings["what is kept"] in section(html, "training")) == (decay == 0)


def test_every_source_stands_with_origin_license_and_digest(
    html: str, finished_run: TrainingOutcome
) -> None:
    metadata = json.loads((finished_run.bundle / "configs/metadata.json").read_text())
    for source in metadata["medfuse"]["sources"]:
        shown = section(html, "sources")
        assert source["label"] in shown
        assert source["license"] in shown
        assert (source["digest"] or "none")[:16] in shown


def test_the_card_says_what_the_bundle_says(html: str, finished_run: TrainingOutcome) -> None:
    metadata = json.loads((finished_run.bundle / "configs/metadata.json").read_text())
    for key in ("intended_use", "data_source", "copyright"):
        assert metadata[key] in section(html, "card")
    for text in re.findall(r"<li>(.*?)</li>", section(html, "limits")):
        assert text in (finished_run.bundle / "docs/README.md").read_text()


def test_left_out_cases_are_counted_by_code(
    images: Path, shared_bank: Path, tmp_path: Path
) -> None:
    from medfuse.config import parse_experiment
    from medfuse.features.bank import FeatureBank
    from medfuse.workflows.prepare import prepare_cohort
    from medfuse.workflows.run_page.cohort import count_facts, exclusions

    rows = [f"{p},{p.parent.name},{p.stem.split('_')[0]}" for p in sorted(images.rglob("*.png"))]
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    table = tmp_path / "cases.csv"
    table.write_text(
        "\n".join(["image,label,patient_id", *rows, f"{tmp_path / 'bad.png'},clear,x"])
    )
    experiment = parse_experiment({
        "cohort": {"path": str(table), "on_bad_image": "skip"},
        "inputs": {"image": {"size": [48, 48]}},
        "sources": ["timm:test_resnet.random"],
    })  # fmt: skip
    cohort = prepare_cohort(experiment, FeatureBank(str(shared_bank)), progress=False).cohort
    assert count_facts(cohort)["cases"] == str(len(rows))
    assert count_facts(cohort)["cases or files left out"] == "1"
    (found,) = exclusions(cohort)
    assert [row[1] for row in found.rows] == ["1"]


def test_guidelines_are_whole_and_numbered_once() -> None:
    parts = {3: 3, 5: 2, 6: 3, 8: 3, 9: 3, 12: 7, 18: 6, 20: 3, 23: 2, 27: 3}
    numbers = [
        f"{item}{letter}"
        for item in range(1, 28)
        for letter in "abcdefg"[: parts.get(item, 0)] or [""]
    ]
    assert [item.number for item in tripod_ai.ITEMS] == numbers
    assert [item.number for item in claim_2024.ITEMS] == [str(n) for n in range(1, 45)]


def test_items_point_at_sections_that_a_report_can_have(html: str) -> None:
    known = {*sections(html), "subgroups", *OF_OTHER_STAGES}
    assert {anchor for item in ALL for anchor in item.answered} <= known


def test_an_item_whose_sections_are_absent_is_open() -> None:
    (tripod, _) = checklist_sections([Section(anchor="limits", title="Limits", text="some")])
    rows = {row[0]: row for row in tripod.tables[0].rows}
    assert rows["19"][2] == TO_BE_FILLED_IN
    assert rows["23a"][2] == TO_BE_FILLED_IN, "nothing was measured"
    assert [link.title for link in rows["26"][2]] == ["Limits"]  # type: ignore[union-attr]


def test_subgroups_are_counted_by_part_measured_and_compared(
    run_with_table: TrainingOutcome,
) -> None:
    found = run_with_table.metrics["test"]
    assert list(found["groups"]["age"]) == ["below 43", "43 and above", "(missing)"]
    assert set(found["groups"]["sex"]) == {"(missing)", "F", "M"}
    assert sum(group["cases"] for group in found["groups"]["age"].values()) == found["cases"]
    rows = found["group_differences"]["rows"]
    assert {row["column"] for row in rows} >= {"age", "sex"}
    page = run_with_table.report.read_text(encoding="utf-8")
    assert "Cases by age and part." in section(page, "cohort")
    assert "below 43" in section(page, "subgroups")
    assert "p-values corrected by Holm" in section(page, "subgroups")


@pytest.mark.slow
def test_the_split_of_a_run_measures_the_same_subgroups_again(
    run_with_table: TrainingOutcome, tmp_path: Path
) -> None:
    from medfuse.config import EvaluationConfig
    from medfuse.workflows.evaluate import evaluate

    settings = EvaluationConfig(bootstrap=20, minimum_cases=3, subgroups=["age:43", "sex"])
    cohort = run_with_table.folder / "cohort.csv"
    again = evaluate(run_with_table.bundle, cohort, tmp_path / "e", part="test", settings=settings)
    counts = {
        name: group["cases"]
        for name, group in run_with_table.metrics["test"]["groups"]["age"].items()
    }
    assert {n: g["cases"] for n, g in again.metrics["groups"]["age"].items()} == counts
