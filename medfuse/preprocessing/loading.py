"""Many files at once: in order, with a progress bar, every bad one named."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from tqdm import tqdm

from medfuse.data.cells import holds_cells
from medfuse.data.events import Event
from medfuse.errors import ImageError
from medfuse.preprocessing.canonical import CanonicalImage

BadImagePolicy = Literal["refuse", "skip"]

_LOGGER = logging.getLogger("medfuse")


@dataclass(frozen=True)
class LoadedImage:
    """One of ``image`` and ``error`` is set.

    Attributes:
        reference: as asked for.
        image: the canonical image.
        error: why there is none; its ``code`` goes into tables.
    """

    reference: str
    image: CanonicalImage | None = None
    error: ImageError | None = None

    @property
    def events(self) -> tuple[Event, ...]:
        """What reading took, or the code of the refusal."""
        if self.image is not None:
            return self.image.events
        code = self.error.code if self.error else "UNREADABLE"
        subject = "tabular input" if holds_cells(self.reference) else self.reference
        return (Event(code, subject, "skipped"),)


def load_in_order(
    load: Callable[[str], CanonicalImage],
    references: Sequence[str],
    workers: int = 2,
    progress: bool = True,
    on_bad_image: BadImagePolicy = "refuse",
) -> Iterator[LoadedImage]:
    """Yield one result per reference, in their order, whatever thread was first.

    Threads, not processes: decoding and resampling release the interpreter lock, and a process
    would first import torch and MONAI for as long as thousands of images take.

    Args:
        load: gives the image or raises `ImageError`.
        references: file references.
        workers: threads; 0 works in the caller's own.
        progress: show a bar on stderr.
        on_bad_image: ``refuse`` reads on after the first bad file to count them all, then
            raises; ``skip`` yields it with its error.

    Raises:
        ImageError: with ``refuse``, naming up to three files.
    """
    bad: list[ImageError] = []
    results = _in_order(load, references, workers)
    shown = tqdm(results, total=len(references), desc="images", unit="img", disable=not progress)
    for result in shown:
        if result.error is not None:
            bad.append(result.error)
        if on_bad_image == "skip" or not bad:
            yield result
    if bad and on_bad_image == "refuse":
        raise _refusal(bad, len(references))
    if bad:
        _LOGGER.warning("skipped %d of %d images that cannot be read", len(bad), len(references))


def _in_order(
    load: Callable[[str], CanonicalImage], references: Sequence[str], workers: int
) -> Iterator[LoadedImage]:
    if workers < 1:
        yield from (_attempt(load, reference) for reference in references)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="medfuse-load") as pool:
        pending: deque[Future[LoadedImage]] = deque()
        try:
            for reference in references:
                pending.append(pool.submit(_attempt, load, reference))
                if len(pending) > 4 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _attempt(load: Callable[[str], CanonicalImage], reference: str) -> LoadedImage:
    try:
        return LoadedImage(reference, image=load(reference))
    except ImageError as error:
        return LoadedImage(reference, error=error)


def _refusal(bad: Sequence[ImageError], total: int) -> ImageError:
    if len(bad) == 1:
        first = f"{bad[0]}"
    else:
        rest = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
        first = f"{len(bad)} of {total} images: {'; '.join(map(str, bad[:3]))}{rest}"
    return ImageError(
        bad[0].code, f"{first}\nRepair or remove it, or set cohort.on_bad_image: skip."
    )
