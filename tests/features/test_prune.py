from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from medfuse.errors import BankError
from medfuse.features.bank import FeatureBank
from medfuse.features.keys import BankKey
from medfuse.features.prune import PruneOrder

ROW = {BankKey("ab"): np.zeros(5000, dtype=np.float32)}
DAY = 86_400


@pytest.fixture
def bank(tmp_path: Path) -> FeatureBank:
    """Three recipes, last used 1, 10 and 100 days ago."""
    bank = FeatureBank(tmp_path / "bank")
    for label, days in (("new", 1), ("old", 10), ("oldest", 100)):
        with bank.recipe({"weights": label}, label) as store:
            store.put(ROW)
        moment = time.time() - days * DAY
        os.utime(store.path, (moment, moment))
    bank.memo().close()
    return bank


def labels(bank: FeatureBank) -> list[str]:
    return [file.label for file in bank.stats().files if file.recipe != "digests"]


def path_of(bank: FeatureBank, label: str) -> Path:
    return next(file.path for file in bank.stats().files if file.label == label)


def test_stats_tell_what_is_there(bank: FeatureBank) -> None:
    inventory = bank.stats()
    assert labels(bank) == ["new", "old", "oldest"]
    entry = next(file for file in inventory.files if file.label == "new")
    assert (entry.images, entry.rows, entry.value_bytes, entry.state) == (1, 1, 20_000, "ok")
    assert entry.identity == {"weights": "new"}
    assert inventory.bytes == bank.used_bytes() == sum(file.bytes for file in inventory.files)


def test_stats_of_no_bank_are_empty(tmp_path: Path) -> None:
    bank = FeatureBank(tmp_path / "absent")
    assert bank.stats().files == ()
    assert bank.used_bytes() == 0
    assert not (tmp_path / "absent").exists()


def test_looking_is_not_using(bank: FeatureBank) -> None:
    before = [file.last_use for file in bank.stats().files]
    bank.stats()
    assert [file.last_use for file in bank.stats().files] == before


@pytest.mark.parametrize(
    ("order", "left"),
    [
        (PruneOrder(), ["new", "old", "oldest"]),
        (PruneOrder(older_than_days=5), ["new"]),
        (PruneOrder(older_than_days=50), ["new", "old"]),
        (PruneOrder(recipe="old"), ["new", "oldest"]),
        (PruneOrder(max_gb=420e-6), ["new", "old"]),
        (PruneOrder(max_gb=0), []),
        (PruneOrder(everything=True), []),
        (PruneOrder(everything=True, dry_run=True), ["new", "old", "oldest"]),
    ],
)
def test_what_is_chosen_goes_and_the_rest_stays(bank, order: PruneOrder, left: list[str]) -> None:
    before = bank.used_bytes()
    pruned = bank.prune(order)
    assert labels(bank) == left
    assert pruned.in_use == ()
    if not order.dry_run:
        assert bank.used_bytes() == before - pruned.bytes


def test_a_recipe_can_be_given_by_the_start_of_its_digest(bank: FeatureBank) -> None:
    bank.prune(PruneOrder(recipe=path_of(bank, "old").stem[:12]))
    assert labels(bank) == ["new", "oldest"]


@pytest.mark.parametrize("name", ["olden", ""])
def test_an_unknown_recipe_is_refused_with_the_known_ones(bank: FeatureBank, name: str) -> None:
    with pytest.raises(BankError, match=f"no recipe '{name}'.*Known: .*new, old, oldest"):
        bank.prune(PruneOrder(recipe=name))


def test_files_that_cannot_be_used_go_without_being_asked(bank: FeatureBank) -> None:
    path_of(bank, "new").write_bytes(b"\xff" * 9000)
    deep = path_of(bank, "old")
    content = bytearray(deep.read_bytes())
    content[32_768:] = b"\xff" * (len(content) - 32_768)
    deep.write_bytes(content)
    with closing(sqlite3.connect(path_of(bank, "oldest"))) as other:
        other.execute("PRAGMA user_version=9")
    pruned = bank.prune(PruneOrder())
    assert sorted(file.state for file in pruned.removed) == ["damaged", "damaged", "version"]
    assert labels(bank) == []
    with bank.recipe({"weights": "new"}, "new") as store:
        store.put(ROW)
        assert len(store.get(list(ROW))) == 1


def test_a_file_that_is_being_written_is_left(bank: FeatureBank) -> None:
    with closing(sqlite3.connect(path_of(bank, "old"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        pruned = bank.prune(PruneOrder(everything=True))
        assert [file.label for file in pruned.in_use] == ["old"]
        assert labels(bank) == ["old"]


def test_a_store_that_is_open_meanwhile_starts_anew(bank: FeatureBank) -> None:
    with bank.recipe({"weights": "old"}, "old") as store:
        assert len(store.get(list(ROW))) == 1
        bank.prune(PruneOrder(recipe="old"))
        store.put({BankKey("cd"): ROW[BankKey("ab")]})
    with bank.recipe({"weights": "old"}, "old") as store:
        assert set(store.get([BankKey("ab"), BankKey("cd")])) == {BankKey("cd")}


def test_no_journal_is_left_behind(bank: FeatureBank) -> None:
    bank.prune(PruneOrder(everything=True))
    assert list(bank.folder.iterdir()) == []


def test_a_budget_is_more_than_nothing(tmp_path: Path) -> None:
    with pytest.raises(BankError, match="bank budget: found 0 GB, expected more than 0"):
        FeatureBank(tmp_path, budget_gb=0)


def test_the_folder_comes_from_the_environment(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MEDFUSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MEDFUSE_BANK", raising=False)
    assert FeatureBank().folder == tmp_path / "cache/bank/v1"
    monkeypatch.setenv("MEDFUSE_BANK", str(tmp_path / "other"))
    assert FeatureBank().folder == tmp_path / "other/v1"
    assert FeatureBank(tmp_path / "given").folder == tmp_path / "given/v1"
