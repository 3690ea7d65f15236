"""This program is one process of a training that runs as several; `launch.py` starts it."""

import os
import sys
import threading

from dsacap.cli.main import main


def _die_with_the_launcher() -> None:
    """Its end of the pipe closes even where it was killed; a process that waits for another would not notice."""
    os.read(sys.stdin.fileno(), 1)  # not by sys.stdin, whose lock would be held when Python ends
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_die_with_the_launcher, daemon=True).start()
    sys.exit(main())
