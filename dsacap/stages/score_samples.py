"""The stage `score-samples`: scores that are too slow for the table, by SPICE of every sample."""

from dsacap.common.files import write_json
from dsacap.runs.layout import Layout
from dsacap.stages.score import captioned


def score_system_samples(layout: Layout, system: str, seed: int) -> dict:
    """Compute AllSPICE and the best of k by SPICE of decodings that draw several captions an image.

    Returns:
        Facts for the manifest: the decodings that were scored.

    Raises:
        UserError: SPICE cannot be computed.
    """
    from dsacap.scoring.score import score_samples, tokenise
    from dsacap.scoring.signature import scored_against

    references, captions = captioned(layout, system, seed)
    drawn = {
        name: by_image
        for name, by_image in captions.items()
        if len(next(iter(by_image.values()))) > 1
    }
    scored = scored_against(references, split="test")
    scores = {
        name: score_samples(references, tokenise(by_image), scored)
        for name, by_image in drawn.items()
    }
    write_json(layout.sample_scores(system, seed), scores)
    return {"decodings": list(scores)}
