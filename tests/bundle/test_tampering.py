"""What is refused of a bundle that somebody changed, and by which name; nothing of it is run."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from medfuse.bundle.digests import check_digests, write_digests
from medfuse.bundle.export import export_bundle
from medfuse.bundle.verifier import program
from medfuse.bundle.verifier.subject import Bundle
from medfuse.bundle.verify import verify_bundle
from medfuse.errors import BundleError
from medfuse.serving.predict import load_bundle

Change = Callable[[Path], None]
RAN = "ran-by-a-bundle"


class Payload:
    """Calls a function when it is unpickled; what it makes would show that it was."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (RAN,)


def edit(name: str, change: Callable[[dict], object]) -> Change:
    def apply(root: Path) -> None:
        path = root / "configs" / name
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return apply


def put(name: str, content: bytes | str = b"x = 1\n") -> Change:
    def apply(root: Path) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return apply


def listed(change: Change) -> Change:
    """The same by somebody who also writes the digests anew."""

    def apply(root: Path) -> None:
        change(root)
        write_digests(root)

    return apply


def swapped(document: dict) -> None:
    names = document["network_data_format"]["outputs"]["pred"]["channel_def"]
    names["0"], names["1"] = names["1"], names["0"]


def changed_weights(root: Path) -> None:
    path = root / "models" / "model.pt"
    state = torch.load(path, weights_only=True)
    state["classifier.head.linear.weight"].neg_()
    torch.save(state, path)


def changed_temperature(root: Path) -> None:
    path = root / "models" / "model.pt"
    state = torch.load(path, weights_only=True)
    state["temperature"].mul_(0.5)
    torch.save(state, path)


def linked_folder(root: Path) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "evil.py").write_text("x = 1")
    (root / "scripts" / "more").symlink_to(outside, target_is_directory=True)


def linked_file(root: Path) -> None:
    (root.parent / "evil.py").write_text("x = 1")
    (root / "scripts" / "evil.py").symlink_to(root.parent / "evil.py")


def torch_archive(root: Path) -> None:
    torch.save({"x": Payload()}, root / "configs" / "notes.json")


def hidden_names(root: Path) -> None:
    """Names that a scan without a stack would take for those of a harmless import."""
    fool = b"\x80\x04\x8c\x02os\x8c\x05mkdir\x8c\x0btorch._utils0\x8c\x01x0\x93"
    put("docs/notes.txt", fool + b"\x8c\x01y\x85R.")(root)


def removed_line(root: Path) -> None:
    sums = root / "SHA256SUMS"
    kept = [one for one in sums.read_text().splitlines(True) if not one.endswith("README.md\n")]
    sums.write_text("".join(kept))


def prepended(line: str) -> Change:
    def apply(root: Path) -> None:
        sums = root / "SHA256SUMS"
        sums.write_text(line + sums.read_text())

    return apply


def old_pickle(payload: bytes = b"cos\nmkdir\n(S'ran-by-a-bundle'\ntR") -> bytes:
    return payload


# change, code of `verify`, and whether the digests alone refuse it (and so predict and export do)
ROWS: dict[str, tuple[Change, str, bool]] = {
    "changed weights": (changed_weights, "CHANGED_FILE", True),
    "changed calibration": (changed_temperature, "CHANGED_FILE", True),
    "changed graph": (put("models/model.ts", b"x"), "CHANGED_FILE", True),
    "changed ONNX": (put("models/model.onnx", b"x"), "CHANGED_FILE", True),
    "swapped class names": (edit("metadata.json", swapped), "CHANGED_FILE", True),
    "swapped class names, listed": (listed(edit("metadata.json", swapped)), "CLASS_NAMES", False),
    "changed threshold": (
        edit("metadata.json", lambda d: d["medfuse"].update(thresholds={"normal": 0.01})),
        "CHANGED_FILE",
        True,
    ),
    "another _target_": (
        edit("inference.json", lambda d: d["network_def"].update(_target_="os.system")),
        "CHANGED_FILE",
        True,
    ),
    "another expression": (
        edit("inference.json", lambda d: d.update(initialize=["$os.mkdir('ran-by-a-bundle')"])),
        "CHANGED_FILE",
        True,
    ),
    "_disabled_ loader": (
        edit("inference.json", lambda d: d.update(handlers=[{"_disabled_": True}])),
        "CHANGED_FILE",
        True,
    ),
    "_disabled_ loader, listed": (
        listed(edit("inference.json", lambda d: d.update(handlers=[{"_disabled_": True}]))),
        "LOADER_DISABLED",
        False,
    ),
    "missing weights": (lambda r: (r / "models" / "model.pt").unlink(), "MISSING_FILE", True),
    "missing script": (lambda r: (r / "scripts" / "model.py").unlink(), "MISSING_FILE", True),
    "no list": (lambda r: (r / "SHA256SUMS").unlink(), "MISSING_FILE", True),
    "line left out of the list": (removed_line, "UNLISTED_FILE", True),
    "list names a place outside": (
        prepended(f"{'0' * 64}  ../../etc/passwd\n"),
        "MALFORMED_LIST",
        True,
    ),
    "list names a drive": (prepended(f"{'0' * 64}  C:/x\n"), "MALFORMED_LIST", True),
    "list names a file twice": (prepended(f"{'0' * 64}  LICENSE\n"), "MALFORMED_LIST", True),
    "code in scripts": (put("scripts/evil.py"), "UNLISTED_FILE", True),
    "code below scripts": (put("scripts/data_dicom/evil.py"), "UNLISTED_FILE", True),
    "data in scripts": (put("scripts/table.csv"), "UNLISTED_FILE", True),
    "code that hides a library": (put("timm.py"), "UNLISTED_FILE", True),
    "library that hides a library": (put("timm/__init__.py"), "UNLISTED_FILE", True),
    "native code that hides a library": (put("monai.so", b"\x7fELF"), "UNLISTED_FILE", True),
    "compiled code": (
        put("scripts/__pycache__/model.cpython-311.pyc", b"x"),
        "COMPILED_CODE",
        True,
    ),
    "configuration": (put("configs/evaluate.yaml", "a: 1"), "UNLISTED_FILE", True),
    "graph beside weights": (put("models/other.ts", b"x"), "UNLISTED_FILE", True),
    "link to a folder below scripts": (linked_folder, "SYMLINK", True),
    "link to a script": (linked_file, "SYMLINK", True),
    "names that differ in case": (listed(put("scripts/Model.py")), "NAME_COLLISION", True),
    "pickle named .json": (
        listed(put("configs/notes.json", pickle.dumps(Payload()))),
        "PICKLED_CODE",
        False,
    ),
    "old pickle named .bin": (
        listed(put("docs/a.bin", old_pickle() + b".")),
        "PICKLED_CODE",
        False,
    ),
    "pickle that breaks off": (listed(put("docs/a.bin", old_pickle())), "PICKLED_CODE", False),
    "pickle that hides its names": (listed(hidden_names), "PICKLED_CODE", False),
    "pickle for weights": (
        listed(put("models/model.pt", pickle.dumps(Payload()))),
        "PICKLED_CODE",
        False,
    ),
    "archive of torch named .json": (listed(torch_archive), "PICKLED_CODE", False),
    "pickle of results": (put("eval/cases.bin", pickle.dumps(Payload())), "PICKLED_CODE", False),
    "candidate with a payload": (
        put("models/model_candidate.pt", pickle.dumps(Payload())),
        "PICKLED_CODE",
        False,
    ),
    "file meant to be unpickled": (listed(put("docs/a.pkl", b"")), "UNSAFE_FILE", False),
    "machine code": (listed(put("docs/a.txt", b"\x7fELF")), "UNSAFE_FILE", False),
}


@pytest.fixture
def root(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(bundle, tmp_path / bundle.name))


def checked(root: Path) -> dict[str, str]:
    """The code by name of the failed checks, in this process: what reads files, and the loader."""
    settings = {"bundle": str(root), "work": str(root.parent / "work"), "schema": None}
    kept = program.CHECKS
    program.CHECKS = tuple(check for check in kept if check[0] == "weights")
    try:
        results = program.results_of(Bundle(settings))
    finally:
        program.CHECKS = kept
    failed = [one for one in results if one["status"] == "failed"]
    print(*failed, sep="\n")
    return {one["name"]: one["code"] for one in failed}


@pytest.mark.parametrize("name", ROWS)
def test_each_change_is_refused_by_name(root: Path, name: str) -> None:
    change, code, by_digests = ROWS[name]
    change(root)
    assert code in checked(root).values()
    if by_digests:
        with pytest.raises(BundleError) as refused:
            check_digests(root)
        assert refused.value.code == ("NO_LIST" if name == "no list" else code)
        with pytest.raises(BundleError):
            load_bundle(root, "cpu")
        with pytest.raises(BundleError):
            export_bundle(root, "label", root.parent / "app")
    assert not (root.parent / RAN).exists()


def test_an_untouched_bundle_passes_with_results_and_a_candidate(root: Path) -> None:
    put("eval/predictions.csv", "image,predicted\n")(root)
    shutil.copy(root / "models" / "model.pt", root / "models" / "model_candidate.pt")
    assert checked(root) == {}
    check_digests(root)


def test_one_byte_of_any_file_is_enough(root: Path) -> None:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    assert len(files) > 20
    for path in files:
        content = path.read_bytes()
        for place in {0, len(content) // 2, len(content) - 1} if content else set():
            flipped = bytearray(content)
            flipped[place] ^= 1
            path.write_bytes(flipped)
            with pytest.raises(BundleError):
                check_digests(root)
        path.write_bytes(content + b" ")
        with pytest.raises(BundleError):
            check_digests(root)
        path.write_bytes(content)
    check_digests(root)


def test_nothing_is_run_of_a_bundle_that_was_changed(root: Path) -> None:
    put("scripts/__init__.py", f"import os\nos.mkdir({str(root.parent / RAN)!r})\n")(root)
    report = verify_bundle(root)
    found = {check.name: check for check in report.checks}
    assert (found["digests"].status, found["digests"].code) == ("failed", "CHANGED_FILE")
    assert found["sample_run"].status == "skipped"
    assert found["sample_run"].detail.startswith("not run: digests")
    assert not (root.parent / RAN).exists()


def archive(root: Path, change: Callable[[zipfile.ZipFile], object] | None = None) -> Path:
    path = root.parent / "sent.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(root.rglob("*")):
            packed.write(file, f"{root.name}/{file.relative_to(root).as_posix()}")
        if change is not None:
            change(packed)
    return path


def entry(name: str, kind: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = kind << 16
    return info


ENTRIES = {
    "above": ("tiny_classification/../../evil.py", 0, b"", "ARCHIVE_PATH"),
    "absolute": ("/tmp/evil.py", 0, b"", "ARCHIVE_PATH"),
    "drive": ("C:/evil.py", 0, b"", "ARCHIVE_PATH"),
    "backslash": ("tiny_classification\\..\\evil.py", 0, b"", "ARCHIVE_PATH"),
    "link": ("tiny_classification/scripts/x", 0o120777, b"/etc", "ARCHIVE_LINK"),
    "pipe": ("tiny_classification/scripts/x", 0o010644, b"", "ARCHIVE_LINK"),
    "twice": ("tiny_classification/LICENSE", 0, b"", "ARCHIVE_DUPLICATE"),
    "file as folder": ("tiny_classification/LICENSE/x", 0, b"", "ARCHIVE_DUPLICATE"),
    "case": ("tiny_classification/license", 0, b"", "NAME_COLLISION"),
    "two folders": ("other/x", 0, b"", "ARCHIVE_LAYOUT"),
    "bomb": ("tiny_classification/docs/x", 0, b"0" * 40_000_000, "ARCHIVE_BOMB"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("row", ENTRIES)
def test_archives_with_an_entry_out_of_place_are_refused_and_leave_nothing(
    root: Path, row: str
) -> None:
    name, kind, content, code = ENTRIES[row]
    sent = archive(root, lambda z: z.writestr(entry(name, kind), content, zipfile.ZIP_DEFLATED))
    before = {path.name for path in root.parent.iterdir()}
    report = verify_bundle(sent, unpack_to=root.parent / "kept")
    assert [(check.name, check.code) for check in report.checks] == [("archive", code)]
    assert not report.ok
    assert {path.name for path in root.parent.iterdir()} == before


def test_an_archive_that_is_none_is_refused(root: Path) -> None:
    sent = archive(root)
    content = bytearray(sent.read_bytes())
    content[200:260] = bytes(60)
    sent.write_bytes(content)
    assert verify_bundle(sent).checks[0].code == "ARCHIVE_DAMAGED"
    with pytest.raises(BundleError, match="bundle verify ARCHIVE --unpack DIR"):
        load_bundle(sent)


@pytest.mark.slow
def test_a_good_archive_is_verified_and_unpacked(root: Path) -> None:
    kept = root.parent / "kept"
    report = verify_bundle(archive(root), unpack_to=kept)
    assert report.ok
    check_digests(kept / root.name)
    assert load_bundle(kept / root.name, "cpu").classes == load_bundle(root, "cpu").classes
