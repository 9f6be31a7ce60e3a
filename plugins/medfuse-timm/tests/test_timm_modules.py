"""One small model of each of timm's modules: described truly, or refused with the reason."""

from __future__ import annotations

import pytest
import timm
from medfuse_timm import families

from medfuse.testing import shapes
from medfuse.testing.behavior import outputs_are_finite
from medfuse.testing.probes import probe_backbone

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

VERSION = "1.0.31"
SMALLEST = {
    "byoanet": "halonet_h1",
    "byobnet": "test_byobnet",
    "cait": "cait_xxs24_224",
    "convit": "convit_tiny",
    "convmixer": "convmixer_768_32",
    "convnext": "test_convnext",
    "cpubone": "cpubone_nano",
    "csatv2": "csatv2",
    "cspnet": "cs3darknet_focus_s",
    "cspnext": "cspnext_tiny",
    "davit": "davit_tiny",
    "deit": "deit_tiny_patch16_224",
    "densenet": "densenet121",
    "dla": "dla34",
    "dpn": "dpn48b",
    "edgenext": "edgenext_xx_small",
    "efficientformer": "efficientformer_l1",
    "efficientformer_v2": "efficientformerv2_s0",
    "efficientnet": "test_efficientnet",
    "efficientvit_mit": "efficientvit_b0",
    "efficientvit_msra": "efficientvit_m0",
    "eva": "eva02_tiny_patch14_224",
    "fasternet": "fasternet_t0",
    "fastvit": "fastvit_t8",
    "focalnet": "focalnet_tiny_srf",
    "gcvit": "gcvit_xxtiny",
    "ghostnet": "ghostnet_050",
    "hardcorenas": "hardcorenas_b",
    "hgnet": "hgnetv2_b0",
    "hiera": "hiera_tiny_224",
    "hieradet_sam2": "sam2_hiera_tiny",
    "hrnet": "hrnet_w18_small",
    "iformer": "iformer_t",
    "inception_next": "inception_next_atto",
    "inception_resnet_v2": "inception_resnet_v2",
    "inception_v3": "inception_v3",
    "inception_v4": "inception_v4",
    "lcnetv2": "lcnetv2_small",
    "levit": "levit_128",
    "lowformer": "lowformer_b0",
    "mambaout": "test_mambaout",
    "maxxvit": "test_coatnet",
    "metaformer": "poolformer_s12",
    "mlp_mixer": "gmixer_12_224",
    "mobilenetv3": "mobilenetv3_small_050",
    "mobilevit": "mobilevit_xxs",
    "mvitv2": "mvitv2_tiny",
    "nest": "nest_tiny",
    "nextvit": "nextvit_small",
    "nfnet": "test_nfnet",
    "pit": "pit_ti_224",
    "pvt_v2": "pvt_v2_b0",
    "rdnet": "rdnet_tiny",
    "regnet": "regnetx_002",
    "repghost": "repghostnet_050",
    "repvit": "repvit_m1",
    "res2net": "res2next50",
    "resnest": "resnest14d",
    "resnet": "test_resnet",
    "resnetv2": "resnetv2_18",
    "rexnet": "rexnet_100",
    "selecsls": "selecsls42",
    "senet": "legacy_seresnet18",
    "sequencer": "sequencer2d_s",
    "shvit": "shvit_s1",
    "sknet": "skresnet18",
    "starnet": "starnet_s050",
    "swiftformer": "swiftformer_xs",
    "swin_transformer": "swin_tiny_patch4_window7_224",
    "swin_transformer_v2": "swinv2_tiny_window16_256",
    "swin_transformer_v2_cr": "swinv2_cr_tiny_224",
    "tiny_vit": "tiny_vit_5m_224",
    "tnt": "tnt_s_legacy_patch16_224",
    "tresnet": "tresnet_m",
    "twins": "twins_svt_small",
    "visformer": "visformer_tiny",
    "vision_transformer": "test_vit",
    "vision_transformer_hybrid": "vit_tiny_r_s16_p8_224",
    "vision_transformer_relpos": "test_vit_relpos",
    "vitamin": "vitamin_small_224",
    "volo": "volo_d1_224",
    "vovnet": "ese_vovnet19b_slim_dw",
    "xception": "legacy_xception",
    "xception_aligned": "xception41p",
    "xcit": "xcit_nano_12_p8_224",
}
SEVERAL_MAPS = ("coat_tiny", "crossvit_tiny_240", "efficientvim_m1")
# Over 60 million parameters: described, which takes no memory, and not built.
LARGE = (
    "beit_base_patch16_224",
    "deepseek_vit_412m",
    "gemma4_vit_167m",
    "mobilenetv5_base",
    "naflexvit_base_patch16_gap",
    "nasnetalarge",
    "pnasnet5large",
    "qwen3_vit_88m",
    "vgg11",
    "samvit_base_patch16_224",
)


def installed(name: str) -> str:
    if not timm.is_model(name):
        pytest.skip(f"promise not shown: this timm has no {name}")
    return name


@pytest.mark.long
@pytest.mark.parametrize("name", SMALLEST.values(), ids=SMALLEST)
def test_a_model_is_what_its_description_says(name: str) -> None:
    probe = probe_backbone(families.describe(installed(name)))
    shapes.backbone_shapes(probe)
    outputs_are_finite(probe)
    if probe.spec.stages:
        shapes.stages_are_true(probe)


@pytest.mark.parametrize("name", LARGE)
def test_a_large_model_is_described_without_being_built(name: str) -> None:
    assert families.describe(installed(name)).in_channels in (1, 3)


@pytest.mark.parametrize("name", SEVERAL_MAPS)
def test_a_model_of_several_maps_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(ValueError, match="gives a list, expected one feature map"):
        families.describe(installed(name))


def test_no_module_of_the_pinned_timm_is_left_out() -> None:
    if timm.__version__ != VERSION:
        pytest.skip(f"promise not shown: the table is of timm {VERSION}, not {timm.__version__}")
    shown = {*SMALLEST.values(), *SEVERAL_MAPS, *LARGE}
    left = [m for m in timm.list_modules() if not shown & set(timm.list_models(module=m))]
    assert left == []
