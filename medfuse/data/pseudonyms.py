"""Keyed hashes in place of patient ids: the same patient, no name, no way back."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import tempfile
from pathlib import Path

from medfuse.errors import OutputError
from medfuse.storage import cache_folder

_KEY_BYTES = 32


def pseudonym(patient_id: str, key: bytes) -> str:
    """Return ``p`` and 16 hexadecimal digits: HMAC-SHA256 of the patient id, cut to 64 bits."""
    return "p" + hmac.new(key, patient_id.encode(), hashlib.sha256).hexdigest()[:16]


def user_key() -> bytes:
    """Return this user's secret key, made on first use (0600, beside the cache).

    Raises:
        OutputError: the key can be neither read nor written, or has the wrong length.
    """
    path = cache_folder() / "pseudonyms.key"
    try:
        if not path.exists():
            _create(path)
        key = path.read_bytes()
    except OSError as error:
        raise OutputError(f"{path}: the key for patient pseudonyms: {error.strerror}.") from error
    if len(key) != _KEY_BYTES:
        raise OutputError(
            f"{path}: found {len(key)} bytes, expected {_KEY_BYTES}. Remove it to make a new key; "
            "pseudonyms of earlier runs will then differ."
        )
    return key


def dicom_key() -> bytes:
    """Return the key by which the DICOM reader hashes a PatientID: made from the user's own.

    The reader's process handles untrusted files, so it does not get the key itself.

    Raises:
        OutputError: as `user_key`.
    """
    return hmac.new(user_key(), b"PatientID of DICOM", hashlib.sha256).digest()


def _create(path: Path) -> None:
    """Write the key whole or not at all; of two processes, the first wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".pseudonyms.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
        try:
            os.link(name, path)
        except FileExistsError:
            return
    finally:
        Path(name).unlink()
