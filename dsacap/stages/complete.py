"""This stage has a system continue right and wrong beginnings of captions."""

from dsacap.common.errors import UserError
from dsacap.common.files import write_json
from dsacap.decoding.caption_images import caption_images
from dsacap.runs.inputs import Inputs
from dsacap.runs.layout import Layout


def complete_captions(layout: Layout, system: str, seed: int) -> dict:
    """How a system's decodings that claims test for it go on from right and from wrong beginnings of captions of test images."""
    from dsacap.data.caption_beginnings import WORDS, beginnings

    inputs = Inputs(layout)
    captioner, store = inputs.captioner(system, seed), inputs.seen_by(system, seed)
    if not captioner.completes:
        raise UserError(
            f"{system}: cannot go on from given words, so no claim can test its recovery"
        )
    begun = beginnings(inputs.examples("test"), inputs.examples("train"), inputs.vocabulary)
    found: dict[str, dict] = {}
    for name in layout.completed[system]:
        decoding, settings = inputs.decodings(system)[name], layout.config.decoding
        for at, which in enumerate(("after_right", "after_wrong")):
            captions = caption_images(
                captioner,
                store,
                inputs.vocabulary,
                list(begun),
                decoding,
                samples=1,
                seed=settings.seed,
                batch_size=settings.batch_size,
                description=f"complete by {system} {name}, {which}",
                prefix_of={image_id: pair[at] for image_id, pair in begun.items()},
            )
            found.setdefault(name, {})[which] = {
                i: " ".join(said[0].split()[WORDS:]) for i, said in captions.items()
            }
    write_json(layout.completions(system, seed), found)
    return {"images": len(begun), "decodings": list(found)}
