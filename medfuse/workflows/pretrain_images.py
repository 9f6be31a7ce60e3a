"""Which images a backbone learns from: those of some sets, without test parts and their copies."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medfuse.audit.duplicates import find_duplicates
from medfuse.audit.scan import scan
from medfuse.config import InputConfig
from medfuse.data import Case, Cohort
from medfuse.data.readers import Readers, installed_readers
from medfuse.data.unlabelled import IMAGE, read_unlabelled
from medfuse.errors import CohortError, ConfigError
from medfuse.preprocessing import Preprocessing
from medfuse.pretraining.pool import Pool, PoolFile, fill_pool
from medfuse.pretraining.settings import PretrainingSettings
from medfuse.registry import load_registry
from medfuse.workflows.settle import InputFiles, settle_input

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageSet:
    """One of the sets that are learned from.

    Attributes:
        name: of its folder or file; of several with one name, with a number.
        kept: cases that may be learned from.
        left_out: how many may not, by reason.
        classes: names of its classes, where it has any; nothing is learned from them.
        modality: of its images.
    """

    name: str
    kept: tuple[Case, ...]
    left_out: dict[str, int]
    classes: tuple[str, ...] = ()
    modality: str = ""


@dataclass(frozen=True)
class PoolOfSets:
    """All images that are learned from, by set.

    Attributes:
        sets: what each gave.
        pool: the images.
        labels: class of each image within its set; -1 where it is unknown.
    """

    sets: tuple[ImageSet, ...]
    pool: Pool
    labels: list[int] = field(default_factory=list)

    def counts(self) -> list[dict[str, Any]]:
        """Return what each set gave, as plain data."""
        used = Counter(file.group for file in self.pool.files)
        return [
            {
                "name": one.name,
                "modality": one.modality,
                "images": used[one.name],
                "left_out": one.left_out,
                "refused": self.pool.refused.get(one.name, {}),
            }
            for one in self.sets
        ]


def collect_images(
    paths: Sequence[str],
    exclude: Sequence[str],
    settings: PretrainingSettings,
    dims: int,
    progress: bool = True,
) -> PoolOfSets:
    """Return the images of some sets that may be learned from.

    Test and calibration parts that a set names, and all that lies at ``exclude``, are left out,
    with every other image of their patients, every exact copy, and every near duplicate that the
    check of a cohort would name (`medfuse.audit`).

    Args:
        paths: folders of images, or cohorts whose labels are ignored.
        exclude: the same, of what must not be learned from.
        settings: how files are read, how large.
        dims: axes of an image.
        progress: show bars on stderr where that is a terminal.

    Raises:
        CohortError: nothing at a path, or nothing is left to learn from.
        ConfigError: the settings say another kind or size of images than the backbone takes.
        ImageError: none of a set's first images can be read.
    """
    readers = installed_readers(load_registry())
    config = _input(settings, dims)
    listed = [read_unlabelled(path, config, readers.endings) for path in paths]
    names = _names(paths)
    sets = [_without_tests(name, cohort) for name, cohort in zip(names, listed, strict=True)]
    forbidden = [case for cohort in listed for case in cohort.part("test", "calibration")]
    forbidden += [
        case for path in exclude for case in read_unlabelled(path, config, readers.endings).cases
    ]
    sets, digests = _without_copies(sets, forbidden, readers, progress)
    files: list[PoolFile] = []
    labels: dict[str, int] = {}
    for number, (one, cohort) in enumerate(zip(sets, listed, strict=True)):
        if one.kept:
            loader, modality = _loader(config, cohort, one.kept, readers)
            sets[number] = replace(one, modality=modality)
            files += [PoolFile(case.inputs[IMAGE], loader.load, one.name) for case in one.kept]
            labels |= {c.inputs[IMAGE]: -1 if c.label is None else c.label for c in one.kept}
    pool = fill_pool(files, settings.memory_gb * 1e9, digests, progress)
    if len(pool) < 2:
        raise CohortError(
            f"{', '.join(names)}: found {len(pool)} images to learn from, expected at least 2 "
            f"({_told(sets, pool)}). Give more sets, or exclude less."
        )
    return PoolOfSets(tuple(sets), pool, [labels[file.reference] for file in pool.files])


def _input(settings: PretrainingSettings, dims: int) -> InputConfig:
    """Return how files are read, with the kind and size that follow from the backbone."""
    given, kind = settings.input, "image" if dims == 2 else "volume"
    if given.kind not in ("auto", kind) or given.size != "auto":
        raise ConfigError(
            f"input: found kind: {given.kind} and size: {given.size}, expected neither: "
            f"{settings.backbone} takes {dims}D images, of the size that image_size says."
        )
    size = (settings.stored_size,) * dims
    return given.model_copy(update={"kind": kind, "size": size})


def _names(paths: Sequence[str]) -> list[str]:
    """Return a name for each path that holds no other folder's name."""
    names: list[str] = []
    for path in paths:
        name = Path(path).expanduser().resolve().stem or "images"
        count = sum(other.partition(" (")[0] == name for other in names)
        names.append(f"{name} ({count + 1})" if count else name)
    return names


def _without_tests(name: str, cohort: Cohort) -> ImageSet:
    having = [case for case in cohort.cases if IMAGE in case.inputs]
    tested = {case.patient_id for case in cohort.part("test", "calibration")}
    kept = tuple(case for case in having if case.patient_id not in tested)
    gone = len(having) - len(kept)
    return ImageSet(name, kept, {"TEST_PART": gone} if gone else {}, cohort.classes)


def _without_copies(
    sets: Sequence[ImageSet], forbidden: Sequence[Case], readers: Readers, progress: bool
) -> tuple[list[ImageSet], frozenset[str]]:
    """Return the sets without near duplicates of forbidden images, and the digests of these."""
    if not forbidden:
        return list(sets), frozenset()
    _log.info("looking for copies of %d images that must not be learned from", len(forbidden))
    every = [(None, case) for case in forbidden if IMAGE in case.inputs]
    every += [(number, case) for number, one in enumerate(sets) for case in one.kept]  # type: ignore[misc]
    numbered = tuple(
        replace(case, case_id=str(place), patient_id=str(place))
        for place, (_, case) in enumerate(every)
    )
    used = readers.used_by(case.inputs[IMAGE] for case in numbered)
    looked = scan(
        Cohort(numbered, (), Path()), readers=[one.reader for one in used], progress=progress
    )
    first = sum(number is None for number, _ in every)
    copies = {
        int(case_id)
        for group in find_duplicates(looked.seen)
        if any(int(case_id) < first for case_id in group.cases)
        for case_id in group.cases
    }
    kept: list[list[Case]] = [[] for _ in sets]
    for place, (number, case) in enumerate(every):
        if number is not None and place not in copies:
            kept[number].append(case)
    digests = frozenset(s.look.digest for s in looked.seen if int(s.case.case_id) < first)
    return [_less(one, rest) for one, rest in zip(sets, kept, strict=True)], digests


def _less(one: ImageSet, rest: Sequence[Case]) -> ImageSet:
    gone = len(one.kept) - len(rest)
    left_out = {**one.left_out, **({"COPY_OF_EXCLUDED": gone} if gone else {})}
    return replace(one, kept=tuple(rest), left_out=left_out)


def _loader(
    config: InputConfig, cohort: Cohort, kept: tuple[Case, ...], readers: Readers
) -> tuple[Preprocessing, str]:
    """Return what reads the images of a set, and their modality."""
    settled = settle_input(InputFiles(IMAGE, config, cohort.with_cases(kept), kept, readers))
    loader = Preprocessing(settled.config, settled.fingerprint, settled.readers)
    return loader, settled.config.modality


def _told(sets: Sequence[ImageSet], pool: Pool) -> str:
    counts: Counter[str] = Counter()
    for one in sets:
        counts.update(one.left_out)
        counts.update(pool.refused.get(one.name, {}))
    return ", ".join(f"{code} {count}" for code, count in sorted(counts.items())) or "nothing there"
