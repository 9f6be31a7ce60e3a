"""From what is named on a command line to image references with short names."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from medfuse.bundle.archive import is_archive
from medfuse.bundle.case_table import CASE_ID, TABLE, read_cases
from medfuse.bundle.digests import DIGESTS
from medfuse.bundle.image_list import list_images
from medfuse.bundle.volume_list import list_volumes
from medfuse.errors import BundleError, CohortError, OutputError
from medfuse.serving.cases import ListedCase

_TABLES = (".csv", ".tsv")
_RESULTS = (".csv", ".json")  # what an earlier command may have left beside the images
_OF_A_BUNDLE = ("configs", DIGESTS)


def bundle_in(path: Path | str) -> Path:
    """Return the folder of a bundle: ``path`` itself, or the bundle of the run at ``path``.

    Raises:
        BundleError: there is neither.
    """
    folder = Path(path)
    if is_archive(folder):
        raise BundleError(
            f"{path}: an archive. 'medfuse bundle verify ARCHIVE --unpack DIR' unpacks it, checked."
        )
    if not folder.is_dir():
        raise BundleError(f"{path}: no such folder. Give a bundle, <name>_classification.")
    if any((folder / name).exists() for name in _OF_A_BUNDLE):
        return folder
    found = sorted((folder / "bundle").glob("*_classification"))
    if len(found) != 1:
        raise BundleError(
            f"{path}: found neither a bundle nor a run with one. Give a bundle, "
            "<name>_classification, or the folder that medfuse train wrote."
        )
    return found[0]


def require_inputs(inputs: Sequence[str]) -> None:
    """Pass if every input is there; nothing heavy is imported, nothing is opened.

    Raises:
        CohortError: one is not.
    """
    for given in inputs:
        if not Path(given.partition("::")[0]).exists():
            raise CohortError(f"{given}: no such file or folder.")


class Listing(Protocol):
    """How a bundle finds its cases; a `medfuse.serving.predict.Predictor` knows it."""

    @property
    def table(self) -> Mapping[str, Sequence[str] | None] | None: ...  # noqa: D102
    @property
    def suffixes(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def volumes(self) -> bool: ...  # noqa: D102
    @property
    def modality(self) -> str: ...  # noqa: D102


def listed_cases(inputs: Sequence[str], listing: Listing) -> list[ListedCase]:
    """Return every case in files, folders and tables, in the order of the results.

    Raises:
        CohortError: as `expand_inputs` and `table_cases`.
    """
    if listing.table is not None:
        return [ListedCase(case[CASE_ID], case) for case in table_cases(inputs, listing.table)]
    found = expand_inputs(inputs, listing.suffixes, listing.volumes, listing.modality)
    return [ListedCase(name, reference) for name, reference in found]


def expand_inputs(
    inputs: Sequence[str],
    suffixes: Sequence[str],
    volumes: bool = False,
    modality: str = "other",
) -> list[tuple[str, str]]:
    """Return ``(name, reference)`` of every image or volume in files and folders.

    A file in a folder is named relative to the folder, a file by its own name; where two names
    are the same, by what was given. Of several DICOM series in a folder each is a volume,
    ``FOLDER::KEY``; what lies in a folder and is no image is counted in the log.

    Args:
        inputs: files, folders (searched recursively), or ``FILE.npz::KEY::INDEX``.
        suffixes: endings of image files, for folders.
        volumes: cases are volumes, so that a series of DICOM files is one of them.
        modality: of the bundle's input; DICOM series of others are left out of folders.

    Raises:
        CohortError: something does not exist or is a table, or a folder holds no image.
    """
    require_inputs(inputs)
    found: list[tuple[str, str]] = []
    for given in inputs:
        path = Path(given)
        if path.is_dir():
            find = list_volumes if volumes else list_images
            images = find(path, suffixes, modality)
            if not images:
                raise CohortError(
                    f"{given}: no {'volume' if volumes else 'image'} in this folder, expected "
                    f"files with {', '.join(suffixes)} or DICOM files."
                )
            found += [(_name(Path(image), path), image) for image in images]
        elif path.suffix.lower() in _TABLES:
            raise CohortError(
                f"{given}: a table of cases, which a bundle of several inputs takes. This bundle "
                "has one: give its files or a folder of them. 'medfuse evaluate' takes a table."
            )
        else:
            found.append((path.name, given))
    return _distinct(found)


def require_apart(out: Path, inputs: Sequence[str], bundle: Path) -> None:
    """Pass if writing ``out`` harms neither what is read nor the bundle.

    Raises:
        OutputError: it is an input, another file of a folder of images, or lies in the bundle.
    """
    target = out.resolve()
    read = {place.resolve() for given in inputs for place in (Path(given), Path(given) / TABLE)}
    beside = any(target.is_relative_to(place) for place in read if place.is_dir())
    if target in read or (beside and target.is_file() and target.suffix.lower() not in _RESULTS):
        raise OutputError(f"--out {out}: is what is read. Choose another name.")
    if target.is_relative_to(bundle.resolve()):
        raise OutputError(f"--out {out}: lies in the bundle, which must stay as it is.")


def _distinct(found: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return them with a name for each image: its reference where two names are the same."""
    counts = Counter(name for name, _ in found)
    named = [(name if counts[name] == 1 else reference, reference) for name, reference in found]
    if len({name for name, _ in named}) < len(set(named)):
        return [(reference, reference) for _, reference in found]
    return named


def table_cases(
    inputs: Sequence[str], table: Mapping[str, Sequence[str] | None]
) -> list[dict[str, str]]:
    """Return the cases of tables; a folder stands for ``cases.csv`` in it.

    Raises:
        CohortError: a table does not exist or cannot be used, or two cases have one name.
    """
    require_inputs(inputs)
    found: list[dict[str, str]] = []
    for given in inputs:
        path = Path(given)
        try:
            found += read_cases(path / TABLE if path.is_dir() else path, table)
        except (OSError, ValueError, csv.Error) as error:
            raise CohortError(
                f"{given}: no table of cases can be read ({str(error)[:300]}). Give a CSV file "
                "with case_id and a column for each input."
            ) from error
    if len({case[CASE_ID] for case in found}) < len(found):
        raise CohortError("two tables have a case_id in common. Predict one table at a time.")
    return found


def _name(path: Path, folder: Path) -> str:
    return folder.resolve().name if path == folder else path.relative_to(folder).as_posix()
