"""Backbones of torchvision for medfuse."""
