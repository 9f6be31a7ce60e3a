"""Files that run code when they are loaded, known by what they hold and not by their names."""

from __future__ import annotations

import bz2
import io
import lzma
import pickletools
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from .failure import CheckFailedError

UNSAFE_SUFFIXES = (".pkl", ".pickle", ".joblib", ".dill", ".pth", ".ckpt", ".so", ".pyd", ".dll")
# What tensors are rebuilt from, in weights and in traced graphs; classes of graphs are their own.
_HARMLESS = re.compile(
    r"__torch__\.[\w.$]+"
    r"|torch\._utils\._rebuild_(?:tensor|tensor_v2|parameter)"
    r"|torch(?:\.storage)?\.\w*Storage|torch\.(?:float|int|uint|bfloat)\d+|torch\.Size"
    r"|torch\.jit\._pickle\.(?:build_\w+list|restore_type_tag)"
    r"|collections\.OrderedDict"
)
_NAME = re.compile(r"[^\s\x00-\x1f,;:\"'#<>=()]+")
_NATIVE = (b"\x7fELF", b"MZ", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"\xfe\xed\xfa\xcf")
_DAMAGED = (
    *(zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, zlib.error),
)
_MEMBERS, _LARGEST, _PICKLES = 100_000, 64 << 20, 16
_STRINGS = ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE")
_MEMO = ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT")
_GET = ("GET", "BINGET", "LONG_BINGET")
_CALLS = ("REDUCE", "OBJ", "INST", "NEWOBJ", "NEWOBJ_EX", "BUILD")
_PARTS = (".pkl", ".pickle", ".npy")
_MARKED = re.compile(rb"\x80[\x02-\x05]|\x93NUMPY")
_OPCODES = frozenset(opcode.code for opcode in pickletools.opcodes)
_COMPUTED = "a computed name"
_UNREAD = "what lies beyond 64 MiB"
_DECOMPRESSORS: tuple[tuple[bytes, Callable[[], Any]], ...] = (
    (b"\x1f\x8b", lambda: zlib.decompressobj(31)),
    (b"BZh", bz2.BZ2Decompressor),
    (b"\xfd7zXZ\x00", lzma.LZMADecompressor),
    (b"\x78", zlib.decompressobj),
)


def require_inert(path: Path, name: str) -> None:
    """Pass if loading a file, with whatever program, runs no code that the file names.

    Args:
        path: of the file.
        name: what it is called in the reason.

    Raises:
        CheckFailedError: ``UNSAFE_FILE`` of a native library or a file that is meant to be
            unpickled, ``PICKLED_CODE`` of a pickle that calls something else than what rebuilds
            tensors; it may be in an archive, and have any name.
    """
    if path.suffix.lower() in UNSAFE_SUFFIXES:
        text = f"{name}: a file of this kind can run code when it is loaded"
        raise CheckFailedError(text, "UNSAFE_FILE")
    with path.open("rb") as file:
        if file.read(4).startswith(_NATIVE):
            raise CheckFailedError(f"{name}: holds machine code", "UNSAFE_FILE")
        if zipfile.is_zipfile(file):
            _require_inert_archive(file, name)
        file.seek(0)
        _require_inert_pickles(_beginning(file), name)


def _require_inert_archive(file: IO[bytes], name: str) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if len(members) > _MEMBERS:
                raise CheckFailedError(f"{name}: {len(members)} parts", "UNSAFE_FILE")
            for member in members:
                with archive.open(member) as part:
                    content = _beginning(part)
                # beside pickles an archive of torch holds bare numbers, which begin with any byte
                if member.filename.endswith(_PARTS) or _MARKED.match(content):
                    _require_inert_pickles(content, f"{name}, {member.filename}")
    except _DAMAGED as error:
        text = f"{name}: an archive that cannot be read ({type(error).__name__})"
        raise CheckFailedError(text, "UNSAFE_FILE") from error


def _beginning(stream: IO[bytes]) -> bytes:
    """Return what may be a pickle; little of what cannot begin one."""
    head = stream.read(256)
    likely = head[:1].decode("latin-1") in _OPCODES
    packed = any(head.startswith(magic) for magic, _ in _DECOMPRESSORS)
    return head + stream.read(_LARGEST) if likely or packed else head


def _require_inert_pickles(content: bytes, name: str) -> None:
    if content.startswith(b"\x93NUMPY") and b"|O" in content[:256]:
        raise CheckFailedError(f"{name}: an array of pickled objects", "PICKLED_CODE")
    for text in (content, *_unpacked(content)):
        foreign = [found for found in _names(text) if not _HARMLESS.fullmatch(found)]
        if foreign:
            reason = f"{name}: a pickle that calls {foreign[0][:60]} when it is loaded"
            raise CheckFailedError(reason, "PICKLED_CODE")


def _unpacked(content: bytes) -> Iterator[bytes]:
    for magic, decompressor in _DECOMPRESSORS:
        if content.startswith(magic):
            try:
                yield decompressor().decompress(content, _LARGEST)
            except (zlib.error, OSError, EOFError, lzma.LZMAError):
                continue  # begins like a compressed file and is none


def _names(content: bytes) -> list[str]:
    """Return what the pickles at the beginning of ``content`` import; nothing of other files."""
    stream, found = io.BytesIO(content), list[str]()
    for _ in range(_PICKLES):
        names: list[str] = []
        called = False
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of escapes in what is no text
                for opcode, name in _imports(stream):
                    names += [name] if name else []
                    called |= opcode in _CALLS
        except ValueError:  # no pickle; what was called before it broke was called all the same
            found += names if called else []
            return found + ([_UNREAD] if _goes_on(stream, content) else [])
        found += names
    return found


def _goes_on(stream: IO[bytes], content: bytes) -> bool:
    """Return whether a pickle ended only because no more of it was read.

    Safetensors begin with a length, which may look like the first operation of one.
    """
    ended = len(content) >= _LARGEST and stream.tell() >= len(content)
    return ended and content[8:9] != b"{"


def _imports(stream: IO[bytes]) -> Iterator[tuple[str, str]]:
    """Yield each opcode of a pickle with the ``module.name`` that it imports, or an empty name.

    Only strings that stand right before an import name it; all else counts as computed.
    """
    memo: dict[int, str] = {}
    texts: list[str] = []
    for opcode, argument, _ in pickletools.genops(stream):
        name, found = opcode.name, ""
        if name in _STRINGS:
            texts.append(str(argument))
        elif name in _MEMO:
            place = len(memo) if argument is None else int(str(argument))
            memo[place] = (texts or [_COMPUTED])[-1]
        elif name in _GET:
            texts.append(memo.get(int(str(argument)), _COMPUTED))
        else:
            found = _imported(name, argument, texts)
            texts = texts if name in ("FRAME", "PROTO") else []
        yield name, found


def _imported(opcode: str, argument: Any, texts: list[str]) -> str:
    if opcode in ("GLOBAL", "INST"):
        parts = str(argument).split(" ")
        # a text file may begin with the letter of this opcode, but not with two identifiers
        return ".".join(parts) if len(parts) == 2 and all(map(_NAME.fullmatch, parts)) else ""
    if opcode == "STACK_GLOBAL":
        return ".".join(texts[-2:]) if len(texts) > 1 else _COMPUTED
    return _COMPUTED if opcode in ("EXT1", "EXT2", "EXT4") else ""
