"""Which images a backbone learns from: those of some sets, without test parts and their copies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medfuse.config import InputConfig
from medfuse.data import Case, Cohort
from medfuse.data.readers import Readers, installed_readers
from medfuse.data.unlabelled import IMAGE, read_unlabelled
from medfuse.errors import CohortError, ConfigError
from medfuse.preprocessing import Preprocessing
from medfuse.pretraining.pool import Load, Pool, PoolFile, fill_pool
from medfuse.pretraining.settings import PretrainingSettings
from medfuse.registry import load_registry
from medfuse.workflows.pretrain_copies import without_copies
from medfuse.workflows.pretrain_labels import read_labelled, with_held_out
from medfuse.workflows.pretrain_sets import ImageSet
from medfuse.workflows.settle import InputFiles, settle_input


@dataclass(frozen=True)
class PoolOfSets:
    """All images that are learned from, by set.

    Attributes:
        sets: what each gave.
        pool: the images.
        cases: the case of each image, in the order of the pool.
        validation: images that are measured, of supervised learning.
        measured: their cases.
    """

    sets: tuple[ImageSet, ...]
    pool: Pool
    cases: tuple[Case, ...]
    validation: Pool = field(default_factory=Pool)
    measured: tuple[Case, ...] = ()

    @property
    def labels(self) -> list[int]:
        """Class of each image within its set; -1 where it is unknown."""
        return [-1 if case.label is None else case.label for case in self.cases]

    def labels_of_all(self) -> list[int]:
        """Return the class of each image among those of all sets, set after set."""
        first, begins = 0, {}
        for one in self.sets:
            begins[one.name] = first
            first += len(one.classes)
        pairs = zip(self.pool.files, self.labels, strict=True)
        return [begins[file.group] + label for file, label in pairs]

    def places_of(self, one: ImageSet) -> list[int]:
        """Return the places in the pool of the images of a set whose class is known."""
        owners = (file.group for file in self.pool.files)
        pairs = zip(owners, self.labels, strict=True)
        return [row for row, (name, label) in enumerate(pairs) if name == one.name and label >= 0]

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
    check of a cohort would name (`medfuse.audit`). For supervised learning a part is held out.

    Args:
        paths: folders of images, or cohorts; labels count for supervised learning alone.
        exclude: the same, of what must not be learned from.
        settings: how files are read, how large.
        dims: axes of an image.
        progress: tell on stderr how far it is, see `medfuse.progress`.

    Raises:
        CohortError: nothing at a path, or nothing is left to learn from.
        ConfigError: the settings say another kind or size of images than the backbone takes.
        ImageError: none of a set's first images can be read.
    """
    readers = installed_readers(load_registry())
    config = _input(settings, dims)
    supervised = settings.method == "supervised"
    read = read_labelled if supervised else read_unlabelled
    listed = [read(path, config, readers.endings) for path in paths]
    names = _names(paths)
    sets = [_without_tests(name, cohort) for name, cohort in zip(names, listed, strict=True)]
    if supervised:
        sets = [with_held_out(one, settings) for one in sets]
    forbidden = [case for cohort in listed for case in cohort.part("test", "calibration")]
    forbidden += [case for one in sets for case in one.held]
    forbidden += [
        case for path in exclude for case in read_unlabelled(path, config, readers.endings).cases
    ]
    sets, digests = without_copies(sets, forbidden, readers, progress)
    loads = []
    for number, (one, cohort) in enumerate(zip(sets, listed, strict=True)):
        if one.kept:
            loader, modality = _loader(config, cohort, one.kept, readers)
            sets[number] = replace(one, modality=modality)
            loads.append((sets[number], loader.load))
    found = _filled(sets, loads, settings.memory_gb * 1e9, digests, progress)
    if len(found.pool) < 2:
        raise CohortError(
            f"{', '.join(names)}: found {len(found.pool)} images to learn from, expected at least "
            f"2 ({_told(sets, found.pool)}). Give more sets, or exclude less."
        )
    return found


def _filled(
    sets: Sequence[ImageSet],
    loads: Sequence[tuple[ImageSet, Load]],
    memory: float,
    forbidden: frozenset[str],
    progress: bool,
) -> PoolOfSets:
    """Return the sets with their images read."""
    files, held = (
        {
            PoolFile(case.inputs[IMAGE], load, one.name): case
            for one, load in loads
            for case in getattr(one, part)
        }
        for part in ("kept", "held")
    )
    share = len(held) / max(len(files) + len(held), 1)
    pool = fill_pool(list(files), memory * (1 - share), forbidden, progress)
    validation = fill_pool(list(held), memory * share, (), progress) if held else Pool()
    return PoolOfSets(
        tuple(sets),
        pool,
        tuple(files[file] for file in pool.files),
        validation,
        tuple(held[file] for file in validation.files),
    )


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
