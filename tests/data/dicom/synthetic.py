"""Small DICOM objects with a known truth, written with pydicom 2.4 or 3."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
_MPEG = "1.2.840.10008.1.2.4.100"  # compressed, as long as other names, known to all versions
STORAGE = "1.2.840.10008.5.1.4.1.1."
ROOT = "1.2.826.0.1.3680043.8.498."
SECRETS = ("DOE", "JANE", "MRN-4711", "19700102", ROOT, "ACC-99")
ROWS, COLUMNS = 40, 36
Change = Callable[[Dataset, int], None]


def header(kind: str, modality: str, number: int = 0) -> Dataset:
    """Return what every object has; identifiers in all the usual places."""
    dataset = Dataset()
    dataset.SOPClassUID = STORAGE + kind
    dataset.SOPInstanceUID = f"{ROOT}9.{number + 1}"
    dataset.SeriesInstanceUID = f"{ROOT}2"
    dataset.StudyInstanceUID = f"{ROOT}1"
    dataset.FrameOfReferenceUID = f"{ROOT}3"
    dataset.Modality = modality
    dataset.PatientName, dataset.PatientID = "DOE^JANE", "MRN-4711"
    dataset.PatientBirthDate, dataset.AccessionNumber = "19700102", "ACC-99"
    dataset.SeriesDescription = "DOE^JANE head"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.InstanceNumber = number + 1
    return dataset


def set_pixels(
    dataset: Dataset, pixels: NDArray[Any], bits: int | None = None, photometric: str = ""
) -> None:
    """Describe and store ``(H, W)``, ``(H, W, 3)`` or ``(frames, H, W)`` integers."""
    color = pixels.ndim == 3 and pixels.shape[-1] == 3
    shape = pixels.shape[:2] if color else pixels.shape[-2:]
    dataset.Rows, dataset.Columns = shape
    dataset.SamplesPerPixel = 3 if color else 1
    if color:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = photometric or ("RGB" if color else "MONOCHROME2")
    dataset.BitsAllocated = pixels.dtype.itemsize * 8
    dataset.BitsStored = bits or dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    if pixels.ndim == 3 and not color:
        dataset.NumberOfFrames = len(pixels)
    data = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData = data + bytes(len(data) % 2)
    dataset["PixelData"].VR = "OB" if dataset.BitsAllocated == 8 else "OW"


def samples(number: int, bits: int = 12) -> NDArray[np.uint16]:
    """Return the stored samples of slice ``number``."""
    random = np.random.default_rng(number)
    return random.integers(0, 1 << bits, (ROWS, COLUMNS)).astype(np.uint16)


def ct_slice(number: int) -> Dataset:
    """Return slice ``number`` of an axial CT: 12 bit, 0.5 by 0.4 mm, 2 mm apart."""
    dataset = header("2", "CT", number)
    dataset.ImagePositionPatient = [-20.0, 30.0, 5.0 + 2 * number]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing = [0.5, 0.4]
    dataset.SliceThickness = 2
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    set_pixels(dataset, samples(number), bits=12)
    return dataset


def mr_slice(number: int) -> Dataset:
    """Return slice ``number`` of an MR in the place of `ct_slice`, without rescale."""
    dataset = ct_slice(number)
    dataset.SOPClassUID, dataset.Modality = STORAGE + "4", "MR"
    del dataset.RescaleSlope, dataset.RescaleIntercept
    return dataset


def projection(pixels: NDArray[Any], bits: int = 12, photometric: str = "MONOCHROME2") -> Dataset:
    """Return a DX picture without a window."""
    dataset = header("1.1", "DX")
    del dataset.FrameOfReferenceUID
    dataset.ImageType = ["ORIGINAL", "PRIMARY", ""]
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.ImagerPixelSpacing = [0.2, 0.1]
    set_pixels(dataset, pixels, bits, photometric)
    return dataset


def enhanced(frames: int = 5, kind: str = "2.1", modality: str = "CT") -> Dataset:
    """Return the slices of `ct_slice` as one multi-frame object."""
    dataset = header(kind, modality)
    set_pixels(dataset, np.stack([samples(number) for number in range(frames)]), bits=12)
    orientation, measures, scaling = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing, measures.SliceThickness = [0.5, 0.4], 2
    scaling.RescaleSlope, scaling.RescaleIntercept, scaling.RescaleType = 1, -1024, "HU"
    shared = Dataset()
    shared.PlaneOrientationSequence = Items([orientation])
    shared.PixelMeasuresSequence = Items([measures])
    shared.PixelValueTransformationSequence = Items([scaling])
    dataset.SharedFunctionalGroupsSequence = Items([shared])
    dataset.PerFrameFunctionalGroupsSequence = Items([_frame(n) for n in range(frames)])
    return dataset


def _frame(number: int) -> Dataset:
    position, content, item = Dataset(), Dataset(), Dataset()
    position.ImagePositionPatient = [-20.0, 30.0, 5.0 + 2 * number]
    content.StackID, content.InStackPositionNumber = "1", number + 1
    item.PlanePositionSequence = Items([position])
    item.FrameContentSequence = Items([content])
    return item


def table(entries: Sequence[int], first: int, bits: int) -> Dataset:
    """Return an item of a lookup table sequence."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first % 65536, bits])
    item.add_new("LUTData", "US", list(entries))
    return item


def write(dataset: Dataset, path: Path, syntax: str = EXPLICIT) -> Path:
    """Write a complete file; the caller's data set stays as it is."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", STORAGE + "2")
    meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", f"{ROOT}8")
    uid = pydicom.uid.UID(syntax)
    meta.TransferSyntaxUID = uid if uid in pydicom.uid.UID_dictionary else pydicom.uid.UID(_MPEG)
    meta.ImplementationClassUID = f"{ROOT}7"
    copy = FileDataset(str(path), dict(dataset), preamble=bytes(128), file_meta=meta)
    implicit, little = syntax == IMPLICIT, syntax != BIG_ENDIAN
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if pydicom.__version__.startswith("2."):
            copy.is_implicit_VR, copy.is_little_endian = implicit, little
            pydicom.dcmwrite(path, copy, write_like_original=False)
        else:
            pydicom.dcmwrite(path, copy, enforce_file_format=True)
    if meta.TransferSyntaxUID != uid:  # newer than this pydicom, which does not write it
        assert len(uid) == len(_MPEG)
        path.write_bytes(path.read_bytes().replace(_MPEG.encode(), uid.encode(), 1))
    return path


def write_series(
    folder: Path,
    count: int = 5,
    change: Change = lambda dataset, number: None,
    make: Callable[[int], Dataset] = ct_slice,
) -> Path:
    """Write ``count`` slices, each changed by ``change(dataset, number)``; return ``folder``."""
    for number in range(count):
        dataset = make(number)
        change(dataset, number)
        write(dataset, folder / f"{number:03d}.dcm")
    return folder


def tilted(degrees: float, gap: float = 4.0) -> Change:
    """Return the change that leans slices back while the table moves along z."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))

    def change(dataset: Dataset, number: int) -> None:
        dataset.ImageOrientationPatient = [1, 0, 0, 0, round(cosine, 8), round(-sine, 8)]
        dataset.ImagePositionPatient = [-20.0, 30.0, gap * number]

    return change
