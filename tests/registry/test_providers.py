"""Who provides an import, on every supported Python."""

from __future__ import annotations

import sys
from importlib.metadata import packages_distributions

import pytest

from medfuse.registry.providers import import_providers, normalized_name


@pytest.mark.parametrize(
    ("top", "distribution"),
    [("timm", "timm"), ("PIL", "pillow"), ("ignite", "pytorch-ignite"), ("yaml", "pyyaml")],
)
def test_well_known_imports_have_their_distribution(top: str, distribution: str) -> None:
    assert distribution in import_providers()[top]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the library knows too few before 3.11")
def test_agrees_with_the_standard_library() -> None:
    ours = import_providers()
    for top, names in packages_distributions().items():
        if top.isidentifier() and top in ours:
            assert {normalized_name(name) for name in names} == set(ours[top]), top
