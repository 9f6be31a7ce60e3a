"""Features of all cases from all sources, each image decoded and computed once."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import NamedTuple, NoReturn

import numpy as np
import torch

from medfuse.device import find_device
from medfuse.errors import ImageError, SourceError
from medfuse.features.ahead import Room, map_ahead
from medfuse.features.engine import Engine, batch_size_for, ready
from medfuse.features.forward import EngineRefusedError, Network, TorchForward
from medfuse.features.keys import recipe_digest
from medfuse.features.lanes import Lanes, open_lanes
from medfuse.features.ledger import Ledger
from medfuse.features.plan import Plan, describe_known, describe_size
from medfuse.features.request import CaseImage, ExtractionRequest, Features, FeatureSource
from medfuse.features.wanted import Row
from medfuse.progress import progress_bar
from medfuse.threads import workers_of

_log = logging.getLogger(__name__)


def extract_features(request: ExtractionRequest, progress: bool = True) -> Features:
    """Return the features of all cases; only what the bank does not know is computed.

    A network that another library than torch cannot compute, or computes otherwise, is computed by
    torch, and the log says so. Whatever ends it early (an error, Ctrl-C, a kill), rows committed
    before stay; they are committed about once a second.

    Raises:
        ImageError: an image cannot be read, or has another size than the others.
        SourceError: a network gives another shape than described, or values not finite.
        BankError: the bank cannot be used.
        ConfigError: the device does not exist here.
    """
    try:
        return _extracted(request, progress)
    except EngineRefusedError as error:
        _log.warning(
            "%s: %s by %s, so torch computes it", error.label, error.reason, request.engine
        )
        request.translations.refused.add(error.label)
        return extract_features(request, progress)


def _extracted(request: ExtractionRequest, progress: bool) -> Features:
    scan = request.images.scan((case.reference for case in request.cases), progress)
    for error in scan.failures.values():
        raise error
    augmentation = request.augmentation
    made = recipe_digest(augmentation.identity) if augmentation else ""
    plan = Plan(request.cases, scan.facts, made)
    facts = [scan.facts[case.reference] for case in request.cases]
    del scan
    shape = (len(request.cases), 1 + max((case.views for case in request.cases), default=0))
    with ExitStack() as stack:
        ledgers = []
        for source in request.sources:
            ledgers.append(Ledger(source, request, plan, shape))
            stack.callback(ledgers[-1].close)
            ledgers[-1].read()
        new = {one.source.label: int(one.missing.any(axis=(1, 2)).sum()) for one in ledgers}
        _announce(request, ledgers, describe_known(len(plan.wanted), new))
        forwards = _compute(request, plan, ledgers, progress)
    computed = int(_missing(ledgers, plan).any(axis=1).sum())
    return Features(
        values=[ledger.values for ledger in ledgers],
        views=np.array([case.views for case in request.cases], dtype=np.int64),
        facts=facts,
        known=len(plan.wanted) - computed,
        computed=computed,
        forwards=forwards,
    )


class _Task(NamedTuple):
    """One view to be made of an image, by its number, or made."""

    image: int
    view: int
    pixels: torch.Tensor


@dataclass
class _Preparation:
    """Reads images and makes their missing views; both run in worker threads."""

    request: ExtractionRequest
    plan: Plan
    lock: Lock

    def read(self, item: tuple[int, Sequence[int]]) -> list[_Task]:
        image, views = item
        pixels = self.request.images.take(self.plan.case(image).reference)
        tensor = torch.from_numpy(np.ascontiguousarray(pixels))
        return [_Task(image, view, tensor) for view in views]

    def view(self, task: _Task) -> _Task:
        if not task.view or self.request.augmentation is None:
            return task
        digest = self.plan.wanted.digests[task.image]
        # Transforms hold their random state in themselves: one thread at a time.
        with self.lock:
            augmented = self.request.augmentation.augment(task.pixels.clone(), digest, task.view)
        return task._replace(pixels=augmented)


def _announce(
    request: ExtractionRequest,
    ledgers: Sequence[Ledger],
    known: Sequence[str],
) -> None:
    for line in known:
        _log.info("%s", line)
    missing = [ledger.missing for ledger in ledgers]
    if not request.bank or not any(rows.any() for rows in missing):
        return
    _log.info("%s", describe_size(missing, sum(ledger.new_bytes() for ledger in ledgers)))
    planned = 0
    for ledger in ledgers:
        if ledger.missing.any() and not request.bank.has_room(planned + ledger.new_bytes()):
            ledger.stop_banking()
        planned += ledger.new_bytes()


def _compute(
    request: ExtractionRequest, plan: Plan, ledgers: Sequence[Ledger], progress: bool
) -> int:
    """Compute all missing rows and return the number of forward passes."""
    active = [ledger for ledger in ledgers if ledger.missing.any()]
    if not active:
        return 0
    device = find_device(request.device, "training.device")
    sources = [ledger.source for ledger in active]
    if any(request.engine_of(source) != "torch" for source in sources):
        _log.info("frozen networks are computed by %s", request.engine)
    with ExitStack() as stack:
        stack.enter_context(ready([source.extractor for source in sources], device))
        lanes = stack.enter_context(open_lanes(sources, request, device))
        runs = [
            _Run(ledger, request, plan, device, own)
            for ledger, own in zip(active, lanes, strict=True)
        ]
        shape: torch.Size | None = None
        for view in _prepared(request, plan, active, progress):
            shape = shape or view.pixels.shape
            _check_shape(plan.case(view.image), view, shape)
            for run in runs:
                run.add(view)
        for run in runs:
            run.finish()
    return sum(run.forwards for run in runs)


def _forward(
    source: FeatureSource, request: ExtractionRequest, device: torch.device, lanes: int
) -> Network:
    engine = request.engine_of(source)
    if engine == "torch":
        return TorchForward(source.extractor, device, lanes)
    return request.translations.of(engine, source.label, source.extractor, lanes)


class _Run:
    """Collects views into full batches for one source, and keeps their features in order."""

    def __init__(
        self,
        ledger: Ledger,
        request: ExtractionRequest,
        plan: Plan,
        device: torch.device,
        lanes: Lanes,
    ) -> None:
        self.forwards = 0
        self._size = batch_size_for(ledger.source, request)
        forward = _forward(ledger.source, request, device, lanes.count)
        self._engine = Engine(ledger.source, forward, self._size)
        self._ledger = ledger
        self._plan = plan
        self._lanes = lanes
        self._batch: list[tuple[Row, torch.Tensor]] = []
        self._begun: deque[tuple[list[Row], Future[np.ndarray]]] = deque()

    def add(self, view: _Task) -> None:
        sliced = self._ledger.source.slices
        if sliced:
            self._check_slices(view, sliced)
        for number in np.flatnonzero(self._ledger.missing[view.image, view.view]).tolist():
            pixels = view.pixels[..., number] if sliced else view.pixels
            self._batch.append((Row(view.image, view.view, number), pixels))
            if len(self._batch) == self._size:
                self._begin()

    def finish(self) -> None:
        """Compute what is left, and keep all."""
        if self._batch:
            self._begin()
        self._keep(0)

    def _begin(self) -> None:
        batch, self._batch = self._batch, []
        work = partial(self._engine.run, [pixels for _, pixels in batch])
        self._begun.append(([row for row, _ in batch], self._lanes.begin(work)))
        self.forwards += 1
        self._keep(self._lanes.ahead)

    def _keep(self, left: int) -> None:
        """Keep the oldest features until no more than ``left`` batches are being computed."""
        while len(self._begun) > left:
            rows, computed = self._begun.popleft()
            features = computed.result()
            finite = self._finite(features).all(axis=tuple(range(1, features.ndim)))
            sound = len(rows) if finite.all() else int(finite.argmin())
            self._ledger.add(rows[:sound], features[:sound])
            if sound < len(rows):
                self._refuse(rows[sound], features[sound])
            self._ledger.commit()

    def _check_slices(self, view: _Task, expected: int) -> None:
        if view.pixels.ndim != 4 or view.pixels.shape[-1] != expected:
            raise ImageError(
                "SIZE",
                f"case {self._plan.case(view.image).case_id}: found an image of "
                f"{tuple(view.pixels.shape)}, expected a volume of {expected} slices.",
            )

    def _finite(self, features: np.ndarray) -> np.ndarray:
        # A value beyond the range of float16 becomes infinite there, so look after rounding.
        with np.errstate(over="ignore"):
            return np.asarray(np.isfinite(features.astype(self._ledger.type, copy=False)))

    def _refuse(self, row: Row, values: np.ndarray) -> NoReturn:
        bad = int((~self._finite(values)).sum())
        view = f", view {row.view}" if row.view else ""
        view += f", slice {row.slice}" if self._ledger.source.slices else ""
        raise SourceError(
            f"source {self._ledger.source.label}: {bad} of {values.size} features of case "
            f"{self._plan.case(row.image).case_id}{view} are not finite {self._ledger.type} "
            "numbers. Check the weights and their normalization."
        )


def _missing(ledgers: Sequence[Ledger], plan: Plan) -> np.ndarray:
    """Return which views a source lacks, bool ``(images, views)``."""
    found = np.zeros(plan.wanted.table(1).shape[:2], dtype=bool)
    for ledger in ledgers:
        found |= ledger.missing.any(axis=2)
    return found


def _prepared(
    request: ExtractionRequest, plan: Plan, active: Sequence[Ledger], progress: bool
) -> Iterator[_Task]:
    """Yield all missing views, image by image, prepared ahead: a batch, or what memory allows."""
    missing = _missing(active, plan)
    images = np.flatnonzero(missing.any(axis=1))
    items = ((int(image), np.flatnonzero(missing[image]).tolist()) for image in images)
    preparation = _Preparation(request, plan, Lock())
    count = max(request.workers, request.batch_size)
    with ExitStack() as stack:
        begin = stack.enter_context(workers_of())
        room = Room(count, _held_by_tasks)
        read = map_ahead(preparation.read, items, request.workers, room, begin)
        stack.callback(read.close)
        tasks = (task for tasks in read for task in tasks)
        room_of_views = Room(count, _held_by_view)
        views = map_ahead(preparation.view, tasks, request.workers, room_of_views, begin)
        stack.callback(views.close)
        bar = progress_bar(None, "features", len(images), shown=progress, unit="image")
        stack.callback(bar.close)
        for view in views:
            yield view
            bar.update(not missing[view.image, view.view + 1 :].any())


def _held_by_tasks(tasks: Sequence[_Task]) -> int:
    return tasks[0].pixels.nbytes


def _held_by_view(view: _Task) -> int:
    return 2 * view.pixels.nbytes


def _check_shape(case: CaseImage, view: _Task, expected: torch.Size) -> None:
    if view.pixels.shape != expected:
        raise ImageError(
            "SIZE",
            f"case {case.case_id}: found an image of {tuple(view.pixels.shape)}, expected "
            f"{tuple(expected)} like the others. Give all images of an input one size.",
        )
