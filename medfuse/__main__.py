"""``python -m medfuse``: the command line."""

import sys

from medfuse.cli.program import main

if __name__ == "__main__":
    sys.exit(main())
