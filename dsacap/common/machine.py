"""This module chooses the device that a run computes on, and describes the machine that times were measured on:
latencies of two machines, or of one in two states, never stand in one column."""

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
    """Name, driver, clocks and power state of the device, threads and libraries; null where the system does not say."""
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
    """Return what the device is called."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()


def cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            )
    except (OSError, StopIteration):  # not Linux
        return platform.processor() or platform.machine()


def _gpu(device: torch.device) -> dict[str, str | None]:
    """As the driver's own tool tells it. (NVML would be a dependency more.)"""
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
    """`auto` is a GPU where there is one."""
    import torch

    return torch.device(
        "cuda"
        if name == "auto" and torch.cuda.is_available()
        else "cpu"
        if name == "auto"
        else name
    )
