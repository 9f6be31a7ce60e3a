"""A MONAI Label server on loopback, and a client of it that is curl, as in a README."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from medfuse.bundle.export import KINDS

PYTHON = os.environ["MEDFUSE_LABEL_PYTHON"]
START_SECONDS = 300
TRAIN_SECONDS = 300
_NO_WAY_OUT = dict.fromkeys(
    ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9"
)


@dataclass
class Answer:
    status: int
    body: Any


@dataclass
class Server:
    port: int
    app: Path
    studies: Path

    def ask(self, method: str, path: str, *options: str) -> Answer:
        return self.run(f"curl -X {method} '{self.at(path)}'", *options)

    def at(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def run(self, line: str, *options: str) -> Answer:
        """Run a line of a shell that calls curl; ``options`` are words for curl."""
        words = " ".join(f"'{option}'" for option in options)
        silent = line.replace("curl ", r"curl --noproxy '*' -s -w '\n%{http_code}' ", 1)
        done = subprocess.run(
            f"{silent} {words}", shell=True, capture_output=True, text=True, check=True
        )
        text, _, status = done.stdout.rpartition("\n")
        return Answer(int(status or 0), json.loads(text) if text else None)

    def infer(self, model: str, image: str, *options: str) -> Answer:
        return self.ask("POST", f"/infer/{model}?image={image}", *options)

    def put_label(self, image: str, label: object) -> Answer:
        file = self.app.parent / "label.json"
        file.write_text(json.dumps(label))
        path = f"/datastore/label?image={image}&tag=final"
        return self.ask("PUT", path, "-F", f"label=@{file}")

    def train(self, model: str, **settings: object) -> Answer:
        return self.ask(
            "POST", f"/train/{model}?run_sync=true",
            "-H", "Content-Type: application/json", "-d", json.dumps(settings),
        )  # fmt: skip

    def trained(self) -> str:
        """Wait for a training in the background; return how it ended."""
        end = time.monotonic() + TRAIN_SECONDS
        while time.monotonic() < end:
            status = self.ask("GET", "/train/").body
            if status["status"] not in ("SUBMITTED", "RUNNING"):
                return str(status["status"])
            time.sleep(1)
        raise TimeoutError("the training did not end")


@contextmanager
def served(app: Path, studies: Path, start: str, *options: str) -> Iterator[Server]:
    """Start a server as a README says, at a free port, with no way to a network."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    line = start.replace("STUDIES", str(studies)).replace("--port 8000", f"--port {port}")
    words = [*line.split()[1:], *options]
    home = app.parent / "home"
    home.mkdir(exist_ok=True)
    environment = {**os.environ, **_NO_WAY_OUT, "NO_PROXY": "127.0.0.1", "HOME": str(home)}
    log = app.parent / f"{app.name}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [PYTHON, *words], cwd=app, env=environment, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    try:
        server = Server(port, app, studies)
        wait_for(server, process, log)
        yield server
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def wait_for(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", server.port)) == 0:
                return
        time.sleep(0.3)
    pytest.fail(f"no server: {log.read_text()[-3000:]}")


def readme_lines(app: Path) -> list[str]:
    text = (app / "README.md").read_text()
    return [
        line for block in re.findall(r"```sh\n(.*?)```", text, re.S) for line in block.splitlines()
    ]


def start_of(app: Path) -> str:
    (line,) = [line for line in readme_lines(app) if "start_server" in line]
    assert line == KINDS["label"].start
    return line
