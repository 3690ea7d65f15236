"""Several processes of one training on this machine: `processes: N` in the configuration.

Each is `dsacap` again with the variables by which torch and accelerate find each other, so that `accelerate launch -m dsacap.cli`, torchrun
or a cluster's launcher can stand in for this one, on several machines too.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

PREEMPTED = 128 + signal.SIGTERM  # exit status of a training that was asked to end, and can go on: 143


def launched() -> bool:
    """Whether this process is one of several."""
    return "RANK" in os.environ


def is_main() -> bool:
    """Whether this process writes and shows what one of them has to: the first of several, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def dsacap(arguments: Sequence[str]) -> list[str]:
    """The command line as a command to launch."""
    return [sys.executable, "-P", "-m", "dsacap.launch", *arguments]


def launch(processes: int, command: Sequence[str]) -> int:
    """Runs a command as so many processes and returns their exit status. SIGTERM is passed on to all. Where one fails, the others would
    wait for it for ever, and are ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    workers = []
    for rank in range(processes):
        variables = {name: str(value) for name, value in (common | {"RANK": rank, "LOCAL_RANK": rank}).items()}
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
                    print(f"error: process {rank} of {len(workers)} was ended by {signal.Signals(-status).name}", file=sys.stderr)
                return status if status > 0 else 128 - status
        if None not in statuses:
            return max(statuses)
        time.sleep(0.05)


def _die_with_the_launcher() -> None:
    """Its end of the pipe closes even where it was killed; a process that waits for another would not notice."""
    os.read(sys.stdin.fileno(), 1)  # not by sys.stdin, whose lock would be held when Python ends
    os._exit(1)


if __name__ == "__main__":
    from dsacap.cli import main

    threading.Thread(target=_die_with_the_launcher, daemon=True).start()
    sys.exit(main())
