from __future__ import annotations

import hashlib
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from medfuse.errors import BankError
from medfuse.features.bank import FeatureBank
from medfuse.features.database import BankDamageError, BankVersionError
from medfuse.features.keys import BankKey
from medfuse.features.plan import row_bytes
from medfuse.features.rows import decode, encode
from medfuse.features.store import RecipeStore
from medfuse.features.wanted import Row, WantedRows
from medfuse.storage import digest_of

IDENTITY = {"weights": "ab" * 32}
# Fills the bank as extraction does, without torch: batches of rows that the bank lacks.
FILLER = """
import sys
import numpy as np
from medfuse.features.bank import FeatureBank
from medfuse.features.keys import BankKey
folder, count, first = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
store = FeatureBank(folder).recipe({"weights": "ab" * 32})
keys = [BankKey(f"{number:064x}") for number in range(count)]
keys = keys[first:] + keys[:first]
print("ready", flush=True)
for start in range(0, count, 10):
    batch = keys[start : start + 10]
    known = store.get(batch)
    new = [key for key in batch if key not in known]
    rows = {k: np.random.default_rng(int(k.image, 16)).random(600, dtype=np.float32) for k in new}
    store.put(rows)
    print(len(new), flush=True)
"""


def keys(count: int) -> list[BankKey]:
    return [BankKey(f"{number:064x}") for number in range(count)]


def values(key: BankKey) -> np.ndarray:
    return np.random.default_rng(int(key.image, 16)).random(600, dtype=np.float32)


def rows(count: int) -> dict[BankKey, np.ndarray]:
    return {key: values(key) for key in keys(count)}


@pytest.fixture
def bank(tmp_path: Path) -> FeatureBank:
    return FeatureBank(tmp_path / "bank")


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    arrays(
        st.sampled_from([np.float32, np.float16]),
        array_shapes(min_dims=0, max_dims=3, max_side=5),
    )
)
def test_a_row_comes_back_as_it_was(array: np.ndarray) -> None:
    key = BankKey("ab")
    back = decode(encode(key, array))
    assert back is not None
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


@given(st.integers(0, 10**6), st.integers(0, 7))
def test_any_flipped_bit_of_a_value_is_found(place: int, bit: int) -> None:
    key = BankKey("ab")
    *head, name, shape, data, checksum = encode(key, np.arange(50, dtype=np.float32))
    wrong = bytearray(data)
    wrong[place % len(data)] ^= 1 << bit
    assert decode((*head, name, shape, bytes(wrong), checksum)) is None


def test_a_value_under_another_key_is_found() -> None:
    columns = encode(BankKey("ab"), np.zeros(3, dtype=np.float32))[4:]
    assert decode((*BankKey("ac").row(), *columns)) is None


def test_only_float32_and_float16_are_kept() -> None:
    with pytest.raises(ValueError, match="found values of type float64, expected one of float32"):
        encode(BankKey("ab"), np.zeros(3))


def test_views_slices_and_augmentations_are_rows_of_their_own(bank: FeatureBank) -> None:
    wanted = [
        BankKey("ab"),
        BankKey("ab", slice=1),
        BankKey("ab", 1, augmentation="01"),
        BankKey("ab", 2, augmentation="01"),
        BankKey("ab", 1, augmentation="02"),
    ]
    with bank.recipe(IDENTITY) as store:
        store.put({key: np.full(2, i, dtype=np.float32) for i, key in enumerate(wanted)})
        got = store.get(wanted)
        assert [got[key][0] for key in wanted] == [0, 1, 2, 3, 4]
        assert store.get([BankKey("ab", 3, augmentation="01")]) == {}


def test_recipes_do_not_see_each_other(bank: FeatureBank) -> None:
    with bank.recipe(IDENTITY) as one, bank.recipe({"weights": "cd"}) as other:
        one.put(rows(1))
        assert other.get(keys(1)) == {}


def test_files_are_private(bank: FeatureBank) -> None:
    with bank.recipe(IDENTITY) as store, bank.memo():
        store.put(rows(1))
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in bank.root.rglob("*")}
    assert stat.S_IMODE(bank.root.stat().st_mode) == 0o700
    assert {m for path, m in modes.items() if path.is_dir()} == {0o700}
    assert {m for path, m in modes.items() if path.is_file()} == {0o600}


def test_the_journal_of_a_running_commit_is_private(bank: FeatureBank) -> None:
    with bank.recipe(IDENTITY) as store:
        store.put(rows(1))
        with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
            other.execute("PRAGMA cache_spill=ON")
            other.execute("BEGIN IMMEDIATE")
            other.execute("DELETE FROM features")
            journal = store.path.with_name(store.path.name + "-journal")
            assert stat.S_IMODE(journal.stat().st_mode) == 0o600


def test_an_open_folder_is_made_private(bank: FeatureBank) -> None:
    bank.folder.mkdir(parents=True)
    bank.folder.chmod(0o755)
    bank.recipe(IDENTITY).close()
    assert stat.S_IMODE(bank.folder.stat().st_mode) == 0o700


def test_a_damaged_row_is_unknown_counted_and_replaced(bank: FeatureBank) -> None:
    with bank.recipe(IDENTITY) as store:
        store.put(rows(3))
        with closing(sqlite3.connect(store.path)) as other, other:
            other.execute("UPDATE features SET value = zeroblob(2400) WHERE rowid = 2")
        assert set(store.get(keys(3))) == {keys(3)[0], keys(3)[2]}
        assert store.damaged == {keys(3)[1]}
        store.put({keys(3)[1]: values(keys(3)[1])})
        assert len(store.get(keys(3))) == 3
        assert not store.damaged


def test_a_damaged_file_is_named_with_its_remedy(bank: FeatureBank) -> None:
    with bank.recipe(IDENTITY) as store:
        store.put(rows(50))
    store.path.write_bytes(b"\xff" * 5000)
    with pytest.raises(BankDamageError, match=r"is damaged .*medfuse bank prune") as caught:
        bank.recipe(IDENTITY)
    assert str(store.path) in str(caught.value)


def test_damage_deep_in_a_file_is_named_with_its_remedy(bank: FeatureBank) -> None:
    with bank.recipe(IDENTITY) as store:
        store.put(rows(50))
    content = bytearray(store.path.read_bytes())
    content[65_536:] = b"\xff" * (len(content) - 65_536)
    store.path.write_bytes(content)
    with (
        bank.recipe(IDENTITY) as store,
        pytest.raises(BankDamageError, match="medfuse bank prune"),
    ):
        store.get(keys(50))


@pytest.mark.parametrize(
    ("pragma", "message"),
    [
        ("user_version=7", "found bank version 7, expected"),
        ("application_id=5", "another database"),
    ],
)
def test_a_file_of_another_version_is_refused(bank: FeatureBank, pragma, message) -> None:
    path = bank.recipe(IDENTITY).path
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA {pragma}")
    with pytest.raises(BankVersionError, match=message):
        bank.recipe(IDENTITY)


def test_an_empty_file_of_a_process_killed_early_is_filled(bank: FeatureBank) -> None:
    path = bank.recipe(IDENTITY).path
    path.write_bytes(b"")
    with bank.recipe(IDENTITY) as store:
        store.put(rows(1))
        assert len(store.get(keys(1))) == 1


def test_a_full_disk_is_one_line_and_keeps_what_was_there(bank: FeatureBank) -> None:
    with bank.recipe(IDENTITY) as store:
        store.put(rows(2))
        store.limit_pages(8)
        with pytest.raises(BankError, match="cannot be written .*full") as caught:
            store.put(rows(500))
        assert "\n" not in str(caught.value)
        assert str(bank.folder) in str(caught.value)
        assert len(store.get(keys(500))) == 2


def test_a_file_in_place_of_the_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bank").write_text("")
    with pytest.raises(BankError, match=r"bank cannot be used .*MEDFUSE_BANK"):
        FeatureBank(tmp_path / "bank").recipe(IDENTITY)


def test_a_bank_that_is_only_readable_can_be_read(bank: FeatureBank, monkeypatch) -> None:
    with bank.recipe(IDENTITY) as store:
        store.put(rows(2))
    monkeypatch.setattr("os.utime", _refuse)
    with bank.recipe(IDENTITY) as store:
        store._database._connection.execute("PRAGMA query_only=ON")
        assert len(store.get(keys(2))) == 2
        with pytest.raises(BankError, match="readonly"):
            store.put(rows(3))


def test_no_path_of_a_weights_file_is_kept(bank: FeatureBank) -> None:
    with bank.recipe(IDENTITY, "timm:x@/a/b.pt") as store:
        store.put(rows(1))
    assert b"timm:x" in store.path.read_bytes()
    assert b"/a/b.pt" not in store.path.read_bytes()


def test_a_pruned_file_does_not_swallow_new_rows(bank: FeatureBank) -> None:
    with bank.recipe(IDENTITY) as store:
        store.put(rows(2))
        store.path.unlink()
        store.put({keys(3)[2]: values(keys(3)[2])})
    with bank.recipe(IDENTITY) as store:
        assert set(store.get(keys(3))) == {keys(3)[2]}


def test_threads_with_a_store_each_lose_nothing(bank: FeatureBank) -> None:
    def fill(part: int) -> None:
        with bank.recipe(IDENTITY) as store:
            for key in keys(40)[part::4]:
                store.put({key: values(key)})

    threads = [threading.Thread(target=fill, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_whole(bank, 40)


@pytest.mark.slow
def test_killed_at_random_points_and_resumed_equals_unbroken(bank: FeatureBank) -> None:
    random = np.random.default_rng(5)
    lost_at_most_one_batch = []
    for _ in range(8):
        done = run_and_kill(bank, 2000, after=int(random.integers(1, 25)))
        with bank.recipe(IDENTITY) as store:
            lost_at_most_one_batch.append(len(store.get(keys(2000))) >= done)
    finish = filler(bank, 2000)
    assert finish.communicate(timeout=120)[1] == b""
    assert finish.returncode == 0
    assert all(lost_at_most_one_batch)
    assert_whole(bank, 2000)


@pytest.mark.slow
def test_two_processes_fill_one_bank_at_once(bank: FeatureBank) -> None:
    both = [filler(bank, 600, first=first) for first in (0, 300)]
    for process in both:
        assert process.communicate(timeout=120)[1] == b""
        assert process.returncode == 0
    assert_whole(bank, 600)


@pytest.mark.slow
def test_a_file_size_limit_is_one_line(bank: FeatureBank) -> None:
    resource = pytest.importorskip("resource")
    limit = (200_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1])
    process = filler(bank, 600, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    error = process.communicate(timeout=120)[1].decode().splitlines()[-1]
    assert "BankError" in error
    assert str(bank.folder) in error
    with bank.recipe(IDENTITY) as store:
        got = store.get(keys(600))
        assert 0 < len(got) < 600
        assert not store.damaged


def filler(bank: FeatureBank, count: int, first: int = 0, **others) -> subprocess.Popen:
    command = [sys.executable, "-c", FILLER, str(bank.root), str(count), str(first)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **others)


def run_and_kill(bank: FeatureBank, count: int, after: int) -> int:
    """Kill a filler some lines after its first new rows; return the rows it said it kept."""
    process = filler(bank, count)
    assert process.stdout is not None
    kept = 0
    for line in process.stdout:
        kept += int(line) if line.strip().isdigit() else 0
        after -= kept > 0
        if after <= 0:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return kept


def assert_whole(bank: FeatureBank, count: int) -> None:
    with bank.recipe(IDENTITY) as store:
        got = store.get(keys(count))
        assert len(got) == count
        assert all(np.array_equal(got[key], values(key)) for key in keys(count))
        with closing(sqlite3.connect(store.path)) as other:
            assert other.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert other.execute("SELECT COUNT(*) FROM features").fetchone() == (count,)


def _refuse(*_: object) -> None:
    raise PermissionError("read only")


def wanted(count: int, views: int = 0) -> WantedRows:
    digests = [key.image for key in keys(count)]
    numbers = {digest: number for number, digest in enumerate(digests)}
    return WantedRows(numbers, digests, np.full(count, views), "01" if views else "")


def _read(store: RecipeStore, asked: WantedRows, slices: int = 1) -> dict[Row, np.ndarray]:
    """Return all rows that are found; each must come once."""
    blocks = store.read(asked, slices)
    found = [
        (Row(*place), value)
        for rows, block in blocks
        for *place, value in zip(
            rows.images.tolist(), rows.views.tolist(), rows.slices.tolist(), block, strict=True
        )
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


def test_rows_of_several_shapes_and_types_are_read_as_they_were_kept(bank: FeatureBank) -> None:
    kept = {
        key: np.full(shape, number, kind)
        for number, (key, shape, kind) in enumerate(
            zip(
                keys(9),
                [(4,), (2, 2), (), (4,), (0,), (2, 2), (4,), (), (2, 2)],
                ["float32", "float16", "float32"] * 3,
                strict=True,
            )
        )
    }
    with bank.recipe(IDENTITY) as store:
        store.put(kept)
        found = _read(store, wanted(9))
    assert len(found) == 9
    for row, value in found.items():
        expected = kept[keys(9)[row.image]]
        assert value.dtype == expected.dtype
        np.testing.assert_array_equal(value, expected, strict=True)


def test_a_file_with_pages_of_another_size_is_read_and_filled(
    bank: FeatureBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("medfuse.features.store.PAGE_BYTES", 4096)
        with bank.recipe(IDENTITY) as store:
            store.put({key: values(key) for key in keys(100)})
    with bank.recipe(IDENTITY) as store:
        store.put({key: values(key) for key in keys(150)[100:]})
        found = _read(store, wanted(150))
        assert store._database.select("PRAGMA page_size") == [(4096,)]
    assert all(np.array_equal(found[i, 0, 0], values(keys(150)[i])) for i in range(150))


@pytest.mark.parametrize("width", [256, 512, 768, 1024, 1280, 2048, 20_000])
def test_rows_take_about_the_room_that_is_told_and_a_third_more_than_their_values_at_most(
    bank: FeatureBank, width: int
) -> None:
    count = 2000 if width < 10_000 else 200
    kept = {BankKey(digest_of(str(i))): np.zeros(width, "float32") for i in range(count)}
    with bank.recipe(IDENTITY) as store:
        empty = store.path.stat().st_size
        store.put(kept)
        taken = store.path.stat().st_size
    assert taken < 1.36 * count * width * 4
    assert taken - empty == pytest.approx(count * row_bytes(width, 0, 4), rel=0.06)


@pytest.mark.parametrize(
    ("count", "width", "blocks"),
    [(1000, 600, [64, 416, 416, 104]), (130, 20_000, [64, 64, 2]), (1200, 1, [64, 1024, 112])],
)
def test_rows_are_read_a_megabyte_at_once_and_at_least_64(
    bank: FeatureBank, count: int, width: int, blocks: list[int]
) -> None:
    with bank.recipe(IDENTITY) as store:
        store.put({key: np.zeros(width, "float32") for key in keys(count)})
        assert [len(places) for places, _ in store.read(wanted(count))] == blocks


def test_the_checksum_of_a_row_stays_what_it_is() -> None:
    """Another one would have every bank that is there computed again."""
    row = encode(BankKey("ab" * 32, 1, 2, "cd"), np.arange(3, dtype="float32"))
    assert row[7].hex() == "019c800305ba649c77ee258d9486a052"


def test_another_process_may_write_while_rows_are_being_read(tmp_path: Path) -> None:
    with (
        FeatureBank(tmp_path).recipe(IDENTITY) as reading,
        FeatureBank(tmp_path).recipe(IDENTITY) as writing,
    ):
        reading.put({key: values(key) for key in keys(150)})
        blocks = reading.read(wanted(200))
        first = next(blocks)[0].images.tolist()
        assert len(first) < 150
        writing.put({key: values(key) for key in keys(200)[150:]})
        rest = [image for rows, _ in blocks for image in rows.images.tolist()]
        assert sorted(first + rest) == list(range(200))


@pytest.mark.parametrize(("count", "queries"), [(150, 3), (20, 1)])
def test_many_rows_are_read_under_few_locks(tmp_path: Path, count: int, queries: int) -> None:
    with FeatureBank(tmp_path).recipe(IDENTITY) as store:
        store.put({key: values(key) for key in keys(150)})
        said: list[str] = []
        store._database._connection.set_trace_callback(said.append)
        found = _read(store, wanted(count))
        assert [np.array_equal(found[i, 0, 0], values(keys(150)[i])) for i in range(count)]
        assert len(found) == count
        locks = [sql for sql in said if sql.startswith("BEGIN") or "rowid >" in sql]
        assert len(locks) == queries
        assert not store._database._connection.in_transaction


@pytest.mark.parametrize("others", [0, 60])
def test_of_each_image_the_wanted_views_and_slices_are_read(bank: FeatureBank, others) -> None:
    """Both by going through the file and, with many rows of others in it, by looking up."""
    made = {
        (image, view, number, augmentation): BankKey(f"{image:064x}", view, number, augmentation)
        for image in range(2)
        for view, augmentation in ((0, ""), (1, "01"), (2, "01"), (1, "02"))
        for number in range(3)
    }
    with bank.recipe(IDENTITY) as store:
        store.put({BankKey(f"{i:064x}"): np.zeros(1, "float32") for i in range(100, 100 + others)})
        store.put({key: np.full(1, i, "float32") for i, key in enumerate(made.values())})
        found = {row: value[0] for row, value in _read(store, wanted(3, views=1), 2).items()}
    number = {key: i for i, key in enumerate(made)}
    assert found == {
        (image, view, part): number[image, view, part, "01" if view else ""]
        for image in range(2)
        for view in range(2)
        for part in range(2)
    }


@pytest.mark.parametrize(
    "column",
    [
        {"shape": "4"},
        {"shape": "abc"},
        {"shape": "2.5"},
        {"type": "float16"},
        {"value": b"\0" * 8},
        {"augmentation": b"\1"},
        {"augmentation": ""},
        {"view": 7},
    ],
)
def test_a_row_that_contradicts_itself_is_not_read_though_its_checksum_is_right(
    bank: FeatureBank, column: dict[str, Any]
) -> None:
    names = ("image", "augmentation", "view", "slice", "type", "shape", "value")
    with bank.recipe(IDENTITY) as store:
        store.put({key: np.full(3, i, "float32") for i, key in enumerate(keys(4))})
        with closing(sqlite3.connect(store.path)) as other, other:
            chosen = f"SELECT {', '.join(names)} FROM features WHERE rowid = 2"
            values = (
                dict(zip(names, other.execute(chosen).fetchone(), strict=True)) | column
            ).values()
            *head, value = values
            checksum = hashlib.blake2b(repr(tuple(head)).encode(), digest_size=16)
            checksum.update(value)
            changes = ", ".join(f"{name} = ?" for name in names)
            order = f"UPDATE features SET {changes}, checksum = ? WHERE rowid = 2"
            other.execute(order, (*values, checksum.digest()))
        found = _read(store, wanted(4))
        assert {row.image for row in found} == {0, 2, 3}
        assert [float(value[0]) for _, value in sorted(found.items())] == [0, 2, 3]
        assert keys(4)[1] not in store.get(keys(4))


def test_a_number_without_axes_is_an_array(bank: FeatureBank) -> None:
    with bank.recipe(IDENTITY) as store:
        store.put({keys(1)[0]: np.array(2, "float32")})
        (value,) = store.get(keys(1)).values()
    assert isinstance(value, np.ndarray)
    assert value.shape == ()


@pytest.mark.parametrize("count", [3, 40])
@pytest.mark.parametrize(
    "damage",
    [
        "value = zeroblob(2400)",
        "value = 5",
        "checksum = x'00'",
        "shape = '60,10'",
        "view = -1",
        "augmentation = 5",
        "slice = 'x'",
        "image = x'77'",
        "value = 'text'",
        "slice = 0.5",
        "view = 0.5",
    ],
)
def test_a_row_with_any_damage_is_not_read(bank: FeatureBank, damage: str, count: int) -> None:
    with bank.recipe(IDENTITY) as store:
        store.put(rows(40))
        with closing(sqlite3.connect(store.path)) as other, other:
            other.execute(f"UPDATE features SET {damage} WHERE rowid = 2")
        assert {row.image for row in _read(store, wanted(count))} == set(range(count)) - {1}
