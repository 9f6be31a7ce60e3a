"""Do saliency maps point at a known nodule, and does the network look at it at all?

    python benchmarks/explanation.py [--run RUN] [--seed 7] [--patients 40] [--methods gradcam ...]

Trains `medfuse.write_phantoms` images with two embedded sources unless a run of such images is
given, and asks it about the nodules of another seed that it finds. For each source and their sum:
the rate of maps whose strongest place lies in the nodule or within 3 % of the image's side of it,
strictly inside it, the same with random weights, and the seconds per image; and by how much the
log-odds fall as the nodule is taken out of the image that the source sees.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from medfuse import train, write_phantoms
from medfuse.explanation.randomize import randomized
from medfuse.explanation.scores import points_at
from medfuse.explanation.view import SourceView
from medfuse.serving.cases import named_case
from medfuse.workflows.explain_case import AskedCase, read_case
from medfuse.workflows.explain_subject import Subject, explainers_of, open_subject
from medfuse.workflows.phantoms import with_and_without_nodule


@dataclass(frozen=True, eq=False)
class Case:
    """A nodule as the network gets it, the same image without it, and where it is."""

    image: Tensor
    plain: Tensor
    mask: np.ndarray


SOURCES = ("mini:resnet", "mini:densenet")
TOGETHER = "all sources"


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        run = options.run or trained(folder, options.input_size)
        subject = open_subject(run, "cpu")
        methods = [_method(text) for text in options.methods]
        nets = {"trained": subject.network}
        nets |= {f"random {i}": randomized(subject.network, i) for i in range(options.random)}
        report(subject, list(cases(subject, folder, options)), nets, methods)


def trained(folder: Path, input_size: int | None) -> Path:
    """Return the bundle of a run on generated images."""
    images = write_phantoms(folder / "images")
    sources = [
        {"use": name, **({"input_size": [input_size] * 2} if input_size else {})}
        for name in SOURCES
    ]
    experiment = {
        "cohort": {"path": str(images), "group_pattern": r"p(\d+)_"},
        "sources": sources,
        "evaluation": {"baselines": False, "bootstrap": 20},
    }
    return train(experiment, folder / "run", progress=False).bundle


def cases(subject: Subject, folder: Path, options: argparse.Namespace) -> Iterator[Case]:
    """Yield the nodules of ``write_phantoms(new, patients, seed, masks)`` that are found."""
    nodule = subject.class_index("nodule")
    masks = folder / "masks"
    new = write_phantoms(folder / "new", options.patients, seed=options.seed, masks=masks)
    for file in sorted((new / "nodule").glob("*.png"))[:: options.every]:
        image = _read(subject, file, folder)
        if int(subject.network(image).argmax()) == nodule:
            height, width = image.shape[2:]
            with Image.open(masks / "nodule" / file.name) as drawn:
                mask = drawn.resize((width, height), Image.Resampling.NEAREST)
            patient, view = map(int, file.stem.removeprefix("p").split("_"))
            random = np.random.default_rng([options.seed, patient, view])
            pair = with_and_without_nodule(random, options.seed * 100_003 + patient)
            with Image.open(file) as drawn:
                assert np.array_equal(pair[0], np.asarray(drawn)), "another phantom was drawn"
            plain = folder / file.name
            Image.fromarray(pair[1]).save(plain)
            yield Case(image, _read(subject, plain, folder), np.asarray(mask) > 0)


def _read(subject: Subject, file: Path, folder: Path) -> Tensor:
    read: Any = read_case(subject, AskedCase(named_case(0, str(file), None, str(folder))))
    image: Tensor = read.images[0]
    return image


def report(
    subject: Subject,
    found: list[Case],
    nets: dict[str, Any],
    methods: list[dict[str, Any]],
) -> None:
    """Print the tables."""
    nodule = subject.class_index("nodule")
    print(f"{len(found)} true positives\n")
    print("| source | fall of the log-odds without the nodule: least, median |\n|---|---|")
    for position, name in enumerate(subject.sources):
        falls = [fall(subject, position, case, nodule) for case in found]
        print(f"| `{name}` | {min(falls):.2f}, {np.median(falls):.2f} |")
    print("\n| weights | method | source | hits | strictly inside | s/image |")
    print("|---|---|---|---|---|---|")
    for weights, network in nets.items():
        for method in methods:
            explainers = explainers_of(replace(subject, network=network), [method])
            (explain,) = explainers.values()
            told = ", ".join(str(value) for value in method.values())
            for row in rates(explain, found, nodule):
                print(f"| {weights} | {told} | {row}", flush=True)


def rates(explain: Any, found: list[Case], index: int) -> Iterator[str]:
    """Yield the end of a row for each source and their sum."""
    hits: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    seconds = 0.0
    for case in found:
        began = time.perf_counter()
        maps = {name: one.numpy() for name, one in explain(case.image, index).items()}
        seconds += time.perf_counter() - began
        for name, one in {**maps, TOGETHER: sum(maps.values())}.items():
            hits[name].append((points_at(one, case.mask), points_at(one, case.mask, 0)))
    for name, one in hits.items():
        near, inside = np.mean(one, 0)
        spent = f"{seconds / len(found):.2f}" if name == TOGETHER else ""
        yield f"{name} | {near:.3f} | {inside:.3f} | {spent} |"


def fall(subject: Subject, position: int, case: Case, index: int) -> float:
    """Return how much the log-odds fall as one source sees the image without the nodule."""
    view = SourceView(subject.network, position, (case.image,))
    with torch.no_grad():
        return float(view(case.image)[0, index] - view(case.plain)[0, index])


def _method(text: str) -> dict[str, Any]:
    """Return a method of ``name`` or ``name:option=value``."""
    name, _, given = text.partition(":")
    pairs = (pair.partition("=") for pair in given.split(",") if pair)
    return {"use": name, **{key: _value(value) for key, _, value in pairs}}


def _value(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path)
    parser.add_argument(
        "--input-size", type=int, help="pixels that the sources get; trained at 128"
    )
    parser.add_argument("--patients", type=int, default=40)
    parser.add_argument("--every", type=int, default=1, help="each of so many images")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--random", type=int, default=3, help="draws of random weights")
    parser.add_argument("--methods", nargs="+", default=["gradcam", "gradcam_pp"])
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
