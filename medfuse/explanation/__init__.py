"""Explain: a trained network and an image -> saliency per source, and what each source counts.

An explainer is called with the canonical image ``(1, C, *spatial)`` (a tuple of them where the
network reads several inputs) and the index of a class. It returns by source name how much each
place speaks for that class, ``(*spatial)`` on the grid of the canonical image; negative is cut off.
"""
