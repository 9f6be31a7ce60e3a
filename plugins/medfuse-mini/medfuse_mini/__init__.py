"""Small sources with embedded weights for medfuse."""
