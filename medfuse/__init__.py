"""Train medical image classifiers from several pretrained networks at once.

The names below are imported on first use, so that ``import medfuse`` stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medfuse.errors import MedfuseError
    from medfuse.serving.predict import load_bundle
    from medfuse.workflows.check import check
    from medfuse.workflows.compare import compare
    from medfuse.workflows.demo import demo
    from medfuse.workflows.evaluate import evaluate, evaluate_drift
    from medfuse.workflows.explain import explain
    from medfuse.workflows.phantoms import write_phantoms
    from medfuse.workflows.preview import preview
    from medfuse.workflows.rank import rank_sources
    from medfuse.workflows.train import train
    from medfuse.workflows.validate import validate

_WHERE = {
    "MedfuseError": "medfuse.errors",
    "check": "medfuse.workflows.check",
    "compare": "medfuse.workflows.compare",
    "demo": "medfuse.workflows.demo",
    "evaluate": "medfuse.workflows.evaluate",
    "explain": "medfuse.workflows.explain",
    "evaluate_drift": "medfuse.workflows.evaluate",
    "load_bundle": "medfuse.serving.predict",
    "preview": "medfuse.workflows.preview",
    "rank_sources": "medfuse.workflows.rank",
    "train": "medfuse.workflows.train",
    "validate": "medfuse.workflows.validate",
    "write_phantoms": "medfuse.workflows.phantoms",
}

__all__ = [
    "MedfuseError",
    "check",
    "compare",
    "demo",
    "evaluate",
    "evaluate_drift",
    "explain",
    "load_bundle",
    "preview",
    "rank_sources",
    "train",
    "validate",
    "write_phantoms",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'medfuse' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return __all__
