"""From a configuration to a source that is loaded, measured and identified."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from medfuse.backbones.build import SourceTarget, build_source, build_sources, trainable_paths
from medfuse.backbones.weights import state_digest
from medfuse.config import NormalizationConfig, SourceConfig
from medfuse.contract import (
    BackboneSpec,
    GraphOnly,
    Normalization,
    Option,
    PublicTarget,
    Stage,
    VendoredSource,
    WeightsSpec,
)
from medfuse.errors import ConfigError, SourceError, WeightsError
from medfuse.registry import factories
from medfuse.storage import sha256_file

TARGET = SourceTarget(channels=1, size=(32, 32))


class Net(nn.Module):
    """A stem, two stages, and a layer behind the pooling that widens the vector."""

    def __init__(self, width: int = 4, broken: bool = False) -> None:
        super().__init__()
        if broken:
            raise ValueError("two words")
        self.stem = nn.Conv2d(3, width, 4, stride=4)
        self.stage1 = nn.Sequential(nn.Conv2d(width, 6, 1), nn.BatchNorm2d(6))
        self.stage2 = nn.Conv2d(6, 8, 1)
        self.neck = nn.Linear(8, 10)

    def forward(self, x):
        feature_map = self.stage2(self.stage1(self.stem(x)))
        return feature_map, self.neck(feature_map.mean((2, 3)))


def spec(**changes) -> BackboneSpec:
    weights = WeightsSpec(
        name="lab",
        normalization=Normalization(mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.5)),
        input_size=(16, 16),
        license="MIT",
        training_data=("labset",),
        remap={"fc.": "-"},
    )
    stages = ("stage1", "stage2")
    fields = {
        "name": "net",
        "summary": "for tests",
        "factory": "lab.nets:Net",
        "options": (Option(name="width", kind="int"), Option(name="broken", kind="bool")),
        "export": VendoredSource(modules=("lab.nets",)),
        "stem": "stem",
        "stages": tuple(Stage(name=s, module_path=s, feature_dim=999) for s in stages),
        "native_pooling": True,
        "levels": 1,
        "weights": (weights,),
    }
    return BackboneSpec(**{**fields, **changes})


class OneBackbone:
    """A registry with one backbone."""

    def __init__(self, one: BackboneSpec) -> None:
        self.one = one

    def backbone(self, _reference):
        return "labplugin", self.one

    def qualified(self, reference):
        return reference


@pytest.fixture(autouse=True)
def _factory(monkeypatch):
    monkeypatch.setattr("medfuse.backbones.build.load_factory", lambda _spec: Net)
    assert callable(factories.load_factory)


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(5)
    path = tmp_path / "w.safetensors"
    save_file({**Net().state_dict(), "fc.weight": torch.zeros(2, 2)}, path)
    return path


def build(use, target=TARGET, one=None, **settings):
    return build_source(SourceConfig(use=str(use), **settings), OneBackbone(one or spec()), target)


def test_width_is_measured_and_not_believed():
    built = build("lab:net.random")
    assert (built.feature_dim, built.tokens) == (10, 0)
    assert built.module(torch.rand(3, 1, 32, 32)).shape == (3, 10)
    assert not built.module.training


def test_tokens_are_measured():
    built = build("lab:net.random", SourceTarget(channels=3, size=(32, 32), tokens=True, grid=2))
    assert (built.feature_dim, built.tokens) == (8, 4)
    assert built.identity["grid"] == 2
    assert built.identity["pooling"] == "grid"


def test_weights_of_a_file_are_loaded_and_what_was_left_out_is_told(weights):
    built = build(f"lab:net@{weights}")
    expected = {k: v for k, v in load_file(weights).items() if not k.startswith("fc.")}
    loaded = built.module.backbone.state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in expected.items())
    decisive = {k: v for k, v in expected.items() if "num_batches" not in k}
    assert built.identity["weights"] == state_digest(decisive)
    assert built.card["digest"] == built.card["sha256"]
    assert built.card["left_out"] == ["fc.weight"]
    assert built.card["sha256"] == sha256_file(weights)
    assert built.label == "lab:net@w"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("net.in1k.safetensors", "in1k"),
        ("net.safetensors", "net"),
        ("own_net.safetensors", "own_net"),
    ],
)
def test_a_label_says_the_name_of_the_network_once(weights, tmp_path, name, label):
    file = tmp_path / name
    file.write_bytes(weights.read_bytes())
    assert build(f"lab:net@{file}").label == f"lab:net@{label}"


def test_no_path_of_this_machine_gets_into_identity_card_or_node(weights, tmp_path):
    built = build(f"lab:net@{weights}")
    text = json.dumps([built.identity, built.card, built.node, built.label])
    assert str(tmp_path) not in text


def test_random_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    first = build("lab:net.random", SourceTarget(channels=1, size=(32, 32), seed=3))
    state = torch.get_rng_state()
    second = build("lab:net.random", SourceTarget(channels=1, size=(32, 32), seed=3))
    other = build("lab:net.random", SourceTarget(channels=1, size=(32, 32), seed=4))
    assert first.identity == second.identity
    assert first.identity["weights"] != other.identity["weights"]
    assert torch.equal(torch.get_rng_state(), state)
    assert first.card["weights"] == "random"


def test_weights_that_nobody_has_are_never_replaced_by_random_ones():
    with pytest.raises(WeightsError, match=r"no weights of it are published"):
        build("lab:net")


def test_the_contract_of_the_weights_holds(weights):
    adapter = build(f"lab:net.lab@{weights}").module.adapter
    torch.testing.assert_close(adapter.mean, torch.tensor([0.1, 0.2, 0.3]))
    assert adapter.resize(torch.rand(1, 1, 32, 32)).shape == (1, 1, 16, 16)


def test_the_configuration_overrules_the_weights(weights):
    normalization = NormalizationConfig(mean=[0.5], std=[0.25], input_range=(-1, 1))
    built = build(f"lab:net@{weights}", normalization=normalization, input_size=(24, 24))
    assert built.identity["input_size"] == [24, 24]
    assert built.identity["adapter"]["mean"] == [0.5]
    assert built.module.adapter.low == -1.0


def test_an_untrained_network_takes_the_image_as_it_is():
    assert build("lab:net.random").identity["input_size"] == [32, 32]


def test_a_multiple_is_rounded_up():
    one = spec(weights=(WeightsSpec(name="w", size_policy="multiple_of:24"),))
    assert build("lab:net.random", one=one).identity["input_size"] == [48, 48]


def test_img_size_follows_the_input_size():
    class Sized(Net):
        def __init__(self, img_size=(16, 16)):
            super().__init__()
            self.img_size = img_size

    one = spec(options=(Option(name="img_size", kind="list"),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medfuse.backbones.build.load_factory", lambda _spec: Sized)
        built = build("lab:net.random", one=one, input_size=(20, 20))
        assert built.identity["options"] == {"img_size": [20, 20]}
        given = build("lab:net.random", one=one, options={"img_size": [24, 24]})
        assert given.identity["input_size"] == [24, 24]
        with pytest.raises(SourceError, match="Give one of them"):
            build("lab:net.random", one=one, input_size=(20, 20), options={"img_size": [8, 8]})


def test_img_size_stays_where_the_network_interpolates_its_embeddings():
    one = spec(options=(Option(name="img_size", kind="list"),), open_options=True)
    options = {"dynamic_img_size": True}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medfuse.backbones.build.load_factory", lambda _spec: lambda **_: Net())
        built = build("lab:net.random", one=one, input_size=(20, 20), options=options)
    assert built.identity["options"] == options
    assert built.identity["input_size"] == [20, 20]


def test_a_file_of_unknown_contract_is_warned_about_once(weights, caplog):
    with caplog.at_level(logging.WARNING, logger="medfuse.backbones"):
        built = build(f"lab:net@{weights}")
    assert "the input contract of this file is unknown" in caplog.text
    assert built.card["contract_assumed"]
    assert built.card["license"] == "LicenseRef-unknown"


@pytest.mark.parametrize("how", ["named", "normalized", "digest"])
def test_a_known_contract_is_not_warned_about(weights, caplog, how):
    use, one, settings = f"lab:net@{weights}", spec(), {}
    if how == "named":
        use = f"lab:net.lab@{weights}"
    if how == "normalized":
        settings = {"normalization": NormalizationConfig()}
    if how == "digest":
        known = WeightsSpec(
            name="lab", sha256=sha256_file(weights), license="MIT", remap={"fc.": "-"}
        )
        one = spec(weights=(known,))
    built = build(use, one=one, **settings)
    assert not caplog.text
    assert (built.card["license"] == "MIT") == (how != "normalized")


def test_the_digest_in_the_configuration_is_checked(weights):
    build(f"lab:net@{weights}", sha256=sha256_file(weights))
    with pytest.raises(WeightsError, match=r"w\.safetensors: sha256 is"):
        build(f"lab:net@{weights}", sha256="0" * 64)


def test_remap_of_the_configuration_comes_first(weights):
    renamed = {f"module.{key}": value for key, value in load_file(weights).items()}
    save_file(renamed, weights)
    plain = build(f"lab:net@{weights}", remap={"module.": ""})
    with pytest.raises(WeightsError, match=r"lab:net@.*keys missing .* keys too many"):
        build(f"lab:net@{weights}")
    assert plain.card["left_out"] == ["fc.weight"]


def test_a_checkpoint_without_the_last_stage_is_usable_with_a_cut(weights):
    state = {k: v for k, v in load_file(weights).items() if not k.startswith(("stage2", "neck"))}
    save_file(state, weights)
    with pytest.raises(WeightsError, match=r"4 keys missing .* Set cut: MODULE"):
        build(f"lab:net@{weights}")
    built = build(f"lab:net@{weights}", cut="stage1")
    assert built.feature_dim == 6
    assert built.identity["cut"] == {"module_path": "stage1", "layout": "grid"}
    assert "medfuse.backbones.cut" in built.vendored


def test_a_whole_checkpoint_fits_a_cut_and_the_rest_is_told(weights):
    built = build(f"lab:net@{weights}", cut="stage1.0")
    assert "neck.weight" in built.card["left_out"]
    assert built.feature_dim == 6


def test_a_source_that_differs_has_another_identity(weights):
    use = f"lab:net@{weights}"
    variants = [
        build(use),
        build(use, cut="stage2"),
        build(use, input_size=(20, 20)),
        build(use, normalization=NormalizationConfig(mean=[0.4])),
        build(use, SourceTarget(channels=1, size=(32, 32), tokens=True)),
        build(use, SourceTarget(channels=1, size=(40, 40))),
    ]
    assert len({json.dumps(v.identity, sort_keys=True) for v in variants}) == len(variants)
    assert build(use).identity == build(use, train="last:1").identity


class Pyramid(Net):
    """The stages have a resolution each, and the map is the last one's."""

    def __init__(self, width: int = 4) -> None:
        super().__init__(width)
        self.stage2 = nn.Conv2d(6, 8, 2, stride=2)


@pytest.fixture
def pyramid(monkeypatch):
    monkeypatch.setattr("medfuse.backbones.build.load_factory", lambda _spec: Pyramid)
    return spec(levels=2)


def test_a_frozen_source_reads_as_many_levels_as_its_backbone_says(pyramid):
    built = build("lab:net.random", one=pyramid)
    assert built.feature_dim == 10 + 6  # own vector, stage1
    assert built.identity["levels"] == {
        "stages": [{"module_path": "stage1", "channels_last": False}]
    }


@pytest.mark.parametrize(
    "settings", [{"train": "last:1"}, {"unfreeze": {"after": 1}}, {"levels": 1}]
)
def test_one_that_learns_gives_its_own_vector(pyramid, settings):
    built = build("lab:net.random", one=pyramid, **settings)
    assert built.feature_dim == 10
    assert "levels" not in built.identity


def test_the_number_of_levels_is_what_was_found(pyramid):
    assert build("lab:net.random", one=pyramid, levels=9).levels == 2
    assert build("lab:net.random", one=pyramid, levels=1).levels == 1


def test_slices_and_tokens_have_no_levels_of_themselves(pyramid):
    tokens = SourceTarget(channels=3, size=(32, 32), tokens=True, grid=2)
    volume = SourceTarget(channels=1, size=(32, 32, 5))
    assert build("lab:net.random", tokens, one=pyramid).feature_dim == 8
    assert build("lab:net.random", volume, one=pyramid).feature_dim == 10
    assert build("lab:net.random", volume, one=pyramid, levels=2).feature_dim == 16


def test_levels_behind_a_cut(pyramid, weights):
    built = build("lab:net.random", one=pyramid, cut="stage2", levels=2)
    assert built.feature_dim == 8 + 6
    assert built.module.pooling == "native"


def test_stages_of_a_source_with_levels_can_learn(pyramid):
    built = build("lab:net.random", one=pyramid, train="last:1", levels=2)
    learning = {n for n, p in built.module.backbone.named_parameters() if p.requires_grad}
    assert learning == {
        "backbone.stage2.weight",
        "backbone.stage2.bias",
        "backbone.neck.weight",
        "backbone.neck.bias",
    }


def test_levels_of_tokens_are_refused(pyramid):
    tokens = SourceTarget(channels=3, size=(32, 32), tokens=True, grid=2)
    with pytest.raises(SourceError, match=r"levels is 2, but the fusion takes.*levels: 1"):
        build("lab:net.random", tokens, one=pyramid, levels=2)


def test_levels_without_a_stage_are_refused():
    with pytest.raises(SourceError, match="levels is 2, but none of its stages gives a feature"):
        build("lab:net.random", one=spec(stages=()), levels=2)


def test_the_node_holds_the_levels(pyramid):
    built = build("lab:net.random", one=pyramid)
    backbone = built.node["backbone"]
    assert backbone["_target_"] == "scripts.backbones_levels.LevelsBackbone"
    assert backbone["stages"] == built.identity["levels"]["stages"]
    assert "medfuse.backbones.levels" in built.vendored


def test_training_policies_become_paths():
    assert build("lab:net.random", train="last:1").module.trainable == ("after:stage1",)
    built = build("lab:net.random", train="last:1", cut="stage2")
    assert built.module.trainable == ("after:body.stage1",)
    trained = [n for n, p in built.module.named_parameters() if p.requires_grad]
    assert trained == ["backbone.body.stage2.weight", "backbone.body.stage2.bias"]
    assert trainable_paths(spec(), "frozen") == ()
    assert trainable_paths(spec(), "all") == "all"
    assert trainable_paths(spec(), "scratch") == "all"
    assert trainable_paths(spec(), "last:2") == ("after:stem",)
    assert trainable_paths(spec(), "from:stage1") == ("after:stem",)
    assert trainable_paths(spec(), "from:stage2") == trainable_paths(spec(), "last:1")


def test_from_scratch_is_the_network_with_random_weights_whatever_is_named():
    scratch = build("lab:net@absent.safetensors", train="scratch", sha256="0" * 64)
    random = build("lab:net.random", train="all")
    assert scratch.label == random.label
    assert scratch.identity == random.identity
    assert scratch.module.trainable == "all"
    assert scratch.card["file"] is None


def test_the_policy_of_batch_norm_is_in_the_recipe_of_a_bundle():
    assert build("lab:net.random", train="all", batch_norm="affine").node["batch_norm"] == "affine"
    assert "batch_norm" not in build("lab:net.random", train="all").node


def test_from_a_stage_that_does_not_exist_is_an_error():
    with pytest.raises(SourceError, match=r"no stage 'stage'. Stages: stage1, stage2. Did you"):
        build("lab:net.random", train="from:stage")


def test_more_stages_than_there_are_is_an_error():
    with pytest.raises(SourceError, match=r"net has 2 stages \(stage1, stage2\)"):
        build("lab:net.random", train="last:3")


def test_an_unknown_cut_names_the_stages():
    with pytest.raises(SourceError, match=r'Stages: stage1, stage2. Did you mean "stage1"'):
        build("lab:net.random", cut="stge1")


def test_an_unknown_option_is_refused():
    with pytest.raises(ConfigError, match="unknown option 'widht'"):
        build("lab:net.random", options={"widht": 3})


def test_options_reach_the_network_and_the_node():
    built = build("lab:net.random", options={"width": 7})
    assert built.module.backbone.stem.out_channels == 7
    assert built.node["backbone"] == {"_target_": "scripts.lab_nets.Net", "width": 7}


def test_a_constructor_that_fails_is_named():
    with pytest.raises(SourceError, match=r"lab:net\.random: cannot be built .*two words"):
        build("lab:net.random", options={"broken": True})


def test_a_size_that_does_not_run_is_named():
    with pytest.raises(SourceError, match=r"does not run at 2 x 2 .* Set another input_size"):
        build("lab:net.random", input_size=(2, 2))


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (SourceTarget(channels=1, size=(8, 8, 8), tokens=True), "takes feature maps"),
        (SourceTarget(channels=2, size=(32, 32)), "takes 3 channels, but its input has 2"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(target, text):
    with pytest.raises(SourceError, match=text):
        build("lab:net.random", target)


def test_each_kind_of_export_gives_its_node():
    public = spec(export=PublicTarget(target="lab.public.net", kwargs={"pretrained": False}))
    built = build("lab:net.random", one=public, options={"width": 7})
    expected = {"_target_": "lab.public.net", "width": 7, "pretrained": False}
    assert built.node["backbone"] == expected
    assert build("lab:net.random", one=spec(export=GraphOnly(reason="no"))).node is None


def test_labels_differ():
    config = SourceConfig(use="lab:net.random")
    built = build_sources([config] * 3, OneBackbone(spec()), [TARGET] * 3)
    assert [s.label for s in built] == [
        "lab:net.random", "lab:net.random (2)", "lab:net.random (3)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("use", "changes", "found"),
    [
        ("lab:net.random@/absent/w.safetensors", {}, "a file behind @"),
        ("lab:net.random", {"sha256": "0" * 64}, "sha256"),
        ("lab:net.random", {"remap": {"a": "b"}}, "remap"),
    ],
)
def test_an_untrained_network_takes_nothing_about_weights(use, changes, found) -> None:
    config = SourceConfig(use=use, **changes)
    with pytest.raises(SourceError, match=f"loads no weights, but found {found}"):
        build_source(config, OneBackbone(spec()), TARGET)


def test_an_upgraded_plugin_gives_another_identity(install_plugin):
    def identity(code):
        install_plugin("labplugin", "", lab_nets=code)
        one = spec(export=VendoredSource(modules=("lab_nets",)))
        return build("lab:net.random", one=one).identity

    before, after = identity("blur = 1\n"), identity("blur = 2\n")
    assert before["origin"]["distribution"] == "labplugin-dist"
    assert {key for key in before if before[key] != after[key]} == {"origin"}


@pytest.mark.parametrize(
    ("option", "hint"), [("wdith", 'Did you mean "width"'), ("zzz", "Check the options")]
)
def test_an_option_that_a_library_does_not_know_suggests_the_nearest(option, hint):
    one = spec(options=(), open_options=True)
    with pytest.raises(SourceError, match=f"unexpected keyword argument '{option}'.*{hint}"):
        build("lab:net.random", one=one, options={option: 3})
