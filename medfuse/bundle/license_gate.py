"""Weights whose license forbids or demands something go into a bundle only where it is accepted."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping

from medfuse.bundle.licenses import restricted, strictest
from medfuse.errors import BundleError

_log = logging.getLogger(__name__)


def require_accepted(licenses: Mapping[str, str], accepted: Collection[str]) -> None:
    """Pass if every license that restricts the use of a part is accepted by name.

    What medfuse does not know at all is no reason to refuse, for it is the license of most files
    of one's own: it is said as a warning.

    Args:
        licenses: SPDX expression by the part that it holds for, such as ``source mini:resnet``.
        accepted: SPDX identifiers, or expressions of them, in any case.

    Raises:
        BundleError: naming the part, its license, what that forbids, and the remedy.
    """
    known = {name for text in accepted for name in _identifiers(text)}
    for part, expression in licenses.items():
        for name, terms in restricted(expression).items():
            if name.lower() not in known:
                raise BundleError(
                    f"{part}: license {name} {terms}. If you keep to it, accept it by "
                    f"--accept-license {name} (bundle.accept_licenses in a configuration); else "
                    "choose other weights."
                )
        unknown = strictest([expression]).unknown
        if unknown and not restricted(expression):
            _log.warning(
                "%s: the terms of license %s are not known to medfuse; ask whose it is before "
                "you pass a bundle on",
                part,
                ", ".join(unknown),
            )


def accepted_terms(licenses: Mapping[str, str]) -> dict[str, str]:
    """Return what was accepted in a bundle of these parts: license -> what it forbids."""
    found = [restricted(expression) for expression in licenses.values()]
    return {name: terms for terms_of in found for name, terms in sorted(terms_of.items())}


def _identifiers(expression: str) -> set[str]:
    words = re.findall(r"[^\s()]+", expression)
    return {word.lower() for word in words if word.upper() not in ("AND", "OR", "WITH")}
