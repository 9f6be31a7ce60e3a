"""How near extraction comes to the pure forward rate of its sources, from JPEG files to the bank.

    MEDFUSE_DATA=... MEDFUSE_WEIGHTS=... python benchmarks/extraction.py [--rounds 5] [--cores 2]

Every round first lets each network run on a batch in memory, then extracts the features of the
training images of brain_mri4 into an empty bank, as ``medfuse train`` does: reading, digests,
preprocessing, forward of all sources, writing. Prints, for the fastest source alone and for two
sources, the seconds that the networks alone need for as many images over the seconds that
extraction took: 100 % means that reading costs nothing. Ratios are of one round each, so that what
else the machine does weighs on both; the processor's time is compared as well. On a machine that
others use, two threads of torch wait for each other more than they compute: take ``--cores 1`` and
the processor's time there.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PARSER = argparse.ArgumentParser(description=__doc__.splitlines()[0])
PARSER.add_argument("--images", type=int, default=1600)
PARSER.add_argument("--rounds", type=int, default=5)
PARSER.add_argument("--cores", type=int, default=2)
ARGUMENTS = PARSER.parse_args()
CORES = sorted(os.sched_getaffinity(0))[: ARGUMENTS.cores]
os.sched_setaffinity(0, CORES)  # before torch counts them

import torch  # noqa: E402
from torch import nn  # noqa: E402

from medfuse.backbones.build import BuiltSource  # noqa: E402
from medfuse.config import load_experiment  # noqa: E402
from medfuse.features.bank import FeatureBank  # noqa: E402
from medfuse.features.extract import extract_features  # noqa: E402
from medfuse.features.images import ImageIndex  # noqa: E402
from medfuse.features.request import CaseImage, ExtractionRequest  # noqa: E402
from medfuse.preprocessing import Preprocessing, resolve_input  # noqa: E402
from medfuse.registry import load_registry  # noqa: E402
from medfuse.workflows.extract import load_networks  # noqa: E402

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "brain_mri4.yaml"
BATCH = ExtractionRequest(sources=(), cases=(), images=None).batch_size  # type: ignore[arg-type]
BATCHES = 10


@dataclass
class Cost:
    """Seconds on the clock and of the processor."""

    wall: float = 0.0
    processor: float = 0.0

    def over(self, other: Cost) -> Cost:
        return Cost(self.wall / other.wall, self.processor / other.processor)


def main() -> None:
    if not {"MEDFUSE_DATA", "MEDFUSE_WEIGHTS"} <= set(os.environ):
        print("skipped: set MEDFUSE_DATA and MEDFUSE_WEIGHTS to the folders of images and weights")
        return
    experiment = load_experiment(RECIPE)
    files = sorted(map(str, Path(experiment.cohort.path).glob("Training/*/*.jpg")))[
        : ARGUMENTS.images
    ]
    read = Preprocessing(*resolve_input(experiment.inputs["image"], files[:8]))
    sources = load_networks(experiment, load_registry(), {"image": read.input})
    shown = {"fastest source alone": sources[:1], "two sources": sources}
    ratios: dict[str, list[Cost]] = {name: [] for name in shown}
    print(f"{len(files)} images, cores {CORES}, {torch.get_num_threads()} threads of torch")
    for number in range(ARGUMENTS.rounds):
        with others() as busy:
            for name, chosen in shown.items():
                ratios[name].append(one_round(name, files, read, chosen))
        print(f"round {number + 1}: other programs used {busy[0]:.2f} cores meanwhile")
    for name, found in ratios.items():
        clock = statistics.median(cost.wall for cost in found)
        processor = statistics.median(cost.processor for cost in found)
        print(f"{name}: {clock:.0%} of the pure forward rate, {processor:.0%} by processor time")


def one_round(
    name: str, files: Sequence[str], read: Preprocessing, sources: Sequence[BuiltSource]
) -> Cost:
    """Return the cost of the forwards alone over that of the whole extraction."""
    before = [forward(source, read) for source in sources]
    whole, images = extraction(files, read, sources)
    after = [forward(source, read) for source in sources]
    pure = Cost(
        sum(cost.wall for cost in (*before, *after)) / 2 * images,
        sum(cost.processor for cost in (*before, *after)) / 2 * images,
    )
    ratio = pure.over(whole)
    print(
        f"  {name}: forward {images / pure.wall:.0f} images/s, extraction "
        f"{images / whole.wall:.0f} images/s = {ratio.wall:.0%}, by processor time "
        f"{pure.processor / images * 1e3:.2f} of {whole.processor / images * 1e3:.2f} ms "
        f"= {ratio.processor:.0%}",
        flush=True,
    )
    return ratio


def forward(source: BuiltSource, read: Preprocessing) -> Cost:
    """Return what one image costs the network alone, on a normalized batch in memory."""
    network: nn.Module = source.extractor.backbone.to(memory_format=torch.channels_last)
    batch = torch.rand(BATCH, 3, *read.input.shape).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        network(batch)
        cost = measured(lambda: [network(batch) for _ in range(BATCHES)])
    return Cost(cost.wall / (BATCH * BATCHES), cost.processor / (BATCH * BATCHES))


def extraction(
    files: Sequence[str], read: Preprocessing, sources: Sequence[BuiltSource]
) -> tuple[Cost, int]:
    """Return what it costs from files to a bank that was empty, and how many images differ."""
    cases = [CaseImage(str(number), file) for number, file in enumerate(files)]
    with tempfile.TemporaryDirectory() as folder:
        bank = FeatureBank(folder)
        images = ImageIndex(read.load, read.digest(), bank)
        request = ExtractionRequest(sources, cases, images, bank, shape=(1, *read.input.shape))
        done = []
        cost = measured(lambda: done.append(extract_features(request, progress=False)))
    return cost, done[0].computed


def measured(work: Callable[[], object]) -> Cost:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - wall, time.process_time() - processor)


@contextmanager
def others() -> Iterator[list[float]]:
    """Give how many of the cores other programs used while the block ran."""
    busy, own, clock = cores_busy(), time.process_time(), time.perf_counter()
    found: list[float] = []
    yield found
    spent = cores_busy() - busy - (time.process_time() - own)
    found.append(max(0.0, spent) / (time.perf_counter() - clock))


def cores_busy() -> float:
    """Return the seconds that these cores have worked since the machine started."""
    lines = Path("/proc/stat").read_text().splitlines()
    ticks = 0
    for line in lines:
        name, *fields = line.split()
        if name in {f"cpu{core}" for core in CORES}:
            user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
            ticks += user + nice + system + irq + softirq + steal
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
