"""Fuse: features of S sources -> one vector, or the decisions of S heads -> one decision.

Feature fusions map a list of S tensors ``(N, F_s)`` (or tokens ``(N, T_s, F_s)``) and a mask
``(N, S)`` to ``(fused (N, D), shares (N, S) or None)``. Decision fusions map log-probabilities
``(N, S, K)`` and a mask to ``(log-probabilities (N, K), shares (N, S) or None)``.

A source whose mask is 0 changes nothing and has share 0, whatever its values are. Where no source
is present, feature fusions return zeros (the training mean) and decision fusions return the
uniform distribution; all shares are 0. Each file is copied into bundles, so it imports torch alone.
"""
