"""The option of every command that executes a bundle: whose signature it has to have."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_trusted_key(parser: argparse.ArgumentParser) -> None:
    """Declare ``--trusted-key``."""
    parser.add_argument(
        "--trusted-key",
        metavar="FILE",
        help="public keys (ssh-ed25519): execute only a bundle that one of them signed",
    )


def require_trusted(bundle: Path, arguments: argparse.Namespace) -> None:
    """Pass if no key was given, or if one of those given signed the bundle.

    Raises:
        BundleError: it is unsigned, or signed by another key.
        ConfigError: the file holds no key, or cryptography is not installed.
    """
    if arguments.trusted_key is None:
        return
    from medfuse.bundle.signing import check_signed

    check_signed(bundle, arguments.trusted_key)
