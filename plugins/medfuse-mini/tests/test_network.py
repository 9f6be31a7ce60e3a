"""The embedded networks: files, digests, loading, features."""

from __future__ import annotations

import hashlib
import importlib
import subprocess
import sys
from pathlib import Path

import medfuse_mini
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medfuse.backbones.seen import seen_images

PACKAGE = Path(medfuse_mini.__file__).parent
SPECS = {spec.name: spec for spec in medfuse_mini.medfuse_backbones()}
WEIGHTS = [(name, w) for name, spec in SPECS.items() for w in spec.weights]
MAX_BYTES = 3_000_000

every_weights = pytest.mark.parametrize(
    ("name", "weights"), WEIGHTS, ids=[f"{n}.{w.name}" for n, w in WEIGHTS]
)
every_file = pytest.mark.parametrize("weights", [w for _, w in WEIGHTS], ids=lambda w: w.path)


def build(name, weights=None, seed=0):
    module, _, attribute = SPECS[name].factory.partition(":")
    torch.manual_seed(seed)
    network = getattr(importlib.import_module(module), attribute)()
    if weights is not None:
        network.load_state_dict(load_file(file_of(weights)), strict=True)
    return network.eval()


def file_of(weights):
    return PACKAGE / weights.path.partition(":")[2]


@every_file
def test_file_is_small_and_has_the_digest_of_its_description(weights):
    content = file_of(weights).read_bytes()
    assert len(content) <= MAX_BYTES
    assert hashlib.sha256(content).hexdigest() == weights.sha256


@every_weights
def test_weights_load_strictly_as_finite_float32(name, weights):
    network = build(name, weights)
    state = {k: v for k, v in network.state_dict().items() if v.is_floating_point()}
    assert {v.dtype for v in state.values()} == {torch.float32}
    assert all(torch.isfinite(v).all() for v in state.values())


@every_weights
def test_features_repeat_and_do_not_depend_on_the_batch(name, weights):
    network = build(name, weights)
    images = torch.rand(5, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        first, again, alone = network(images)[1], network(images)[1], network(images[2:3])[1]
    assert torch.equal(first, again)
    torch.testing.assert_close(first[2:3], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("size", [(64, 64), (96, 128), (224, 224)])
@pytest.mark.parametrize("name", sorted(SPECS))
def test_map_and_stages_have_the_described_shapes_at_any_size(name, size):
    spec, network, shapes = SPECS[name], build(name), {}
    for stage in spec.stages:
        network.get_submodule(stage.module_path).register_forward_hook(
            lambda _m, _a, out, key=stage.name: shapes.update({key: out.shape})
        )
    with torch.inference_mode():
        features, pooled = network(torch.zeros(2, 1, *size))
    last = spec.stages[-1]
    assert features.shape == (2, last.feature_dim, size[0] // 32, size[1] // 32)
    assert pooled.shape == (2, sum(stage.feature_dim for stage in spec.stages[1:]))
    for stage in spec.stages:
        grid = (size[0] // stage.stride, size[1] // stage.stride)
        assert shapes[stage.name] == (2, stage.feature_dim, *grid)


@pytest.mark.parametrize("name", sorted(SPECS))
def test_map_is_the_one_of_timm_and_the_vector_ends_with_its_mean(name):
    network, images = build(name), torch.rand(2, 1, 96, 96)
    with torch.inference_mode():
        features, pooled = network(images)
        expected = network.network.forward_features(images)
    torch.testing.assert_close(features, expected)
    torch.testing.assert_close(pooled[:, -features.shape[1] :], expected.mean((2, 3)))


@pytest.mark.parametrize("name", sorted(SPECS))
def test_stem_is_the_first_convolution(name):
    stem = build(name).get_submodule(SPECS[name].stem)
    assert isinstance(stem, torch.nn.Conv2d)
    assert stem.in_channels == SPECS[name].in_channels == 1


def test_describing_imports_no_torch():
    code = "import sys, medfuse_mini; list(medfuse_mini.medfuse_backbones()); "
    check = "sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code + check], check=False).returncode == 0


@every_file
def test_seen_images_are_listed_by_digest(weights):
    assert len(seen_images(weights)) == 1999
    assert "pneumoniamnist:train" in weights.training_data


@every_weights
def test_trained_features_tell_drawn_shapes_apart_better_than_untrained_ones(name, weights):
    images, labels = drawn_shapes(160)
    trained = hits(build(name, weights), images, labels)
    untrained = hits(build(name), images, labels)
    assert trained > untrained + 0.1


def hits(network, images, labels):
    with torch.inference_mode():
        features = network((images - 0.5) / 0.25)[1].numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
    return float((cross_val_predict(model, features, labels, cv=4) == labels).mean())


def drawn_shapes(count, size=96):
    """Discs, rings, squares and crosses of any place, size, turn and gray, under a little noise."""
    rng = np.random.default_rng(5)
    axis = np.linspace(-1, 1, size)
    images, labels = [], np.arange(count) % 4
    for label in labels:
        dx, dy, turn = *rng.uniform(-0.4, 0.4, 2), rng.uniform(0, np.pi)
        u, v = axis[None] - dx, axis[:, None] - dy
        x, y = u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)
        radius = rng.uniform(0.25, 0.5)
        round_, square = np.hypot(x, y) / radius, np.maximum(abs(x), abs(y)) / radius
        cross = np.maximum(np.minimum(abs(x), abs(y)) / 0.35, square * 0.9)
        shape = (round_ < 1, abs(round_ - 0.8) < 0.2, square < 0.9, cross < 0.8)[label]
        ground, figure = rng.permutation([rng.uniform(0.1, 0.4), rng.uniform(0.6, 0.9)])
        noise = rng.normal(0, 0.05, (size, size))
        images.append(np.clip(ground + (figure - ground) * shape + noise, 0, 1))
    return torch.from_numpy(np.stack(images)).float().unsqueeze(1), labels
