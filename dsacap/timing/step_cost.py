"""What a step of training costs: seconds, arithmetic, memory."""

import itertools
import resource
from functools import partial

import torch

from dsacap.timing.clock import repeated
from dsacap.timing.decode_cost import FlopCounter
from dsacap.training.loop import Step

_WARMUP, _STEPS = 2, 10


def cost_of_step(take: Step, device: torch.device, seconds: float) -> dict:
    """Of this process: median seconds of 10 steps, or of as many as begin within `seconds`, after 2 that do not count; operations as torch
    counts them (products of matrices and attention, forward and backward); the memory that weights, gradients and optimizer hold; and the
    peak, on a GPU of what torch allocated, else of the process. Takes real steps: the weights are moved."""
    numbers = itertools.count()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with FlopCounter() as counter, torch.compiler.set_stance("force_eager"):
        take(next(numbers))
    times = sorted(repeated(lambda: partial(take, next(numbers)), device, _WARMUP, _STEPS, seconds))
    parameters = list(take.model.parameters())
    trained = sum(p.numel() * p.element_size() for p in parameters if p.requires_grad)
    held = (
        sum(p.numel() * p.element_size() for p in parameters) * (2 if take.average else 1)
        + 3 * trained
    )
    peak = (
        torch.cuda.max_memory_allocated(device)
        if device.type == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    return {
        "images": take.images,
        "seconds": times[len(times) // 2],
        "steps_timed": len(times),
        "flops": counter.get_total_flops(),
        "parameters": sum(p.numel() for p in parameters),
        "held_mib": round(held / 2**20),
        "peak_mib": round(peak / 2**20),
    }
