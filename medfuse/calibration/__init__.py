"""Calibrate: logits -> logits whose softmax can be taken at its word, as the network's last part.

A temperature is a number of `medfuse.model.FusedNetwork` itself. The maps here are modules that are
handed to it, and copied into bundles; `medfuse.training.calibration` fits them.
"""
