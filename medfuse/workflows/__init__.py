"""Compose the stages: one module per command, and the public Python API."""
