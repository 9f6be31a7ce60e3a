"""Rows of other banks are taken over once, whole, and checked."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from medfuse.errors import BankError
from medfuse.features.bank import FeatureBank
from medfuse.features.keys import BankKey
from medfuse.features.merge import Merged, merge_banks

IDENTITY = {"weights": "a"}


def _row(number: int) -> dict[BankKey, np.ndarray]:
    key = BankKey(f"{number:04x}", view=number % 2, augmentation="ab" if number % 2 else "")
    return {key: np.full(4, number, dtype=np.float32)}


def _bank(folder: Path, *numbers: int) -> FeatureBank:
    bank = FeatureBank(folder)
    with bank.recipe(IDENTITY, "a") as store:
        store.put({key: row for number in numbers for key, row in _row(number).items()})
    return bank


def test_rows_of_two_banks_are_found_in_one(tmp_path: Path) -> None:
    target = _bank(tmp_path / "all", 1)
    one, two = _bank(tmp_path / "one", 1, 2), _bank(tmp_path / "two", *range(3, 1200))
    one.memo().close()
    assert merge_banks([one], target) == Merged(recipes=1, rows=1, known=1)
    assert merge_banks([two], target) == Merged(recipes=1, rows=1197)
    assert merge_banks([two], target) == Merged(known=1197)
    with target.recipe(IDENTITY) as store:
        for number in (1, 2, 3, 1199):
            ((key, values),) = _row(number).items()
            np.testing.assert_array_equal(store.get([key])[key], values)
    (file,) = target.stats().files
    assert (file.label, file.identity, file.rows) == ("a", IDENTITY, 1199)
    assert two.stats().files[0].rows == 1197


def test_a_row_that_was_changed_is_left_behind(tmp_path: Path) -> None:
    one, target = _bank(tmp_path / "one", 1, 2), FeatureBank(tmp_path / "all")
    with closing(sqlite3.connect(one.stats().files[0].path)) as connection:
        connection.execute("UPDATE features SET value = zeroblob(16) WHERE image = x'0002'")
        connection.commit()
    assert merge_banks([one], target) == Merged(recipes=1, rows=1, damaged=1)


def test_a_damaged_row_of_the_target_is_replaced(tmp_path: Path) -> None:
    one, target = _bank(tmp_path / "one", 1, 2), _bank(tmp_path / "all", 1, 2)
    with closing(sqlite3.connect(target.stats().files[0].path)) as connection:
        connection.execute("UPDATE features SET value = zeroblob(16) WHERE image = x'0002'")
        connection.commit()
    assert merge_banks([one], target) == Merged(recipes=1, rows=1, known=1)
    with target.recipe(IDENTITY) as store:
        assert len(store.get([*_row(1), *_row(2)])) == 2
    assert merge_banks([one], target) == Merged(known=2)


def test_rows_that_fit_the_budget_are_taken_and_its_size_is_told(tmp_path: Path) -> None:
    one = _bank(tmp_path / "one", *range(4000))
    small = FeatureBank(tmp_path / "small", budget_gb=400e-6)
    with pytest.raises(
        BankError, match=r"its budget of 400\.0 kB \(\d.*used\).*--budget-gb"
    ) as error:
        merge_banks([one], small)
    assert "one/v1/" in str(error.value)
    (file,) = small.stats().files
    assert 500 < file.rows < 4000
    assert file.bytes <= 400_000
    assert merge_banks([one], FeatureBank(small.root)) == Merged(1, 4000 - file.rows, file.rows)


def test_what_cannot_be_merged_is_named(tmp_path: Path) -> None:
    target = _bank(tmp_path / "all", 1)
    with pytest.raises(BankError, match=r"absent: found no features, expected the folder of a"):
        merge_banks([FeatureBank(tmp_path / "absent")], target)
    with pytest.raises(BankError, match="is the bank to merge into"):
        merge_banks([FeatureBank(tmp_path / "all")], target)
    one = _bank(tmp_path / "one", 2)
    with pytest.raises(BankError, match="found no features"):
        merge_banks([one, FeatureBank(tmp_path / "absent")], FeatureBank(tmp_path / "new"))
    assert not (tmp_path / "new").exists()
    small = FeatureBank(tmp_path / "small", budget_gb=1e-9)
    with pytest.raises(BankError, match=r"its budget of 1 B .*--budget-gb"):
        merge_banks([one], small)
    one.stats().files[0].path.write_bytes(b"no database" * 100)
    with pytest.raises(BankError, match=r"is damaged\. Nothing was merged"):
        merge_banks([one], target)
