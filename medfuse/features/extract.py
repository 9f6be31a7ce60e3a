"""Features of all cases from all sources, each image decoded and computed once."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from medfuse.device import find_device
from medfuse.errors import ImageError, SourceError
from medfuse.features.ahead import Room, map_ahead
from medfuse.features.engine import Engine, batch_size_for, ready
from medfuse.features.forward import (
    EngineRefusedError,
    Network,
    TorchForward,
    TranslatedForward,
)
from medfuse.features.keys import BankKey, recipe_digest
from medfuse.features.lanes import Lanes, open_lanes
from medfuse.features.ledger import Ledger
from medfuse.features.plan import (
    WantedImage,
    describe_known,
    describe_size,
    wanted_images,
    wanted_keys,
)
from medfuse.features.request import ExtractionRequest, Features, FeatureSource
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
        refused = request.refused | {error.label}
        return extract_features(replace(request, refused=refused), progress)


def _extracted(request: ExtractionRequest, progress: bool) -> Features:
    scan = request.images.scan((case.reference for case in request.cases), progress)
    for error in scan.failures.values():
        raise error
    images = wanted_images(request.cases, scan.facts)
    augmentation = request.augmentation
    keys = wanted_keys(images, recipe_digest(augmentation.identity) if augmentation else "")
    shape = (len(request.cases), 1 + max((case.views for case in request.cases), default=0))
    with ExitStack() as stack:
        ledgers = []
        for source in request.sources:
            ledgers.append(Ledger(source, request, images, shape))
            stack.callback(ledgers[-1].close)
            ledgers[-1].read(keys)
        missing = {ledger.source.label: list(ledger.missing) for ledger in ledgers}
        new = {label: len({key.image for key in keys}) for label, keys in missing.items()}
        _announce(request, ledgers, missing, describe_known(len(images), new))
        forwards = _compute(request, images, ledgers, progress)
    computed = len({key.image for keys in missing.values() for key in keys})
    return Features(
        values=[ledger.values for ledger in ledgers],
        views=np.array([case.views for case in request.cases], dtype=np.int64),
        facts=[scan.facts[case.reference] for case in request.cases],
        known=len(images) - computed,
        computed=computed,
        forwards=forwards,
    )


class _View(NamedTuple):
    key: BankKey
    pixels: torch.Tensor


class _Task(NamedTuple):
    """One view to be made."""

    pixels: torch.Tensor
    key: BankKey


@dataclass
class _Preparation:
    """Reads images and makes their missing views; both run in worker threads."""

    request: ExtractionRequest
    lock: Lock

    def read(self, item: tuple[WantedImage, Sequence[BankKey]]) -> list[_Task]:
        image, keys = item
        pixels = torch.from_numpy(np.ascontiguousarray(self.request.images.take(image.reference)))
        return [_Task(pixels, key) for key in keys]

    def view(self, task: _Task) -> _View:
        pixels, key = task
        if not key.view or self.request.augmentation is None:
            return _View(key, pixels)
        # Transforms hold their random state in themselves: one thread at a time.
        with self.lock:
            augmented = self.request.augmentation.augment(pixels.clone(), key.image, key.view)
        return _View(key, augmented)


def _announce(
    request: ExtractionRequest,
    ledgers: Sequence[Ledger],
    missing: Mapping[str, Sequence[BankKey]],
    known: Sequence[str],
) -> None:
    for line in known:
        _log.info("%s", line)
    if not request.bank or not any(missing.values()):
        return
    _log.info("%s", describe_size(missing, sum(ledger.new_bytes() for ledger in ledgers)))
    planned = 0
    for ledger in ledgers:
        if ledger.missing and not request.bank.has_room(planned + ledger.new_bytes()):
            ledger.stop_banking()
        planned += ledger.new_bytes()


def _compute(
    request: ExtractionRequest,
    images: Mapping[str, WantedImage],
    ledgers: Sequence[Ledger],
    progress: bool,
) -> int:
    """Compute all missing rows and return the number of forward passes."""
    active = [ledger for ledger in ledgers if ledger.missing]
    if not active:
        return 0
    device = find_device(request.device, "training.device")
    sources = [ledger.source for ledger in active]
    if request.engine != "torch":
        _log.info("frozen networks are computed by %s", request.engine)
    with ExitStack() as stack:
        stack.enter_context(ready([source.extractor for source in sources], device))
        lanes = stack.enter_context(open_lanes(sources, request, device))
        runs = [
            _Run(ledger, request, images, device, own)
            for ledger, own in zip(active, lanes, strict=True)
        ]
        shape: torch.Size | None = None
        for view in _prepared(request, images, active, progress):
            shape = shape or view.pixels.shape
            _check_shape(images[view.key.image], view, shape)
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
    return TranslatedForward(engine, source.label, source.extractor, lanes)


class _Run:
    """Collects views into full batches for one source, and keeps their features in order."""

    def __init__(
        self,
        ledger: Ledger,
        request: ExtractionRequest,
        images: Mapping[str, WantedImage],
        device: torch.device,
        lanes: Lanes,
    ) -> None:
        self.forwards = 0
        self._size = batch_size_for(ledger.source, request)
        forward = _forward(ledger.source, request, device, lanes.count)
        self._engine = Engine(ledger.source, forward, self._size)
        self._ledger = ledger
        self._images = images
        self._lanes = lanes
        self._batch: list[_View] = []
        self._begun: deque[tuple[list[_View], Future[np.ndarray]]] = deque()

    def add(self, view: _View) -> None:
        sliced = self._ledger.source.slices
        if sliced:
            self._check_slices(view, sliced)
        for key in self._ledger.rows(view.key):
            if key in self._ledger.missing:
                pixels = view.pixels[..., key.slice] if sliced else view.pixels
                self._batch.append(_View(key, pixels))
            if len(self._batch) == self._size:
                self._begin()

    def finish(self) -> None:
        """Compute what is left, and keep all."""
        if self._batch:
            self._begin()
        self._keep(0)

    def _begin(self) -> None:
        batch, self._batch = self._batch, []
        work = partial(self._engine.run, [view.pixels for view in batch])
        self._begun.append((batch, self._lanes.begin(work)))
        self.forwards += 1
        self._keep(self._lanes.ahead)

    def _keep(self, left: int) -> None:
        """Keep the oldest features until no more than ``left`` batches are being computed."""
        while len(self._begun) > left:
            batch, values = self._begun.popleft()
            for view, row in zip(batch, values.result(), strict=True):
                self._check(view.key, row)
                self._ledger.add(view.key, row)
            self._ledger.commit()

    def _check_slices(self, view: _View, expected: int) -> None:
        if view.pixels.ndim != 4 or view.pixels.shape[-1] != expected:
            raise ImageError(
                "SIZE",
                f"case {self._images[view.key.image].case_id}: found an image of "
                f"{tuple(view.pixels.shape)}, expected a volume of {expected} slices.",
            )

    def _check(self, key: BankKey, row: np.ndarray) -> None:
        # A value beyond the range of float16 becomes infinite there, so look after rounding.
        with np.errstate(over="ignore"):
            bad = int((~np.isfinite(row.astype(self._ledger.type, copy=False))).sum())
        if bad:
            view = f", view {key.view}" if key.view else ""
            view += f", slice {key.slice}" if self._ledger.source.slices else ""
            raise SourceError(
                f"source {self._ledger.source.label}: {bad} of {row.size} features of case "
                f"{self._images[key.image].case_id}{view} are not finite {self._ledger.type} "
                "numbers. Check the weights and their normalization."
            )


def _prepared(
    request: ExtractionRequest,
    images: Mapping[str, WantedImage],
    active: Sequence[Ledger],
    progress: bool,
) -> Iterator[_View]:
    """Yield all missing views, image by image, prepared ahead: a batch, or what memory allows."""
    wanted: dict[str, dict[BankKey, None]] = {digest: {} for digest in images}
    for ledger in active:
        for key in ledger.missing:
            wanted[key.image][replace(key, slice=0)] = None
    items = [
        (images[digest], sorted(keys, key=lambda key: key.view))
        for digest, keys in wanted.items()
        if keys
    ]
    preparation = _Preparation(request, Lock())
    count = max(request.workers, request.batch_size)
    shown = None if progress else True
    with ExitStack() as stack:
        begin = stack.enter_context(workers_of())
        room = Room(count, _held_by_tasks)
        read = map_ahead(preparation.read, items, request.workers, room, begin)
        stack.callback(read.close)
        tasks = (task for tasks in read for task in tasks)
        room_of_views = Room(count, _held_by_view)
        views = map_ahead(preparation.view, tasks, request.workers, room_of_views, begin)
        stack.callback(views.close)
        bar = tqdm(total=len(items), desc="features", unit="image", disable=shown, leave=False)
        stack.callback(bar.close)
        last = {keys[-1] for _, keys in items}
        for view in views:
            yield view
            bar.update(view.key in last)


def _held_by_tasks(tasks: Sequence[_Task]) -> int:
    return tasks[0].pixels.nbytes


def _held_by_view(view: _View) -> int:
    return 2 * view.pixels.nbytes


def _check_shape(image: WantedImage, view: _View, expected: torch.Size) -> None:
    if view.pixels.shape != expected:
        raise ImageError(
            "SIZE",
            f"case {image.case_id}: found an image of {tuple(view.pixels.shape)}, expected "
            f"{tuple(expected)} like the others. Give all images of an input one size.",
        )
