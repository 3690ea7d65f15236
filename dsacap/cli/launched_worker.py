"""One process of a training that runs as several, as a program that `launch.py` starts."""

import os
import sys
import threading

from dsacap.cli.main import main


def _die_with_the_launcher() -> None:
    """Exit when the launcher's end of the pipe closes, which happens even if it is killed.

    A process that waits for another would not notice otherwise.
    """
    os.read(sys.stdin.fileno(), 1)  # reading from sys.stdin would hold its lock when Python exits
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_die_with_the_launcher, daemon=True).start()
    sys.exit(main())
