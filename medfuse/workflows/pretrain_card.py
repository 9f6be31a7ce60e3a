"""The folder of a pretrained source: weights, what they are, and which images they saw."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from safetensors.torch import save_file

from medfuse import plots
from medfuse.backbones.recipe import UNKNOWN_LICENSE, stated_license
from medfuse.pretraining.network import Trainee
from medfuse.pretraining.settings import PretrainingSettings
from medfuse.registry.described import DESCRIPTION, WEIGHTS, InputRange, SourceDescription
from medfuse.storage import atomic_path, sha256_file, write_json, write_text
from medfuse.workflows.pretrain_images import PoolOfSets

SEEN = "seen.txt.gz"
PAPERS = {
    "mae": "He et al. 2022, Masked Autoencoders Are Scalable Vision Learners, "
    "doi 10.1109/CVPR52688.2022.01553",
    "simclr": "Chen et al. 2020, A Simple Framework for Contrastive Learning of Visual "
    "Representations, arXiv:2002.05709",
    "supervised": "Yosinski et al. 2014, How transferable are features in deep neural networks?, "
    "arXiv:1411.1792",
}
_PACKAGES = ("medfuse", "torch", "monai", "timm", "numpy")


@dataclass(frozen=True)
class Reached:
    """What the training was like.

    Attributes:
        history: a record of each epoch.
        before: what features were like before it.
        after: and afterwards.
        validation: of supervised learning, what was reached on held-out images, by set.
    """

    history: list[dict[str, float]]
    before: dict[str, Any]
    after: dict[str, Any]
    validation: dict[str, Any]


@dataclass(frozen=True)
class PretrainedSource:
    """A trained backbone on its way to a folder.

    Attributes:
        folder: where it is written.
        trainee: the backbone.
        found: the images it learned from.
        settings: how.
        reached: what came of it.
    """

    FILES: ClassVar = (WEIGHTS, SEEN, DESCRIPTION, "card.json", "README.md", "history.png")

    folder: Path
    trainee: Trainee
    found: PoolOfSets
    settings: PretrainingSettings
    reached: Reached

    @property
    def domain(self) -> str:
        """What the images are, in words."""
        names = sorted({one.modality for one in self.found.sets if one.modality})
        return f"own images {self.labels} labels ({', '.join(names)})"

    @property
    def labels(self) -> str:
        """Whether it learned ``with`` or ``without`` labels."""
        return "with" if self.settings.method == "supervised" else "without"


def write_source(source: PretrainedSource) -> dict[str, Any]:
    """Write the folder, its description last, and return the card.

    Raises:
        OutputError: it cannot be written.
    """
    folder = source.folder
    state, _ = source.trainee.tensors()
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file({key: tensor.contiguous() for key, tensor in state.items()}, temporary)
    digests = "".join(f"{digest}\n" for digest in sorted(source.found.pool.digests))
    with atomic_path(folder / SEEN) as temporary:
        temporary.write_bytes(gzip.compress(digests.encode(), mtime=0))
    plots.save_figure(plots.training_history(_curves(source)), folder / "history.png")
    card = _card(source, sha256_file(folder / WEIGHTS))
    write_json(folder / "card.json", card)
    write_text(folder / "README.md", "\n".join(_page(card)) + "\n")
    write_text(
        folder / DESCRIPTION,
        _description(source, card["sha256"]).model_dump_json(indent=2) + "\n",
    )
    return card


def _description(source: PretrainedSource, sha256: str) -> SourceDescription:
    adapter = source.trainee.built.identity["adapter"]
    settings = source.settings
    fixed = source.trainee.use_size == source.trainee.view_size
    return SourceDescription(
        name=settings.method,
        backbone=source.trainee.name,
        options=source.trainee.options,
        sha256=sha256,
        source_domain=source.domain,
        training_data=tuple(one.name for one in source.found.sets),
        normalization=InputRange(
            input_range=tuple(adapter["input_range"]),
            mean=tuple(adapter["mean"]),
            std=tuple(adapter["std"]),
            scheme="per_image" if adapter["per_image"] else "fixed",
        ),
        input_size=source.trainee.use_size,
        size_policy="fixed" if fixed else "any",
        interpolation=adapter["interpolation"],
        color_order=adapter["color_order"],
        license=_license(source),
        citation=f"Pretrained with medfuse: {PAPERS[settings.method]}",
        seen=SEEN,
        remap=source.trainee.tensors()[1],
    )


def _license(source: PretrainedSource) -> str:
    """Return the license as stated, and beside it that of the weights it began from."""
    stated = source.settings.license
    if source.settings.init is None:
        return stated
    begun: str = source.trainee.built.card["license"]
    return stated_license(begun, None if stated == UNKNOWN_LICENSE else stated)


def _curves(source: PretrainedSource) -> dict[str, list[float]]:
    names = {"train_loss": "training_loss", "validation_accuracy": "validation_accuracy"}
    history = source.reached.history
    return {
        name: [record[key] for record in history]
        for name, key in names.items()
        if all(key in record for record in history)
    }


def _card(source: PretrainedSource, sha256: str) -> dict[str, Any]:
    settings = source.settings
    begun = Path(settings.init).name if settings.init else None  # no path of this machine
    return {
        "backbone": source.trainee.name,
        "method": settings.method,
        "labels": source.labels == "with",
        "paper": PAPERS[settings.method],
        "begun_from": begun or f"random numbers, seed {settings.seed}",
        "sha256": sha256,
        "created": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "images": len(source.found.pool),
        "repeated_pictures_left_out": source.found.pool.repeated,
        "sets": source.found.counts(),
        "license": _license(source),
        "settings": {
            **settings.model_dump(mode="json", exclude={"backbone", "license", "device"}),
            "init": begun,
        },
        "features": {"before": source.reached.before, "after": source.reached.after},
        "validation": source.reached.validation,
        "history": source.reached.history,
        "versions": {name: version(name) for name in _PACKAGES},
    }


def _page(card: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the card as Markdown."""
    yield f"# {card['backbone']}, pretrained ({card['method']})"
    yield ""
    labels = "with" if card["labels"] else "without"
    yield f"Weights for `{card['backbone']}`, trained on {card['images']} images {labels} labels."
    yield "For research, not a medical device. Use the folder as a source: `--source FOLDER`."
    yield ""
    yield f"- method: {card['paper']}"
    yield f"- begun from: {card['begun_from']}"
    yield f"- license, as stated, and of what it began from: {card['license']}"
    yield f"- SHA-256 of `{WEIGHTS}`: `{card['sha256']}`"
    yield f"- made: {card['created']}, with " + ", ".join(
        f"{name} {number}" for name, number in card["versions"].items()
    )
    yield ""
    yield "## Images"
    yield ""
    yield "| set | modality | images | left out |"
    yield "|---|---|---|---|"
    for one in card["sets"]:
        without = {**one["left_out"], **one["refused"]}
        told = ", ".join(f"{code} {count}" for code, count in without.items()) or "-"
        yield f"| {one['name']} | {one['modality']} | {one['images']} | {told} |"
    yield ""
    yield f"`{SEEN}` lists the digest of every image, so that reports name those that are measured."
    yield ""
    yield from _validation(card["validation"])
    yield from _features(card["features"])
    yield "## Settings"
    yield ""
    yield from (f"- {key}: {value}" for key, value in card["settings"].items())


def _validation(validation: dict[str, Any]) -> Iterator[str]:
    if not validation:
        return
    yield "## Held-out images"
    yield ""
    yield "| set | images | classes | accuracy | balanced accuracy | AUROC | most frequent class |"
    yield "|---|---|---|---|---|---|---|"
    for name, one in validation.items():
        shown = [_interval(one[score]) for score in ("accuracy", "balanced_accuracy")]
        shown += [_interval(one["auroc_macro"]), f"{one['most_frequent']:.3f}"]
        yield f"| {name} | {one['images']} | {', '.join(one['classes'])} | {' | '.join(shown)} |"
    yield ""
    yield "With 95 % intervals over resampled patients. Nothing was learned from these images."
    yield ""


def _interval(estimate: dict[str, Any]) -> str:
    value, low, high = (estimate[key] for key in ("value", "low", "high"))
    if value is None:
        return "-"
    return f"{value:.3f}" + (f" ({low:.3f} to {high:.3f})" if low is not None else "")


def _features(features: dict[str, Any]) -> Iterator[str]:
    before, after = features["before"], features["after"]
    yield "## Features"
    yield ""
    yield "| measure | before | after |"
    yield "|---|---|---|"
    yield f"| standard deviation | {before['feature_std']:.3f} | {after['feature_std']:.3f} |"
    yield f"| effective rank | {before['effective_rank']:.1f} | {after['effective_rank']:.1f} |"
    for name, value in after["neighbor_accuracy"].items():
        yield f"| neighbors, {name} | {before['neighbor_accuracy'][name]:.3f} | {value:.3f} |"
    yield ""
    yield "A standard deviation near 0 is a collapse: all images look alike to the network."
    yield "Neighbors: how often the 20 nearest images that were learned from have the same class."
    yield ""
