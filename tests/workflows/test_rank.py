"""Rank sources of a cohort: an order, a few that go together, and nothing from the test part."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import medfuse
from medfuse.errors import CohortError, ConfigError, OutputError, SourceError, WeightsError
from medfuse.workflows import rank as ranking_module
from medfuse.workflows.phantom_volumes import write_cases
from medfuse.workflows.rank import RankingSettings, rank_sources
from medfuse.workflows.source_ranking import SourceRanking

from .conftest import experiment_with_table, small_experiment, table_of

SOURCES = ["mini:resnet", "timm:test_resnet.random", "mini:densenet"]


def _experiment(images: Path, bank: Path, **changes: Any) -> dict[str, Any]:
    return small_experiment(images, bank={"path": str(bank)}, sources=SOURCES, **changes)


@pytest.fixture(scope="module")
def ranking(images: Path, shared_bank: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("rank") / "ranking.csv"
    return rank_sources(_experiment(images, shared_bank), out), out


def test_trained_sources_are_placed_before_an_untrained_one(ranking: Any) -> None:
    found, _ = ranking
    assert [row.place for row in found.sources] == [1, 2, 3]
    assert found.sources[2].source == "timm:test_resnet.random"
    assert found.suggested[0].source == found.sources[0].source
    assert found.groups == 24  # 30 patients, a fifth of them held out
    assert found.cases == 48


def test_table_is_written_with_every_measure_and_its_interval(ranking: Any) -> None:
    found, out = ranking
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["source"] for row in rows] == [row.source for row in found.sources]
    for row in rows:
        for name in ("logme", "h_score", "neighbors", "probe"):
            assert float(row[f"{name}_low"]) <= float(row[name]) <= float(row[f"{name}_high"])
    taken = sorted(row["suggested"] for row in rows if row["suggested"])
    assert taken == [str(i + 1) for i in range(len(found.suggested))]


def test_ranking_is_plain_data(ranking: Any) -> None:
    data = json.loads(json.dumps(ranking[0].to_dict()))
    assert data["sources"][0]["config"] == {"use": data["sources"][0]["source"]}
    assert set(data["similarity"]["mini:resnet"]) == set(SOURCES)


@pytest.mark.slow
def test_second_ranking_computes_nothing_and_says_the_same(
    ranking: Any, images: Path, shared_bank: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forwards = []
    extract = ranking_module.extract

    def counted(*arguments: Any, **options: Any) -> Any:
        found = extract(*arguments, **options)
        forwards.append(found.forwards)
        return found

    monkeypatch.setattr(ranking_module, "extract", counted)
    again = medfuse.rank_sources(_experiment(images, shared_bank))
    assert forwards == [0]
    assert again == ranking[0]


@pytest.mark.slow
def test_no_pixel_of_a_test_case_changes_the_ranking(
    ranking: Any, images: Path, tmp_path: Path
) -> None:
    from medfuse.config import parse_experiment
    from medfuse.features.bank import FeatureBank
    from medfuse.workflows.prepare import prepare_cohort

    copy = tmp_path / "images"
    shutil.copytree(images, copy)
    config = parse_experiment(_experiment(copy, tmp_path / "bank"))
    prepared = prepare_cohort(config, FeatureBank(tmp_path / "bank"), progress=False)
    for number, case in enumerate(prepared.cohort.part("test")):
        noise = np.random.default_rng(number)
        pixels = noise.integers(0, 256, (64, 64), dtype=np.uint8)
        Image.fromarray(pixels).save(case.inputs["image"])
    # Sizes and intensities that `auto` looks at are given, so that only the features could differ.
    fixed = {"image": prepared.inputs["image"].config.model_dump(mode="json")}
    found, expected = (
        rank_sources(_experiment(folder, tmp_path / "bank", inputs=fixed))
        for folder in (copy, images)
    )
    assert found.sources == expected.sources
    assert found.suggested == expected.suggested


def test_fewer_cases_are_whole_patients_of_every_class(images: Path, shared_bank: Path) -> None:
    found = rank_sources(
        _experiment(images, shared_bank), settings=RankingSettings(cases=30, pick=1)
    )
    assert 24 <= found.cases <= 30
    assert found.cases == 2 * found.groups  # two images of each patient
    assert len(found.suggested) == 1


@pytest.mark.slow
def test_what_a_configuration_trains_is_ranked_frozen(
    ranking: Any, images: Path, shared_bank: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sources: list[Any] = [{"use": SOURCES[0], "train": "last:1"}, *SOURCES[1:]]
    changes = {"fusion": {"use": "attention_maps"}, "augmentation": {"views": 3}}
    found = rank_sources(_experiment(images, shared_bank, **changes) | {"sources": sources})
    assert [r.measures for r in found.sources] == [r.measures for r in ranking[0].sources]
    assert "mini:resnet: ranked frozen, though the configuration trains it" in caplog.text


def test_local_sources_join_those_that_are_named(images: Path, shared_bank: Path) -> None:
    experiment = _experiment(images, shared_bank) | {"sources": ["timm:test_resnet.random"]}
    found = rank_sources(experiment, settings=RankingSettings(all_local=True))
    names = {row.source for row in found.sources}
    assert {"timm:test_resnet.random", "mini:resnet.distilled", "mini:densenet.distilled"} <= names


def test_local_sources_alone_can_be_ranked(images: Path, shared_bank: Path) -> None:
    experiment = _experiment(images, shared_bank)
    del experiment["sources"]
    found = rank_sources(experiment, settings=RankingSettings(all_local=True))
    assert {"mini:resnet.distilled", "mini:densenet.distilled"} <= {r.source for r in found.sources}


@pytest.mark.slow
def test_cases_that_lack_an_input_are_left_out(
    images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = table_of(images, tmp_path / "cases.csv", blank=5)
    found = rank_sources(experiment_with_table(table, bank={"path": str(tmp_path / "bank")}))
    assert "cases lack an input that a source reads, and are left out" in caplog.text
    assert {row.source for row in found.sources} == {"timm:test_resnet.random", "tabular:clinic"}


@pytest.mark.slow
def test_networks_for_volumes_and_for_slices_are_ranked_together(tmp_path: Path) -> None:
    table = write_cases(tmp_path / "cases", patients_per_class=8)
    with table.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["ct"]]
    listed = tmp_path / "ct.csv"
    lines = [f"{r['case_id']},{r['label']},{table.parent / r['ct']}" for r in rows]
    listed.write_text("\n".join(["case_id,label,image", *lines]) + "\n")
    found = rank_sources(
        {
            "cohort": {"path": str(listed)},
            "inputs": {
                "image": {
                    "kind": "volume", "modality": "CT", "size": [32, 32, 8], "windows": ["brain"],
                }
            },
            "sources": ["monai:resnet10_3d.random", "mini:resnet"],
            "bank": {"path": str(tmp_path / "bank")},
        }
    )  # fmt: skip
    assert {row.feature_dim > 0 for row in found.sources} == {True}
    assert {row.source for row in found.sources} == {"monai:resnet10_3d.random", "mini:resnet"}


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    (
        {"sources": ["mini:resnet"]},
        SourceError,
        r"found 1 usable source to rank, expected at least 2",
    ),
    (
        {"sources": ["mini:resnet", "mini:resent"]},
        SourceError,
        r"mini:resent.*Did you mean.*resnet",
    ),
    ({"sources": ["mini:resnet", "timm:resnet18@no.pt"]}, WeightsError, r"no such weights file"),
]


@pytest.mark.parametrize(("changes", "error", "text"), REFUSED)
def test_sources_that_cannot_be_ranked_are_refused(
    images: Path, shared_bank: Path, changes: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        rank_sources(_experiment(images, shared_bank) | changes)


def test_one_class_is_refused(images: Path, tmp_path: Path) -> None:
    shutil.copytree(images / "nodule", tmp_path / "images" / "nodule")
    with pytest.raises(CohortError, match="found one class"):
        rank_sources(_experiment(tmp_path / "images", tmp_path / "bank"))


def test_a_class_of_too_few_patients_is_refused_by_name(images: Path, tmp_path: Path) -> None:
    copy = tmp_path / "images"
    shutil.copytree(images, copy)
    for file in sorted((copy / "nodule").iterdir())[6:]:
        file.unlink()
    with pytest.raises(
        CohortError, match=r"class 'nodule' has cases of \d patients? to learn from"
    ):
        rank_sources(_experiment(copy, tmp_path / "bank"))


def test_too_few_drawn_cases_are_not_blamed_on_the_cohort(images: Path, shared_bank: Path) -> None:
    with pytest.raises(CohortError, match=r"Only \d+ of \d+ cases were drawn: raise cases"):
        rank_sources(_experiment(images, shared_bank), settings=RankingSettings(cases=1))


def test_settings_and_output_that_cannot_be_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found cases 0 and pick 3, expected 1 or more"):
        RankingSettings(cases=0)
    with pytest.raises(OutputError, match="a folder, expected the name of a file"):
        rank_sources({}, tmp_path)


def test_ranking_is_what_the_public_name_gives(ranking: tuple[SourceRanking, Path]) -> None:
    assert medfuse.rank_sources is rank_sources
    assert isinstance(ranking[0], SourceRanking)
