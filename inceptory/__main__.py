"""`python -m inceptory` is `inceptory`."""

import sys

from inceptory.cli import main

if __name__ == "__main__":
    sys.exit(main())
