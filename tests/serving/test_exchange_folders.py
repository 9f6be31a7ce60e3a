"""The folders of a hospital's platform are found by its variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from medfuse.errors import CohortError
from medfuse.serving.exchange_folders import exchange_folders


@pytest.mark.parametrize(
    "names",
    [
        ("MERCURE_IN_DIR", "MERCURE_OUT_DIR"),
        ("HOLOSCAN_INPUT_PATH", "HOLOSCAN_OUTPUT_PATH"),
        ("MONAI_INPUTPATH", "MONAI_OUTPUTPATH"),
    ],
)
def test_a_platform_with_two_folders(tmp_path: Path, names: tuple[str, str]) -> None:
    (tmp_path / "in").mkdir()
    places = dict(zip(names, (str(tmp_path / "in"), str(tmp_path / "out")), strict=True))
    [found] = exchange_folders(places)
    assert (found.images, found.results) == (tmp_path / "in", tmp_path / "out")
    with pytest.raises(CohortError, match=f"{names[0]}: set, but not {names[1]}"):
        exchange_folders({names[0]: str(tmp_path / "in")})
    with pytest.raises(CohortError, match=f"no such folder, but {names[0]} names it"):
        exchange_folders({**places, names[0]: str(tmp_path / "absent")})


def test_mercure_s_own_folders_come_before_those_it_sets_for_others(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    given = {"MERCURE_IN_DIR": str(tmp_path / "in"), "MERCURE_OUT_DIR": "out"}
    others = {"HOLOSCAN_INPUT_PATH": "elsewhere", "HOLOSCAN_OUTPUT_PATH": "elsewhere"}
    assert exchange_folders({**others, **given})[0].results == Path("out")


def test_kaapana_has_a_folder_for_each_series(tmp_path: Path) -> None:
    given = {
        "WORKFLOW_DIR": str(tmp_path),
        "BATCH_NAME": "batch",
        "OPERATOR_IN_DIR": "get-input",
        "OPERATOR_OUT_DIR": "medfuse",
    }
    with pytest.raises(CohortError, match="no such folder, but WORKFLOW_DIR/BATCH_NAME names it"):
        exchange_folders(given)
    for series in ("2.25.1", "2.25.2"):
        (tmp_path / "batch" / series / "get-input").mkdir(parents=True)
    (tmp_path / "batch" / "other").mkdir()
    found = exchange_folders(given)
    assert [one.results for one in found] == [
        tmp_path / "batch" / "2.25.1" / "medfuse",
        tmp_path / "batch" / "2.25.2" / "medfuse",
    ]
    with pytest.raises(CohortError, match="no folder in it has a folder nothing"):
        exchange_folders({**given, "OPERATOR_IN_DIR": "nothing"})


def test_without_a_platform_there_are_none() -> None:
    assert exchange_folders({}) == []
