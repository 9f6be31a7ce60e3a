"""``medfuse pretrain``: from images to a source."""

from __future__ import annotations

import argparse
import json
from typing import Any

from medfuse.cli.run_options import add_run_options

SUMMARY = "train a backbone on images, with or without labels, for use as a source"

_EPILOG = """\
examples:
  medfuse pretrain archive/ --backbone mini:resnet --out pretrained/first
  medfuse pretrain archive/ other.npz --backbone timm:resnet10t --exclude labelled/ \\
      --epochs 50 --size 96 --set views.flip=left_right --out pretrained/second
  medfuse pretrain archive/ --backbone timm:vit_tiny_patch16_224 --method mae --out pretrained/vit
  medfuse pretrain cohort.csv --backbone mini:resnet --method supervised --out pretrained/labels
  medfuse train labelled/ --source pretrained/second --out runs/first

Test parts that a cohort names are left out, and near duplicates of them. Without --init the
network begins with random numbers. docs/pretraining.md tells the settings for --set.
"""
_METHODS = ("auto", "simclr", "mae", "supervised")
_OPTIONS = ("init", "method", "epochs", "batch_size", "size", "lr", "seed", "license", "device")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "what", metavar="IMAGES", nargs="+", help="a folder of images, or a cohort; labels are "
        "used by --method supervised alone",
    )  # fmt: skip
    parser.add_argument("--backbone", required=True, metavar="B", help="plugin:name")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the source")
    parser.add_argument(
        "--method",
        choices=_METHODS,
        help="how it learns (auto: mae for a network of tokens, simclr for others)",
    )
    parser.add_argument("--init", metavar="WEIGHTS|FILE", help="begin with these weights")
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="IMAGES",
        help="learn from none of these, nor from near duplicates of them; repeat for several",
    )
    parser.add_argument("--epochs", type=int, metavar="N", help="passes over all images (20)")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images in a batch (128)")
    parser.add_argument("--size", type=int, metavar="N", help="pixels along a side (64)")
    parser.add_argument("--lr", type=float, metavar="R", help="learning rate (0.002; mae 0.0005)")
    parser.add_argument("--seed", type=int, metavar="N", help="of everything random (0)")
    parser.add_argument("--license", metavar="SPDX", help="license of the weights")
    parser.add_argument("--device", metavar="D", help="auto, cpu, cuda, cuda:N (auto)")
    add_run_options(parser, "replace an earlier one in DIR", "card.json")


def run(arguments: argparse.Namespace) -> int:
    """Pretrain and print where the source is."""
    from medfuse.pretraining.settings import parse_settings

    given = {name: getattr(arguments, name) for name in _OPTIONS}
    data: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    data["backbone"] = arguments.backbone
    settings = parse_settings(data, overrides=arguments.set)
    from medfuse.workflows.pretrain import pretrain

    outcome = pretrain(
        arguments.what,
        settings,
        arguments.out,
        exclude=arguments.exclude,
        fresh=arguments.fresh,
        download=arguments.download,
        progress=not arguments.quiet,
    )
    if arguments.json:
        print(json.dumps(outcome.card, indent=2))
        return 0
    for line in summary_lines(outcome.card):
        print(line)
    print(f"source   {outcome.folder}")
    return 0


def summary_lines(card: dict[str, Any]) -> list[str]:
    """Return what a person wants to see of a finished pretraining."""
    before, after = card["features"]["before"], card["features"]["after"]
    lines = [f"images   {card['images']} of {len(card['sets'])} sets"]
    lines += [
        f"features standard deviation {before['feature_std']:.3f} -> {after['feature_std']:.3f}, "
        f"effective rank {before['effective_rank']:.1f} -> {after['effective_rank']:.1f}"
    ]
    lines += [
        f"held out {name}: accuracy {one['accuracy']['value']:.3f} of {one['images']} images"
        for name, one in card["validation"].items()
    ]
    lines += [
        f"nearest  {name}: {before['neighbor_accuracy'][name]:.3f} -> {value:.3f} of the images "
        "have neighbors of their class"
        for name, value in after["neighbor_accuracy"].items()
    ]
    return lines
