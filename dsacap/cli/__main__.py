"""The command line as `python -m dsacap.cli`."""

import sys

from dsacap.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
