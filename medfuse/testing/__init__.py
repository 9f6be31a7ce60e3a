"""Check: a plugin's components -> findings, one for each promise of the contract.

``medfuse plugins check MODULE`` and ``pytest --pyargs medfuse.testing.conformance
--medfuse-plugin MODULE`` run the same checks.
"""
