"""Package: a trained `FusedNetwork` -> a MONAI bundle that runs where medfuse is not installed.

`BundleRequest` says what goes in, `medfuse.bundle.write.write_bundle` writes it, and
`verify_bundle` checks any bundle in a process that cannot import medfuse.
"""

from medfuse.bundle.request import IMAGE, BundleRequest, InputSpec, Provenance, SourceRecord
from medfuse.bundle.verify import Check, VerifyReport, verify_bundle

__all__ = [
    "IMAGE",
    "BundleRequest",
    "Check",
    "InputSpec",
    "Provenance",
    "SourceRecord",
    "VerifyReport",
    "verify_bundle",
]
