"""Classify: fused features ``(N, D)`` -> logits ``(N, K)``, or one logit for two classes.

Each file is copied into bundles, so it imports torch alone.
"""
