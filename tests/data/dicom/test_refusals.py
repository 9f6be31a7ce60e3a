from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from medfuse.data.dicom import decode
from medfuse.data.dicom.read import read_dicom
from medfuse.data.dicom.refusal import REFUSALS, DicomError, refusal

from .faults import FAULTS
from .synthetic import SECRETS

ELSEWHERE = {
    "test_sandbox.py": {"TIMEOUT", "DECODER_CRASHED", "SANDBOX_FAILED"},
    "test_changes.py": {"CHANGED"},
}


@pytest.mark.slow
@pytest.mark.parametrize("code", sorted(FAULTS))
def test_a_fault_is_refused_with_its_code_and_without_identifiers(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if code == "NO_DECODER":
        monkeypatch.setitem(decode._DECODERS, "1.2.840.10008.1.2.4.70", ())
    reference = FAULTS[code](tmp_path)
    if code == "UNREADABLE" and os.geteuid() == 0:  # root may open every file
        monkeypatch.setattr(Path, "open", _forbidden)
    with pytest.raises(DicomError) as caught:
        read_dicom(str(reference))
    assert caught.value.code == code
    assert f"[{code}]" in str(caught.value)
    for secret in (*SECRETS, str(tmp_path)):
        assert secret not in str(caught.value)


def _forbidden(path: Path, *args: object) -> None:
    raise PermissionError(13, "closed", str(path))


def test_every_code_is_raised_by_a_test() -> None:
    for name, codes in ELSEWHERE.items():
        text = (Path(__file__).parent / name).read_text(encoding="utf-8")
        assert all(code in text for code in codes)
    assert set(FAULTS).union(*ELSEWHERE.values()) == set(REFUSALS)


def test_a_refusal_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(refusal("MOSAIC", "found")))
    assert (error.code, str(error)) == ("MOSAIC", str(refusal("MOSAIC", "found")))
