"""Serve: a bundle and image files -> one `Prediction` for each, refused ones included.

`load_bundle` returns a `Predictor`. It runs the bundle's own configurations and scripts, so load
only bundles from somebody you trust.
"""

from medfuse.serving.prediction import Answer, Prediction

__all__ = ["Answer", "Prediction"]
