"""Several processes of one training on this machine: `processes: N` in the configuration.

Each is `dsacap` again with the variables by which torch and accelerate find each other, so that `accelerate launch -m dsacap.cli`, torchrun
or a cluster's launcher can stand in for this one, on several machines too.
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
    """The command line as a command to launch."""
    return [sys.executable, "-P", "-m", "dsacap.cli.launched_worker", *arguments]


def launch(processes: int, command: Sequence[str]) -> int:
    """Runs a command as so many processes and returns their exit status. SIGTERM is passed on to all. Where one fails, the others would
    wait for it for ever, and are ended."""
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
    before = signal.signal(signal.SIGTERM, lambda *_: [worker.terminate() for worker in workers])
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
                    print(
                        f"error: process {rank} of {len(workers)} was ended by {signal.Signals(-status).name}",
                        file=sys.stderr,
                    )
                return status if status > 0 else 128 - status
        if None not in statuses:
            return max(statuses)
        time.sleep(0.05)
