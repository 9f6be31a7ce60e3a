from __future__ import annotations

import pytest
from torch import nn

from medfuse.contract import BackboneSpec, Option, Stage, WeightsSpec
from medfuse.testing.probes import probe_backbone

IMG_SIZE = Option(name="img_size", kind="list")
TOKENS = Stage(name="last", module_path="blocks", stride=14, layout="tokens")


def probe(policy: str, *options: Option, dims: int = 2, stages=(TOKENS,), side=None):
    weights = WeightsSpec(name="w", input_size=(518,) * dims, size_policy=policy)
    spec = BackboneSpec(
        name="net", summary="s", factory="a:b", spatial_dims=dims, weights=(weights,),
        options=options, stages=stages,
    )  # fmt: skip
    return probe_backbone(spec, side)


@pytest.mark.parametrize(
    ("policy", "options", "expected"),
    [
        ("any", (), 96),
        ("multiple_of:32", (), 96),
        ("multiple_of:20", (), 100),
        ("fixed", (), 518),
        ("fixed", (IMG_SIZE,), 98),
    ],
)
def test_the_image_is_the_smallest_convenient_one(policy, options, expected) -> None:
    found = probe(policy, *options)
    assert found.inputs[0].shape == (3, 3, expected, expected)
    assert found.options.get("img_size", []) == ([98, 98] if options else [])


def test_a_fixed_size_stays_where_no_stride_is_known() -> None:
    assert probe("fixed", IMG_SIZE, stages=()).inputs[0].shape[2:] == (518, 518)
    assert probe("fixed", IMG_SIZE, stages=()).options == {}


def test_the_side_can_be_given_by_dimensions() -> None:
    assert probe("any", dims=3, side={3: 32}).inputs[0].shape[2:] == (32, 32, 32)


def test_the_network_is_built_with_the_options_of_the_probe(monkeypatch) -> None:
    built: list[dict[str, object]] = []

    def factory(**options: object) -> nn.Module:
        built.append(options)
        return nn.Identity()

    monkeypatch.setattr("medfuse.testing.probes.load_factory", lambda _spec: factory)
    probe("fixed", IMG_SIZE).build(seed=0)
    assert built == [{"img_size": [98, 98]}]
