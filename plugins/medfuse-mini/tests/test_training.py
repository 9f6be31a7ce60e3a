"""The scripts that made the embedded weights."""

from __future__ import annotations

import gzip
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

TRAINING = Path(__file__).parents[1] / "training"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(TRAINING))
    yield importlib.import_module
    for name in ("textures", "phantoms", "scenes", "pictures", "teachers", "train", "publish"):
        sys.modules.pop(name, None)


def test_a_scene_is_a_function_of_seed_and_index(script):
    scene = script("scenes").scene
    first, again, other = scene(3, 5, 64), scene(3, 5, 64), scene(3, 6, 64)
    assert first.shape == (64, 64)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_every_texture_and_phantom_stays_in_the_unit_range(script):
    makers = (*script("textures").TEXTURES, *script("phantoms").PHANTOMS)
    for make in makers:
        image = make(np.random.default_rng(1), 64)
        assert image.shape == (64, 64), make.__name__
        assert image.min() >= 0, make.__name__
        assert image.max() <= 1, make.__name__


def test_digest_is_the_one_by_which_medfuse_names_pixels(script):
    from medfuse.preprocessing import pixel_digest

    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert script("pictures").pixel_digest(pixels) == pixel_digest(pixels)


def test_near_duplicates_of_held_out_images_are_left_out(script, tmp_path):
    rng = np.random.default_rng(0)
    held_out = rng.integers(0, 256, (3, 28, 28)).astype(np.uint8)
    brighter = np.clip(held_out[1].astype(int) // 2 + 40, 0, 255).astype(np.uint8)
    fresh = rng.integers(0, 256, (4, 28, 28)).astype(np.uint8)
    np.savez(
        tmp_path / "set.npz",
        train_images=np.concatenate([fresh, held_out[:1], brighter[None]]),
        val_images=held_out[:1],
        test_images=held_out[1:],
    )
    kept = script("pictures").archive_train(tmp_path / "set.npz")
    assert np.array_equal(np.stack(kept), fresh)


def test_groups_join_near_duplicates_and_images_of_one_key(script):
    images = list(np.random.default_rng(0).integers(0, 256, (4, 30, 30)).astype(np.uint8))
    images.append(np.clip(images[0].astype(int) + 1, 0, 255).astype(np.uint8))
    groups = script("pictures").near_duplicate_groups(images, ["a", "b", "b", "c", "d"])
    assert groups[0] == groups[4]
    assert groups[1] == groups[2]
    assert len(set(groups)) == 3


def test_targets_have_mean_variance_one(script):
    mixed = np.random.default_rng(0).normal(0, 1, (200, 4, 8)) @ np.diag(np.arange(1.0, 9.0))
    basis = script("teachers").fit_basis(mixed, 5)
    targets = basis.project(mixed.astype(np.float32)).reshape(-1, 5).astype(np.float64)
    assert targets.var(0).mean() == pytest.approx(1.0, abs=0.02)


def test_flipped_images_have_flipped_targets(script):
    train = script("train")
    images = np.tile(np.arange(0, 256, 32, dtype=np.uint8), (64, 8, 1))
    targets = np.tile(np.arange(4, dtype=np.float16), 4).reshape(1, 16, 1).repeat(64, 0)
    batch, truth = train._augment(images, targets, np.random.default_rng(0))
    rising = batch[:, 0, :, -2:].mean((1, 2)) > batch[:, 0, :, :2].mean((1, 2))
    assert 0 < int(rising.sum()) < 64
    assert torch.equal(truth[:, 3, 0] > truth[:, 0, 0], rising)


@pytest.mark.slow
def test_a_stopped_training_ends_with_the_same_weights(script, tmp_path):
    train = script("train")
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "generated_0000.npz",
        images=rng.integers(0, 256, (80, 128, 128)).astype(np.uint8),
        targets=rng.normal(0, 1, (80, 16, 6)).astype(np.float16),
    )
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    common = ["--cache", str(tmp_path), "--student", "resnet", "--epochs", "2"]
    train.main([*common, "--out", str(tmp_path / "a"), "--weights", str(whole)])
    log = train._Session.log

    def stop_after_first_epoch(session, out, share):
        log(session, out, share)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train._Session, "log", stop_after_first_epoch)
        train.main([*common, "--out", str(tmp_path / "b"), "--weights", str(broken)])
    train.main([*common, "--out", str(tmp_path / "b"), "--weights", str(broken)])
    first, second = load_file(whole), load_file(broken)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_published_lists_are_the_same_bytes_for_the_same_digests(script, tmp_path, monkeypatch):
    publish = script("publish")
    monkeypatch.setattr(publish, "PACKAGE", tmp_path)
    (tmp_path / "seen_set.txt").write_text("aa\nbb\n")
    publish.publish_seen(tmp_path / "seen_set.txt")
    first = (tmp_path / "seen" / "set.txt.gz").read_bytes()
    publish.publish_seen(tmp_path / "seen_set.txt")
    assert (tmp_path / "seen" / "set.txt.gz").read_bytes() == first
    assert gzip.decompress(first) == b"aa\nbb\n"


def test_a_large_weights_file_is_not_published(script, tmp_path, monkeypatch):
    publish = script("publish")
    monkeypatch.setattr(publish, "LIMIT", 3)
    (tmp_path / "x.safetensors").write_bytes(b"1234")
    with pytest.raises(SystemExit, match="4 bytes, expected at most 3"):
        publish.publish_weights(tmp_path / "x.safetensors")
