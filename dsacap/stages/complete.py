"""The stage `complete`: a system continues right and wrong beginnings of captions."""

from dsacap.common.errors import UserError
from dsacap.common.files import write_json
from dsacap.decoding.caption_images import caption_images
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout


def complete_captions(layout: Layout, system: str, seed: int) -> dict:
    """Have a system continue right and wrong beginnings of captions of the test images.

    Args:
        layout: The layout of the configuration.
        system: The system. Those of its decodings are used whose continuations a claim compares.
        seed: The seed of the row.

    Returns:
        Facts for the manifest.

    Raises:
        UserError: The system cannot continue given words.
    """
    from dsacap.data.caption_beginnings import WORDS, beginnings

    inputs = Inputs(layout)
    captioner, store = inputs.captioner(system, seed), inputs.seen_by(system, seed)
    if not captioner.completes:
        raise UserError(
            f"{system}: cannot continue given words, so no claim can compare its continuations"
        )
    pairs = beginnings(inputs.examples("test"), inputs.examples("train"), inputs.vocabulary)
    completions: dict[str, dict] = {}
    for name in layout.completed[system]:
        decoding, settings = inputs.decodings(system)[name], layout.config.decoding
        for at, which in enumerate(("after_right", "after_wrong")):
            captions = caption_images(
                captioner,
                store,
                inputs.vocabulary,
                list(pairs),
                decoding,
                samples=1,
                seed=settings.seed,
                batch_size=settings.batch_size,
                description=f"complete by {system} {name}, {which}",
                prefix_of={image_id: pair[at] for image_id, pair in pairs.items()},
            )
            completions.setdefault(name, {})[which] = {
                i: " ".join(texts[0].split()[WORDS:]) for i, texts in captions.items()
            }
    write_json(layout.completions(system, seed), completions)
    return {"images": len(pairs), "decodings": list(completions)}
