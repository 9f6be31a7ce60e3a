"""Where MONAI Label finds the application; `lib/` holds it."""

from lib.app import BundleApp

__all__ = ["BundleApp"]
