"""A user's own checkpoint as a source: what fits is named, what does not says how it would."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import cache

import pytest
import timm
import torch

from medfuse.backbones.build import SourceTarget, build_source
from medfuse.backbones.locate import locate_weights
from medfuse.config import SourceConfig, parse_experiment
from medfuse.errors import ConfigError, WeightsError
from medfuse.registry.references import parse_source
from medfuse.storage import sha256_file

NETWORK = "test_resnet"


@cache
def description():
    from medfuse_timm import families

    return families.describe(NETWORK)


class Timm:
    """A registry with one network of timm, perhaps with other weights."""

    def __init__(self, **weights) -> None:
        spec = description()
        self.spec = replace(spec, weights=(replace(spec.weights[0], **weights),))

    def backbone(self, _reference):
        return "timm", self.spec

    def qualified(self, reference):
        return reference


def build(use, registry=None, *, download=False, **settings):
    target = SourceTarget(channels=1, size=(32, 32), download=download)
    return build_source(SourceConfig(use=use, **settings), registry or Timm(), target)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return timm.create_model(NETWORK, num_classes=3).state_dict()


@pytest.fixture
def plain(state, tmp_path):
    torch.save(state, tmp_path / "plain.pt")
    return build(f"timm:{NETWORK}@{tmp_path / 'plain.pt'}")


def lightning(state) -> dict:
    keys = {f"model.{key}": tensor for key, tensor in state.items()}
    return {"state_dict": keys | {"loss.weight": torch.ones(3)}, "epoch": 7}


def test_a_misfit_says_the_line_that_makes_it_fit_and_the_line_does(state, plain, tmp_path):
    torch.save(lightning(state), tmp_path / "w.ckpt")
    use = f"timm:{NETWORK}@{tmp_path / 'w.ckpt'}"
    with pytest.raises(
        WeightsError,
        match=r"test_resnet@.*: \d+ keys missing \(conv1.*\) and \d+ keys too many "
        r"\(model\.conv1.*\. "
        r'Set remap: \{"": "-", "model\.": ""\}, or remap: auto\.$',
    ):
        build(use)
    given = build(use, remap={"": "-", "model.": ""})
    assert given.identity == plain.identity
    assert given.card["left_out"] == ["loss.weight", "fc.weight", "fc.bias"]
    assert given.card["container"] == "state_dict"


def test_a_rewriting_that_was_found_is_named_in_log_card_and_identity(
    state, plain, tmp_path, caplog
):
    torch.save(lightning(state), tmp_path / "w.ckpt")
    with caplog.at_level(logging.INFO):
        found = build(f"timm:{NETWORK}@{tmp_path / 'w.ckpt'}", remap="auto")
    assert 'remap auto stands for remap: {"": "-", "model.": ""}' in caplog.text
    assert found.card["remap"] == {"": "-", "model.": ""}
    assert found.card["key_format"] == found.identity["key_format"] == "auto"
    assert found.identity["weights"] == plain.identity["weights"]


@pytest.mark.parametrize("remap", [{"model.": ""}, "auto"])
def test_a_network_of_ones_own_for_gray_images_gives_what_it_gave(tmp_path, remap, caplog):
    torch.manual_seed(0)
    gray = timm.create_model(NETWORK, num_classes=0, in_chans=1).eval()
    torch.save({f"model.{k}": t for k, t in gray.state_dict().items()}, tmp_path / "gray.pt")
    with caplog.at_level(logging.INFO):
        built = build(
            f"timm:{NETWORK}@{tmp_path / 'gray.pt'}",
            remap=remap,
            levels=1,
            input_size=(32, 32),
            normalization={"mean": [0.5], "std": [0.25]},
        )
    assert "first layer takes 1 channel, the network 3" in caplog.text
    assert built.card["stem"] == "1 channel as 3"
    image = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(built.module(image), gray((image - 0.5) / 0.25))


def test_a_whole_pickled_network_is_a_source(state, plain, tmp_path):
    network = timm.create_model(NETWORK, num_classes=3)
    network.load_state_dict(state)
    torch.save(network, tmp_path / "w.pth")
    found = build(f"timm:{NETWORK}@{tmp_path / 'w.pth'}")
    assert found.identity == plain.identity
    assert found.card["container"] == "pickled network"


def test_an_unknown_format_is_refused_with_those_there_are():
    with pytest.raises(
        ConfigError, match=r"found 'mocco', .* auto, .*clip\. Did you mean \"moco\""
    ):
        parse_experiment({"cohort": {"path": "x"}, "sources": [{"use": "x", "remap": "mocco"}]})


@pytest.fixture
def published(state, tmp_path):
    file = tmp_path / "remote" / "net.pt"
    file.parent.mkdir()
    torch.save(state, file)
    return file


def test_weights_without_a_published_digest_are_pinned_on_first_use(published):
    registry = Timm(url=published.as_uri(), hub_id=None)
    first = build(f"timm:{NETWORK}", registry, download=True)
    assert first.card["sha256_checked"] == "first use"
    again = build(f"timm:{NETWORK}", registry)
    assert again.card == first.card


def test_a_published_file_that_changes_is_refused(state, published):
    registry = Timm(url=published.as_uri(), hub_id=None)
    build(f"timm:{NETWORK}", registry, download=True)
    here = locate_weights(parse_source(f"timm:{NETWORK}"), registry.spec.weights[0])
    torch.save({key: tensor + 1 for key, tensor in state.items()}, here)
    with pytest.raises(WeightsError, match=r"test_resnet: sha256 of its weights is .*, but was"):
        build(f"timm:{NETWORK}", registry)
    trusted = build(f"timm:{NETWORK}", registry, sha256=sha256_file(here))
    assert trusted.card["sha256_checked"] == "configuration"


def test_a_published_digest_needs_no_pin(published):
    registry = Timm(url=published.as_uri(), hub_id=None, sha256=sha256_file(published))
    found = build(f"timm:{NETWORK}", registry, download=True)
    assert found.card["sha256_checked"] == "publisher"


def test_a_file_of_ones_own_is_not_pinned(plain):
    assert plain.card["sha256_checked"] is None
