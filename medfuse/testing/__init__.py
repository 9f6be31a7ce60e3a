"""Check: a plugin's components -> findings, one for each promise of the contract.

``medfuse plugins check MODULE``, ``pytest --pyargs medfuse.testing.conformance --medfuse-plugin
MODULE`` and `check_plugin` run the same checks.
"""

from medfuse.testing.findings import Check, Finding
from medfuse.testing.kit import check_plugin, checks_of

__all__ = ["Check", "Finding", "check_plugin", "checks_of"]
