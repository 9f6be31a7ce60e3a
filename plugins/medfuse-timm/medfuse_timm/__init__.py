"""Backbones of timm for medfuse."""
