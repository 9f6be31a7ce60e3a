"""A signature of a bundle's digests, in the format of OpenSSH: ``ssh-keygen -Y`` reads it too.

Source: the file PROTOCOL.sshsig of OpenSSH. Only Ed25519 keys are taken, which have one form.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from .failure import CheckFailedError
from .integrity import DIGESTS, SIGNATURE

NAMESPACE = "medfuse-bundle"
KEY_TYPE = b"ssh-ed25519"
HASH = "sha512"
_MAGIC, _VERSION = b"SSHSIG", 1
_ARMOR = ("-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----")
_HASHES = ("sha512", "sha256")
_KEY = re.compile(r"(?:^|\s)ssh-ed25519\s+([A-Za-z0-9+/]+={0,2})(?:\s|$)")


@dataclass(frozen=True)
class Signature:
    """What a signature file says.

    Attributes:
        key: the signer's public key, in the encoding of OpenSSH.
        hash: name of the digest that was signed.
        value: 64 bytes.
    """

    key: bytes
    hash: str
    value: bytes

    @property
    def fingerprint(self) -> str:
        """``SHA256:...``, as ``ssh-keygen -l`` shows it."""
        return fingerprint(self.key)


def read_signature(root: Path) -> Signature | None:
    """Return the signature of a bundle; ``None`` if it is unsigned.

    Raises:
        CheckFailedError: ``BAD_SIGNATURE``: the file is no such signature.
    """
    try:
        text = (root / SIGNATURE).read_text(encoding="ascii")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _bad("cannot be read") from error
    lines = text.strip().splitlines()
    if len(lines) < 3 or (lines[0], lines[-1]) != _ARMOR:
        raise _bad("is no SSH signature")
    try:
        return _parsed(base64.b64decode("".join(lines[1:-1]), validate=True))
    except (binascii.Error, struct.error, UnicodeDecodeError) as error:
        raise _bad("is no SSH signature") from error


def trusted_keys(file: Path) -> list[bytes]:
    """Return the Ed25519 keys of a file: ``id_ed25519.pub``, or a list like ``allowed_signers``.

    Raises:
        CheckFailedError: ``NO_KEY``: there is none.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CheckFailedError(f"{file.name}: cannot be read", "NO_KEY") from error
    found = [_KEY.search(line) for line in lines if not line.lstrip().startswith("#")]
    keys = [key for match in found if match and (key := _public_key(match[1]))]
    if not keys:
        raise CheckFailedError(f"{file.name}: no public key ssh-ed25519 in it", "NO_KEY")
    return keys


def require_signed_by(root: Path, keys: list[bytes]) -> str:
    """Return the fingerprint of the trusted key that signed the digests of a bundle.

    Raises:
        CheckFailedError: ``UNSIGNED``, ``BAD_SIGNATURE``, ``UNTRUSTED_KEY`` or ``NO_LIST``.
        ModuleNotFoundError: cryptography is not installed.
    """
    found = read_signature(root)
    if found is None:
        raise CheckFailedError(
            "unsigned, but a signature of a trusted key is asked for", "UNSIGNED"
        )
    if found.key not in keys:
        text = f"signed by {found.fingerprint}, which is not among the trusted keys"
        raise CheckFailedError(text, "UNTRUSTED_KEY")
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    raw = unpacked(found.key)[1]
    try:
        message = signed_data((root / DIGESTS).read_bytes(), found.hash)
    except OSError as error:
        raise CheckFailedError(f"{DIGESTS}: cannot be read", "NO_LIST") from error
    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(found.value, message)
    except (InvalidSignature, ValueError) as error:
        raise _bad(f"does not fit {DIGESTS}: it was changed after signing") from error
    return found.fingerprint


def armored(key: bytes, value: bytes) -> str:
    """Return the text of a signature file."""
    blob = _MAGIC + struct.pack(">I", _VERSION)
    blob += packed(key, NAMESPACE.encode(), b"", HASH.encode(), packed(KEY_TYPE, value))
    text = base64.b64encode(blob).decode()
    lines = [text[start : start + 70] for start in range(0, len(text), 70)]
    return "\n".join([_ARMOR[0], *lines, _ARMOR[1]]) + "\n"


def signed_data(message: bytes, name: str = HASH) -> bytes:
    """Return what is signed in the place of a message: it binds the purpose, too."""
    digest = hashlib.new(name, message).digest()
    return _MAGIC + packed(NAMESPACE.encode(), b"", name.encode(), digest)


def fingerprint(key: bytes) -> str:
    """Return ``SHA256:...`` of a public key in the encoding of OpenSSH."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def packed(*parts: bytes) -> bytes:
    """Return byte strings one after the other, each behind its length."""
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def unpacked(blob: bytes) -> list[bytes]:
    """Return the byte strings of `packed`.

    Raises:
        struct.error: it is none of `packed`.
    """
    parts = []
    while blob:
        (length,) = struct.unpack_from(">I", blob)
        if len(blob) < 4 + length:
            raise struct.error("ends too early")
        parts.append(blob[4 : 4 + length])
        blob = blob[4 + length :]
    return parts


def _public_key(text: str) -> bytes | None:
    """Return a key in the encoding of OpenSSH; ``None`` where a part of it is missing."""
    try:
        blob = base64.b64decode(text, validate=True)
        kind, raw = unpacked(blob)
    except (ValueError, struct.error):
        return None
    return blob if (kind, len(raw)) == (KEY_TYPE, 32) else None


def _parsed(blob: bytes) -> Signature:
    if not blob.startswith(_MAGIC + struct.pack(">I", _VERSION)):
        raise _bad("is of another version")
    parts = unpacked(blob[len(_MAGIC) + 4 :])
    if len(parts) != 5:
        raise _bad("is no SSH signature")
    key, namespace, reserved, name, signature = parts
    if namespace != NAMESPACE.encode() or reserved:
        raise _bad(f"was made for another purpose than {NAMESPACE!r}")
    kinds = unpacked(key), unpacked(signature)
    sizes = [(len(kind), kind[0], len(kind[-1])) for kind in kinds]
    if sizes != [(2, KEY_TYPE, 32), (2, KEY_TYPE, 64)] or name.decode() not in _HASHES:
        raise _bad("is not of an Ed25519 key")
    return Signature(key, name.decode(), kinds[1][1])


def _bad(why: str) -> CheckFailedError:
    return CheckFailedError(f"{SIGNATURE}: {why}", "BAD_SIGNATURE")
