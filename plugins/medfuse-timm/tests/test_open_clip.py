"""Files of OpenCLIP: the image tower becomes a network of timm and gives the same features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import timm
import torch
from medfuse_timm.network import TimmBackbone
from timm.models import byobnet
from torch import Tensor, nn

from medfuse.backbones.key_formats import named_fit, wanted_by
from medfuse.backbones.weights import load_strictly, remap_keys, with_leading_axes

RENAMES = {"": "net."}
TEXT = {"text.transformer.resblocks.0.ln_1.weight": torch.ones(3), "logit_scale": torch.ones(())}


def wrapped(net: nn.Module) -> TimmBackbone:
    """Return a network as medfuse has it."""
    module = TimmBackbone("test_vit")
    module.net = net
    module.channels_last = getattr(net, "output_fmt", "NCHW") == "NHWC"
    module.prefix_tokens = int(getattr(net, "num_prefix_tokens", 0) or 0)
    return module.eval()


def loaded(net: nn.Module, state: dict[str, Tensor], name: str = "clip") -> TimmBackbone:
    """Return the network with the image tower of a file in it."""
    module = wrapped(net)
    wanted = wanted_by(module, module, RENAMES)
    fit = named_fit(name, state, wanted, "source timm:net")
    renamed, _ = remap_keys(remap_keys(state, fit.remap)[0], RENAMES)
    load_strictly(module, with_leading_axes(renamed, wanted.shapes), "here")
    return module


def small_resnet(head: str = "attn_abs", classes: int = 0) -> byobnet.ByobNet:
    """Return timm's ``resnet50_clip``, narrow and with one or two blocks a stage."""
    block = byobnet.ByoBlockCfg
    widths = ((1, 32, 1), (2, 64, 2), (1, 96, 2), (1, 128, 2))
    blocks = tuple(block(type="bottle", d=d, c=c, s=s, br=0.25) for d, c, s in widths)
    cfg = replace(byobnet.model_cfgs["resnet50_clip"], blocks=blocks, stem_chs=(4, 4, 8))
    if head != "attn_abs":
        cfg = replace(cfg, head_type=head)
    torch.manual_seed(0)
    return byobnet.ByobNet(cfg, num_classes=classes, img_size=64).eval()


def clip_keys_of_resnet(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state of timm's network by the keys that OpenCLIP's file has."""
    found = {}
    for key, tensor in state.items():
        parts = key.split(".")
        if parts[0] == "stem":
            number, kind = parts[1][-1], parts[2]
            name = f"{kind}{number}.{parts[3]}"
        elif parts[0] == "stages":
            layer, block = int(parts[1]) + 1, parts[2]
            if parts[3] == "shortcut":
                inner = f"downsample.{0 if parts[5] == 'conv' else 1}"
            else:
                inner = f"{parts[4]}{parts[3][4]}"
            name = f"layer{layer}.{block}.{inner}.{parts[-1]}"
        else:
            name = "attnpool." + {"pos_embed": "positional_embedding"}.get(
                parts[1], f"{parts[1]}_proj.{parts[-1]}"
            )
        found[f"visual.{name}"] = tensor
    return found


def test_a_residual_tower_is_renamed_as_timm_itself_does():
    original = small_resnet()
    if "head.proj.weight" in original.state_dict():
        pytest.skip("this timm keeps the projection where there are no classes")
    with torch.no_grad():
        for parameter in original.parameters():
            parameter.normal_()
    tower = clip_keys_of_resnet(original.state_dict())
    beside = {"visual.attnpool.c_proj.weight": torch.ones(8, 128), **TEXT}
    converted = byobnet.checkpoint_filter_fn({**tower, **beside}, original)
    module = loaded(small_resnet(), {**tower, **beside})
    for key, tensor in module.net.state_dict().items():
        assert torch.equal(tensor, converted[key]), key


def test_a_network_that_averages_leaves_the_attention_of_the_tower_out():
    tower = clip_keys_of_resnet(small_resnet().state_dict())
    beside = {"visual.attnpool.c_proj.weight": torch.ones(8, 128), **TEXT}
    module = loaded(small_resnet("classifier"), {**tower, **beside})
    assert torch.equal(module.net.stem.conv1.conv.weight, tower["visual.conv1.weight"])


def test_a_larger_residual_tower_is_not_loaded_into_a_smaller_network():
    from medfuse.errors import WeightsError

    tower = clip_keys_of_resnet(small_resnet().state_dict())
    more = {k.replace("layer4.0", "layer4.1"): v for k, v in tower.items() if "layer4.0" in k}
    with pytest.raises(WeightsError, match="finds no part of the file that fits"):
        loaded(small_resnet(), {**tower, **more, **TEXT})


TRUNKS = {
    "siglip": ("vit_base_patch16_siglip_224", {"embed_dim": 24, "depth": 2, "num_heads": 2}),
    "convnext": ("convnext_base", {"depths": [1, 1, 1, 1], "dims": [8, 16, 24, 32]}),
    "vit": ("vit_base_patch16_224", {"embed_dim": 24, "depth": 2, "num_heads": 2}),
}


@pytest.mark.parametrize("name", TRUNKS)
@pytest.mark.parametrize("remap", ["clip", "auto"])
def test_a_tower_of_timm_is_found_below_its_trunk(name, remap):
    model, options = TRUNKS[name]
    torch.manual_seed(0)
    tower = timm.create_model(model, num_classes=0, **options).state_dict()
    state = {f"visual.trunk.{key}": tensor for key, tensor in tower.items()}
    state |= {"visual.head.proj.weight": torch.ones(8, 24), **TEXT}
    module = loaded(timm.create_model(model, num_classes=0, **options), state, remap)
    assert all(torch.equal(tensor, tower[k]) for k, tensor in module.net.state_dict().items())


def _transformer() -> tuple[nn.Module, nn.Module]:
    from open_clip.transformer import VisionTransformer
    from timm.models.vision_transformer import VisionTransformer as Timm

    theirs = VisionTransformer(
        image_size=32, patch_size=8, width=32, layers=2, heads=2, mlp_ratio=4.0, output_dim=32
    )
    theirs.proj.data.copy_(torch.eye(32))
    ours = Timm(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=0,
                pre_norm=True, norm_layer=nn.LayerNorm)  # fmt: skip
    return theirs, ours


def _residual() -> tuple[nn.Module, nn.Module]:
    from open_clip.modified_resnet import ModifiedResNet

    theirs = ModifiedResNet([1, 2, 1, 1], 256, 4, image_size=64, width=8)
    theirs.attnpool.c_proj.weight.data.copy_(torch.eye(256))
    theirs.attnpool.c_proj.bias.data.zero_()
    return theirs, _wide_resnet()


def _wide_resnet() -> byobnet.ByobNet:
    block = byobnet.ByoBlockCfg
    widths = ((1, 32, 1), (2, 64, 2), (1, 128, 2), (1, 256, 2))
    blocks = tuple(block(type="bottle", d=d, c=c, s=s, br=0.25) for d, c, s in widths)
    cfg = replace(byobnet.model_cfgs["resnet50_clip"], blocks=blocks, stem_chs=(4, 4, 8))
    return byobnet.ByobNet(cfg, num_classes=0, img_size=64)


@pytest.mark.parametrize(("pair", "size"), [(_transformer, 32), (_residual, 64)])
def test_the_same_image_gives_the_features_of_open_clip(
    pair: Callable[[], tuple[nn.Module, nn.Module]], size: int
):
    pytest.importorskip("open_clip", reason="compared where open_clip_torch is there")
    torch.manual_seed(0)
    theirs, ours = pair()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "bn" in name:
                parameter.uniform_(0.5, 1.5)
    state = {f"visual.{key}": tensor for key, tensor in theirs.state_dict().items()} | TEXT
    module = loaded(ours, state)
    image = torch.rand(2, 3, size, size)
    with torch.no_grad():
        _, vector = module(image)
        torch.testing.assert_close(vector, theirs.eval()(image), rtol=1e-4, atol=1e-5)
