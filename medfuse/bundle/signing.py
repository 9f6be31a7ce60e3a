"""Sign the digests of a bundle, so that who has the public key sees every later change."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from medfuse.bundle.digests import DIGESTS, SIGNATURE, check_digests
from medfuse.bundle.verifier.failure import CheckFailedError
from medfuse.bundle.verifier.signature import (
    KEY_TYPE,
    armored,
    fingerprint,
    packed,
    require_signed_by,
    signed_data,
    trusted_keys,
)
from medfuse.errors import BundleError, ConfigError
from medfuse.storage import write_text

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NEEDS = "needs {}, which is not installed. Install medfuse[sign]."


def sign_bundle(
    root: Path | str, key: Path | str, passphrase: Callable[[], str] | None = None
) -> str:
    """Write ``SHA256SUMS.sig`` into a bundle and return the fingerprint of the key.

    It is a signature of OpenSSH (``ssh-keygen -Y sign -n medfuse-bundle``) of the digests, which
    cover every other file. An earlier one is replaced.

    Args:
        root: the bundle; it has to be as it was written.
        key: a private Ed25519 key of OpenSSH, as ``ssh-keygen -t ed25519`` makes it.
        passphrase: asked where the key is encrypted.

    Raises:
        BundleError: the folder is no bundle, or was changed.
        ConfigError: the key cannot be used, or cryptography is not installed.
    """
    folder = Path(root)
    check_digests(folder)
    private = _private_key(Path(key), passphrase)
    public = packed(KEY_TYPE, private.public_key().public_bytes_raw())
    value = private.sign(signed_data((folder / DIGESTS).read_bytes()))
    write_text(folder / SIGNATURE, armored(public, value))
    return fingerprint(public)


def check_signed(root: Path | str, trusted_key: Path | str) -> str:
    """Return the fingerprint of the trusted key that signed the digests of a bundle.

    That the files are those of the digests is for `check_digests` to say, which
    `medfuse.serving.predict.load_bundle` calls before it executes anything.

    Args:
        root: the bundle.
        trusted_key: file of public Ed25519 keys of OpenSSH, ``id_ed25519.pub`` or a list.

    Raises:
        BundleError: it is unsigned, or signed by another key.
        ConfigError: the file holds no such key, or cryptography is not installed.
    """
    keys = _trusted(Path(trusted_key))
    try:
        return require_signed_by(Path(root), keys)
    except CheckFailedError as error:
        raise BundleError(
            f"{root}: {error} ({error.code}). Nothing of it was executed; ask for a bundle signed "
            "by that key, or trust the key of its signer.",
            error.code,
        ) from error
    except ModuleNotFoundError as error:
        raise ConfigError("--trusted-key " + NEEDS.format("cryptography")) from error


def _trusted(file: Path) -> list[bytes]:
    try:
        return trusted_keys(file)
    except CheckFailedError as error:
        raise ConfigError(
            f"--trusted-key {file}: found {_found(file)}, expected a file with a public key of "
            "OpenSSH, ssh-ed25519 ... Give the .pub file of who signed."
        ) from error


def _found(file: Path) -> str:
    """Return in words what is in the place of a file with public keys."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return "no such file"
    except OSError as error:
        return f"no file that can be read ({error.strerror})"
    return "a private key" if b"PRIVATE KEY-----" in content else "no such key in it"


def _private_key(path: Path, passphrase: Callable[[], str] | None) -> Ed25519PrivateKey:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_ssh_private_key
    except ModuleNotFoundError as error:
        raise ConfigError("signing a bundle " + NEEDS.format("cryptography")) from error
    try:
        content = path.read_bytes()
        found = load_ssh_private_key(content, _secret(path, content, passphrase))
    except OSError as error:
        raise ConfigError(f"--key {path}: cannot be read ({error.strerror}).") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"--key {path}: no private key of OpenSSH that can be opened. Make one with "
            "'ssh-keygen -t ed25519', or give its passphrase."
        ) from error
    if not isinstance(found, Ed25519PrivateKey):
        raise ConfigError(
            f"--key {path}: expected an Ed25519 key. Make one with 'ssh-keygen -t ed25519'."
        )
    return found


def _secret(path: Path, content: bytes, passphrase: Callable[[], str] | None) -> bytes | None:
    if passphrase is None or not _is_encrypted(content):
        return None
    if find_spec("bcrypt") is None:
        raise ConfigError(f"--key {path}: its passphrase " + NEEDS.format("bcrypt"))
    return passphrase().encode()


def _is_encrypted(content: bytes) -> bool:
    """Return whether a key asks for a passphrase: only then does opening it without one say so."""
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    try:
        load_ssh_private_key(content, None)
    except TypeError:
        return True
    except ValueError as error:
        return any(word in str(error).lower() for word in ("encrypted", "password"))
    return False
