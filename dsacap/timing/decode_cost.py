"""The cost of decoding other than time: passes of the network, arithmetic, parameters, memory."""

import resource
from collections.abc import Callable
from types import SimpleNamespace

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from dsacap.captioner.interface import Captioner

_TOP = 5  # operations that are listed by name


class FlopCounter(FlopCounterMode):
    """Counter of all floating-point operations together.

    torch's own counter also attributes them to modules, for which it tracks modules, and that fails
    where no gradients are required.
    """

    def __init__(self):
        super().__init__(display=False)
        self.mod_tracker = SimpleNamespace(
            parents={"Global"}, __enter__=lambda: None, __exit__=lambda: None
        )


def cost_of(captioner: Captioner, decode: Callable[[], object], device: torch.device) -> dict:
    """Measure one decode.

    Args:
        captioner: The captioner that decodes.
        decode: The decode, which is run three times.
        device: Where it runs.

    Returns:
        Forward passes (guidance takes two per step), floating-point operations as torch counts
        them, parameters, and the peak of memory in MiB: of the process, and on a GPU what torch
        allocated and reserved during the decode. `top` lists the operations that take most of the
        time, with their shares of it.
    """
    passes = 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1

    hooks = [module.register_forward_hook(count) for module in captioner.passes]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    decode()
    memory = {"process_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)}
    if device.type == "cuda":
        memory["allocated_mib"] = round(torch.cuda.max_memory_allocated(device) / 2**20)
        memory["reserved_mib"] = round(torch.cuda.max_memory_reserved(device) / 2**20)
    for hook in hooks:
        hook.remove()
    with FlopCounter() as counter:
        decode()
    parameters = sum(parameter.numel() for parameter in captioner.parameters())
    return {
        "passes": passes,
        "flops": counter.get_total_flops(),
        "parameters": parameters,
        **memory,
        "top": _top(decode, device),
    }


def _top(decode: Callable[[], object], device: torch.device) -> list[tuple[str, float]]:
    """Return the slowest operations and their shares, by their own time without that of callees."""
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=kinds) as profiled:
        decode()
    clock = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    own = {event.key: getattr(event, clock) for event in profiled.key_averages()}
    total = sum(own.values()) or 1
    return [
        (name, round(time / total, 4))
        for name, time in sorted(own.items(), key=lambda item: -item[1])[:_TOP]
    ]
