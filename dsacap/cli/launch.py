"""Several processes of one training on this machine: `processes: N` in the configuration.

Each process runs `dsacap` again, with the environment variables by which torch and accelerate find
each other. So `accelerate launch -m dsacap.cli`, torchrun or a cluster's launcher can replace this
one, on several machines too.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from dsacap.common.errors import PREEMPTED


def dsacap(arguments: Sequence[str]) -> list[str]:
    """Return the command that runs a command line of `dsacap` as one of several processes."""
    return [sys.executable, "-P", "-m", "dsacap.cli.launched_worker", *arguments]


def launch(processes: int, command: Sequence[str]) -> int:
    """Run a command as several processes.

    SIGTERM is passed on to all of them. If one fails, the others are killed, since they would wait
    for it forever.

    Args:
        processes: How many processes.
        command: The command that each one runs.

    Returns:
        The exit status: that of a process that failed, otherwise the largest.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        "WORLD_SIZE": processes,
        "LOCAL_WORLD_SIZE": processes,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    workers = []
    for rank in range(processes):
        variables = {
            name: str(value)
            for name, value in (common | {"RANK": rank, "LOCAL_RANK": rank}).items()
        }
        workers.append(subprocess.Popen(command, env=os.environ | variables, stdin=subprocess.PIPE))

    def terminate_all(*_: object) -> None:
        for worker in workers:
            worker.terminate()

    before = signal.signal(signal.SIGTERM, terminate_all)
    try:
        return _wait(workers)
    finally:
        signal.signal(signal.SIGTERM, before)
        for worker in workers:
            worker.kill()
            worker.wait()


def _wait(workers: Sequence[subprocess.Popen]) -> int:
    while True:
        statuses = [worker.poll() for worker in workers]
        for rank, status in enumerate(statuses):
            if status not in (None, 0, PREEMPTED):
                if status < 0:
                    name = signal.Signals(-status).name
                    print(
                        f"error: process {rank} of {len(workers)} was ended by {name}",
                        file=sys.stderr,
                    )
                return status if status > 0 else 128 - status
        ended = [status for status in statuses if status is not None]
        if len(ended) == len(workers):
            return max(ended)
        time.sleep(0.05)
