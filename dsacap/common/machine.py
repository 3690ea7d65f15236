"""The device that a run computes on, and a description of the machine that measured its times.

Latencies of two machines, or of one machine in two states, must never share a column of a table.
"""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch takes seconds to load
    import torch

_GPU = (
    "driver_version",
    "pstate",
    "clocks.sm",
    "clocks.max.sm",
    "clocks.mem",
    "power.limit",
    "temperature.gpu",
)


def machine(device: torch.device) -> dict:
    """Describe the machine that times are measured on.

    Args:
        device: The device of the measurement.

    Returns:
        Name, clocks and power state of the device, driver, threads and versions of libraries; None
        for a value that the system does not report.
    """
    import torch

    facts = {
        "device": device_name(device),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    if device.type != "cuda":
        cpu = Path("/sys/devices/system/cpu/cpu0/cpufreq")
        return facts | {
            "governor": _read(cpu / "scaling_governor"),
            "kHz": _read(cpu / "scaling_cur_freq"),
        }
    tf32 = torch.get_float32_matmul_precision() != "highest"
    return (
        facts
        | {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(), "tf32": tf32}
        | _gpu(device)
    )


def device_name(device: torch.device) -> str:
    """Return the name of the processor or GPU."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()


def cpu_name() -> str:
    """Return the name of the processor's model."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            )
    except (OSError, StopIteration):  # not Linux
        return platform.processor() or platform.machine()


def _gpu(device: torch.device) -> dict[str, str | None]:
    """Return the GPU's state from nvidia-smi (NVML would be one more dependency)."""
    import torch

    query = [
        "nvidia-smi",
        f"--query-gpu={','.join(_GPU)}",
        "--format=csv,noheader",
        f"--id={torch.cuda.current_device()}",
    ]
    try:
        line = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return dict.fromkeys(_GPU)
    return dict(zip(_GPU, (value.strip() for value in line.strip().split(",")), strict=True))


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None


def device_of(name: str) -> torch.device:
    """Return the device that a configuration names; `auto` is a GPU where there is one."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
