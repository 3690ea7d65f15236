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
    the judge, which is used in no reward. Measured are the cosine of picture and original, and
    whether the picture distinguishes the original from similar images of the test split.

    Args:
        layout: The layout of the configuration.
        system: The system, whose first caption of each image counts; or `HUMAN` for the first
            reference of each image.
        seed: The seed of the row.

    Returns:
        Facts for the manifest: the means of each decoding and generator.

    Raises:
        UserError: The configuration has no generator or no judge.
    """
    from dsacap.vision.generators.judges import Contrast

    captions = (
        {"references": load_references(layout.data)}
        if system == HUMAN
        else tokenised_captions(layout, system, seed)
    )
    found: dict[str, dict] = {name: {} for name in captions}
    for by, part in (("", layout), ("judged_", layout.judge)):
        reconstruction = load_reconstruction(part)
        contrast = Contrast(reconstruction, list(next(iter(captions.values()))))
        judges = {f"{by}reconstruction": reconstruction, f"{by}contrast": contrast}
        for name, by_image in captions.items():
            first = [texts[:1] for texts in by_image.values()]
            for metric, judge in judges.items():
                score_B1 = judge.score(list(by_image), first)
                found[name][metric] = dict(
                    zip(map(str, by_image), score_B1[:, 0].tolist(), strict=True)
                )
    write_json(layout.reconstructions(system, seed), found)
    return {
        name: {metric: round(fmean(of.values()), 4) for metric, of in parts.items()}
        for name, parts in found.items()
    }
