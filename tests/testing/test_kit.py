"""Each check catches the fault it is for: one sound plugin, and one fault at a time."""

from __future__ import annotations

import re
import weakref

import pytest

from medfuse.registry.measurements import measurements_text
from medfuse.testing import Finding, check_plugin, checks_of
from medfuse.testing.findings import carry_out

PLUGIN = """
from medfuse.contract import *

VENDORED = VendoredSource(modules=("kit_networks",))

@hookimpl
def medfuse_backbones():
    yield BackboneSpec(
        name="net", summary="s", factory="kit_networks:Net",
        options=(Option(name="width", kind="int", default=8),), export=VENDORED,
        in_channels=1, stem="stem", native_pooling=True,
        stages=(Stage(name="one", module_path="stem", feature_dim=8, stride=2),),
        weights=(WeightsSpec(name="w", license="MIT", url="https://example.org/w",
                             size_policy="multiple_of:8"),),
    )

@hookimpl
def medfuse_fusions():
    yield FeatureFusionSpec(name="fuse", summary="s", factory="kit_networks:Fuse",
                            export=VENDORED, handles_missing=True)
    yield DecisionFusionSpec(name="decide", summary="s", factory="kit_networks:Decide",
                             export=VENDORED, handles_missing=True)

@hookimpl
def medfuse_heads():
    yield HeadSpec(name="head", summary="s", factory="kit_networks:Head",
                   export=PublicTarget(target="torch.nn.Linear"))
    yield HeadSpec(name="graph", summary="s", factory="kit_networks:Head",
                   export=GraphOnly(reason="to be tried"))

@hookimpl
def medfuse_readers():
    yield ReaderSpec(name="read", summary="s", factory="kit_networks:Net", suffixes=(".f32",))

@hookimpl
def medfuse_metrics():
    yield MetricSpec(name="accuracy", summary="s", factory="kit_networks:accuracy")
"""

NETWORKS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, stride=2, padding=1)

    def forward(self, x):
        x = self.stem(x)
        return x, x.mean((2, 3))

class Fuse(nn.Module):
    def __init__(self, in_dims):
        super().__init__()
        self.out_dim = 5
        self.project = nn.ModuleList(nn.Linear(d, 5) for d in in_dims)

    def forward(self, features, mask):
        shares = mask / mask.sum(1, keepdim=True)
        fused = sum(s[:, None] * p(x) for s, p, x in zip(shares.T, self.project, features))
        return fused, shares

class Decide(nn.Module):
    def __init__(self, num_sources, num_outputs):
        super().__init__()

    def forward(self, logits, mask):
        shares = mask / mask.sum(1, keepdim=True)
        return (shares[..., None] * logits).sum(1), shares

class Head(nn.Linear):
    pass

def accuracy():
    return lambda labels, probabilities: float((probabilities.argmax(1) == labels).mean())
"""

FAULTS = [
    ("torch at the top", "plugin", "light import", "line 1: imports torch",
     ("plugin", "\nfrom medfuse", "import torch\nfrom medfuse")),
    ("torch in a hook", "plugin", "light import", "imports torch",
     ("plugin", '    yield BackboneSpec(\n', '    import torch\n    yield BackboneSpec(\n')),
    ("torch hidden in try", "plugin", "light import", "imports torch",
     ("plugin", "VENDORED =", "try:\n    import torch\nexcept ImportError:\n    pass\nVENDORED =")),
    ("empty summary", "backbone net", "description", "summary is empty",
     ("plugin", 'name="net", summary="s"', 'name="net", summary=""')),
    ("list for tuple", "backbone net", "description", "options is a list",
     ("plugin", 'default=8),)', 'default=8),][:]'), ("plugin", 'options=(Opt', 'options=[Opt')),
    ("absent factory", "backbone net", "factory", "kit_networks has no 'Nett'",
     ("plugin", "kit_networks:Net\",\n        options", "kit_networks:Nett\",\n        options")),
    ("default of another kind", "backbone net", "options", "option 'width' is '8', expected int",
     ("plugin", "default=8", "default='8'")),
    ("option that is not taken", "backbone net", "options", "does not take every option",
     ("plugin", 'name="width"', 'name="depth"')),
    ("no license", "backbone net", "license", "weights 'w' have no license",
     ("plugin", 'license="MIT", ', "")),
    ("no source license", "fusion fuse", "license", "VendoredSource has no license",
     ("plugin", '("kit_networks",)', '("kit_networks",), license=" "')),
    ("fixed size without a size", "backbone net", "weights", "input_size (), expected 2 lengths",
     ("plugin", 'size_policy="multiple_of:8"', 'size_policy="fixed", input_size=()')),
    ("zero std", "backbone net", "weights", "a std is zero",
     ("plugin", 'license="MIT"', 'license="MIT", normalization=Normalization(std=(0.0,))')),
    ("mean of two channels", "backbone net", "weights", "one value, or one per channel",
     ("plugin", 'license="MIT"', 'license="MIT", normalization=Normalization(mean=(0.5, 0.5))')),
    ("odd size policy", "backbone net", "weights", "size_policy 'some'",
     ("plugin", "multiple_of:8", "some")),
    ("reserved weights name", "backbone net", "weights", "not be 'random'",
     ("plugin", 'name="w"', 'name="random"')),
    ("single tensor", "backbone net", "shapes", "float32 (3, 8, 48, 48), expected the pair",
     ("networks", "return x, x.mean((2, 3))", "return x")),
    ("flat map", "backbone net", "shapes", "expected map (N, F, *grid) of a 2D net",
     ("networks", "return x, x.mean((2, 3))", "return x.flatten(2), x.mean((2, 3))")),
    ("undeclared pooling", "backbone net", "shapes", "native_pooling is True, but pooled is None",
     ("networks", "x.mean((2, 3))", "None")),
    ("half precision", "backbone net", "shapes", "returned float16",
     ("networks", "return x, x.mean", "return x.half(), x.mean")),
    ("absent stage", "backbone net", "stages", "no submodule 'stems'",
     ("plugin", 'module_path="stem"', 'module_path="stems"')),
    ("wrong stage width", "backbone net", "stages", "gives 8 features, declared is 9",
     ("plugin", "feature_dim=8", "feature_dim=9")),
    ("wrong stride", "backbone net", "stages", "48 elements for 96 pixels, which is not stride 4",
     ("plugin", "stride=2", "stride=4")),
    ("unused stage", "backbone net", "stages", "(extra) is not used in forward",
     ("plugin", 'module_path="stem"', 'module_path="extra"'),
     ("networks", "        self.stem", "        self.extra = nn.ReLU()\n        self.stem")),
    ("NaN", "backbone net", "finite", "NaN or infinity",
     ("networks", "x = self.stem(x)", "x = self.stem(x) / 0")),
    ("noise in eval", "backbone net", "eval determinism", "two calls in eval mode differ",
     ("networks", "x = self.stem(x)", "x = self.stem(x) + torch.rand(1)")),
    ("batch statistics", "backbone net", "batch independence", "depends on the other rows",
     ("networks", "x = self.stem(x)", "x = self.stem(x - x.mean(0))")),
    ("no gradient", "backbone net", "gradients", "outputs carry no gradient",
     ("networks", "x = self.stem(x)", "x = self.stem(x).detach()")),
    ("frozen stem", "backbone net", "gradients", "the stem 'stem' is frozen by the factory",
     ("networks", "padding=1)", "padding=1).requires_grad_(False)")),
    ("stem without gradient", "backbone net", "gradients", "no gradient reaches the stem",
     ("networks", "x = self.stem(x)", "x = self.stem(x)\n        x = 0 * x + 1")),
    ("state outside the state dict", "backbone net", "state dict", "some state is not in it",
     ("networks", "        self.stem =", "        self.bias = torch.rand(1)\n        self.stem ="),
     ("networks", "x = self.stem(x)", "x = self.stem(x) + self.bias")),
    ("undeclared import", "fusion fuse", "export recipe", "imports numpy, but",
     ("networks", "import torch\n", "import torch\nimport numpy\n")),
    ("unnamed requirement", "fusion fuse", "export recipe", "requires does not name pillow",
     ("plugin", '("kit_networks",)', '("kit_networks",), allowed_imports=("torch", "PIL")')),
    ("factory elsewhere", "fusion fuse", "export recipe", "first vendored module is kit_other",
     ("plugin", 'modules=("kit_networks",)', 'modules=("kit_other", "kit_networks")')),
    ("target in the plugin", "head head", "export recipe", "needs kit_plugin, which is absent",
     ("plugin", "torch.nn.Linear", "kit_plugin.Linear")),
    ("no out_dim", "fusion fuse", "shapes", "out_dim is None",
     ("networks", "        self.out_dim = 5\n", "")),
    ("wrong out_dim", "fusion fuse", "shapes", "fused is float32 (3, 5), expected (3, 6)",
     ("networks", "self.out_dim = 5", "self.out_dim = 6")),
    ("shares above one", "fusion fuse", "shapes", "shares do not sum to 1",
     ("networks", "return fused, shares", "return fused, 2 * shares")),
    ("shares of another shape", "fusion decide", "shapes", "expected (3, 3)",
     ("networks", "logits).sum(1), shares", "logits).sum(1), shares[:, :1]")),
    ("two sources at least", "fusion fuse", "one source", "raised IndexError",
     ("networks", "        fused = sum", "        features[1]\n        fused = sum")),
    ("mask not heeded", "fusion fuse", "missing sources", "handles_missing is not kept",
     ("networks", "s[:, None] * p(x)", "p(x)")),
    ("mask not heeded by shares", "fusion decide", "missing sources", "handles_missing is not kept",
     ("networks", "return (shares[..., None] * logits)", "return logits")),
    ("parameters that are not declared", "fusion decide", "fitting", "has 1 parameters",
     ("networks", "num_outputs):\n        super().__init__()",
      "num_outputs):\n        super().__init__()\n        self.w = nn.Parameter(torch.ones(1))")),
    ("fitting of nothing", "fusion decide", "fitting", "has 0 parameters",
     ("plugin", 'kit_networks:Decide"', 'kit_networks:Decide", fitting="out_of_fold"')),
    ("head of a fixed size", "head graph", "shapes", "for 2 classes, expected (3, 2)",
     ("networks", "    pass", "    def __init__(self, i, k):\n        super().__init__(i, 4)")),
    ("unknown loss", "head head", "loss and link", "loss 'hinge'",
     ("plugin", 'name="head", summary="s"', 'name="head", summary="s", loss="hinge"')),
    ("one logit for softmax", "head head", "loss and link", "single_logit is True but link is",
     ("plugin", 'name="head", summary="s"', 'name="head", summary="s", single_logit=True')),
    ("grades by softmax", "head head", "loss and link", "task is 'ordinal' but link is 'softmax'",
     ("plugin", 'name="head", summary="s"', 'name="head", summary="s", task="ordinal"')),
    ("graph that depends on data", "head graph", "traced graph", "the traced graph differs",
     ("networks", "    pass", "    def forward(self, x):\n"
      "        return super().forward(x) + len(x)")),
    ("graph without reason", "head graph", "export recipe", "GraphOnly without a reason",
     ("plugin", "to be tried", "")),
    ("suffix without dot", "reader read", "suffixes", "expected some as",
     ("plugin", '".f32"', '"f32"')),
    ("suffix of a built-in format", "reader read", "suffixes", "'.nrrd' is that of a built-in",
     ("plugin", '".f32"', '".nrrd"')),
    ("reader with undeclared imports", "reader read", "export recipe", "imports numpy, but",
     ("plugin", 'factory="kit_networks:Net", suffixes', 'export=VENDORED, '
      'factory="kit_networks:Net", suffixes'),
     ("networks", "import torch\n", "import torch\nimport numpy\n")),
    ("metric out of bounds", "metric accuracy", "measures", "gave 100, outside its bounds 0 to 1",
     ("networks", "float((", "100 * float((")),
    ("metric the other way", "metric accuracy", "measures", "greater_is_better=True is not true",
     ("networks", "float((probabilities.argmax(1) ==", "float((probabilities.argmax(1) !=")),
    ("metric that is NaN", "metric accuracy", "measures", "expected a finite number",
     ("networks", "float((", "float('nan') * float((")),
]  # fmt: skip


def findings_of(install_plugin, *changes, alone: bool = False) -> list[Finding]:
    sources = {"plugin": PLUGIN, "networks": NETWORKS}
    for where, old, new in changes:
        assert old in sources[where], old
        sources[where] = sources[where].replace(old, new)
    install_plugin("kit", sources["plugin"], kit_networks=sources["networks"], kit_other="")
    if alone:
        return check_plugin("kit")
    return [carry_out(c) for c in checks_of("kit") if c.name != "rebuilds alone"]


@pytest.mark.slow
def test_a_sound_plugin_keeps_every_promise(install_plugin) -> None:
    found = findings_of(install_plugin, alone=True)
    assert [f for f in found if f.status == "failed"] == []
    skipped = {(f.component, f.check) for f in found if f.status == "skipped"}
    assert skipped == {("fusion decide", "gradients"), ("reader read", "export recipe")}
    assert sum(f.check == "rebuilds alone" for f in found) == 4


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault[0])
def test_a_fault_is_found_by_its_check(install_plugin, fault) -> None:
    _, component, check, detail, *changes = fault
    found = findings_of(install_plugin, *changes)
    failed = {(f.component, f.check): f.detail for f in found if f.status == "failed"}
    assert (component, check) in failed
    assert detail in failed[component, check]


def test_a_head_that_nothing_trains_yet_is_skipped_with_the_reason(install_plugin) -> None:
    found = findings_of(install_plugin, ("plugin", 'name="head"', 'name="head", link="coral"'))
    trainable = {f.component: f for f in found if f.check == "trainable"}
    assert trainable["head head"].status == "skipped"
    assert "not usable in an experiment yet: head 'head'" in trainable["head head"].detail
    assert trainable["head graph"].status == "passed"


@pytest.mark.slow
def test_what_cannot_be_rebuilt_alone_is_named_and_the_others_pass(install_plugin) -> None:
    change = ("networks", "import torch\n", "import torch\nimport kit_plugin\n")
    found = findings_of(install_plugin, change, alone=True)
    alone = {f.component: f for f in found if f.check == "rebuilds alone"}
    expected = (
        "cannot be rebuilt without medfuse: ModuleNotFoundError: No module named 'kit_plugin'"
    )
    assert expected in alone["backbone net"].detail
    assert expected in alone["fusion fuse"].detail
    assert alone["head head"].status == "passed"


@pytest.mark.slow
def test_a_rebuilt_component_that_answers_differently_is_found(install_plugin) -> None:
    change = ("networks", "x = self.stem(x)", "x = self.stem(x) * len(__name__)")
    found = findings_of(install_plugin, change, alone=True)
    detail = {f.component: f.detail for f in found if f.status == "failed"}
    assert "rebuilt without medfuse, it answers differently" in detail["backbone net"]
    assert list(detail) == ["backbone net"]


@pytest.mark.parametrize(
    ("source", "detail"),
    [
        ("1 / 0\n", "raised ZeroDivisionError"),
        ("MEDFUSE_API = 9\n", "MEDFUSE_API is 9"),
        ("", "the plugin yields nothing"),
    ],
)
def test_a_plugin_that_cannot_be_used_fails(install_plugin, source: str, detail: str) -> None:
    install_plugin("kit", source)
    failed = [f for f in check_plugin("kit") if f.status == "failed"]
    assert any(detail in f.detail for f in failed)


def test_an_unknown_plugin_gets_a_suggestion(install_plugin) -> None:
    install_plugin("kitten", PLUGIN)
    (failed,) = check_plugin("kittens")
    assert re.search("there is no module 'kittens'.*Did you mean \"kitten\"", failed.detail)


def test_a_factory_that_cannot_be_imported_is_told_once(install_plugin) -> None:
    found = findings_of(install_plugin, ("plugin", "kit_networks:Net", "kit_absent:Net"))
    own = {f.check: f for f in found if f.component == "backbone net"}
    assert [f.check for f in own.values() if f.status == "failed"] == ["factory", "export recipe"]
    assert "kit_absent" in own["factory"].detail
    assert own["shapes"].status == "skipped"
    assert "factory cannot be had" in own["shapes"].detail
    assert {f.status for f in found if f.component == "head head"} == {"passed"}


FAMILY = """
from medfuse.contract import *

@hookimpl
def medfuse_backbones():
    yield BackboneFamilySpec(name="zoo", summary="s", describe="kit_networks:describe",
                             names="kit_networks:names", examples=("net",))
"""
MEMBERS = (
    NETWORKS
    + """
from medfuse.contract import BackboneSpec
def names(): return ["net", "other"]
def describe(name):
    return {"net": BackboneSpec(name="net", summary="s", factory="kit_networks:Net",
                                in_channels=1, native_pooling=True),
            "other": BackboneSpec(name="other", summary="s", factory="kit_networks:Net")}[name]
"""
)


def test_examples_of_a_family_are_checked_like_any_backbone(install_plugin) -> None:
    install_plugin("kit", FAMILY, kit_networks=MEMBERS)
    found = check_plugin("kit")
    assert [f for f in found if f.status == "failed"] == []
    assert ("backbone zoo:net", "traced graph") in {(f.component, f.check) for f in found}


@pytest.mark.parametrize(
    ("old", "new", "detail"),
    [
        ("}[name]", "}.get(name)", "unknown name gave None, expected a KeyError"),
        ('return ["net", "other"]', "return []", "gave no names"),
        ('["net", "other"]', '["absent"]', "zoo has no backbone 'absent'"),
    ],
)
def test_a_family_that_misdescribes_is_found(install_plugin, old, new, detail) -> None:
    install_plugin("kit", FAMILY, kit_networks=MEMBERS.replace(old, new))
    failed = {f.check: f.detail for f in check_plugin("kit") if f.status == "failed"}
    assert detail in failed["describes members"]


NAMED = FAMILY.replace("examples=", "plain_names={'lung': 'net.w'}, examples=")
WEIGHTED = MEMBERS.replace(
    "native_pooling=True)", "native_pooling=True, weights=(WeightsSpec(name='v', url='x'), "
    "WeightsSpec(name='w', url='y', license='MIT')))"
).replace("import BackboneSpec", "import BackboneSpec, WeightsSpec")  # fmt: skip


def test_networks_with_a_plain_name_are_built_if_asked_for(install_plugin) -> None:
    install_plugin("kit", NAMED, kit_networks=WEIGHTED)
    assert "backbone lung" not in {check.component for check in checks_of("kit")}
    found = [carry_out(c) for c in checks_of("kit", plain_names=True)]
    own = {f.check: f.status for f in found if f.component == "backbone lung"}
    assert own["license"] == "passed"  # of the weights it means alone
    assert "failed" not in own.values()
    assert {"shapes", "gradients", "traced graph"} <= set(own)


@pytest.mark.parametrize(
    ("member", "detail"),
    [("absent", "zoo has no backbone 'absent'"), ("net.x", "net has no weights 'x'")],
)
def test_a_plain_name_for_what_is_not_there_is_found(install_plugin, member, detail) -> None:
    install_plugin("kit", NAMED.replace("net.w", member), kit_networks=WEIGHTED)
    failed = {f.check: f.detail for f in check_plugin("kit") if f.status == "failed"}
    assert detail in failed["plain names"]


def test_a_table_without_a_network_is_found(install_plugin, tmp_path, monkeypatch) -> None:
    (tmp_path / "kit_table").mkdir()
    (tmp_path / "kit_table" / "__init__.py").touch()
    (tmp_path / "kit_table" / "m.json").write_text(measurements_text({}))
    monkeypatch.syspath_prepend(tmp_path)
    source = NAMED.replace("examples=", "measured='kit_table:m.json', examples=")
    install_plugin("kit", source, kit_networks=WEIGHTED)
    failed = {f.check: f.detail for f in check_plugin("kit") if f.status == "failed"}
    assert failed["measured table"].startswith("kit_table:m.json has no lung.")


def test_a_network_is_released_after_its_last_check(install_plugin) -> None:
    install_plugin("kit", PLUGIN, kit_networks=NETWORKS)
    import kit_networks

    alive: list[weakref.ref[object]] = []
    build = kit_networks.Net.__init__

    def noted(self, **options):
        build(self, **options)
        alive.append(weakref.ref(self))

    kit_networks.Net.__init__ = noted
    for check in checks_of("kit"):
        if check.component == "backbone net" and check.name != "rebuilds alone":
            carry_out(check)
        elif check.component.startswith("fusion"):
            break
    assert alive
    assert [reference() for reference in alive if reference() is not None] == []
