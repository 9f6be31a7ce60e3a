"""Put trained weights and the list of seen images into the package, and print the digests.

    python publish.py --cache CACHE densenet.distilled.safetensors resnet.distilled.safetensors

The digests belong into ``SHA256`` of ``medfuse_mini/__init__.py``.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import shutil
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "medfuse_mini"
LIMIT = 3_000_000


def main() -> None:
    """Copy, compress, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True, help="made by prepare.py")
    parser.add_argument("weights", type=Path, nargs="+", help="files NETWORK.NAME.safetensors")
    options = parser.parse_args()
    for file in options.weights:
        print(f'"{file.stem}": "{publish_weights(file)}",')
    for file in sorted(options.cache.glob("seen_*.txt")):
        publish_seen(file)


def publish_weights(file: Path) -> str:
    """Copy a weights file into the package; returns its SHA-256."""
    content = file.read_bytes()
    if len(content) > LIMIT:
        raise SystemExit(f"{file}: {len(content)} bytes, expected at most {LIMIT}.")
    folder = PACKAGE / "weights"
    folder.mkdir(exist_ok=True)
    shutil.copyfile(file, folder / file.name)
    return hashlib.sha256(content).hexdigest()


def publish_seen(file: Path) -> None:
    """Compress a list of digests into the package; equal lists give equal files."""
    folder = PACKAGE / "seen"
    folder.mkdir(exist_ok=True)
    name = file.name.removeprefix("seen_")
    (folder / f"{name}.gz").write_bytes(gzip.compress(file.read_bytes(), mtime=0))


if __name__ == "__main__":
    main()
