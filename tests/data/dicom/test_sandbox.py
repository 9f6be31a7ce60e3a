from __future__ import annotations

import gc
import importlib
import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from .standin import write_standin

linux = pytest.mark.skipif(sys.platform != "linux", reason="promise not shown: needs /proc")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    write_standin(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return importlib.import_module("scripts.data_dicom.sandbox")


@pytest.fixture
def reader(package: ModuleType) -> Iterator:
    with package.SandboxedReader(seconds=20, megabytes=700) as reader:
        yield reader


def _children() -> set[int]:
    tasks = Path("/proc/self/task").glob("*/children")
    return {int(pid) for task in tasks for pid in task.read_text().split()}


def _gone(pid: int, within: float = 5.0) -> bool:
    """Whether a process ended: absent, or a zombie that its new parent has yet to collect."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def _pid(reader) -> int:
    return int(reader.read("pid").pixels[0])


def _refusal(reader, reference: str):
    with pytest.raises(ValueError, match=".") as caught:
        reader.read(reference)
    assert any(kind.__name__ == "DicomError" for kind in type(caught.value).__mro__)
    return caught.value


# what comes back


def test_an_image_comes_back_as_the_reader_made_it(reader):
    fortran, strided = reader.read("fortran").pixels, reader.read("strided").pixels
    expected = np.arange(24, dtype="f4").reshape(4, 3, 2)
    np.testing.assert_array_equal(fortran, expected.T)
    assert fortran.flags.f_contiguous
    assert fortran.dtype == np.float32
    np.testing.assert_array_equal(strided, expected.transpose(1, 0, 2)[::2])


def test_arrays_are_the_callers_own(reader):
    pixels = reader.read("ones-5").pixels
    pixels[0] = 7
    assert pixels.flags.owndata or pixels.base is not None
    assert reader.read("ones-5").pixels[0] == 1


def test_a_listing_comes_back_as_dataclasses(reader):
    listing = reader.list("/x")
    assert listing.series[0].files == ("/x", "b")
    assert (listing.skipped[0].code, listing.skipped[0].count) == ("SC", 2)


def test_one_child_serves_many_files(reader):
    assert len({_pid(reader) for _ in range(5)} | {os.getpid()}) == 2


def test_relative_paths_count_from_the_callers_folder(reader, tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    for folder in (tmp_path, tmp_path / "other"):
        monkeypatch.chdir(folder)
        assert reader.read("where").events == ((str(folder), "where"),)


def test_a_folder_that_was_removed_does_not_matter_for_absolute_paths(reader, tmp_path):
    code = (
        f"import os, sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')\n"
        "from scripts.data_dicom.sandbox import shared_reader\n"
        "print(shared_reader().read('/ones-3').pixels)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("[1 1 1]\n", "")


# what goes wrong


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "code", "says"),
    [
        ("segfault", "DECODER_CRASHED", "SIGSEGV"),
        ("abort", "DECODER_CRASHED", "SIGABRT"),
        ("leave", "DECODER_CRASHED", "SystemExit"),
        ("panic", "DECODER_CRASHED", "PanicException"),
        ("unforeseen", "DECODER_CRASHED", "KeyError"),
        ("unsendable", "DECODER_CRASHED", "TypeError"),
        ("objects", "DECODER_CRASHED", "TypeError"),
        ("oddcode", "DECODER_CRASHED", "no answer"),
        ("write", "DECODER_CRASHED", "OSError"),
        ("memory", "TOO_LARGE", "more than 700 MB"),
        ("ones-800000000", "TOO_LARGE", "more than 700 MB"),
        ("refuse", "MOSAIC", "a mosaic"),
    ],
)
def test_each_failure_has_its_code_and_the_next_file_is_read(reader, what, code, says):
    error = _refusal(reader, what)
    assert error.code == code
    assert says in str(error)
    assert "SECRET" not in str(error)
    assert "\x1b" not in str(error)
    assert reader.read("ones-3").pixels.tolist() == [1, 1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["hang", "spin"])
def test_a_file_that_takes_too_long_is_given_up(package, what):
    with package.SandboxedReader(seconds=1) as reader:
        reader.read("ones-3")
        start = time.monotonic()
        error = _refusal(reader, what)
        assert error.code == "TIMEOUT"
        assert "within 1 s" in str(error)
        assert time.monotonic() - start < 3
        assert reader.read("ones-3").pixels.sum() == 3


@pytest.mark.slow
def test_a_folder_has_more_time_with_each_of_its_files(package, tmp_path):
    folder = tmp_path / "pid-1.5"
    folder.mkdir()
    with package.SandboxedReader(seconds=1) as reader:
        assert _refusal(reader, str(folder)).code == "TIMEOUT"
        for number in range(100):
            (folder / str(number)).write_bytes(b"")
        assert reader.read(str(folder)).pixels.size == 1


@pytest.mark.slow
def test_what_an_earlier_file_left_behind_does_not_refuse_the_next(reader):
    reader.read("leak")
    assert _pid(reader) == _pid(reader)
    before = _pid(reader)
    assert reader.read("ones-400000000").pixels.size == 400_000_000
    assert _pid(reader) != before


def test_a_child_that_was_killed_while_idle_is_replaced(reader):
    first = _pid(reader)
    os.kill(first, signal.SIGKILL)
    assert _gone(first)
    assert _pid(reader) != first


def test_a_child_that_cannot_start_is_no_fault_of_the_file(tmp_path, monkeypatch):
    package = write_standin(tmp_path)
    (package / "read.py").write_text((package / "read.py").read_text() + "\nimport os\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("scripts.data_dicom.sandbox")
    (package / "read.py").write_text("import absent_library")
    with module.SandboxedReader() as reader:
        error = _refusal(reader, "pid")
        assert error.code == "SANDBOX_FAILED"
        assert "No module named 'absent_library'" in str(error)
        monkeypatch.setattr(sys, "executable", str(tmp_path / "absent"))
        assert _refusal(reader, "pid").code == "SANDBOX_FAILED"


def test_too_little_memory_to_start_is_said_so(package):
    with package.SandboxedReader(megabytes=20) as reader:
        assert _refusal(reader, "pid").code == "SANDBOX_FAILED"


# what stays behind


@pytest.mark.slow
@linux
def test_failures_leave_no_process_no_pipe_and_no_file(package, tmp_path):
    before, pipes = _children(), len(list(Path("/proc/self/fd").iterdir()))
    files = sorted(tmp_path.rglob("*.py*"))
    with package.SandboxedReader(seconds=1) as reader:
        reader.read("pid")
        for what in ("segfault", "hang", "panic", "refuse"):
            _refusal(reader, what)
        reader.read("pid")
        assert len(_children() - before) == 1
    gc.collect()
    assert _children() == before
    assert len(list(Path("/proc/self/fd").iterdir())) == pipes
    assert [p for p in sorted(tmp_path.rglob("*.py*")) if "__pycache__" not in str(p)] == [
        p for p in files if "__pycache__" not in str(p)
    ]


@linux
def test_a_reader_that_is_dropped_ends_its_children(package):
    reader = package.SandboxedReader()
    pid = _pid(reader)
    del reader
    gc.collect()
    assert _gone(pid)


@linux
def test_nothing_a_codec_prints_is_seen(reader, capfd):
    reader.read("noise")
    assert capfd.readouterr() == ("", "")


_PARENT = """
import sys, threading, time
sys.path.insert(0, {folder!r})
from scripts.data_dicom.sandbox import SandboxedReader
reader = SandboxedReader(seconds=30)
print(int(reader.read("pid").pixels[0]), flush=True)
{then}
"""


def _parent(tmp_path: Path, then: str) -> tuple[subprocess.Popen, int]:
    write_standin(tmp_path)
    code = _PARENT.format(folder=str(tmp_path), then=then)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    return process, int(process.stdout.readline())


@linux
@pytest.mark.parametrize("then", ["time.sleep(60)", "reader.read('spin')", "reader.read('hang')"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_ends_with_its_parent_idle_or_busy(tmp_path, then, how):
    process, child = _parent(tmp_path, then)
    time.sleep(0.2)
    process.send_signal(how)
    process.communicate()
    assert _gone(child)


@linux
def test_ctrl_c_reaches_the_caller_and_leaves_no_child(tmp_path):
    process, child = _parent(tmp_path, "reader.read('hang')")
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert b"KeyboardInterrupt" in errors
    assert _gone(child)


@linux
def test_after_an_interrupt_the_next_file_gets_its_own_answer(reader):
    first = _pid(reader)
    timer = threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        # In here, since a busy machine may let the second pass before anything is read.
        timer.start()
        reader.read("pid-5")
    timer.join()
    assert _gone(first)
    assert reader.read("ones-4").pixels.tolist() == [1, 1, 1, 1]


@linux
def test_a_program_that_ends_says_nothing_and_leaves_nothing(tmp_path):
    process, child = _parent(tmp_path, "")
    out, errors = process.communicate(timeout=10)
    assert (process.returncode, out, errors) == (0, b"", b"")
    assert _gone(child)


# threads and forks


@pytest.mark.slow
@linux
def test_threads_share_at_most_the_children_there_may_be(package):
    with package.SandboxedReader(children=2) as reader, ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(reader.read, "pid-0.2") for _ in range(12)]
        assert len({int(answer.result().pixels[0]) for answer in answers}) == 2


@pytest.mark.slow
def test_a_refusal_in_one_thread_does_not_disturb_another(package):
    with package.SandboxedReader(seconds=30) as reader, ThreadPoolExecutor(4) as pool:
        names = ["ones-1000", "segfault", "ones-1001", "refuse", "ones-1002", "panic"] * 3
        answers = {n: pool.submit(reader.read, name) for n, name in enumerate(names)}
        for n, name in enumerate(names):
            error = answers[n].exception()
            if name.startswith("ones"):
                assert error is None
                assert answers[n].result().pixels.size == int(name[5:])
            else:
                assert error is not None


@linux
def test_a_child_outlives_the_thread_that_started_it(reader):
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(_pid, reader).result()
    time.sleep(0.2)
    assert _pid(reader) == first


def _in_fork(reader, answers) -> None:
    answers.put((_pid(reader), _pid(reader), os.getpid()))


@linux
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_children_of_its_own(reader):
    mine = _pid(reader)
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    workers = [context.Process(target=_in_fork, args=(reader, answers)) for _ in range(2)]
    for worker in workers:
        worker.start()
    found = [answers.get(timeout=20) for _ in workers]
    for worker in workers:
        worker.join()
    theirs = {pid for first, second, _ in found for pid in (first, second)}
    assert len(theirs) == 2
    assert mine not in theirs
    assert all(_gone(pid) for pid in theirs)
    assert _pid(reader) == mine


@pytest.mark.slow
@linux
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_while_another_thread_reads_does_not_block(reader):
    busy = threading.Thread(target=reader.read, args=("pid-1",))
    others = [threading.Thread(target=reader.read, args=("pid-1",)) for _ in range(2)]
    for thread in (busy, *others):
        thread.start()
    time.sleep(0.5)
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    worker = context.Process(target=_in_fork, args=(reader, answers))
    worker.start()
    assert answers.get(timeout=20)[0] > 0
    worker.join()
    for thread in (busy, *others):
        thread.join()


@linux
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_that_lives_on_does_not_keep_the_parents_child(tmp_path):
    then = "import os\nif os.fork() == 0: os.close(1); os.close(2); time.sleep(8); os._exit(0)\n"
    process, child = _parent(tmp_path, then + "time.sleep(60)")
    time.sleep(0.3)
    process.kill()
    assert _gone(child)
    process.communicate()


def test_one_reader_is_shared_in_a_process(package):
    assert package.shared_reader() is package.shared_reader()


# what gets in


def test_the_environment_cannot_put_code_into_a_child(reader, tmp_path, monkeypatch):
    evil = tmp_path / "evil"
    evil.mkdir()
    for name in ("numpy", "pydicom", "json", "queue", "sitecustomize", "usercustomize"):
        (evil / f"{name}.py").write_text("import os; os._exit(77)")
    for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONUSERBASE"):
        monkeypatch.setenv(name, str(evil))
    monkeypatch.setenv("PYTHONINSPECT", "1")
    monkeypatch.setenv("LD_PRELOAD", str(evil / "absent.so"))
    monkeypatch.setenv("SECRET_TOKEN", "abc")
    monkeypatch.chdir(evil)
    _, variables, folders = reader.read("state").events[0]
    assert not {"SECRET_TOKEN", "LD_PRELOAD"} & set(variables)
    assert not [name for name in variables if name.startswith("PYTHON")]
    assert str(evil) not in folders
    assert "" not in folders
    assert str(tmp_path / "scripts") not in folders


def test_a_child_imports_nothing_heavy(reader):
    modules = set(reader.read("state").events[0][0])
    assert not {"medfuse", "torch", "monai", "pandas", "scipy", "PIL", "subprocess"} & modules


# the wire


def _message(text: object, data: bytes = b"") -> io.RawIOBase:
    packed = json.dumps(text).encode()
    return io.BytesIO(len(packed).to_bytes(8, "big") + packed + data)


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({"array": "|O", "shape": [1], "fortran": False, "number": None}, "not expected"),
        ({"array": "<f4", "shape": [-1], "fortran": False, "number": None}, "not expected"),
        ({"array": "<f4", "shape": [300], "fortran": False, "number": None}, "not expected"),
        (
            {"array": "<f4", "shape": [2**40, 2**40], "fortran": False, "number": None},
            "not expected",
        ),
        (
            {"array": "<f4", "shape": [0] * 3 + [-5], "fortran": False, "number": None},
            "not expected",
        ),
        ({"array": "nonsense", "shape": [1], "fortran": False, "number": None}, "TypeError"),
        ({"array": "<f4", "shape": [9], "fortran": False, "number": 4096}, "not expected"),
        ({"type": "Popen", "fields": []}, "KeyError"),
        ({"neither": 1}, "KeyError"),
        ({"type": "complex", "fields": [["wrong", 1]]}, "TypeError"),
        ([{"array": "<u1", "shape": [900], "fortran": False, "number": None}] * 2, "not expected"),
    ],
)
def test_a_forged_message_is_refused(package, message, says):
    wire = importlib.import_module("scripts.data_dicom.wire")
    with pytest.raises(wire.WireError, match=says):
        wire.receive(_message(message, bytes(2000)), {"complex": complex}, 1000)


def test_a_message_that_is_too_long_or_too_deep_is_refused(package):
    wire = importlib.import_module("scripts.data_dicom.wire")
    with pytest.raises(wire.WireError, match="too long"):
        wire.receive(io.BytesIO(b"\xff" * 16), {}, 0)
    deep = b"[" * 200_000
    with pytest.raises(wire.WireError, match="RecursionError"):
        wire.receive(io.BytesIO(len(deep).to_bytes(8, "big") + deep), {}, 0)
    with pytest.raises(wire.WireEndedError):
        wire.receive(io.BytesIO(b"\0\0"), {}, 0)


@linux
def test_large_arrays_are_copied_from_the_childs_memory_and_only_from_there(package, tmp_path):
    shared = importlib.import_module("scripts.data_dicom.shared")
    with package.SandboxedReader() as reader:
        pid = _pid(reader)
        with pytest.raises(OSError, match="Bad address"):
            shared.copied(pid, 4096, 100)
        assert reader.read("ones-5000000").pixels.all()
    with pytest.raises(OSError, match="No such process"):
        shared.copied(pid, 4096, 100)


@pytest.mark.slow
@linux
def test_a_volume_is_not_kept_in_the_child(reader):
    pid = _pid(reader)
    reader.read("ones-400000000")
    time.sleep(0.3)
    kilobytes = int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0])
    assert kilobytes < 200_000


def test_where_memory_cannot_be_copied_the_pipe_serves(package, monkeypatch):
    child = importlib.import_module("scripts.data_dicom.child")

    def forbidden(*_):
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(child, "copied", forbidden)
    with package.SandboxedReader() as reader:
        assert reader.read("ones-5000000").pixels.sum() == 5_000_000
