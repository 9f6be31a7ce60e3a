from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from medfuse.features.bank import FeatureBank
from medfuse.features.copies import Copies
from medfuse.features.lanes import Lanes, open_lanes


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class Alongside(torch.nn.Module):
    """Goes on only when another batch is inside, too, and holds its batch in itself meanwhile."""

    def __init__(self, inner: torch.nn.Module, meeting: threading.Barrier) -> None:
        super().__init__()
        self.inner = inner
        self._meet = lambda: meeting.wait()  # noqa: PLW0108 - a function is not copied

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.held = images
        self._meet()
        return self.inner(self.held)


def test_batches_are_computed_side_by_side_and_give_the_bits_of_one_thread(kit) -> None:
    cases = kit.cases(kit.images(16))
    torch.set_num_threads(1)
    alone = kit.extract(cases, kit.Source("a", 8), bank=FeatureBank(kit.folder / "alone"))
    torch.set_num_threads(2)
    source = kit.Source("a", 8)
    source.extractor = Alongside(source.extractor, threading.Barrier(2, timeout=20))
    found = kit.extract(cases, source)
    assert found.values[0].tobytes() == alone.values[0].tobytes()
    assert found.forwards == alone.forwards == 4


def test_two_sources_share_the_lanes(kit) -> None:
    cases = kit.cases(kit.images(9))
    sources = [kit.Source("a", 8), kit.Source("b", 6, seed=1)]
    torch.set_num_threads(1)
    alone = kit.extract(cases, *sources, bank=FeatureBank(kit.folder / "alone"))
    torch.set_num_threads(2)
    found = kit.extract(cases, *sources)
    assert [v.tobytes() for v in found.values] == [v.tobytes() for v in alone.values]


def test_what_fails_in_a_lane_ends_all_and_what_came_before_is_kept(kit) -> None:
    cases = kit.cases(kit.images(20))
    source = kit.Source("a", 8)
    whole = kit.extract(cases, source, bank=FeatureBank(kit.folder / "whole"))
    marked = torch.from_numpy(kit.Loader()(cases[9].reference).pixels)

    def refuse(_module: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        if any(torch.equal(image, marked) for image in inputs[0]):
            time.sleep(0.05)
            raise KeyboardInterrupt

    broken = kit.Source("a", 8)
    broken.extractor.register_forward_pre_hook(refuse)
    with pytest.raises(KeyboardInterrupt):
        kit.extract(cases, broken)
    assert not [t for t in threading.enumerate() if t.name.startswith("medfuse")]
    again = kit.extract(cases, kit.Source("a", 8))
    assert again.known == 8
    assert again.values[0].tobytes() == whole.values[0].tobytes()


def test_lanes_share_the_threads(kit) -> None:
    request = kit.request(kit.cases(kit.images(1)), kit.Source("a", 8))
    for threads, lanes, each in ((1, 1, 1), (2, 2, 1), (3, 3, 1), (4, 4, 1), (9, 4, 2)):
        torch.set_num_threads(threads)
        with open_lanes(request.sources, request, torch.device("cpu")) as open_:
            assert open_.count == lanes
            assert open_.begin(torch.get_num_threads).result() == each
        assert torch.get_num_threads() == threads


def test_a_gpu_has_one_lane(kit) -> None:
    request = kit.request(kit.cases(kit.images(1)), kit.Source("a", 8))
    with open_lanes(request.sources, request, torch.device("meta")) as lanes:
        assert (lanes.count, lanes.ahead) == (1, 0)


def test_an_error_of_the_only_lane_is_raised_at_once() -> None:
    with pytest.raises(ZeroDivisionError):
        Lanes(1, None).begin(lambda: 1 // 0)


def test_copies_share_their_tensors_and_nothing_else() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    copies = Copies(module, 2)
    with copies.one() as first, copies.one() as second:
        assert first is module
        assert second is not module
        assert second[0] is not module[0]
        pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
        assert all(one.data_ptr() == other.data_ptr() for one, other in pairs)


def test_a_module_that_cannot_be_copied_computes_one_batch_at_a_time(kit) -> None:
    cases = kit.cases(kit.images(16))
    source = kit.Source("a", 8)
    source.extractor.lock = threading.Lock()
    inside: list[int] = []

    def alone(module: torch.nn.Module, _inputs: object) -> None:
        assert module.lock.acquire(blocking=False)
        inside.append(1)

    source.extractor.register_forward_pre_hook(alone)
    source.extractor.register_forward_hook(lambda module, *_: module.lock.release())
    assert kit.extract(cases, source).forwards == len(inside) == 4
