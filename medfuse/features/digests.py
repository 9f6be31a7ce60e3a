"""A memo from a file's bytes to its image's digests, so that a second run decodes nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from medfuse.features.database import Database, Schema

_TABLE = """CREATE TABLE digests (
    file BLOB NOT NULL, preprocessing BLOB NOT NULL, facts TEXT NOT NULL, checksum BLOB NOT NULL,
    PRIMARY KEY (file, preprocessing)) WITHOUT ROWID"""
_INSERT = "INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?)"
_SELECT = "SELECT facts, checksum FROM digests WHERE file = ? AND preprocessing = ?"


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known of an image without decoding it again.

    Args:
        digest: of the canonical pixels and geometry; names the image in the bank.
        pixel_digest: of the pixels as decoded; equal pixels on two sides of a split are a leak.
        events: ``(code, detail)`` of every repair or resize while it was read; without names.
    """

    digest: str
    pixel_digest: str
    events: tuple[tuple[str, str], ...] = ()


class MemoKey(NamedTuple):
    """A file's content and how it is preprocessed, both as hexadecimal digests."""

    file: str
    preprocessing: str

    def row(self) -> tuple[bytes, bytes]:
        """Return the key as the two columns of the table."""
        return bytes.fromhex(self.file), bytes.fromhex(self.preprocessing)


class DigestMemo:
    """Keeps ``ImageFacts`` by content; holds neither file names nor paths.

    Args:
        path: the memo's own file in the bank's folder.

    Raises:
        BankError: the file cannot be opened, is damaged, or has another version.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path, Schema((_TABLE,)))

    def get(self, keys: Iterable[MemoKey]) -> dict[MemoKey, ImageFacts]:
        """Return the facts of all keys that are known; a damaged row counts as unknown."""
        texts = ((key, self.text(key)) for key in keys)
        return {key: _facts(text) for key, text in texts if text is not None}

    def put(self, items: Mapping[MemoKey, ImageFacts]) -> None:
        """Keep all items in one transaction.

        Raises:
            BankError: the disk is full or the folder cannot be written; nothing is kept then.
        """
        texts = {key: _text(facts) for key, facts in items.items()}
        rows = [(*key.row(), text, _checksum(key, text)) for key, text in texts.items()]
        if rows:
            self._database.write([(_INSERT, list(rows))])

    def text(self, key: MemoKey) -> str | None:
        """Return a text that was kept; ``None`` if it is unknown or damaged."""
        for text, checksum in self._database.select(_SELECT, key.row()):
            if checksum == _checksum(key, text):
                return str(text)
        return None

    def keep_text(self, key: MemoKey, text: str) -> None:
        """Keep a text under a key that no image has.

        Raises:
            BankError: as `put`.
        """
        self._database.write([(_INSERT, [(*key.row(), text, _checksum(key, text))])])

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> DigestMemo:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _text(facts: ImageFacts) -> str:
    return json.dumps([facts.digest, facts.pixel_digest, facts.events])


def _facts(text: str) -> ImageFacts:
    digest, pixel_digest, events = json.loads(text)
    return ImageFacts(digest, pixel_digest, tuple((code, detail) for code, detail in events))


def _checksum(key: MemoKey, text: str) -> bytes:
    return hashlib.blake2b(repr((*key.row(), text)).encode(), digest_size=16).digest()
