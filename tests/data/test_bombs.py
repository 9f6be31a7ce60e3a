"""Files that claim or unpack to gigabytes: a named error, at once, in little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medfuse.config import CohortConfig
from medfuse.data import read_cohort
from medfuse.errors import CohortError

from .bombs import BOMBS

SECONDS, MEGABYTES, SAMPLES = 20, 2000, 5000 * 4
READ_BOTH_WAYS = """
import json, resource, sys, time
from pathlib import Path
from medfuse.data.image_facts import ImageFileError
from medfuse.data.image_file import read_pixels
from medfuse.data.volume_file import read_volume

def outcome(read, reference):
    try:
        found = read(reference)
    except ImageFileError as error:
        return error.code
    return int((found[0] if isinstance(found, tuple) else found.pixels).size)

def peak_megabytes():  # Linux counts the process that started this one into ru_maxrss
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024

started = time.monotonic()
bomb = [outcome(read, sys.argv[1]) for read in (read_pixels, read_volume)]
seconds = time.monotonic() - started
peak = peak_megabytes()
good = outcome(read_pixels, sys.argv[2])
print(json.dumps({"bomb": bomb, "seconds": seconds, "megabytes": peak, "good": good}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_with_a_code_and_the_next_file_is_read(name: str, tmp_path: Path) -> None:
    inside, write = BOMBS[name]
    write(tmp_path / name)
    np.save(tmp_path / "good.npy", np.zeros((8, 8), np.uint8))
    arguments = [f"{tmp_path / name}{inside}", str(tmp_path / "good.npy")]
    command = [sys.executable, "-c", READ_BOTH_WAYS, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    found = json.loads(done.stdout)
    assert found["good"] == 64
    assert found["seconds"] < SECONDS
    assert found["megabytes"] < MEGABYTES
    for result in found["bomb"]:  # a code, or no more than the header says
        assert result in CODES if isinstance(result, str) else result <= SAMPLES
    assert any(isinstance(result, str) for result in found["bomb"])


CODES = ("CORRUPT", "NOT_AN_IMAGE", "TOO_LARGE", "TRUNCATED", "UNSUPPORTED", "UNSUPPORTED_SHAPE")


def test_labels_that_are_no_labels_are_not_unpacked(tmp_path: Path) -> None:
    labels = np.zeros(50_000_000, np.uint8)
    path = tmp_path / "set.npz"
    np.savez_compressed(path, train_images=np.zeros((4, 8, 8), np.uint8), train_labels=labels)
    with pytest.raises(CohortError, match="train_labels is too large for 4 images"):
        read_cohort(CohortConfig(path=str(path)))


def test_an_archive_of_blank_images_is_no_bomb(tmp_path: Path) -> None:
    from medfuse.data.image_file import read_pixels

    np.savez_compressed(tmp_path / "blank.npz", images=np.zeros((400, 64, 64), np.uint8))
    assert read_pixels(f"{tmp_path / 'blank.npz'}::images::399")[0].shape == (64, 64)
