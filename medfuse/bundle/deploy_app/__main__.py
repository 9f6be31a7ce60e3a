"""``python APPLICATION --input IN --output OUT``: judge the one series that is in a folder."""

import sys

from app import main

if __name__ == "__main__":
    sys.exit(main())
