"""Which stages a source reads beside the end of its backbone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medfuse.backbones.level_stages import with_levels
from medfuse.contract import BackboneSpec, GraphOnly, Stage

SIZE = (64, 48)


class Net(nn.Module):
    """Stages at 1/2, 1/4 (twice), 1/8; the map is a layer behind the last one, if wished."""

    def __init__(self, neck: bool) -> None:
        super().__init__()
        self.a = nn.Conv2d(1, 2, 2, stride=2)
        self.b = nn.Conv2d(2, 3, 2, stride=2)
        self.c = nn.Conv2d(3, 3, 1)
        self.d = nn.Conv2d(3, 4, 2, stride=2)
        self.neck = nn.Conv2d(4, 6, 1) if neck else nn.Identity()

    def forward(self, x):
        return self.neck(self.d(self.c(self.b(self.a(x))))), None


def spec(*stages: str, **more) -> BackboneSpec:
    return BackboneSpec(
        name="net",
        summary="for tests",
        factory="lab.nets:Net",
        export=GraphOnly(reason="a test"),
        in_channels=1,
        stem="a",
        stages=tuple(Stage(name=s, module_path=s, **more) for s in stages),
    )


def paths(count: int, neck: bool = True, described: BackboneSpec | None = None) -> list[str]:
    levels = with_levels(Net(neck).eval(), described or spec("a", "b", "c", "d"), count, SIZE)
    assert levels is not None
    return [stage["module_path"] for stage in levels.keywords["stages"]]


def test_the_last_stage_of_each_resolution_is_read():
    assert paths(2) == ["c", "d"]
    assert paths(3) == ["a", "c", "d"]
    assert paths(9) == ["a", "c", "d"]


@pytest.mark.parametrize(("asked", "found"), [(2, 2), (3, 3), (9, 3)])
def test_the_number_found_is_told_and_asked_for_again_gives_the_same(asked, found):
    described = spec("a", "b", "c", "d")
    levels = with_levels(Net(True).eval(), described, asked, SIZE)
    assert levels is not None
    assert levels.count == found
    assert paths(found) == paths(asked)


def test_one_resolution_beside_the_vector_counts_as_two():
    levels = with_levels(Net(True).eval(), spec("d"), 3, SIZE)
    assert levels is not None
    assert levels.count == 2


def test_a_stage_that_is_the_map_itself_is_not_read_twice():
    assert paths(2, neck=False) == ["c"]


def test_one_level_is_the_vector_alone():
    assert with_levels(Net(True).eval(), spec("a", "d"), 1, SIZE) is None


def test_no_stages_are_no_levels():
    assert with_levels(Net(True).eval(), spec(), 3, SIZE) is None


def test_a_stage_that_is_the_map_is_no_other_level():
    assert with_levels(Net(False).eval(), spec("d"), 3, SIZE) is None


def test_tokens_are_no_level():
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Identity()

        def forward(self, x):
            tokens = self.block(x.flatten(2).transpose(1, 2))
            return tokens.transpose(1, 2).reshape(x.shape), None

    assert with_levels(Tokens().eval(), spec("block", layout="tokens"), 3, (4, 4)) is None


def test_channels_last_is_measured_and_not_believed():
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.b = nn.Conv2d(1, 7, 4, stride=4)
            self.move = nn.Identity()
            self.end = nn.Conv2d(7, 3, 2, stride=2)

        def forward(self, x):
            return self.end(self.move(self.b(x).movedim(1, -1)).movedim(-1, 1)), None

    levels = with_levels(Last().eval(), spec("move"), 3, SIZE)
    assert levels is not None
    assert levels.keywords["stages"] == [{"module_path": "move", "channels_last": True}]
    with torch.no_grad():
        assert levels.backbone(torch.rand(2, 1, *SIZE))[1].shape == (2, 3 + 7)


def test_stages_of_the_description_lie_below_the_wrapper():
    levels = with_levels(Net(True).eval(), spec("a", "d"), 3, SIZE)
    assert levels is not None
    modules = dict(levels.backbone.named_modules())
    assert all(stage.module_path in modules for stage in levels.spec.stages)
    assert levels.spec.stem in modules
    assert levels.spec.native_pooling
