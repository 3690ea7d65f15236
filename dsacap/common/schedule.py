"""The learning-rate schedule of the small models that the pipeline itself trains."""

import math


def warmup_times_cosine(peak: float, step: int, steps: int, warmup: int) -> float:
    """Return the learning rate of a step: a linear warm-up times a half cosine to zero.

    Args:
        peak: The learning rate that both factors scale.
        step: The step, from 0 on.
        steps: Steps of the training.
        warmup: Steps of the linear warm-up.
    """
    return peak * min(1, (step + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * step / steps))
