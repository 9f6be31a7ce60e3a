"""The embedded weights against the same networks untrained, on sets left out of their training."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from medfuse_mini import medfuse_backbones

from medfuse.backbones.seen import seen_images

PLUGIN = Path(__file__).parents[1]
DATA = PLUGIN.parents[1].parent / "shared" / "data"


@pytest.fixture
def data():
    if not DATA.is_dir():
        pytest.skip("promise not shown: real images need ../shared/data, which is absent")
    return DATA


@pytest.fixture
def evidence(monkeypatch):
    monkeypatch.syspath_prepend(str(PLUGIN / "training"))
    yield importlib.import_module("evidence")
    for name in ("evidence", "pictures", "teachers"):
        sys.modules.pop(name, None)


@pytest.mark.slow
def test_paired_tests_compare_the_same_images(evidence):
    labels = np.repeat([0, 1], 40)
    data = evidence.LeftOutSet("set", [], labels, np.arange(80), [])
    good = np.where(labels[:, None] == [0, 1], 0.9, 0.1)
    poor = good.copy()
    poor[::4] = poor[::4, ::-1]
    row = evidence.compare(
        data, "x", evidence.Outcome(np.arange(80), good), evidence.Outcome(np.arange(80), poor)
    )
    assert (row["gained"], row["lost"]) == (20, 0)
    assert row["mcnemar_p"] == pytest.approx(2 * 0.5**20)
    assert row["auroc"] == [1.0, 1.0, 1.0]
    assert row["auroc_gain"][1] > 0


def test_a_given_test_part_stays_and_loses_its_near_duplicates_from_training(evidence):
    labels, groups = np.array([0, 1, 0, 1]), np.array([0, 1, 1, 2])
    given = np.array([False, False, True, True])
    [(train, test)] = evidence._folds(labels, groups, given)
    assert (train.tolist(), test.tolist()) == ([0], [2, 3])


@pytest.mark.usefixtures("evidence")
def test_no_held_out_image_was_seen(data):
    digest = importlib.import_module("pictures").pixel_digest
    (seen,) = {seen_images(spec.weights[0]) for spec in medfuse_backbones()}
    with np.load(data / "pneumoniamnist" / "pneumoniamnist.npz") as archive:
        train = {digest(image) for image in archive["train_images"]}
        held_out = {digest(i) for key in ("val", "test") for i in archive[f"{key}_images"]}
    assert seen <= train
    assert not seen & held_out


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", ["densenet", "resnet"])
def test_trained_weights_beat_untrained_ones_on_a_whole_set_left_out(evidence, data, name):
    [left_out] = evidence.left_out_sets(data, ["brain_mri4"])
    options = argparse.Namespace(teachers=None, networks=[name])
    outcomes = {
        key: evidence.classify(left_out, values)
        for key, values in evidence.all_features(left_out.images, options)
    }
    row = evidence.compare(
        left_out, name, outcomes[f"{name}.distilled"], outcomes[f"{name}.random"]
    )
    assert row["gained"] > row["lost"]
    assert row["auroc_gain"][1] > 0.01
