"""`python -m dsacap.cli` runs the command line."""

import sys

from dsacap.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
