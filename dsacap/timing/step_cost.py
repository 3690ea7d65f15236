"""The cost of a training step: seconds, arithmetic, memory."""

import itertools
import resource
from functools import partial

import torch

from dsacap.timing.clock import repeated
from dsacap.timing.decode_cost import FlopCounter
from dsacap.training.loop import Step

_WARMUP, _STEPS = 2, 10


def cost_of_step(train_step: Step, device: torch.device, seconds: float) -> dict:
    """Measure the training step of this process.

    The steps are real ones, so they change the weights.

    Args:
        train_step: The step.
        device: Where it runs.
        seconds: No step begins once the measured ones have taken this long.

    Returns:
        Images of a step; the median seconds of 10 steps, or of as many as begin within `seconds`,
        after a warm-up of 2; floating-point operations as torch counts them (matrix products and
        attention, forward and backward); the memory of weights, gradients and optimizer; and the
        peak of memory, on a GPU of what torch allocated, otherwise of the process.
    """
    numbers = itertools.count()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with FlopCounter() as counter, torch.compiler.set_stance("force_eager"):
        train_step(next(numbers))
    times = sorted(
        repeated(lambda: partial(train_step, next(numbers)), device, _WARMUP, _STEPS, seconds)
    )
    parameters = list(train_step.model.parameters())
    trained = sum(p.numel() * p.element_size() for p in parameters if p.requires_grad)
    held = (
        sum(p.numel() * p.element_size() for p in parameters) * (2 if train_step.average else 1)
        + 3 * trained
    )
    peak = (
        torch.cuda.max_memory_allocated(device)
        if device.type == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    return {
        "images": train_step.images,
        "seconds": times[len(times) // 2],
        "steps_timed": len(times),
        "flops": counter.get_total_flops(),
        "parameters": sum(p.numel() for p in parameters),
        "held_mib": round(held / 2**20),
        "peak_mib": round(peak / 2**20),
    }
