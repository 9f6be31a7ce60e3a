"""What a check is, and what it found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from medfuse.errors import MedfuseError


class NotApplicable(Exception):  # noqa: N818  not an error: the check has nothing to look at
    """Raised by a check that a component does not need; the text says why."""


@dataclass(frozen=True)
class Check:
    """One promise of one component.

    Attributes:
        component: kind and name, for example ``head mlp``, or ``plugin``.
        name: the promise in a few words.
        run: raises `medfuse.errors.PluginError` (or anything else) if it is not kept.
    """

    component: str
    name: str
    run: Callable[[], None]


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        component: kind and name, or ``plugin``.
        check: the promise in a few words.
        status: ``passed``, ``failed`` or ``skipped``.
        detail: why it failed or was skipped.
    """

    component: str
    check: str
    status: Literal["passed", "failed", "skipped"]
    detail: str = ""


def carry_out(check: Check) -> Finding:
    """Return what a check finds; whatever it raises is recorded, not passed on."""
    try:
        check.run()
    except NotApplicable as reason:
        return Finding(check.component, check.name, "skipped", str(reason))
    except MedfuseError as error:
        return Finding(check.component, check.name, "failed", _one_line(error))
    except (Exception, SystemExit) as error:  # noqa: BLE001  recorded in the finding
        detail = f"raised {type(error).__name__}: {_one_line(error)}"
        return Finding(check.component, check.name, "failed", detail)
    return Finding(check.component, check.name, "passed")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
