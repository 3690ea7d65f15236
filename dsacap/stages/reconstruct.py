"""This stage measures how well the original photos come back from captions."""

from statistics import fmean

from dsacap.common.files import write_json
from dsacap.data.prepared import load_references
from dsacap.runs.layout import HUMAN, Layout
from dsacap.runs.models import load_reconstruction
from dsacap.stages.score import tokenised_captions


def reconstruct_captions(layout: Layout, system: str, seed: int) -> dict:
    """How well the originals come back from a system's first captions, or from the first references: by the generator that may have
    rewarded it, and by the judge, which never did."""
    captions = (
        {"references": load_references(layout.data)}
        if system == HUMAN
        else tokenised_captions(layout, system, seed)
    )
    found: dict[str, dict] = {name: {} for name in captions}
    for metric, part in (("reconstruction", layout), ("judged_reconstruction", layout.judge)):
        reconstruction = load_reconstruction(part)
        for name, by_image in captions.items():
            cosine_B1 = reconstruction.score(
                list(by_image), [said[:1] for said in by_image.values()]
            )
            found[name][metric] = {
                str(i): cosine for i, cosine in zip(by_image, cosine_B1[:, 0].tolist(), strict=True)
            }
    write_json(layout.reconstructions(system, seed), found)
    return {
        name: {metric: round(fmean(of.values()), 4) for metric, of in parts.items()}
        for name, parts in found.items()
    }
