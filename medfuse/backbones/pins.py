"""Weights whose publisher names no digest: the first one seen is kept, another is refused."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

from medfuse.contract import WeightsSpec
from medfuse.errors import OutputError, WeightsError
from medfuse.storage import cache_folder, write_text

_LOG = logging.getLogger("medfuse.backbones")


def check_pin(weights: WeightsSpec, sha256: str, source: str) -> None:
    """Pass if published weights have the digest of their first use on this machine.

    On first use the digest is written down in medfuse's cache.

    Args:
        weights: with a place they come from.
        sha256: of their file now.
        source: for texts.

    Raises:
        WeightsError: it was another one before.
    """
    place = weights.hub_id or weights.url or ""
    pin = pin_file(place)
    if not pin.is_file():
        _write(pin, place, sha256, source)
        return
    known = _known(pin)
    if known != sha256:
        raise WeightsError(
            f"{source}: sha256 of its weights is {sha256}, but was {known} when they were first "
            f"used here. Find out why {place} has changed; if you trust the new file, set sha256 "
            f"in the configuration or remove {pin}"
        )


def pin_file(place: str) -> Path:
    """Return where the digest of weights from a place is kept."""
    return cache_folder() / "pins" / (re.sub(r"[^\w.-]+", "_", place) + ".json")


def _write(pin: Path, place: str, sha256: str, source: str) -> None:
    try:
        pin.parent.mkdir(parents=True, exist_ok=True)
        write_text(pin, json.dumps({"place": place, "sha256": sha256}) + "\n")
    except (OSError, OutputError) as error:
        _LOG.warning(
            "%s: no digest of its weights is published, and this one cannot be kept for next "
            "time (%s). Set sha256: %s in the configuration.",
            source,
            error,
            sha256,
        )
        return
    _LOG.info(
        "%s: no digest of its weights is published; this one is kept, and another one will be "
        "refused: sha256 %s",
        source,
        sha256,
    )


def _known(pin: Path) -> str:
    try:
        return str(json.loads(pin.read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{pin}: the kept digest cannot be read. Remove this file to keep a new one."
        ) from error
