"""The stage `inspect`: what goes on inside a system while it captions, for the page to show."""

from dataclasses import asdict

from dsacap.captioner.interface import Batch
from dsacap.common.errors import UserError
from dsacap.common.files import write_json
from dsacap.common.machine import device_of
from dsacap.common.progress import progress
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout
from dsacap.text.vocabulary import Vocabulary


def inspect_system(layout: Layout, system: str, seed: int) -> dict:
    """Record the inside of a system while its first decoding captions some test images.

    Returns:
        Facts for the manifest: the decoding, and how many images and denoising steps are recorded.

    Raises:
        UserError: The system cannot show its inside, or the seed is not the first.
    """
    if (system, seed) not in layout.inspected:
        known = ", ".join(f"{name} (seed {first})" for name, first in layout.inspected) or "none"
        raise UserError(
            f"{system} (seed {seed}): shows nothing of its inside; only these do, by the first"
            f" seed: {known}"
        )
    inputs, settings = Inputs(layout), layout.config.inspection
    captioner, store = inputs.captioner(system, seed), inputs.seen_by(system, seed)
    name, decoding = next(iter(inputs.decodings(system).items()))
    examples = inputs.examples("test")
    ids = [
        example.image_id
        for example in examples[:: max(1, len(examples) // settings.images)][: settings.images]
    ]
    size, device = layout.config.decoding.batch_size, device_of(layout.config.device)
    recorded: dict[int, dict] = {}
    for start in progress(range(0, len(ids), size), f"inspect {system} {name}", "batch"):
        batch = Batch(
            tuple(ids[start : start + size]), store.read(ids[start : start + size], device=device)
        )
        insides = captioner.inspect(batch, layout.config.decoding.seed, decoding, settings.steps)
        recorded |= {
            image_id: _in_words(asdict(inside), inputs.vocabulary)
            for image_id, inside in zip(batch.image_ids, insides, strict=True)
        }
    write_json(layout.inside(system, seed), {"decoding": name, "images": recorded})
    return {"decoding": name, "images": len(recorded), "steps": settings.steps}


def _in_words(inside: dict, vocabulary: Vocabulary) -> dict:
    """Replace word ids by words."""
    inside["caption"] = vocabulary.decode(inside["caption"])
    for frame in inside["frames"]:
        frame["caption"] = vocabulary.decode(frame["caption"])
    for vertex in inside["graph"]["vertices"] if inside["graph"] else ():
        vertex["words"] = [(vocabulary.words[word], p) for word, p in vertex["words"]]
    return inside
