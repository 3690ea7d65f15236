"""The stage `reconstruct`: how well the original photos can be reconstructed from captions."""

from statistics import fmean

from dsacap.common.files import write_json
from dsacap.data.prepared import load_references
from dsacap.runs.layout import HUMAN, Layout
from dsacap.runs.models import load_reconstruction
from dsacap.stages.score import tokenised_captions


def reconstruct_captions(layout: Layout, system: str, seed: int) -> dict:
    """Measure how well the originals are reconstructed from captions.

    Two generators measure it: the configured one, which may have rewarded the system, and that of
    the judge, which is used in no reward.

    Args:
        layout: The layout of the configuration.
        system: The system, whose first caption of each image counts; or `HUMAN` for the first
            reference of each image.
        seed: The seed of the row.

    Returns:
        Facts for the manifest: the mean cosine of each decoding and generator.

    Raises:
        UserError: The configuration has no generator or no judge.
    """
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
                list(by_image), [texts[:1] for texts in by_image.values()]
            )
            found[name][metric] = {
                str(i): cosine for i, cosine in zip(by_image, cosine_B1[:, 0].tolist(), strict=True)
            }
    write_json(layout.reconstructions(system, seed), found)
    return {
        name: {metric: round(fmean(of.values()), 4) for metric, of in parts.items()}
        for name, parts in found.items()
    }
