"""Files that are whole or absent: atomic writes, private permissions, locks, digests."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from medfuse.errors import OutputError

_CHUNK = 1 << 20
_PARTIAL = ".partial"


@contextmanager
def atomic_path(path: Path | str, mode: int = 0o644) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it replaces ``path`` in one step.

    Args:
        path: the final file. Its folder is created.
        mode: permissions of the final file.

    Raises:
        OutputError: the folder cannot be written or the disk is full. ``path`` is untouched.
    """
    target = Path(path)
    temporary = target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(_PARTIAL, f".{target.name}.", target.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(mode)
        _sync(temporary)
        temporary.replace(target)
    except OSError as error:
        raise _not_written(target, error) from error
    finally:
        if temporary != target:
            temporary.unlink(missing_ok=True)


def require_file_name(path: Path | str) -> None:
    """Pass if a file may be written at ``path``, so that nobody computes in vain.

    Raises:
        OutputError: a folder is there.
    """
    if Path(path).is_dir():
        raise OutputError(f"{path}: a folder, expected the name of a file.")


def write_text(path: Path | str, text: str, mode: int = 0o644) -> None:
    """Write ``text`` as UTF-8 so that ``path`` is either the old file or the whole new one."""
    with atomic_path(path, mode) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path | str, value: object, mode: int = 0o644) -> None:
    """Write ``value`` as indented JSON with a final newline; NaN is refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n", mode)


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Yield an empty folder beside ``path``; on success it replaces ``path`` as a whole.

    Raises:
        OutputError: the folder cannot be written or the disk is full. ``path`` is untouched.
    """
    target = Path(path)
    staging: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(_PARTIAL, f".{target.name}.", target.parent))
        staging.chmod(0o755)
        yield staging
        if target.exists():
            shutil.rmtree(target)
        staging.replace(target)
        staging = None
    except OSError as error:
        raise _not_written(target, error) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


def _not_written(target: Path, error: OSError) -> OutputError:
    text = f"{target}: cannot be written ({error.strerror or error})."
    if isinstance(error, IsADirectoryError):
        return OutputError(f"{target}: a folder, expected the name of a file.")
    if isinstance(error, PermissionError | FileNotFoundError | NotADirectoryError):
        return OutputError(f"{text} Choose another output folder.")
    return OutputError(f"{text} Free some space or choose another output folder.")


def sweep_partial(folder: Path | str) -> None:
    """Remove what killed writers left below ``folder``; the caller holds its lock."""
    for item in list(Path(folder).rglob(f".*{_PARTIAL}")):
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item, ignore_errors=True)
        else:
            item.unlink(missing_ok=True)


@contextmanager
def locked(path: Path | str, what: str, timeout: float = 0.0) -> Iterator[None]:
    """Hold an exclusive lock on ``path`` (a file made for it) while the block runs.

    Args:
        path: the lock file.
        what: the noun for the error text, for example ``run folder``.
        timeout: seconds to wait for another process.

    Raises:
        OutputError: another process holds the lock.
    """
    lock_file = Path(path)
    try:
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(lock_file, timeout=timeout)
        lock.acquire()
    except Timeout as error:
        raise OutputError(
            f"{lock_file.parent}: this {what} is in use by another medfuse process. "
            "Wait for it to end, or choose another folder."
        ) from error
    except OSError as error:
        raise OutputError(
            f"{lock_file.parent}: cannot be locked ({error.strerror or error}). "
            "Choose another folder."
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):
            lock.release()


def sha256_file(path: Path | str) -> str:
    """Return the SHA-256 digest of a file's bytes, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as handle:
        while chunk := handle.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def digest_of(value: Mapping[str, Any] | list[Any] | str) -> str:
    """Return the SHA-256 digest of plain data, independent of the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def cache_folder() -> Path:
    """Return medfuse's private cache folder (``MEDFUSE_CACHE``, else the user's cache)."""
    explicit = os.environ.get("MEDFUSE_CACHE")
    if explicit:
        return Path(explicit).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "medfuse"


def _sync(path: Path) -> None:
    with path.open("rb") as handle:
        os.fsync(handle.fileno())
