"""Find who imports torch when a plugin is only listed."""

from __future__ import annotations

import json
import subprocess
import sys

from medfuse.errors import PluginError

HEAVY = ("torch", "monai", "timm", "torchvision", "ignite", "tensorflow", "jax")
_TIMEOUT_SECONDS = 60

# Runs in a process of its own: in this one, torch is loaded already.
_LISTING = """
import json, sys, traceback
request = json.loads(sys.stdin.read())
sys.path[:] = request["path"]
found = []

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in request["heavy"]:
            frames = [f for f in traceback.extract_stack()[:-1] if "importlib" not in f.filename]
            found.append([name, frames[-1].filename, frames[-1].lineno])
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

from medfuse.registry.contribution import contribution_of
from medfuse.registry.discovery import import_plugin
sys.meta_path.insert(0, Watch())
problem = ""
try:
    contribution_of(import_plugin(request["module"]), "plugin")
except BaseException as error:
    problem = f"{type(error).__name__}: {error}"
sys.stdout.write("\\n" + json.dumps([found, problem]))
"""


def listing_is_light(module: str) -> None:
    """Pass if importing a plugin module and calling its hooks imports no heavy library.

    Raises:
        PluginError: naming the file and line of the import.
    """
    request = json.dumps({"path": sys.path, "module": module, "heavy": HEAVY})
    done = subprocess.run(
        [sys.executable, "-c", _LISTING],
        input=request,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise PluginError(f"listing {module} in a process of its own failed: {last}")
    found, problem = json.loads(done.stdout.splitlines()[-1])
    if found:
        library, file, line = found[0]
        raise PluginError(
            f"{file}, line {line}: imports {library} when the plugin is listed. "
            "Import it in the module that the factory names, or inside a function."
        )
    if problem:
        raise PluginError(f"listing {module} in a process of its own failed: {problem}")
