"""Code that this bundle's network is built from."""
