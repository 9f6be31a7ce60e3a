"""How a component lives on in a bundle, where medfuse is not installed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias


@dataclass(frozen=True, kw_only=True)
class PublicTarget:
    """The component is rebuilt from a public library.

    Attributes:
        target: importable path of a class or function, for example ``torch.nn.Linear``. It is
            called with the arguments of the component's factory.
        kwargs: further constant arguments, for example ``{"pretrained": False}``.
        requires: distributions that a user of the bundle must install, for example ``("timm",)``.
    """

    target: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    requires: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class VendoredSource:
    """The component's source files are copied into the bundle's ``scripts/`` folder.

    The factory itself must be defined in the first module. The modules may import only what
    ``allowed_imports`` names, and each other; this is checked before the copy.

    Attributes:
        modules: importable module names, the one with the factory first.
        allowed_imports: top-level packages the modules may import beside the standard library.
        requires: distributions that a user of the bundle must install.
        license: SPDX expression of the files.
    """

    modules: tuple[str, ...]
    allowed_imports: tuple[str, ...] = ("torch",)
    requires: tuple[str, ...] = ()
    license: str = "Apache-2.0"


@dataclass(frozen=True, kw_only=True)
class GraphOnly:
    """The component exists in the bundle only as a traced graph: it cannot be retrained there.

    Attributes:
        reason: why, in a few words; shown when training starts.
    """

    reason: str


Export: TypeAlias = PublicTarget | VendoredSource | GraphOnly
