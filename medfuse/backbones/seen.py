"""The images that published weights were trained on, as far as their plugin lists them."""

from __future__ import annotations

import gzip
import re
from collections.abc import Collection

from medfuse.backbones.locate import packaged_file
from medfuse.contract import WeightsSpec
from medfuse.errors import WeightsError

_DIGEST = re.compile(r"[0-9a-f]{64}")


def seen_images(weights: WeightsSpec, learners: Collection[str] = ()) -> frozenset[str]:
    """Return the pixel digests of all images that the weights list as seen; empty without a list.

    Args:
        weights: whose list. That of a bundle says behind each digest who learned from the image.
        learners: of whose images; all if empty.

    Raises:
        WeightsError: the list is absent or damaged.
    """
    if weights.seen is None:
        return frozenset()
    file = packaged_file(weights.seen)
    try:
        content = file.read_bytes()
        text = (gzip.decompress(content) if file.suffix == ".gz" else content).decode("utf-8")
    except (OSError, EOFError, ValueError) as error:
        raise WeightsError(
            f"{file}: the list of seen images of weights {weights.name!r} cannot be read. "
            "Put it back, or install their plugin anew."
        ) from error
    lines = [line.partition("  ") for line in text.splitlines() if line.strip()]
    digests = [digest for digest, _, who in lines if not learners or who in learners]
    if not all(_DIGEST.fullmatch(digest) for digest in digests):
        raise WeightsError(
            f"{file}: expected one pixel digest (64 hexadecimal digits) a line. "
            "Put back the list that came with the weights."
        )
    return frozenset(digests)
