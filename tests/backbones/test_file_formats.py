"""Files of other libraries are known by their content, under any name."""

from __future__ import annotations

import io
import re
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from medfuse.backbones.file_formats import foreign_folder, foreign_format, is_safetensors


def packed(*names: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return content.getvalue()


def message(*fields: tuple[int, bytes | int]) -> bytes:
    """Return a protocol buffer of texts and small numbers."""
    parts = [
        bytes([number << 3, value])
        if isinstance(value, int)
        else bytes([number << 3 | 2, len(value)]) + value
        for number, value in fields
    ]
    return b"".join(parts)


def arrays(save, **content) -> bytes:
    buffer = io.BytesIO()
    save(buffer, **content)
    return buffer.getvalue()


FOREIGN = {
    "Keras weights": b"\x89HDF\r\n\x1a\n" + bytes(64),
    r"a \.keras archive": packed("metadata.json", "config.json", "model.weights.h5"),
    "TensorFlow Lite": b"\x1c\0\0\0TFL3" + bytes(32),
    "TensorFlow SavedModel": message((1, 1), (2, b"\x0a\x02ab")),
    "TensorFlow graph": message((1, b"\x0a\x01x"), (1, b"\x0a\x01y"), (4, b"\x08\x01")),
    "git lfs pull": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "a web page": b"\n<!DOCTYPE html><title>Sign in</title>",
    "packed by gzip": b"\x1f\x8b\x08" + bytes(20),
    "packed by tar": bytes(257) + b"ustar" + bytes(300),
    "a NumPy array": arrays(np.save, arr=np.zeros(3)),
    "an archive of NumPy arrays": arrays(np.savez, a=np.zeros(3)),
    "a ZIP archive without": packed("readme.txt", "weights.pth"),
}


@pytest.mark.parametrize(("what", "content"), FOREIGN.items(), ids=list(FOREIGN))
def test_a_foreign_file_is_named(tmp_path, what, content):
    file = tmp_path / "weights.pt"
    file.write_bytes(content)
    assert re.search(what, foreign_format(file) or "")


@pytest.mark.filterwarnings("ignore")
def test_a_torchscript_archive_is_named_with_the_way_out(tmp_path):
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "w.pt")
    found = foreign_format(tmp_path / "w.pt") or ""
    assert found.startswith("a TorchScript archive")
    assert "torch.jit.load(FILE).state_dict()" in found


def test_a_real_onnx_model_is_named(tmp_path):
    onnx = pytest.importorskip("onnx")
    value = onnx.helper.make_tensor_value_info("x", 1, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    out = onnx.helper.make_tensor_value_info("y", 1, [1])
    graph = onnx.helper.make_graph([node], "g", [value], [out])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "w.pth")
    assert (foreign_format(tmp_path / "w.pth") or "").startswith("an ONNX model")


@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_saves_is_not_foreign(tmp_path, zipped):
    torch.save(
        nn.Linear(2, 2).state_dict(), tmp_path / "w.pt", _use_new_zipfile_serialization=zipped
    )
    assert foreign_format(tmp_path / "w.pt") is None


def test_safetensors_are_known_by_their_header(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "w.bin")
    torch.save({"a": torch.zeros(1)}, tmp_path / "w.safetensors")
    assert is_safetensors(tmp_path / "w.bin")
    assert not is_safetensors(tmp_path / "w.safetensors")
    assert foreign_format(tmp_path / "w.bin") is None


def test_a_saved_model_of_tensorflow_is_a_folder(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"x")
    assert foreign_folder(tmp_path).startswith("a TensorFlow SavedModel")


def test_a_tar_archive_of_the_oldest_format_is_known_by_its_checksum(tmp_path):
    """Python's tarfile would read it and can be kept busy forever by its extended header."""
    header = bytearray(tarfile.TarInfo("storages").tobuf(tarfile.USTAR_FORMAT))
    header[257:265], header[148:156] = bytes(8), b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "w.pt").write_bytes(header + bytes(1024))
    assert foreign_format(tmp_path / "w.pt") == "packed by tar. Unpack it first"


@pytest.mark.parametrize("content", [b"", bytes(4096)])
def test_an_empty_file_is_named(tmp_path, content):
    (tmp_path / "w.pt").write_bytes(content)
    assert "empty, or begins with zeros" in (foreign_format(tmp_path / "w.pt") or "")


def test_an_archive_that_unpacks_to_far_more_than_its_size_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data.pkl", b"\x80\x02}.")
        archive.writestr("w/data/0", bytes(100_000))
    assert "unpacks to over 10 times its size" in (foreign_format(tmp_path / "w.pt") or "")


@pytest.mark.parametrize(("place", "value"), [(6, 200), (9, 8)])
def test_an_archive_that_python_cannot_read_is_damaged(tmp_path, place, value):
    """Its version is unknown, or a name is no text."""
    content = bytearray(packed("w/data.pkl"))
    directory = content.index(b"PK\x01\x02")
    content[directory + place] = value
    content[directory + 46] = 0xFF
    (tmp_path / "w.pt").write_bytes(content)
    assert "a damaged ZIP archive" in (foreign_format(tmp_path / "w.pt") or "")
