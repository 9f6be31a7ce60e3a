from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from medfuse.features.bank import FeatureBank
from medfuse.features.copies import Copies, can_be_copied
from medfuse.features.lanes import Lanes, open_lanes


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class Meeting(threading.Barrier):
    """One for all copies."""

    def __deepcopy__(self, memo: object) -> Meeting:
        return self


class Alongside(torch.nn.Module):
    """Goes on only when another batch is inside, too, and holds its batch in itself meanwhile."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.meeting = Meeting(2, timeout=20)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.held = images
        self.meeting.wait()
        return self.inner(self.held)


def test_batches_are_computed_side_by_side_and_give_the_bits_of_one_thread(kit) -> None:
    cases = kit.cases(kit.images(16))
    torch.set_num_threads(1)
    alone = kit.extract(cases, kit.Source("a", 8), bank=FeatureBank(kit.folder / "alone"))
    torch.set_num_threads(2)
    source = kit.Source("a", 8)
    source.extractor = Alongside(source.extractor)
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

    broken = kit.Source("a", 8)
    broken.extractor = Refusing(broken.extractor, marked)
    with pytest.raises(KeyboardInterrupt):
        kit.extract(cases, broken)
    assert not [t for t in threading.enumerate() if t.name.startswith("medfuse")]
    again = kit.extract(cases, kit.Source("a", 8))
    assert again.known == 8
    assert again.values[0].tobytes() == whole.values[0].tobytes()


class Refusing(torch.nn.Module):
    """Stops, a little later than it could, where it sees one image."""

    def __init__(self, inner: torch.nn.Module, marked: torch.Tensor) -> None:
        super().__init__()
        self.inner, self.marked = inner, marked

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if any(torch.equal(image, self.marked) for image in images):
            time.sleep(0.05)
            raise KeyboardInterrupt
        return self.inner(images)


def test_lanes_share_the_threads(kit) -> None:
    request = kit.request(kit.cases(kit.images(1)), kit.Source("a", 8))
    for threads, lanes, each in ((1, 1, 1), (2, 2, 1), (3, 3, 1), (4, 4, 1), (9, 4, 2)):
        torch.set_num_threads(threads)
        with open_lanes(request.sources, request, torch.device("cpu")) as (open_,):
            assert open_.count == lanes
            assert open_.begin(torch.get_num_threads).result() == each
        assert torch.get_num_threads() == threads


def test_a_gpu_has_one_lane(kit) -> None:
    request = kit.request(kit.cases(kit.images(1)), kit.Source("a", 8))
    with open_lanes(request.sources, request, torch.device("meta")) as (lanes,):
        assert (lanes.count, lanes.ahead) == (1, 0)


def test_an_error_of_the_only_lane_is_raised_at_once() -> None:
    with pytest.raises(ZeroDivisionError):
        Lanes(1, None).begin(lambda: 1 // 0)


def test_copies_share_their_parameters_and_nothing_else() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    copies = Copies(module, 2)
    with copies.one() as first, copies.one() as second:
        assert first is module
        assert second is not module
        assert second[0] is not module[0]
        pairs = zip(first.parameters(), second.parameters(), strict=True)
        assert all(one is other for one, other in pairs)
        assert second[1].running_mean is not module[1].running_mean


def hooked(net: torch.nn.Module) -> None:
    kept: dict[str, torch.Tensor] = {}
    net.body.register_forward_hook(lambda _module, _inputs, output: kept.update(map=output))
    net.last.register_forward_pre_hook(lambda *_: (kept["map"].mean((2, 3)),))


def closed(net: torch.nn.Module) -> None:
    net.aside = [lambda images: net.body(images) + 1]


def buffered(net: torch.nn.Module) -> None:
    net.register_buffer("scratch", torch.zeros(4, 1, 16, 16))
    inner = net.body
    net.body = Scratch(inner, net)


class Scratch(torch.nn.Module):
    """Writes into a buffer, and takes its time."""

    def __init__(self, inner: torch.nn.Module, net: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("scratch", net.scratch)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.scratch.copy_(images)
        time.sleep(0.005)
        return self.inner(self.scratch)


def test_a_copied_network_that_holds_a_buffer_gives_the_bits_of_one_thread(kit) -> None:
    cases = kit.cases(kit.images(32))
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        source = kit.Source("a", 8)
        buffered(source.extractor)
        bank = FeatureBank(kit.folder / str(threads))
        found.append(kit.extract(cases, source, bank=bank).values[0].tobytes())
    assert found[0] == found[1]


class Asking(torch.nn.Module):
    """Notes with how many threads it computes."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.threads: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.threads.append(torch.get_num_threads())
        return self.inner(images)


def locked(net: torch.nn.Module) -> None:
    net.body = Locked(net.body)


@pytest.mark.parametrize("change", [hooked, closed, locked])
def test_what_cannot_be_copied_has_all_threads_and_its_bits_beside_others(kit, change) -> None:
    cases = kit.cases(kit.images(12))
    found = []
    for beside in (0, 1):
        single, other = kit.Source("a", 8), kit.Source("b", 6, seed=1)
        change(single.extractor)
        single.extractor = asking = Asking(single.extractor)
        sources = [single, other][: 1 + beside]
        found.append(kit.extract(cases, *sources, bank=FeatureBank(kit.folder / str(beside))))
        assert asking.threads == [2, 2, 2]
    assert found[0].values[0].tobytes() == found[1].values[0].tobytes()
    torch.set_num_threads(1)
    other = kit.extract(cases, kit.Source("b", 6, seed=1), bank=FeatureBank(kit.folder / "b"))
    assert found[1].values[1].tobytes() == other.values[0].tobytes()


@pytest.mark.parametrize(
    ("change", "copied"), [(hooked, False), (closed, False), (locked, False), (buffered, True)]
)
def test_only_what_holds_on_to_nothing_is_copied(kit, change, copied: bool) -> None:
    net = kit.Source("a", 8).extractor
    assert can_be_copied(net)
    change(net)
    assert can_be_copied(net) == copied


def test_a_module_that_hands_everything_on_is_not_copied() -> None:
    class Handing(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.fx.symbolic_trace(torch.nn.Linear(2, 2))

        def __getattr__(self, name: str) -> object:
            try:
                return super().__getattr__(name)
            except AttributeError:
                return getattr(super().__getattr__("inner"), name)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * self.inner(x)

    module = Handing()
    copies = Copies(module, 3)
    with copies.one() as only:
        assert only is module
    assert copies._idle.qsize() == 1


def test_a_module_that_cannot_be_copied_computes_one_batch_at_a_time(kit) -> None:
    cases = kit.cases(kit.images(16))
    source = kit.Source("a", 8)
    locked(source.extractor)
    assert kit.extract(cases, source).forwards == source.extractor.body.entered == 4


class Locked(torch.nn.Module):
    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner, self.lock, self.entered = inner, threading.Lock(), 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert self.lock.acquire(blocking=False)
        try:
            self.entered += 1
            return self.inner(images)
        finally:
            self.lock.release()
