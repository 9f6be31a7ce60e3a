"""The images of a run: their digests, known from the memo where possible, and their pixels."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import PurePath
from threading import Lock
from typing import Any, Protocol

import numpy as np

from medfuse.errors import ImageError
from medfuse.features.ahead import Room, map_ahead
from medfuse.features.bank import FeatureBank
from medfuse.features.decoders import with_decoders
from medfuse.features.digests import DigestMemo, ImageFacts, MemoKey
from medfuse.features.fingerprints import fingerprints
from medfuse.progress import progress_bar
from medfuse.threads import workers_of

_log = logging.getLogger(__name__)
_COMMIT_SECONDS = 1.0
# What is needed to find images in the memo is held for so many at once.
_PORTION = 4096


class LoadedImage(Protocol):
    """What preprocessing makes of a file: ``pixels`` is ``(C, *spatial)`` float32 in [0, 1]."""

    @property
    def pixels(self) -> np.ndarray: ...  # noqa: D102
    @property
    def digest(self) -> str: ...  # noqa: D102
    @property
    def pixel_digest(self) -> str: ...  # noqa: D102


_Failures = dict[str, ImageError]


@dataclass(frozen=True)
class Scan:
    """The facts of all images that can be read, and the error of every other."""

    facts: dict[str, ImageFacts] = field(default_factory=dict)
    failures: dict[str, ImageError] = field(default_factory=dict)
    decoded: int = 0


class ImageIndex:
    """Gives digests and pixels of image files, decoding a file once where memory allows.

    Args:
        load: decodes and preprocesses one reference (``Preprocessing.load``). An ``events``
            attribute of its result, a sequence with ``code`` and ``detail``, is remembered.
        preprocessing: digest of everything that decides what ``load`` gives.
        bank: keeps the memo; ``None`` decodes in every run.
        workers: threads that decode.
        keep_bytes: decoded images are kept until they are taken, up to so many bytes.
    """

    def __init__(
        self,
        load: Callable[[str], LoadedImage],
        preprocessing: str,
        bank: FeatureBank | None = None,
        *,
        workers: int = 2,
        keep_bytes: int = 512_000_000,
    ) -> None:
        self._load = load
        self._bank = bank
        self._preprocessing = with_decoders(preprocessing)
        self._workers = workers
        self._room = keep_bytes
        self._lock = Lock()
        self._kept: dict[str, LoadedImage] = {}
        self._facts: dict[str, ImageFacts] = {}

    def scan(self, references: Iterable[str], progress: bool = True) -> Scan:
        """Return the digests of all images; only files that the memo does not know are decoded.

        Raises:
            BankError: the memo cannot be used.
        """
        wanted = list(dict.fromkeys(references))
        unknown = [item for item in wanted if item not in self._facts]
        failures: _Failures = {}
        decoded = 0
        with ExitStack() as stack:
            memo = stack.enter_context(self._bank.memo()) if self._bank else None
            bar = stack.enter_context(
                progress_bar(None, "reading", len(unknown), shown=progress, unit="image")
            )
            for portion in _portions(unknown):
                notes = self._recalled(portion, memo)
                new = [item for item in portion if item not in self._facts]
                bar.update(len(portion) - len(new))
                failures |= self._decode(new, notes, bar)
                decoded += len(new)
        facts = {item: self._facts[item] for item in wanted if item in self._facts}
        return Scan(facts, failures, decoded)

    def take(self, reference: str) -> np.ndarray:
        """Return the canonical pixels ``(C, *spatial)`` of a scanned image.

        Raises:
            ImageError: the file cannot be read, or is not the one that was scanned.
        """
        with self._lock:
            kept = self._kept.pop(reference, None)
            if kept is not None:
                self._room += kept.pixels.nbytes
                return kept.pixels
        image = self._load(reference)
        if image.digest != self._facts[reference].digest:
            image = self._once_more(reference, image)
        return image.pixels

    def _once_more(self, reference: str, other: LoadedImage) -> LoadedImage:
        """Return an image that had other pixels than its digest says, if it has the right ones now.

        Seen once, on a file that nobody had touched; why is not known. Where it was the first
        reading that went wrong, the next run is to find what the file is.
        """
        image = self._load(reference)
        if image.digest != self._facts[reference].digest:
            if image.digest == other.digest:
                self._renew(reference, image)
            raise ImageError(
                "CHANGED",
                f"{reference}: its content changed while it was used. "
                "Expected files that stay as they are during a run; run again.",
            )
        _log.warning("An image had other pixels than its digest says, and the right ones later.")
        return image

    def _renew(self, reference: str, image: LoadedImage) -> None:
        """Note in the memo what a file is now."""
        files = fingerprints([reference], 1)
        if self._bank is not None and reference in files:
            key = MemoKey(files[reference], self._preprocessing)
            with self._bank.memo() as memo:
                memo.put({key: _facts_of(image, reference)})

    def _recalled(self, references: Sequence[str], memo: DigestMemo | None) -> _Notes:
        """Take over what the memo knows; return where the rest is noted."""
        files = fingerprints(references, self._workers)
        keys = {item: MemoKey(file, self._preprocessing) for item, file in files.items()}
        known = memo.get(keys.values()) if memo else {}
        self._facts.update((item, known[key]) for item, key in keys.items() if key in known)
        return _Notes(memo, keys)

    def _decode(self, references: Sequence[str], notes: _Notes, bar: Any) -> _Failures:
        failures: _Failures = {}
        room = Room(4 * self._workers, _held_by)
        with ExitStack() as stack:
            begin = stack.enter_context(workers_of())
            stack.callback(notes.commit, now=True)
            results = map_ahead(self._try, references, self._workers, room, begin)
            stack.callback(results.close)
            for item, result in zip(references, results, strict=True):
                if isinstance(result, ImageError):
                    failures[item] = result
                else:
                    self._remember(item, result)
                    notes.add(item, self._facts[item])
                bar.update()
        return failures

    def _try(self, reference: str) -> LoadedImage | ImageError:
        try:
            return self._load(reference)
        except ImageError as error:
            return error

    def _remember(self, reference: str, image: LoadedImage) -> None:
        self._facts[reference] = _facts_of(image, reference)
        if image.pixels.nbytes <= self._room:
            self._room -= image.pixels.nbytes
            self._kept[reference] = image


class _Notes:
    """Facts on their way to the memo, committed about once a second."""

    def __init__(self, memo: DigestMemo | None, keys: Mapping[str, MemoKey]) -> None:
        self._memo = memo
        self._keys = keys
        self._pending: dict[MemoKey, ImageFacts] = {}
        self._committed = time.monotonic()

    def add(self, reference: str, facts: ImageFacts) -> None:
        if self._memo and reference in self._keys:
            self._pending[self._keys[reference]] = facts
            self.commit()

    def commit(self, now: bool = False) -> None:
        waited = time.monotonic() - self._committed
        if self._memo and self._pending and (now or waited > _COMMIT_SECONDS):
            pending, self._pending = self._pending, {}
            self._memo.put(pending)
            self._committed = time.monotonic()


def _portions(references: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the references a few thousand at a time, what lies in one file or folder together."""
    portion: list[str] = []
    before = ""
    for item in references:
        path = item.partition("::")[0]
        if len(portion) >= _PORTION and path != before:
            yield portion
            portion = []
        portion.append(item)
        before = path
    if portion:
        yield portion


def _held_by(result: LoadedImage | ImageError) -> int:
    return 0 if isinstance(result, ImageError) else result.pixels.nbytes


def _facts_of(image: LoadedImage, reference: str) -> ImageFacts:
    events = getattr(image, "events", ())
    named = tuple((str(e.code), _without_name(str(e.detail), reference)) for e in events)
    return ImageFacts(image.digest, image.pixel_digest, named)


def _without_name(text: str, reference: str) -> str:
    """Remove the file's name: a path may hold a patient's."""
    path = PurePath(reference.partition("::")[0])
    for name in (reference, str(path), path.name, path.stem):
        if len(name) > 2:
            text = text.replace(name, "<file>")
    return text
