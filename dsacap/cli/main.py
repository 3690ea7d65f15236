"""The entry point of the command line.

Every stage has a verb, which Snakemake calls too, so that a stage can be run by hand.
"""

import os

# One thread a process unless set otherwise, because OpenMP threads of two jobs on the same cores
# spin against each other. It must be set before torch is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
from collections.abc import Sequence

from dsacap.cli.arguments import parsed
from dsacap.common import arithmetic
from dsacap.common.broken_pipe import until_unread
from dsacap.common.errors import PREEMPTED, Preempted, UserError, exhausted
from dsacap.common.extras import naming_extras
from dsacap.common.printable import never_fail_on
from dsacap.common.ranks import is_main


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, and print what goes wrong as one line.

    Args:
        arguments: The arguments; those of the process by default.

    Returns:
        The exit status.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        never_fail_on(stream)
    options = parsed(arguments)
    try:
        if vars(options).get("config"):
            arithmetic.choose_before_torch(options.config)
        with until_unread(), naming_extras():
            return options.run(options)
        return 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if options.verb == "diff" else 1
    except Preempted as stopped:
        if is_main():
            print(stopped, file=sys.stderr)
        return PREEMPTED
    except KeyboardInterrupt:
        print("interrupted; run the same command again to resume", file=sys.stderr)
        return 130
    except Exception as error:
        message = exhausted(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        return 1
