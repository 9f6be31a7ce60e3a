from __future__ import annotations

import hashlib
import logging
import threading
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medfuse.errors import BankError, ConfigError, ImageError, SourceError
from medfuse.features import images, ledger
from medfuse.features.bank import FeatureBank
from medfuse.features.engine import _full_precision, ready
from medfuse.features.extract import extract_features
from medfuse.features.images import ImageIndex
from medfuse.features.ledger import _recipe
from medfuse.features.request import Augmentation


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(logging.getLogger("medfuse"), "propagate", True)
    caplog.set_level(logging.INFO, logger="medfuse")
    return caplog


def test_features_are_those_of_the_network(kit) -> None:
    paths = kit.images(6)
    source = kit.Source("a", 8)
    got = kit.extract(kit.cases(paths), source)
    pixels = np.stack([kit.Loader()(path).pixels for path in paths])
    with torch.inference_mode():
        expected = source.extractor(torch.from_numpy(pixels)).numpy()
    assert got.values[0].shape == (6, 1, 8)
    assert got.values[0].dtype == np.float32
    np.testing.assert_allclose(got.values[0][:, 0], expected, rtol=1e-5, atol=1e-6)


def test_a_second_run_needs_no_forward_and_says_so(kit, log) -> None:
    cases = kit.cases(kit.images(5), views=2)
    first = kit.extract(cases, kit.Source("a", 8), kit.Source("b", 4))
    again = kit.Source("a", 8), kit.Source("b", 4)
    loader = kit.Loader()
    log.clear()
    second = kit.extract(cases, *again, loader=loader)
    assert (first.known, first.computed) == (0, 5)
    assert (second.known, second.computed, second.forwards) == (5, 0, 0)
    assert [source.forwards for source in again] == [0, 0]
    assert loader.calls == []
    assert log.messages == ["5 images: 5 known, 0 new; no backbone forward was needed"]
    assert all(map(np.array_equal, first.values, second.values))


def test_a_module_is_not_asked_for_when_all_is_known(kit) -> None:
    cases = kit.cases(kit.images(2))
    source = kit.Source("a", 8)
    kit.extract(cases, source)
    del source.extractor
    assert kit.extract(cases, source).known == 2


def test_known_and_new_images_are_counted(kit, log) -> None:
    paths = kit.images(7)
    kit.extract(kit.cases(paths[:4]), kit.Source("a", 8))
    log.clear()
    got = kit.extract(kit.cases(paths), kit.Source("a", 8))
    assert (got.known, got.computed) == (4, 3)
    assert log.messages[0] == "7 images: 4 known, 3 new"
    assert log.messages[1].startswith("bank: 3 images x 1 view x 1 source = 666 B new")
    log.clear()
    kit.extract(kit.cases(paths), kit.Source("a", 8), kit.Source("b", 4))
    assert log.messages[:2] == ["a: 7 images: 7 known, 0 new", "b: 7 images: 0 known, 7 new"]


def test_only_the_source_that_lacks_features_runs(kit) -> None:
    cases = kit.cases(kit.images(5))
    kit.extract(cases, kit.Source("a", 8))
    a, b = kit.Source("a", 8), kit.Source("b", 4)
    got = kit.extract(cases, a, b)
    assert (a.forwards, b.forwards, got.forwards) == (0, 2, 2)


def test_each_image_is_decoded_once_for_all_sources(kit) -> None:
    loader = kit.Loader()
    cases = kit.cases(kit.images(6), views=2)
    kit.extract(cases, kit.Source("a", 8), kit.Source("b", 4), loader=loader)
    assert len(loader.calls) == 6


def test_equal_images_are_computed_once(kit) -> None:
    paths = kit.images(3)
    copy = kit.folder / "copy.png"
    copy.write_bytes(Path(paths[0]).read_bytes())
    source = kit.Source("a", 8)
    cases = [
        kit.Case("x", paths[0], 1),
        kit.Case("y", str(copy), 3),
        kit.Case("z", paths[1]),
        kit.Case("x2", paths[0]),
    ]
    got = kit.extract(cases, source, batch_size=100)
    assert got.computed == 2
    assert got.values[0].shape == (4, 4, 8)
    assert np.array_equal(got.values[0][0, :2], got.values[0][1, :2])
    finite = np.isfinite(got.values[0]).all(-1).sum(1)
    assert finite.tolist() == [2, 4, 1, 1]
    assert got.views.tolist() == [1, 3, 0, 0]
    assert got.facts[0] == got.facts[1]


def test_every_batch_has_one_size(kit) -> None:
    source = kit.Source("a", 8)
    kit.extract(kit.cases(kit.images(6), views=1), source, batch_size=5)
    assert source.extractor.batches == [5, 5, 5]


@pytest.mark.parametrize("tokens", [0, 9])
def test_features_do_not_depend_on_what_was_known(kit, tmp_path: Path, tokens: int) -> None:
    paths = kit.images(11)
    cases = kit.cases(paths, views=2)
    whole = kit.extract(cases, kit.Source("a", 24, tokens), bank=FeatureBank(tmp_path / "whole"))
    for some in ([3], [10, 2], [7, 0, 5, 9]):
        kit.extract([cases[i] for i in some], kit.Source("a", 24, tokens))
    pieces = kit.extract(cases[::-1], kit.Source("a", 24, tokens))
    assert pieces.known == 7
    assert pieces.values[0][::-1].tobytes() == whole.values[0].tobytes()


@pytest.mark.parametrize("stop", [1, 2, 3])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_extraction_goes_on_bit_for_bit(kit, tmp_path, error, stop) -> None:
    cases = kit.cases(kit.images(9), views=1)
    whole = kit.extract(cases, kit.Source("a", 8), bank=FeatureBank(tmp_path / "whole"))
    source = kit.Source("a", 8)
    source.extractor.register_forward_pre_hook(
        lambda module, _: _raise(error) if len(module.batches) == stop else None
    )
    with pytest.raises(error):
        kit.extract(cases, source)
    assert not [t for t in threading.enumerate() if t.name.startswith("medfuse")]
    with kit.bank.recipe({}) as _:
        kept = max(file.rows for file in kit.bank.stats().files)
    assert kept >= 4 * stop
    resumed = kit.Source("a", 8)
    assert kit.extract(cases, resumed).values[0].tobytes() == whole.values[0].tobytes()
    assert resumed.forwards == 5 - stop


def test_views_are_keyed_by_their_augmentation(kit) -> None:
    cases = kit.cases(kit.images(3), views=2)
    first = kit.extract(cases, kit.Source("a", 8), identity={"recipe": "shaken", "seed": 0})
    source = kit.Source("a", 8)
    kit.extract(cases, source, identity={"recipe": "shaken", "seed": 1}, batch_size=6)
    assert source.forwards == 1  # 3 x 2 views; the clean images are known
    assert not np.array_equal(first.values[0][:, 0], first.values[0][:, 1])


def test_fewer_views_are_found_among_more(kit) -> None:
    paths = kit.images(3)
    more = kit.extract(kit.cases(paths, views=3), kit.Source("a", 8))
    fewer = kit.extract(kit.cases(paths, views=1), kit.Source("a", 8))
    assert fewer.computed == 0
    assert np.array_equal(fewer.values[0], more.values[0][:, :2])


def test_views_without_an_augmentation_are_refused(kit) -> None:
    with pytest.raises(BankError, match="case c0 asks for views, but no augmentation"):
        kit.extract(kit.cases(kit.images(1), views=1), kit.Source("a", 8), augmentation=None)


def test_tokens_can_be_kept_in_half_precision(kit) -> None:
    cases = kit.cases(kit.images(4))
    full = kit.extract(cases, kit.Source("a", 8, tokens=9))
    first = kit.extract(cases, kit.Source("a", 8, tokens=9), tokens_as="float16")
    second = kit.extract(cases, kit.Source("a", 8, tokens=9), tokens_as="float16")
    assert (first.computed, second.computed) == (4, 0)
    assert first.values[0].shape == (4, 1, 9, 8)
    assert first.values[0].dtype == np.float32
    assert np.array_equal(first.values[0], second.values[0])
    np.testing.assert_allclose(first.values[0], full.values[0], rtol=1e-3, atol=1e-4)
    assert not np.array_equal(first.values[0], full.values[0])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_finite_name_source_and_case(kit, value: float) -> None:
    source = kit.Source("a", 8)
    with torch.no_grad():
        source.extractor.last.bias[3] = value
    with pytest.raises(SourceError, match=r"source a: 1 of 8 features of case c0 are not finite"):
        kit.extract(kit.cases(kit.images(2)), source)
    assert {file.label: file.rows for file in kit.bank.stats().files}["a"] == 0


def test_what_comes_before_features_that_are_not_finite_is_kept(kit) -> None:
    """Though all go through the network in one batch."""
    source = kit.Source("a", 8)

    def spoil(_: torch.nn.Module, __: object, features: torch.Tensor) -> torch.Tensor:
        features[2, 3] = torch.nan
        return features

    source.extractor.register_forward_hook(spoil)
    with pytest.raises(SourceError, match="1 of 8 features of case c2 are not finite"):
        kit.extract(kit.cases(kit.images(5)), source)
    assert {file.label: file.rows for file in kit.bank.stats().files}["a"] == 2


def test_half_precision_that_overflows_is_not_finite(kit) -> None:
    source = kit.Source("a", 8, tokens=9)
    with torch.no_grad():
        source.extractor.last.bias[3] = 1e6
    kit.extract(kit.cases(kit.images(2)), source)
    with pytest.raises(SourceError, match="9 of 72 features of case c0 are not finite float16"):
        kit.extract(kit.cases(kit.images(2)), source, tokens_as="float16")


def test_another_width_than_described_is_refused(kit) -> None:
    source = kit.Source("a", 8)
    source.feature_dim = 9
    with pytest.raises(SourceError, match=r"found features \(4, 8\), expected \(4, 9\)"):
        kit.extract(kit.cases(kit.images(2)), source)


def test_images_of_two_sizes_are_refused(kit) -> None:
    paths = [*kit.images(2), *kit.images(1, size=20, start=5)]
    with pytest.raises(ImageError, match=r"case c2: found an image of \(1, 20, 20\), expected"):
        kit.extract(kit.cases(paths), kit.Source("a", 8))


def test_an_image_that_cannot_be_read_is_its_own_error(kit) -> None:
    paths = kit.images(2)
    Path(paths[1]).write_text("text")
    with pytest.raises(ImageError, match="not an image"):
        kit.extract(kit.cases(paths), kit.Source("a", 8))


def test_over_the_budget_nothing_more_is_kept_and_it_is_said(kit, log) -> None:
    cases = kit.cases(kit.images(5))
    bank = FeatureBank(kit.folder / "small", budget_gb=370e-6)
    got = kit.extract(cases, kit.Source("a", 8), kit.Source("b", 3000), bank=bank)
    assert np.isfinite(got.values[1]).all()
    assert any("b: over the bank's budget of 370.0 kB" in line for line in log.messages)
    rows = {file.label: file.rows for file in bank.stats().files}
    assert rows["a"] == 5
    assert rows["b"] == 0


def test_without_a_bank_everything_is_computed(kit) -> None:
    cases = kit.cases(kit.images(3))
    kept = kit.extract(cases, kit.Source("a", 8))
    got = kit.extract(cases, kit.Source("a", 8), bank=None)
    assert got.computed == 3
    assert np.array_equal(got.values[0], kept.values[0])


def test_a_full_disk_is_a_bank_error(kit, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = kit.cases(kit.images(4))
    recipe = kit.bank.recipe

    def small(*given):
        store = recipe(*given)
        store.limit_pages(5)
        return store

    monkeypatch.setattr(kit.bank, "recipe", small)
    with pytest.raises(BankError, match="cannot be written .*full"):
        kit.extract(cases, kit.Source("a", 4000))


def test_damaged_rows_are_computed_again_and_counted(kit, log) -> None:
    cases = kit.cases(kit.images(4))
    source = kit.Source("a", 8)
    first = kit.extract(cases, source)
    (file,) = [file for file in kit.bank.stats().files if file.label == "a"]
    with kit.bank.recipe({}) as other:
        other._database._connection.execute(f"ATTACH '{file.path}' AS damaged")
        other._database._connection.execute("UPDATE damaged.features SET value = zeroblob(32)")
    got = kit.extract(cases, source)
    assert got.computed == 4
    assert "a: 4 damaged rows of the bank are computed again" in log.messages
    assert np.array_equal(got.values[0], first.values[0])


def test_the_bank_holds_no_names_and_no_paths(kit) -> None:
    identity = {"weights": "ab", "file": str(kit.folder / "w.pt")}
    source = kit.Source(f"timm:x@{kit.folder}/w.pt", 8, identity=identity)
    kit.extract([kit.Case("case-of-somebody", path, 1) for path in kit.images(3)], source)
    content = b"".join(path.read_bytes() for path in kit.bank.folder.iterdir())
    for secret in (b"patient", b"somebody", str(kit.folder).encode(), b"w.pt"):
        assert secret not in content


def test_weights_lie_in_order_again_afterwards(kit) -> None:
    source = kit.Source("a", 8)
    source.extractor.train()
    kit.extract(kit.cases(kit.images(1)), source)
    assert all(p.is_contiguous() for p in source.extractor.parameters())
    assert all(not p.is_inference() for p in source.extractor.parameters())
    assert not source.extractor.training


def test_weights_lie_channels_last_meanwhile() -> None:
    convolution = torch.nn.Conv2d(4, 4, 3)
    with ready([convolution], torch.device("cpu")):
        assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
        assert not convolution.weight.is_contiguous()


def test_networks_for_volumes_are_left_as_they_are() -> None:
    with ready([torch.nn.Conv3d(4, 4, 3)], torch.device("cpu")):
        pass


def test_tensor_cores_do_not_round_the_bank() -> None:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    with _full_precision():
        assert not torch.backends.cuda.matmul.allow_tf32
        assert not torch.backends.cudnn.allow_tf32
        assert torch.backends.cudnn.enabled
    assert before == (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)


def test_kept_rows_of_another_shape_are_computed_again(kit) -> None:
    cases = kit.cases(kit.images(2))
    kit.extract(cases, kit.Source("a", 8, identity={"weights": "same"}))
    got = kit.extract(cases, kit.Source("a", 6, identity={"weights": "same"}))
    assert got.computed == 2
    assert got.values[0].shape == (2, 1, 6)


def test_an_augmentation_in_place_leaves_the_clean_image(kit) -> None:
    cases = kit.cases(kit.images(2))
    clean = kit.extract(cases, kit.Source("a", 8), bank=None)
    zero = Augmentation(lambda pixels, *_: pixels.zero_(), {"recipe": "zero"})
    both = kit.extract(kit.cases([c.reference for c in cases], 2), kit.Source("a", 8), bank=None)
    zeroed = kit.extract(
        kit.cases([c.reference for c in cases], 2), kit.Source("a", 8), augmentation=zero
    )
    assert np.array_equal(both.values[0][:, 0], clean.values[0][:, 0])
    assert np.array_equal(zeroed.values[0][:, 0], clean.values[0][:, 0])


def test_views_are_made_by_one_thread_at_a_time(kit) -> None:
    inside: list[int] = []
    most: list[int] = []

    def slow(pixels: torch.Tensor, digest: str, view: int) -> torch.Tensor:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.002)
        inside.pop()
        return pixels

    views = Augmentation(slow, {"recipe": "slow"})
    kit.extract(kit.cases(kit.images(8), 2), kit.Source("a", 8), augmentation=views, workers=4)
    assert max(most) == 1


def test_a_budget_used_up_meanwhile_by_another_process_ends_keeping(kit, log, monkeypatch) -> None:
    answers = iter([True, False])
    monkeypatch.setattr(kit.bank, "has_room", lambda _: next(answers))
    got = kit.extract(kit.cases(kit.images(3)), kit.Source("a", 8))
    assert np.isfinite(got.values[0]).all()
    assert any("over the bank's budget" in line for line in log.messages)
    assert {file.label: file.rows for file in kit.bank.stats().files}["a"] == 0


def test_device_and_kept_type_belong_to_the_recipe(kit) -> None:
    source = kit.Source("a", 8)
    requests = [kit.request([], source, device=d) for d in ("cpu", "cuda:0", "cuda:1")]
    cpu, first, second = (_recipe(source, request, "float32") for request in requests)
    assert cpu != first == second
    assert _recipe(source, requests[0], "float16") != cpu


def test_an_absent_device_is_named(kit) -> None:
    with pytest.raises(ConfigError, match="training.device: found 'toaster', expected auto, cpu"):
        kit.extract(kit.cases(kit.images(1)), kit.Source("a", 8), device="toaster")


@pytest.mark.slow
def test_little_is_held_of_each_image_beside_its_features(kit, monkeypatch) -> None:
    """Names and digests of images are what remains; 1.3 KiB of plans went beside them once."""
    monkeypatch.setattr(images, "_PORTION", 256)
    monkeypatch.setattr(ledger, "_COMMIT_SECONDS", 0)  # what is on its way to the bank
    random = np.random.default_rng(0)

    def loader(reference: str):
        pixels = random.random((1, 4, 4), dtype=np.float32)
        digest = hashlib.sha256(reference.encode()).hexdigest()
        return kit.Loaded(pixels, digest, digest)

    def held(count: int, name: str) -> int:
        cases = [kit.Case(str(number), f"absent {name} {number}") for number in range(count)]
        source = kit.Source(f"{name} {count}", 8)
        request = kit.request(cases, source, loader=loader, batch_size=128)
        request = replace(request, images=ImageIndex(loader, "p1", kit.bank, keep_bytes=0))
        tracemalloc.start()
        try:
            extract_features(request, progress=False)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    held(64, "first")
    # The least of two: a table of the whole process may happen to grow meanwhile, by megabytes.
    most = min(held(3000, name) for name in ("once", "again"))
    assert (most - held(1000, "few")) / 2000 < 600


def test_no_cases_give_empty_features(kit) -> None:
    got = extract_features(kit.request([], kit.Source("a", 8)), progress=False)
    assert got.values[0].shape == (0, 1, 8)


def _raise(error: type[BaseException]) -> None:
    raise error
