"""Make the training cache: images at the student's size and the teachers' features of them.

    python prepare.py --cache CACHE --teachers WEIGHTS --generated 7000 \
        --archive pneumoniamnist=DATA/pneumoniamnist.npz

The cache is a folder of shards; finished shards are kept, so that a stopped run goes on. Several
processes may share the work: ``--part 0 --parts 2`` and ``--part 1 --parts 2``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from pictures import archive_train, folder_images, pixel_digest
from PIL import Image
from scenes import finish, scene
from teachers import TEACHER_SIZE, Basis, Teacher, fit_basis, load_teachers, teacher_features

SHARD = 500
STUDENT_SIZE = 128
DIMENSIONS = 192
SEED = 20240

Draw = Callable[[int], np.ndarray]


def main(arguments: list[str] | None = None) -> None:
    """Fill the cache."""
    options = _options(arguments)
    options.cache.mkdir(parents=True, exist_ok=True)
    teachers = load_teachers(options.teachers)
    bases = _bases(options.cache / "basis.npz", teachers)
    shards = list(_shards(options))
    for name, draw, indices in shards[options.part :: options.parts]:
        target = options.cache / f"{name}.npz"
        if not target.exists():
            _write_shard(target, np.stack([draw(i) for i in indices]), teachers, bases)
            print(target.name, flush=True)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True, help="folder to fill")
    parser.add_argument("--teachers", type=Path, required=True, help="folder of teacher weights")
    parser.add_argument("--generated", type=int, default=7000, help="generated images")
    parser.add_argument("--real", type=int, default=2000, help="most images of each real set")
    parser.add_argument("--archive", action="append", default=[], metavar="NAME=NPZ")
    parser.add_argument("--folder", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--part", type=int, default=0)
    parser.add_argument("--parts", type=int, default=1)
    return parser.parse_args(arguments)


def _bases(path: Path, teachers: list[Teacher]) -> list[Basis]:
    """The axes of the targets, fitted on 800 generated images that are not trained on."""
    if not path.exists():
        images = np.stack([scene(SEED + 1, i, TEACHER_SIZE) for i in range(800)])
        fitted = [fit_basis(f, DIMENSIONS) for f in teacher_features(teachers, images)]
        arrays = {f"{k}{i}": getattr(b, k) for i, b in enumerate(fitted) for k in ("mean", "axes")}
        partial_path = path.with_suffix(".partial.npz")
        np.savez(partial_path, **arrays)
        partial_path.replace(path)
    with np.load(path) as stored:
        return [Basis(stored[f"mean{i}"], stored[f"axes{i}"]) for i in range(len(teachers))]


def _shards(options: argparse.Namespace) -> Iterator[tuple[str, Draw, range]]:
    yield from _split("generated", partial(scene, SEED, size=TEACHER_SIZE), options.generated)
    for given in options.archive:
        name, _, path = given.partition("=")
        yield from _real(options, name, archive_train(Path(path)))
    for given in options.folder:
        name, _, path = given.partition("=")
        yield from _real(options, name, folder_images(Path(path)))


def _real(
    options: argparse.Namespace, name: str, images: list[np.ndarray]
) -> Iterator[tuple[str, Draw, range]]:
    """A random part of a real set; the digests of the images in it are written down."""
    chosen = np.random.default_rng(SEED).permutation(len(images))[: options.real]
    images = [images[i] for i in chosen]
    digests = sorted({pixel_digest(image) for image in images})
    (options.cache / f"seen_{name}.txt").write_text("\n".join(digests) + "\n", encoding="utf-8")
    yield from _split(f"real_{name}", partial(_photograph, images), len(images))


def _split(name: str, draw: Draw, count: int) -> Iterator[tuple[str, Draw, range]]:
    for start in range(0, count, SHARD):
        yield f"{name}_{start // SHARD:04d}", draw, range(start, min(start + SHARD, count))


def _photograph(images: list[np.ndarray], index: int) -> np.ndarray:
    """A real image at the teachers' size, lit and blurred like the generated ones."""
    size = (TEACHER_SIZE, TEACHER_SIZE)
    large = Image.fromarray(images[index]).resize(size, Image.Resampling.BICUBIC)
    rng = np.random.default_rng([SEED, 7, index])
    return finish(rng, np.asarray(large, np.float32) / 255)


def _write_shard(
    target: Path, images: np.ndarray, teachers: list[Teacher], bases: list[Basis]
) -> None:
    features = teacher_features(teachers, images)
    targets = [b.project(f) for b, f in zip(bases, features, strict=True)]
    size = (STUDENT_SIZE, STUDENT_SIZE)
    small = [np.asarray(Image.fromarray(i).resize(size, Image.Resampling.BILINEAR)) for i in images]
    partial_path = target.with_suffix(".partial.npz")
    np.savez(partial_path, images=np.stack(small), targets=np.concatenate(targets, -1))
    partial_path.replace(target)


if __name__ == "__main__":
    main()
