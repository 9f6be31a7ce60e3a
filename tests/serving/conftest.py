"""The small bundles of the bundle tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_PATH = Path(__file__).resolve().parents[1] / "bundle" / "conftest.py"
_spec = importlib.util.spec_from_file_location("bundle_fixtures", _PATH)
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)

request_for = _fixtures.request_for
request_ = _fixtures.request_
images = _fixtures.images
bundle = _fixtures.bundle
generated = _fixtures.generated
synthetic = _fixtures.synthetic
volumes = _fixtures.volumes
cases = _fixtures.cases
requests_ = _fixtures.requests_
written = _fixtures.written
run_rows = _fixtures.run_rows
