"""`python -P -m inceptory` is `inceptory`; without -P Python itself looks into the current folder for modules."""

import sys

from inceptory.start import main

if __name__ == "__main__":
    sys.exit(main())
