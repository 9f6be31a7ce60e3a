from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from PIL import Image

from medfuse.errors import ImageError
from medfuse.features import decoders, images
from medfuse.features.bank import FeatureBank
from medfuse.features.fingerprints import fingerprints
from medfuse.features.images import ImageIndex


@pytest.fixture
def bank(tmp_path: Path) -> FeatureBank:
    return FeatureBank(tmp_path / "bank")


def test_a_second_run_decodes_nothing(kit) -> None:
    paths = kit.images(5)
    first = ImageIndex(kit.Loader(), "p1", kit.bank).scan(paths, progress=False)
    loader = kit.Loader()
    second = ImageIndex(loader, "p1", kit.bank).scan(paths, progress=False)
    assert first.decoded == 5
    assert second.decoded == 0
    assert loader.calls == []
    assert second.facts == first.facts


def test_other_preprocessing_is_decoded_again(kit) -> None:
    paths = kit.images(2)
    ImageIndex(kit.Loader(), "p1", kit.bank).scan(paths, progress=False)
    assert ImageIndex(kit.Loader(), "p2", kit.bank).scan(paths, progress=False).decoded == 2


def test_another_decoder_version_is_decoded_again(kit, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = kit.images(2)
    ImageIndex(kit.Loader(), "p1", kit.bank).scan(paths, progress=False)
    monkeypatch.setattr(decoders, "version", lambda package: f"99 {package}")
    assert ImageIndex(kit.Loader(), "p1", kit.bank).scan(paths, progress=False).decoded == 2


@pytest.mark.parametrize(
    "package", ["pydicom", "nibabel", "pylibjpeg-openjpeg", "pyjpegls", "python-gdcm", "simpleitk"]
)
def test_each_decoder_of_volumes_counts(kit, monkeypatch: pytest.MonkeyPatch, package) -> None:
    paths = kit.images(1)
    ImageIndex(kit.Loader(), "p1", kit.bank).scan(paths, progress=False)
    installed = decoders.version
    monkeypatch.setattr(decoders, "version", lambda p: "99" if p == package else installed(p))
    assert ImageIndex(kit.Loader(), "p1", kit.bank).scan(paths, progress=False).decoded == 1


def test_a_machine_that_rounds_otherwise_decodes_again(kit, monkeypatch) -> None:
    paths = kit.images(2)
    ImageIndex(kit.Loader(), "p1", kit.bank).scan(paths, progress=False)
    monkeypatch.setattr(decoders, "_rounding", lambda: "another")
    assert ImageIndex(kit.Loader(), "p1", kit.bank).scan(paths, progress=False).decoded == 2


def test_a_machine_always_rounds_alike() -> None:
    measure = decoders._rounding.__wrapped__
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda _: measure(), range(6)))
    finally:
        torch.set_num_threads(before)
    assert {measure(), *found} == {decoders._rounding()}


def test_rounding_is_seen_in_smoothing_resizing_and_products(monkeypatch) -> None:
    measure = decoders._rounding.__wrapped__
    before = measure()
    for name in ("conv1d", "conv2d", "interpolate"):
        real = getattr(decoders.F, name)
        with monkeypatch.context() as patched:
            patched.setattr(
                decoders.F, name, lambda *a, real=real, **k: real(*a, **k) * (1 + 2**-22)
            )
            assert measure() != before, name
    assert measure() == before


def test_other_pixels_once_are_read_again_and_said(kit, caplog: pytest.LogCaptureFixture) -> None:
    (path,) = kit.images(1)
    loader = kit.Loader()
    index = ImageIndex(loader, "p1", workers=1, keep_bytes=0)
    index.scan([path], progress=False)
    right = index.take(path)
    good = Path(path).read_bytes()

    def torn(reference: str):
        if len(loader.calls) == 2:
            Image.fromarray(np.zeros((4, 4), np.uint8)).save(reference)
        try:
            return loader(reference)
        finally:
            Path(path).write_bytes(good)

    index._load = torn
    np.testing.assert_array_equal(index.take(path), right)
    assert len(loader.calls) == 4
    assert "the right ones later" in caplog.text
    assert Path(path).name not in caplog.text


def test_a_first_reading_that_went_wrong_does_not_stop_the_next_run(kit) -> None:
    (path,) = kit.images(1)
    loader = kit.Loader()

    def first_wrong(reference: str):
        image = loader(reference)
        return replace(image, digest="0" * 64) if len(loader.calls) == 1 else image

    index = ImageIndex(first_wrong, "p1", kit.bank, workers=1, keep_bytes=0)
    index.scan([path], progress=False)
    with pytest.raises(ImageError, match="its content changed"):
        index.take(path)
    again = ImageIndex(loader, "p1", kit.bank, keep_bytes=0)
    assert again.scan([path], progress=False).decoded == 0
    np.testing.assert_array_equal(again.take(path), loader(path).pixels)


def test_a_moved_file_is_known_by_its_content(kit) -> None:
    (path,) = kit.images(1)
    ImageIndex(kit.Loader(), "p1", kit.bank).scan([path], progress=False)
    moved = Path(path).rename(kit.folder / "elsewhere.png")
    assert ImageIndex(kit.Loader(), "p1", kit.bank).scan([str(moved)], progress=False).decoded == 0


def test_voxels_beside_their_header_belong_to_the_fingerprint(tmp_path: Path) -> None:
    header, voxels = tmp_path / "a.mhd", tmp_path / "a.raw"
    header.write_text("NDims = 3\nElementDataFile = a.raw\n")
    voxels.write_bytes(b"one")
    before = fingerprints([str(header)])
    voxels.write_bytes(b"two")
    assert list(before) == [str(header)]
    assert fingerprints([str(header)]) != before
    voxels.unlink()
    assert fingerprints([str(header)]) == {}


def test_a_damaged_memo_row_is_decoded_again(kit) -> None:
    paths = kit.images(2)
    before = ImageIndex(kit.Loader(), "p1", kit.bank).scan(paths, progress=False)
    with kit.bank.memo() as memo:
        memo._database.write([("UPDATE digests SET facts = replace(facts, ?, 'f')", [("0",)])])
    after = ImageIndex(kit.Loader(), "p1", kit.bank).scan(paths, progress=False)
    assert after.decoded == 2
    assert after.facts == before.facts


def test_the_memo_holds_no_names(kit) -> None:
    paths = kit.images(2)
    scan = ImageIndex(kit.Loader(events=True), "p1", kit.bank).scan(paths, progress=False)
    assert scan.facts[paths[0]].events == (("RESIZED", "<file> was resized"),)
    content = b"".join(path.read_bytes() for path in kit.bank.folder.iterdir())
    assert b"RESIZED" in content
    assert b"patient" not in content
    assert str(kit.folder).encode() not in content


def test_images_are_decoded_once_where_memory_allows(kit) -> None:
    paths = kit.images(4, size=16)
    loader = kit.Loader()
    index = ImageIndex(loader, "p1", keep_bytes=2 * 16 * 16 * 4)
    index.scan(paths, progress=False)
    for path in paths:
        assert index.take(path).shape == (1, 16, 16)
    assert len(loader.calls) == 6


def test_every_bad_image_is_returned_with_its_error(kit) -> None:
    paths = kit.images(3)
    Path(paths[1]).write_text("not a picture")
    missing = str(kit.folder / "absent.png")
    scan = ImageIndex(kit.Loader(), "p1", kit.bank).scan([*paths, missing], progress=False)
    assert set(scan.facts) == {paths[0], paths[2]}
    assert set(scan.failures) == {paths[1], missing}
    assert all(isinstance(error, ImageError) for error in scan.failures.values())


def test_a_file_that_changes_during_a_run_is_refused(kit) -> None:
    (path,) = kit.images(1)
    index = ImageIndex(kit.Loader(), "p1", keep_bytes=0)
    index.scan([path], progress=False)
    Path(kit.images(1, start=9)[0]).rename(path)
    with pytest.raises(ImageError, match="its content changed"):
        index.take(path)


def test_an_interrupted_scan_keeps_what_it_knows(kit) -> None:
    paths = kit.images(6)
    loader = kit.Loader()

    def interrupted(reference: str):
        if reference == paths[4]:
            raise KeyboardInterrupt
        return loader(reference)

    with pytest.raises(KeyboardInterrupt):
        ImageIndex(interrupted, "p1", kit.bank).scan(paths, progress=False)
    assert ImageIndex(kit.Loader(), "p1", kit.bank).scan(paths, progress=False).decoded == 2


def test_rows_of_an_archive_are_told_apart_by_content(tmp_path: Path) -> None:
    stack = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    np.savez(tmp_path / "a.npz", one=stack, two=stack[::-1])
    a = str(tmp_path / "a.npz")
    found = fingerprints(
        [f"{a}::one::0", f"{a}::one::2", f"{a}::two::0", f"{a}::two::9", "x::y::0"]
    )
    assert len(found) == 3
    assert found[f"{a}::one::2"] == found[f"{a}::two::0"]
    assert found[f"{a}::one::0"] != found[f"{a}::one::2"]


def test_a_row_of_another_type_or_shape_is_another_content(tmp_path: Path) -> None:
    zeros = np.zeros((1, 2, 8), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", a=zeros, b=zeros.reshape(1, 4, 4), c=zeros.view(np.uint16))
    found = fingerprints([f"{tmp_path / 'a.npz'}::{key}::0" for key in "abc"])
    assert len(set(found.values())) == 3


def test_the_suffix_belongs_to_the_content(tmp_path: Path) -> None:
    for name in ("a.png", "b.PNG", "c.tif"):
        (tmp_path / name).write_bytes(b"same")
    digests = list(fingerprints([str(tmp_path / n) for n in ("a.png", "b.PNG", "c.tif")]).values())
    assert digests[0] == digests[1] != digests[2]


def test_images_are_looked_for_some_at_a_time_those_of_one_file_together(kit, monkeypatch) -> None:
    monkeypatch.setattr(images, "_PORTION", 3)
    asked: list[list[str]] = []

    def counted(references, workers):
        asked.append(list(references))
        return fingerprints(references, workers)

    monkeypatch.setattr(images, "fingerprints", counted)
    np.savez(kit.folder / "a.npz", x=np.zeros((4, 2, 2)))
    rows = [f"{kit.folder / 'a.npz'}::x::{number}" for number in range(4)]
    paths = kit.images(5)
    index = ImageIndex(kit.Loader(), "p1", kit.bank)
    scan = index.scan([*paths[:2], *rows, *paths[2:]], progress=False)
    assert asked == [[*paths[:2], *rows], paths[2:]]
    assert (set(scan.facts), set(scan.failures)) == (set(paths), set(rows))
    assert scan.decoded == 9
    again = ImageIndex(kit.Loader(), "p1", kit.bank).scan(paths, progress=False)
    assert (again.facts, again.decoded) == (scan.facts, 0)


def test_many_small_files_are_hashed_in_a_second(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(1600)]
    for path in paths:
        path.write_bytes(path.name.encode() * 1000)
    start = time.process_time()
    assert len(set(fingerprints([str(path) for path in paths]).values())) == 1600
    assert time.process_time() - start < 1.0


def test_a_pipe_is_refused_and_not_waited_for(kit) -> None:
    pipe = kit.folder / "pipe.png"
    os.mkfifo(pipe)
    found: list[dict[str, str]] = []
    references = [str(pipe), f"{pipe}::x::0", "nul\0.png", *kit.images(1)]
    work = Thread(target=lambda: found.append(fingerprints(references)), daemon=True)
    work.start()
    work.join(10)
    assert [list(item) for item in found] == [references[3:]]


def _series(folder: Path, count: int = 3) -> Path:
    (folder / "deep").mkdir(parents=True)
    for number in range(count):
        file = folder / "deep" / f"{number}.dcm"
        file.write_bytes(bytes([number]) * 10)
        os.utime(file, ns=(1, 10**18 + number))
    return folder


def test_a_folder_is_known_by_its_listing_wherever_it_lies(tmp_path: Path) -> None:
    one, two = _series(tmp_path / "a"), _series(tmp_path / "b" / "c")
    found = fingerprints([str(one), str(two)])
    assert found[str(one)] == found[str(two)]


@pytest.mark.parametrize("change", ["time", "size", "name", "more", "fewer"])
def test_any_change_of_a_listing_is_another_folder(tmp_path: Path, change: str) -> None:
    folder = _series(tmp_path / "a")
    (before,) = fingerprints([str(folder)]).values()
    file = folder / "deep" / "1.dcm"
    if change == "time":
        os.utime(file, ns=(1, 5))
    elif change == "size":
        file.write_bytes(b"longer than before")
        os.utime(file, ns=(1, 10**18 + 1))
    elif change == "name":
        file.rename(folder / "deep" / "4.dcm")
    elif change == "more":
        (folder / "note.txt").write_text("")
    else:
        file.unlink()
    (after,) = fingerprints([str(folder)]).values()
    assert after != before


def test_parts_of_one_folder_or_file_are_told_apart(tmp_path: Path) -> None:
    folder = str(_series(tmp_path / "a"))
    file = tmp_path / "a.nii.gz"
    file.write_bytes(b"four volumes")
    references = [folder, f"{folder}::1.2", f"{folder}::1.3", f"{file}::0", f"{file}::1", str(file)]
    found = fingerprints(references)
    assert set(found) == set(references)
    assert len(set(found.values())) == len(references)
    file.write_bytes(b"other volumes")
    again = fingerprints(references)
    assert [r for r in references if again[r] != found[r]] == references[3:]
