"""Measure the embedded weights on whole sets that no training has seen.

    python evidence.py --data DATA --teachers WEIGHTS --out evidence.json

Frozen pooled features at 128 pixels, standardized, logistic regression; its strength is chosen
inside the training part. brain_mri4: Training to Testing. cxr_covid3 and ct_covid2: five folds;
near duplicates, and images of one patient or figure, stay in one fold. Each trained network is
compared with itself before training by an exact McNemar test (Edwards 1948,
doi 10.1007/BF02289261) and by a bootstrap of the AUROC difference that draws whole groups.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from medfuse_mini.network import MiniBackbone, MiniDenseNet, MiniResNet
from pictures import near_duplicate_groups
from PIL import Image
from safetensors.torch import load_file
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from teachers import TEACHER_SIZE, load_teachers, teacher_features

NETWORKS: dict[str, type[MiniBackbone]] = {"densenet": MiniDenseNet, "resnet": MiniResNet}
WEIGHTS = Path(__file__).parents[1] / "medfuse_mini" / "weights"
SIZE = 128
STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1)


@dataclass(frozen=True)
class LeftOutSet:
    """Images of one set with labels, groups, and the folds to test on."""

    name: str
    images: list[np.ndarray]
    labels: np.ndarray
    groups: np.ndarray
    folds: list[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Outcome:
    """Predictions for every tested image of a set: classes' probabilities ``(M, K)``."""

    tested: np.ndarray
    probabilities: np.ndarray


def main() -> None:
    """Print the table, and store it."""
    options = _options()
    torch.set_num_threads(options.threads)
    rows = []
    for data in left_out_sets(options.data, options.sets):
        outcomes = {n: classify(data, f) for n, f in all_features(data.images, options)}
        for name, outcome in outcomes.items():
            baseline = outcomes.get(f"{name.split('.')[0]}.random")
            rows.append(compare(data, name, outcome, baseline))
            print(json.dumps(rows[-1]), flush=True)
    options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(table(rows))


def left_out_sets(folder: Path, names: list[str]) -> Iterator[LeftOutSet]:
    """The named sets with their folds."""
    for name in names:
        files = sorted(p for p in (folder / name).rglob("*.jpg"))
        images = [np.asarray(Image.open(p).convert("L")) for p in files]
        labels = np.unique([p.parent.name for p in files], return_inverse=True)[1]
        keys = [f"{p.parent.name}/{p.name.split('%')[0]}" for p in files]
        groups = near_duplicate_groups(images, keys if name == "ct_covid2" else None)
        given = np.array(["Testing" in p.parts for p in files])
        yield LeftOutSet(name, images, labels, groups, _folds(labels, groups, given))


def all_features(
    images: list[np.ndarray], options: argparse.Namespace
) -> Iterator[tuple[str, np.ndarray]]:
    """Named feature matrices: every network untrained and trained, fused, and the teachers."""
    batch = pixels(images, SIZE)
    trained: dict[str, list[np.ndarray]] = {}
    for name in options.networks:
        torch.manual_seed(0)
        yield f"{name}.random", _pooled(NETWORKS[name](), batch)
        for file in sorted(WEIGHTS.glob(f"{name}.*.safetensors")):
            variant = file.name.split(".")[1]
            values = _pooled(_loaded(name, file), batch)
            trained.setdefault(variant, []).append(values)
            yield f"{name}.{variant}", values
    for variant, parts in trained.items():
        if len(parts) > 1:
            yield f"both.{variant}", np.concatenate(parts, 1)
    if options.teachers:
        yield from _teacher_features(images, options.teachers)


def classify(data: LeftOutSet, features: np.ndarray) -> Outcome:
    """Out-of-fold probabilities of a logistic regression on frozen features ``(N, F)``."""
    tested, parts = [], []
    for train, test in data.folds:
        inner = StratifiedGroupKFold(3, shuffle=True, random_state=0)
        splits = list(inner.split(features[train], data.labels[train], data.groups[train]))
        model = GridSearchCV(
            make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
            {"logisticregression__C": STRENGTHS},
            cv=splits,
            scoring="neg_log_loss",
        )
        model.fit(features[train], data.labels[train])
        tested.append(test)
        parts.append(model.predict_proba(features[test]))
    return Outcome(np.concatenate(tested), np.concatenate(parts))


def compare(data: LeftOutSet, name: str, outcome: Outcome, baseline: Outcome | None) -> dict:
    """Accuracy and AUROC with 95 % intervals, and the paired tests against the baseline."""
    labels, groups = data.labels[outcome.tested], data.groups[outcome.tested]
    draws = list(_resamples(groups, 1000))
    right = outcome.probabilities.argmax(1) == labels
    row = {
        "set": data.name,
        "network": name,
        "tested": len(labels),
        "accuracy": _interval(lambda rows: right[rows].mean(), draws, len(labels)),
        "auroc": _interval(
            lambda r: auroc(labels[r], outcome.probabilities[r]), draws, len(labels)
        ),
    }
    if baseline is None or baseline is outcome:
        return row
    before = baseline.probabilities.argmax(1) == labels
    gained, lost = int((right & ~before).sum()), int((before & ~right).sum())
    gain = _interval(
        lambda r: (
            auroc(labels[r], outcome.probabilities[r]) - auroc(labels[r], baseline.probabilities[r])
        ),
        draws,
        len(labels),
    )
    p = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    return {**row, "gained": gained, "lost": lost, "mcnemar_p": float(p), "auroc_gain": gain}


def auroc(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Area under the ROC curve; one class against the rest, averaged, for more than two."""
    if probabilities.shape[1] == 2:
        return float(roc_auc_score(labels, probabilities[:, 1]))
    return float(roc_auc_score(labels, probabilities, multi_class="ovr"))


def table(rows: list[dict]) -> str:
    """The rows as Markdown."""
    lines = [
        "| set | network | accuracy (95 % interval) | AUROC (95 % interval) "
        "| AUROC gain over random | right / wrong where they differ | McNemar p |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row["set"], row["network"], _text(row["accuracy"]), _text(row["auroc"])]
        if "mcnemar_p" in row:
            cells += [_text(row["auroc_gain"]), f"{row['gained']} / {row['lost']}"]
            cells += [f"{row['mcnemar_p']:.1g}"]
        lines.append("| " + " | ".join(cells + ["-"] * (7 - len(cells))) + " |")
    return "\n".join(lines)


def _loaded(name: str, file: Path) -> MiniBackbone:
    network = NETWORKS[name]()
    network.load_state_dict(load_file(file))
    return network


def _teacher_features(images: list[np.ndarray], folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    teachers = load_teachers(folder)
    features = teacher_features(teachers, pixels(images, TEACHER_SIZE))
    for name, cells in zip(("teacher v2", "teacher v1"), features, strict=True):
        yield name, cells.mean(1)


@torch.inference_mode()
def _pooled(network: MiniBackbone, images: np.ndarray) -> np.ndarray:
    network.eval()
    parts = []
    for start in range(0, len(images), 64):
        batch = torch.from_numpy(images[start : start + 64]).unsqueeze(1).float() / 255
        parts.append(network((batch - 0.5) / 0.25)[1].numpy())
    return np.concatenate(parts)


def pixels(images: list[np.ndarray], size: int) -> np.ndarray:
    """The images as ``(N, size, size)`` uint8."""
    shape = (size, size)
    bilinear = Image.Resampling.BILINEAR
    return np.stack([np.asarray(Image.fromarray(i).resize(shape, bilinear)) for i in images])


def _folds(
    labels: np.ndarray, groups: np.ndarray, given: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The given test part without its near duplicates in training, or five grouped folds."""
    if given.any():
        clean = ~given & ~np.isin(groups, groups[given])
        return [(np.flatnonzero(clean), np.flatnonzero(given))]
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    return list(folds.split(labels, labels, groups))


def _resamples(groups: np.ndarray, count: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    for _ in range(count):
        yield np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])


def _interval(
    measure: Callable[[np.ndarray], float], draws: list[np.ndarray], count: int
) -> list[float]:
    low, high = np.percentile([measure(rows) for rows in draws], (2.5, 97.5))
    return [round(float(v), 4) for v in (measure(np.arange(count)), low, high)]


def _text(interval: list[float]) -> str:
    return f"{interval[0]:.3f} ({interval[1]:.3f} to {interval[2]:.3f})"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the sets")
    parser.add_argument("--teachers", type=Path, help="folder of teacher weights, to show them too")
    parser.add_argument("--networks", nargs="*", default=sorted(NETWORKS))
    parser.add_argument("--sets", nargs="+", default=["brain_mri4", "cxr_covid3", "ct_covid2"])
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
