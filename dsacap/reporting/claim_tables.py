"""Tables that claims.md shows with its verdicts.

They are quality along the caption and by its length, and quality against diversity.
"""

from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np

from dsacap.common.files import read_json
from dsacap.config.claims import AtSameDiversity, Comparison
from dsacap.data.prepared import load_references
from dsacap.reporting.pipe_table import markdown
from dsacap.runs.layout import Layout
from dsacap.scoring.metrics.accumulation import right_ngrams
from dsacap.text.ptb_tokenizer import ptb_tokenize

_QUARTERS = 4
_LENGTHS = ((1, 8), (9, 12), (13, 16), (17, 99))  # words
_DIVERSITY = {"mBLEU-4": 3, "Self-CIDEr": 3, "unique": 2}


@cache  # several tests of a page need the same ones
def references_of(layout: Layout) -> dict[str, list[str]]:
    """Return the tokenised references of the test split by image id, as text as in result files."""
    references = load_references(layout.data)
    return {str(image_id): captions for image_id, captions in references.items()}


@cache
def first_captions(layout: Layout, system: str, seed: int, decoding: str) -> dict[str, str]:
    """Return the first caption of each image, tokenised, by image id."""
    by_image = read_json(layout.captions(system, seed))[decoding]
    first = ptb_tokenize([captions[0] for captions in by_image.values()])
    return dict(zip(by_image, first, strict=True))


def along_the_caption(layout: Layout, tests: Sequence[Comparison]) -> str:
    """Return the share of trigrams that some reference has, for the rows that `tests` compare.

    Shares are given by the position of the trigram in the caption and by the caption's length.
    """
    references = references_of(layout)
    compared = dict.fromkeys((row.system, row.decoding) for test in tests for row in test.rows)
    lines = []
    for system, decoding in compared:
        quarters: list[list[bool]] = [[] for _ in range(_QUARTERS)]
        lengths: list[list[bool]] = [[] for _ in _LENGTHS]
        for seed in layout.config.seeds_of(system):
            for image, caption in first_captions(layout, system, seed, decoding).items():
                right = right_ngrams(caption, references[image])
                for at, is_right in enumerate(right):
                    quarters[_QUARTERS * at // len(right)].append(is_right)
                words = len(caption.split())
                lengths[next(n for n, (_, most) in enumerate(_LENGTHS) if words <= most)] += right
        lines.append([f"{system}, {decoding}", *_shares(quarters), *_shares(lengths)])
    names = [f"{low}-{high} words" for low, high in _LENGTHS[:-1]] + [f"{_LENGTHS[-1][0]} and more"]
    headers = ["Right trigrams (%)", "1st quarter", "2nd", "3rd", "4th", *names]
    return (
        markdown(headers, lines)
        + "\n\nA trigram is right if some reference of the image has it. Shares by its position in"
        " the caption, and by the caption's length."
    )


def quality_against_diversity(layout: Layout, tests: Sequence[AtSameDiversity]) -> str:
    """Return CIDEr and diversity of the decodings that draw several captions per image.

    CIDEr is that of the first caption. Shown are the systems that `tests` compare.
    """
    lines = []
    for system in dict.fromkeys(row.system for test in tests for row in test.rows):
        settings = layout.config.systems[system]
        scores = [read_json(layout.scores(system, seed)) for seed in layout.config.seeds_of(system)]
        for decoding in settings.decodings:
            parts = [of_seed[decoding] for of_seed in scores]
            if not all("mBLEU-4" in part["diversity"] for part in parts):
                continue
            diversity = {
                name: np.mean([part["diversity"][name]["value"] for part in parts])
                for name in _DIVERSITY
            }
            cider = 100 * np.mean([part["quality"]["CIDEr"]["value"] for part in parts])
            lines.append(
                (
                    diversity["mBLEU-4"],
                    [settings.label or system, decoding, f"{cider:.1f}", *_rounded(diversity)],
                )
            )
    table = markdown(
        ["System", "Decoding", "CIDEr", *_DIVERSITY],
        [line for _, line in sorted(lines, key=lambda line: line[0])],
    )
    return (
        table + "\n\nMeans over seeds, the most diverse (lowest mBLEU-4) first: compare systems at"
        " similar diversity."
    )


def _rounded(values: dict[str, float]) -> Iterable[str]:
    return (f"{values[name]:.{digits}f}" for name, digits in _DIVERSITY.items())


def _shares(groups: Iterable[list[bool]]) -> Iterable[str]:
    return (f"{100 * np.mean(group):.1f}" if group else "-" for group in groups)
