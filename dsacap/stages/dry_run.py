"""The dry run of a training: what it will take, measured before it begins."""

import time

from dsacap.common.errors import UserError
from dsacap.decoding.caption_images import caption_images
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout
from dsacap.stages.train import prepared
from dsacap.stages.tune import prepared_tuning
from dsacap.vision.features.pixels import PixelFeatures
from dsacap.vision.features.store import FeatureStore

_PROBE_SECONDS = 20
_CAPTIONED = 100  # validation images


def rehearse(layout: Layout, system: str, seed: int) -> str:
    """Train a system for a few steps on this device, and store nothing.

    Args:
        layout: The layout of the configuration.
        system: The system.
        seed: The seed of the row.

    Returns:
        A report of parameters, memory, steps and time, as lines of text.

    Raises:
        UserError: The system is tuned from one whose weights do not exist yet.
    """
    from dsacap.common.machine import device_name
    from dsacap.timing.step_cost import cost_of_step
    from dsacap.training.distributed import joined
    from dsacap.training.loop import Step

    base, settings = layout.config.systems[system].tuned_from, layout.config.training_of(system)
    if base and not (layout.system(base, seed) / "model.safetensors").exists():
        raise UserError(
            f"{system}: is tuned from {base}, whose weights do not exist yet; train {base} first"
        )
    with joined(layout.config.device) as accelerator:
        inputs = Inputs(layout)
        work = (prepared_tuning if base else prepared)(inputs, system, seed)
        step = Step(
            work.captioner,
            settings,
            seed,
            work.examples,
            work.store,
            inputs.vocabulary,
            system,
            accelerator,
            work.objective,
            fused=layout.config.arithmetic == "portable",
        )
        cost = cost_of_step(step, accelerator.device, _PROBE_SECONDS)
        validated = [example.image_id for example in inputs.examples("val")][
            : settings.validation_images
        ]
        decoding = next(iter(inputs.decodings(system).values()))
        started, captioned = time.perf_counter(), validated[:_CAPTIONED]
        caption_images(
            work.captioner,
            work.store,
            inputs.vocabulary,
            captioned,
            decoding,
            samples=1,
            seed=0,
            batch_size=_CAPTIONED,
        )
        rate = len(captioned) / (time.perf_counter() - started)
        processes, device = accelerator.num_processes, device_name(accelerator.device)
    evaluated = f"{settings.evaluations} x {len(validated):,} images"
    training = settings.steps * cost["seconds"]
    validation = settings.evaluations * len(validated) / rate
    several = "es" if processes > 1 else ""
    compiled = ", compiled" if settings.compile else ""
    lines = {
        "device": f"{device}; {processes} process{several}, accumulate {settings.accumulate},"
        f" {settings.precision}{compiled}",
        "parameters": f"{cost['parameters']:,}{_of_encoder(work.store)}",
        "memory": f"{cost['held_mib']:,} MiB of weights, gradients and optimizer; peak of a"
        f" process {cost['peak_mib']:,} MiB",
        "steps": f"{settings.steps:,} of {cost['images']} images, {cost['seconds']:.3g} s each"
        f" (median of {cost['steps_timed']})",
        "training": _duration(training),
        "validation": f"{_duration(validation)}: {evaluated}, {rate:.3g} images/s with the captions"
        " of these first steps",
        "together": _duration(training + validation),
    }
    return "\n".join(
        [
            f"{system}, dry run; nothing is stored",
            *(f"  {name:<12}{value}" for name, value in lines.items()),
        ]
    )


def _of_encoder(store: FeatureStore | PixelFeatures) -> str:
    if isinstance(store, FeatureStore):
        return ""
    trained = (
        "trained" if any(p.requires_grad for p in store.encoder.parameters()) else "not trained"
    )
    count = sum(p.numel() for p in store.encoder.parameters())
    return f", {count:,} of them of the encoder, which is {trained} from pixels"


def _duration(seconds: float) -> str:
    return (
        f"{seconds / 3600:.1f} hours"
        if seconds >= 3600
        else f"{seconds / 60:.1f} minutes"
        if seconds >= 60
        else f"{seconds:.1f} seconds"
    )
