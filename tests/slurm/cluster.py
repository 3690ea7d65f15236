"""A Slurm of one node on this machine, while a test needs it.

It consists of Debian's munge, slurmctld and slurmd, without accounting. Slurm's commands find their
controller only by /etc/slurm/slurm.conf, so that file is written, and removed at the end. If it was
not written by these tests, it belongs to a real cluster and is left alone.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CONF, GRES = Path("/etc/slurm/slurm.conf"), Path("/etc/slurm/gres.conf")
_MARK = "# A test of dsacap-bench: may be removed.\n"
_MUNGE = Path("/run/munge/munge.socket.2")

_GPUS = ("null", "zero", "full", "random")  # Slurm counts device files; no job here opens them

# The node claims GPUs and memory that it does not have, to test that jobs get what the profile asks
# for. Jobs that use more memory than they asked for are killed within a second, as by cgroups.
_SLURM = """
ClusterName=dsacap
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
MinJobAge=7200
ReturnToService=2
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=400000 Gres=gpu:{gpus} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Return why Slurm cannot run here, or None if it can."""
    if os.geteuid() != 0:
        return "needs root, to write /etc/slurm/slurm.conf and start daemons"
    if absent := [
        name for name in ("munged", "slurmctld", "slurmd", "sbatch") if not shutil.which(name)
    ]:
        return f"no {', '.join(absent)} (tests/slurm/run installs Debian's packages)"
    theirs = [
        str(path)
        for path in (CONF, GRES)
        if path.exists() and not path.read_text().startswith(_MARK)
    ]
    return f"{', '.join(theirs)}: this machine belongs to a cluster" if theirs else None


@contextmanager
def slurm(folder: Path, cpus: int) -> Iterator[None]:
    """Start the daemons, wait until the node is idle, and stop them at the end.

    `folder` keeps their state and logs.
    """
    host = socket.gethostname().split(".")[0]
    for part in ("state", "spool"):
        (folder / part).mkdir()
    CONF.parent.mkdir(exist_ok=True)
    CONF.write_text(_MARK + _SLURM.format(host=host, folder=folder, cpus=cpus, gpus=len(_GPUS)))
    GRES.write_text(_MARK + "".join(f"Name=gpu File=/dev/{device}\n" for device in _GPUS))
    daemons = []

    def start(*command: str, **options) -> None:
        with (folder / f"{command[0]}.out").open("w") as out:
            daemons.append(subprocess.Popen(command, stdout=out, stderr=out, **options))

    try:
        if subprocess.run(["munge", "-n"], capture_output=True).returncode:
            _MUNGE.parent.mkdir(exist_ok=True)
            shutil.chown(_MUNGE.parent, "munge", "munge")
            start("munged", "--foreground", user="munge", group="munge", extra_groups=[])
        start("slurmctld", "-D")
        start("slurmd", "-D")
        _until_idle(folder)
        yield
    finally:
        subprocess.run(["scancel", "--user=root", "--signal=KILL", "--full"], capture_output=True)
        for daemon in reversed(daemons):
            daemon.terminate()
            with suppress(subprocess.TimeoutExpired):
                daemon.wait(20)
            daemon.kill()
            daemon.wait()
        CONF.unlink()
        GRES.unlink()


def _until_idle(folder: Path) -> None:
    for _ in range(60):
        state = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"], capture_output=True, text=True
        ).stdout.strip()
        if state == "idle":
            return
        time.sleep(1)
    logs = "\n".join(
        path.read_text()[-2000:]
        for path in sorted(folder.glob("*.log")) + sorted(folder.glob("*.out"))
    )
    raise RuntimeError(f"after a minute the node is {state or 'missing'}:\n{logs}")


def jobs() -> list[dict[str, str]]:
    """Return everything that `scontrol` prints about every job.

    `Comment` has the rule and its wildcards.
    """
    printed = subprocess.run(
        ["scontrol", "show", "job", "--oneliner"], capture_output=True, text=True, check=True
    ).stdout
    lines = [line for line in printed.splitlines() if line.startswith("JobId=")]
    return [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]
