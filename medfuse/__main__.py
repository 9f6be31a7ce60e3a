"""``python -m medfuse``: the command line."""

import sys

from medfuse.cli.main import run

if __name__ == "__main__":
    sys.exit(run())
