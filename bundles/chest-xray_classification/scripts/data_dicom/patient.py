"""The patient of an object as a keyed hash: who belongs together, and nothing else."""

from __future__ import annotations

import hashlib
import hmac

from pydicom.dataset import Dataset

from .dataset import text
from .refusal import DicomError

_PLACEHOLDERS = frozenset(
    (
        *("ANON", "ANONYM", "ANONYMIZED", "ANONYMISED", "ANONYMOUS", "ANONYMIZE", "DEIDENTIFIED"),
        *("UNKNOWN", "NONE", "NULL", "NA", "NOID", "NOTAVAILABLE", "REMOVED", "DELETED", "EMPTY"),
    )
)


def patient_of(dataset: Dataset, key: bytes) -> str:
    """Return the HMAC-SHA256 of the PatientID, cut to 64 bits; empty where it names nobody.

    Without the key the hash says nothing; a plain one of a short number could be looked up. What
    de-identification writes into every file (``ANONYMIZED``, ``000000``) names nobody.
    """
    try:
        found = text(dataset, "PatientID")
    except DicomError:  # reading the series refuses it
        return ""
    plain = "".join(letter for letter in found.upper() if letter.isalnum())
    if not plain.strip("0X") or plain in _PLACEHOLDERS:
        return ""
    return hmac.new(key, found.encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:16]
