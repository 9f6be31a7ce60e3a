"""The MONAI Label application that ``medfuse bundle export --for label`` copies.

It stands alone: it runs where MONAI Label is installed and medfuse is not. So its modules import
MONAI, MONAI Label and each other relatively, and nothing else of medfuse.
"""
