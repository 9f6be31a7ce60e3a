"""State dicts as the literature's training programs write them, into networks of timm and
torchvision.
"""

from __future__ import annotations

from typing import get_args

import pytest
import timm
import torch
from torch import nn
from torchvision import models

from medfuse.backbones.key_formats import find_fits, named_fit, suggestions, wanted_by
from medfuse.backbones.weights import (
    load_strictly,
    remap_keys,
    state_digest,
    with_leading_axes,
)
from medfuse.config import AUTO_REMAP, SourceConfig
from medfuse.errors import WeightsError

RENAMES = {"": "net.", "fc.": "-", "head.": "-"}


def wrapped(net: nn.Module) -> nn.Module:
    """Return a network below ``net``, without its classifier, as the plugins build it."""
    for name in ("fc", "head"):
        if hasattr(net, name):
            setattr(net, name, nn.Identity())
    module = nn.Module()
    module.net = net
    return module


@pytest.fixture(scope="module")
def resnet() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return models.resnet18(num_classes=3).state_dict()


@pytest.fixture(scope="module")
def vit() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return timm.create_model("test_vit", num_classes=3).state_dict()


def under(prefix: str, state: dict[str, torch.Tensor], *, without: str = "-"):
    return {prefix + k: t for k, t in state.items() if not k.startswith(without)}


def other(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return another network of the same shape."""
    return {key: tensor + 1 for key, tensor in state.items()}


def mlp(prefix: str, width: int) -> dict[str, torch.Tensor]:
    """Return a projection head."""
    return {f"{prefix}0.weight": torch.ones(4, width), f"{prefix}2.weight": torch.ones(2, 4)}


def moco_v1(state):
    queue = {"module.queue": torch.ones(2, 8), "module.queue_ptr": torch.ones(1)}
    return under("module.encoder_q.", state) | under("module.encoder_k.", other(state)) | queue


def moco_v2(state):
    query = under("module.encoder_q.", state, without="fc.") | mlp("module.encoder_q.fc.", 512)
    return query | under("module.encoder_k.", other(state), without="fc.")


def moco_v3(state):
    base = under("module.base_encoder.", state, without="fc.") | mlp("module.base_encoder.fc.", 512)
    momentum = under("module.momentum_encoder.", other(state), without="fc.")
    return base | momentum | mlp("module.predictor.", 256)


def dino(state):
    teacher = under("teacher.backbone.", state) | mlp("teacher.head.mlp.", 64)
    return teacher | under("student.module.backbone.", other(state))


def mae(state):
    decoder = {"decoder_pos_embed": torch.ones(1, 5, 8), "mask_token": torch.ones(1, 1, 8)}
    return under("", state, without="head.") | decoder | mlp("decoder_blocks.", 8)


def lightning(state):
    return under("model.", state) | {"criterion.weight": torch.ones(3)}


def simclr(state):
    return under("backbone.", state, without="fc.") | mlp("backbone.fc.", 512)


def sequential(state):
    """As lightly and RadImageNet write: the parts of a ResNet by number."""
    parts = [name for name, _ in models.resnet18().named_children()]
    numbered = {part: f"backbone.{number}." for number, part in enumerate(parts)}
    named = under("", state, without="fc.").items()
    return {numbered[k.partition(".")[0]] + k.partition(".")[2]: t for k, t in named}


def clip(state):
    text = {"text.transformer.weight": torch.ones(3), "logit_scale": torch.ones(1)}
    return under("visual.trunk.", state, without="head.") | mlp("visual.head.", 64) | text


def data_parallel(state):
    return under("module.", state)


RESNETS = [
    (moco_v1, "moco"),
    (moco_v2, "moco"),
    (moco_v3, "moco"),
    (lightning, "lightning"),
    (lightning, AUTO_REMAP),
    (simclr, "simclr"),
    (simclr, AUTO_REMAP),
    (sequential, AUTO_REMAP),
    (sequential, "simclr"),
    (data_parallel, AUTO_REMAP),
]
VITS = [(dino, "dino"), (mae, "mae"), (mae, AUTO_REMAP), (clip, "clip"), (clip, AUTO_REMAP)]


def ids(cases):
    return [f"{written.__name__}-{name}" for written, name in cases]


def check_fit(module, state, name, original):
    fit = named_fit(name, state, wanted_by(module, module, RENAMES), "source lab:net")
    renamed, _ = remap_keys(remap_keys(state, fit.remap)[0], RENAMES)
    load_strictly(module, renamed, "here")
    expected, _ = remap_keys(original, RENAMES)
    assert state_digest(module.state_dict()) == state_digest(expected)


@pytest.mark.parametrize(("written", "name"), RESNETS, ids=ids(RESNETS))
def test_a_resnet_is_found_in_every_format(resnet, written, name):
    check_fit(wrapped(models.resnet18()), written(resnet), name, resnet)


@pytest.mark.parametrize(("written", "name"), VITS, ids=ids(VITS))
def test_a_transformer_is_found_in_every_format(vit, written, name):
    check_fit(wrapped(timm.create_model("test_vit")), written(vit), name, vit)


def test_what_is_found_reads_as_a_line_of_a_configuration(resnet):
    module = wrapped(models.resnet18())
    first, second = find_fits(moco_v3(resnet), wanted_by(module, module, RENAMES))
    assert str(first) == 'remap: {"": "-", "module.base_encoder.": ""}'
    assert str(second) == 'remap: {"": "-", "module.momentum_encoder.": ""}'


def test_several_parts_that_fit_are_a_choice_that_auto_leaves_to_the_user(resnet):
    module = wrapped(models.resnet18())
    with pytest.raises(
        WeightsError,
        match=r'lab:net: remap auto finds 2 parts\. Set remap: \{"": "-", "module\.encoder_q\.": '
        r'""\}, or remap: \{"": "-", "module\.encoder_k\.": ""\}\.',
    ):
        named_fit(AUTO_REMAP, moco_v1(resnet), wanted_by(module, module, RENAMES), "source lab:net")


def test_a_format_that_is_not_there_names_what_is(resnet):
    module = wrapped(models.resnet18())
    with pytest.raises(
        WeightsError,
        match=r"remap dino finds no part of the file that fits\. Its keys begin with module\. "
        r'Set remap: \{"module\.": ""\}',
    ):
        named_fit("dino", data_parallel(resnet), wanted_by(module, module, RENAMES), "here")


def test_a_larger_network_of_the_family_is_no_fit_with_parts_to_leave_out():
    module = wrapped(models.resnet18())
    larger = models.resnet34().state_dict()
    assert set(models.resnet18().state_dict()) < set(larger)
    assert find_fits(larger, wanted_by(module, module, RENAMES)) == []
    (advice,) = suggestions(larger, wanted_by(module, module, RENAMES))
    assert advice.startswith("use to a larger network of the family")


def test_another_network_fits_nowhere(vit):
    module = wrapped(models.resnet18())
    assert find_fits(under("model.", vit), wanted_by(module, module, RENAMES)) == []


def test_the_part_in_front_of_a_cut_needs_no_more(resnet):
    whole = wrapped(models.resnet18())
    front = nn.Module()
    front.net = nn.Module()
    for name in ("conv1", "bn1", "layer1"):
        setattr(front.net, name, getattr(whole.net, name))
    only = {k: t for k, t in resnet.items() if k.startswith(("conv1", "bn1", "layer1"))}
    for state in (under("model.", only), under("model.", resnet)):
        (fit,) = find_fits(state, wanted_by(whole, front, RENAMES))
        assert fit.remap == {"model.": ""}


def openai_tower(state):
    """As OpenAI's CLIP names the parts of an image transformer."""
    names = {
        "cls_token": "class_embedding",
        "pos_embed": "positional_embedding",
        "patch_embed.proj": "conv1",
        "norm_pre": "ln_pre",
        "norm1": "ln_1",
        "norm2": "ln_2",
        "attn.qkv.": "attn.in_proj_",
        "attn.proj": "attn.out_proj",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
        "blocks": "transformer.resblocks",
    }
    found = {}
    for key, tensor in state.items():
        new = "ln_post" + key.removeprefix("norm") if key.startswith("norm.") else key
        for ours, theirs in names.items():
            new = new.replace(ours, theirs)
        found[f"visual.{new}"] = tensor[0, 0] if key == "cls_token" else tensor
    found["visual.positional_embedding"] = state["pos_embed"][0]
    text = {"transformer.resblocks.0.ln_1.weight": torch.ones(3), "logit_scale": torch.ones(())}
    return found | text | {"visual.proj": torch.ones(32, 16)}


@pytest.mark.parametrize("name", ["clip", AUTO_REMAP])
def test_an_image_tower_of_openai_is_renamed_as_timm_itself_does(name):
    from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn

    torch.manual_seed(0)
    options = {"img_size": 32, "embed_dim": 32, "depth": 2, "num_heads": 2, "num_classes": 0}
    original = VisionTransformer(**options, pre_norm=True)
    state = openai_tower(original.state_dict())
    converted = checkpoint_filter_fn(state, original)
    assert all(torch.equal(converted[k], t) for k, t in original.state_dict().items())
    module = wrapped(VisionTransformer(**options, pre_norm=True))
    wanted = wanted_by(module, module, RENAMES)
    fit = named_fit(name, state, wanted, "source lab:net")
    renamed, _ = remap_keys(remap_keys(state, fit.remap)[0], RENAMES)
    load_strictly(module, with_leading_axes(renamed, wanted.shapes), "here")
    assert state_digest(module.net.state_dict()) == state_digest(original.state_dict())


def test_every_format_of_the_configuration_is_known():
    from medfuse.backbones.key_formats import _PLACES

    names = get_args(get_args(SourceConfig.model_fields["remap"].annotation)[0])
    assert set(names) == {*_PLACES, AUTO_REMAP}


def test_a_format_takes_neither_a_momentum_encoder_nor_the_averaged_copy_that_comes_first():
    net = nn.Sequential(nn.Linear(2, 2))
    wanted = wanted_by(net, net, {})
    copies = under("ema.model.", net.state_dict()) | under("model.", net.state_dict())
    assert named_fit("lightning", copies, wanted, "source x").prefix == "model."
    momentum = under("momentum_encoder.backbone.", net.state_dict())
    with pytest.raises(WeightsError, match="remap moco finds no part of the file that fits"):
        named_fit("moco", momentum, wanted, "source x")
