"""What INT8 would gain and cost: features by NNCF and OpenVINO beside those in FP32.

    pip install nncf
    python benchmarks/int8.py --networks resnet50.random densenet121.random
    MEDFUSE_DATA=... MEDFUSE_WEIGHTS=... python benchmarks/int8.py --recipes cxr_covid3 brain_mri4

medfuse computes no features in INT8 (docs/adr/0021-engines.md); this is what that was decided by.
Static quantization with the defaults of NNCF, calibrated on 256 training images. Prints for each
network images a second of one core (by processor time) in eager torch, OpenVINO and INT8, and how
similar the features of other images are to those of FP32; and for each recipe the test scores of
the fused model and of each source alone, trained and tested on FP32 features, on INT8 features,
and trained on INT8 but tested on FP32 features, as the FP32 network of a bundle would give them.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from accuracy import RECIPES, predicted, scores
from torch import Tensor, nn

os.environ["NNCF_CI"] = "1"  # NNCF reports its use to the vendor otherwise
import nncf

from medfuse.backbones.build import BuiltSource, build_source
from medfuse.backbones.input_contract import SourceTarget
from medfuse.config import ComponentConfig, SourceConfig, load_experiment
from medfuse.features.bank import FeatureBank
from medfuse.features.forward import Network, TorchForward, similarity
from medfuse.features.openvino_network import compiled, read_model
from medfuse.registry import load_registry
from medfuse.workflows.extract import extract, load_networks, with_tables
from medfuse.workflows.learn import LearningTask
from medfuse.workflows.prepare import prepare_cohort

BATCH, CALIBRATION, SIDE = 16, 256, 224


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="*", default=[])
    parser.add_argument("--recipes", nargs="*", default=[])
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in arguments.networks:
        config = SourceConfig(use=name, input_size=(SIDE, SIDE))
        source = build_source(config, load_registry(), SourceTarget(3, (SIDE, SIDE)))
        random = np.random.default_rng(0).random((CALIBRATION + 64, 3, SIDE, SIDE), np.float32)
        print(name, *speeds(source, torch.from_numpy(random)), sep=" | ", flush=True)
    for name in arguments.recipes:
        for line in recipe(name, arguments.seeds):
            print(line, flush=True)


def networks_of(module: nn.Module, calibration: Tensor) -> dict[str, Network]:
    """Return a module's networks by name."""
    model = read_model(module, calibration[:BATCH])
    batches = [batch.numpy() for batch in calibration.split(BATCH)]
    quantized = nncf.quantize(model, nncf.Dataset(batches), subset_size=len(batches))
    cpu = torch.device("cpu")
    return {
        "torch": TorchForward(module, cpu),
        "openvino": compiled(model, 1),
        "int8": compiled(quantized, 1),
    }


def speeds(source: BuiltSource, images: Tensor) -> Iterator[str]:
    """Yield rates and similarity as cells of a table; the first images calibrate."""
    found = networks_of(source.extractor.eval(), images[:CALIBRATION])
    others = images[CALIBRATION:].split(BATCH)
    for name, network in found.items():
        network(others[0])
        seconds = min(_processor(lambda n=network: [n(batch) for batch in others]) for _ in "123")
        yield f"{name} {sum(map(len, others)) / seconds:.1f}"
    lowest = min(similarity(found["torch"](b), found["int8"](b)) for b in others)
    yield f"lowest similarity {lowest:.4f}"


def recipe(name: str, seeds: int) -> Iterator[str]:
    """Yield what a recipe's networks and models lose by INT8."""
    experiment = load_experiment(RECIPES / f"{name}.yaml", ["bank.engine=openvino"])
    registry, bank = load_registry(), FeatureBank(experiment.bank.path)
    prepared = prepare_cohort(experiment, bank, progress=False)
    read = {key: found.config for key, found in prepared.inputs.items()}
    sources = with_tables(experiment, load_networks(experiment, registry, read), prepared)
    exact = extract(experiment, prepared, sources, bank, progress=False)
    cases = prepared.cohort.cases
    pixels = [prepared.pictures[0].pixels(case) for case in cases]
    images = torch.from_numpy(np.stack(pixels).astype(np.float32))
    learned = np.array([case.role == "train" for case in cases])
    chosen = np.random.default_rng(0).permutation(np.flatnonzero(learned))[:CALIBRATION]
    low = []
    for source, values in zip(sources, exact.values, strict=True):
        yield f"{name} | {source.label} | " + " | ".join(
            speeds(source, images[np.concatenate([chosen, np.flatnonzero(~learned)[:64]])])
        )
        network = networks_of(source.extractor.eval(), images[chosen])["int8"]
        low.append(_features(network, images)[:, None])
        cosine = torch.cosine_similarity(*map(torch.from_numpy, (values[:, 0], low[-1][:, 0])))
        yield f"cosine to FP32: lowest {cosine.min():.4f}, mean {cosine.mean():.4f}"
    mixed = [np.where(learned[:, None, None], a, b) for a, b in zip(low, exact.values, strict=True)]
    ways = {"FP32": exact.values, "INT8": tuple(low), "INT8, tested on FP32": tuple(mixed)}
    for way, values in ways.items():
        for chosen_sources in (range(len(sources)), *([i] for i in range(len(sources)))):
            task = LearningTask(experiment, registry, prepared, replace(exact, values=values))
            found = _mean_scores(task, list(chosen_sources), seeds)
            yield f"{name} | {way} | sources {list(chosen_sources)} | {found}"


def _mean_scores(task: LearningTask, chosen: Sequence[int], seeds: int) -> dict[str, float]:
    fusion = task.experiment.fusion if len(chosen) > 1 else ComponentConfig(use="concat")
    runs = []
    for seed in range(seeds):
        experiment = task.experiment.model_copy(update={"seed": seed})
        runs.append(scores(predicted(replace(task, experiment=experiment), fusion, chosen)))
    return {key: round(float(np.mean([run[key] for run in runs])), 4) for key in runs[0]}


def _features(network: Network, images: Tensor) -> np.ndarray:
    """Return features ``(N, F)``; the last batch is padded."""
    parts = []
    for batch in images.split(BATCH):
        padded = torch.zeros((BATCH, *batch.shape[1:]))
        padded[: len(batch)] = batch
        parts.append(network(padded)[: len(batch)].numpy())
    return np.concatenate(parts)


def _processor(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


if __name__ == "__main__":
    main()
