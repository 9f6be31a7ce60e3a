"""Preprocess: file reference + `InputConfig` -> `CanonicalImage`, float32 ``(C, *spatial)`` in [0, 1].

One list of MONAI config nodes defines it for training and for serving.
"""

from medfuse.preprocessing.canonical import CanonicalImage

__all__ = ["CanonicalImage"]
