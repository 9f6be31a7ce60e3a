"""``medfuse doctor``: what is installed, what can be used, and where things are kept."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from importlib import metadata
from typing import Any

SUMMARY = "versions, devices, plugins and caches"

_DISTRIBUTIONS = (
    "medfuse",
    "torch",
    "torchvision",
    "timm",
    "monai",
    "pytorch-ignite",
    "numpy",
    "scikit-learn",
    "pydicom",
    "nibabel",
    "onnx",
    "onnxruntime",
    "openvino",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--json", action="store_true", help="machine-readable result")
    parser.add_argument(
        "--no-devices", action="store_true", help="do not import torch to look for devices"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the examination; 1 if a plugin is broken or a required package is missing."""
    findings = _examine(devices=not arguments.no_devices)
    if arguments.json:
        print(json.dumps(findings, indent=2))
    else:
        _print(findings)
    return 1 if findings["problems"] else 0


def _examine(*, devices: bool) -> dict[str, Any]:
    from medfuse.registry import load_registry
    from medfuse.storage import cache_folder

    versions = {name: _version(name) for name in _DISTRIBUTIONS}
    optional = {"onnx", "onnxruntime", "openvino"}
    problems = [f"{n} is not installed" for n, v in versions.items() if not v and n not in optional]
    plugins = {}
    for plugin in load_registry().plugins:
        plugins[plugin.name] = plugin.status
        if plugin.status == "broken":
            problems.append(f"plugin {plugin.name} is broken: {plugin.reason}")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "versions": versions,
        "plugins": plugins,
        "devices": _devices() if devices else [],
        "cache": str(cache_folder()),
        "problems": problems,
    }


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _devices() -> list[str]:
    import torch

    found = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return [f"cuda:{i} {name}" for i, name in enumerate(found)] or ["cpu"]


def _print(findings: dict[str, Any]) -> None:
    print(f"python      {findings['python']} on {findings['platform']}")
    print(f"processors  {findings['processors']}")
    if findings["devices"]:
        print(f"devices     {', '.join(findings['devices'])}")
    print(f"cache       {findings['cache']}")
    for name, version in findings["versions"].items():
        print(f"  {name:<15} {version or 'not installed'}")
    for name, status in findings["plugins"].items():
        print(f"  plugin {name:<15} {status}")
    for problem in findings["problems"]:
        print(f"problem: {problem}", file=sys.stderr)
