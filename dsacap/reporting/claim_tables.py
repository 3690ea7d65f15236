"""What stands beside the verdicts of claims.md: quality along the caption and by its length, and quality against diversity."""

from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np

from dsacap.common.files import read_json
from dsacap.config.sections import Comparison
from dsacap.data.prepared import load_references
from dsacap.reporting.pipe_table import markdown
from dsacap.runs.layout import Layout
from dsacap.scoring.metrics.accumulation import right_ngrams
from dsacap.text.ptb_tokenizer import ptb_tokenize

_QUARTERS = 4
_LENGTHS = ((1, 8), (9, 12), (13, 16), (17, 99))  # words
DIVERSITY = {"mBLEU-4": 3, "Self-CIDEr": 3, "unique": 2}


@cache  # several tests of a page ask for the same
def references_of(layout: Layout) -> dict[str, list[str]]:
    """Image id, as result files have it -> tokenised references of the test split."""
    return {str(image_id): said for image_id, said in load_references(layout.data).items()}


@cache
def first_captions(layout: Layout, system: str, seed: int, decoding: str) -> dict[str, str]:
    """Image id -> its first caption, tokenised."""
    captions = read_json(layout.captions(system, seed))[decoding]
    return dict(zip(captions, ptb_tokenize([said[0] for said in captions.values()]), strict=True))


def along_the_caption(layout: Layout, tests: Sequence[Comparison]) -> str:
    """Share of a row's trigrams that some reference has, by where in the caption they stand and by how long it is."""
    references = references_of(layout)
    compared = dict.fromkeys(
        (row.system, row.decoding) for test in tests for row in (test.better, test.worse)
    )
    lines = []
    for system, decoding in compared:
        quarters, lengths = [[] for _ in range(_QUARTERS)], [[] for _ in _LENGTHS]
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
        + "\n\nA trigram is right where some reference of the image has it; by its place, and by the caption's length."
    )


def quality_against_diversity(layout: Layout, tests: Sequence[Comparison]) -> str:
    """Of every decoding of the systems compared that draws several captions an image: CIDEr of the first, and how different they are."""
    lines = []
    for system in dict.fromkeys(row.system for test in tests for row in (test.better, test.worse)):
        settings = layout.config.systems[system]
        scores = [read_json(layout.scores(system, seed)) for seed in layout.config.seeds_of(system)]
        for decoding in settings.decodings:
            parts = [of_seed[decoding] for of_seed in scores]
            if not all("mBLEU-4" in part["diversity"] for part in parts):
                continue
            diversity = {
                name: np.mean([part["diversity"][name]["value"] for part in parts])
                for name in DIVERSITY
            }
            cider = 100 * np.mean([part["quality"]["CIDEr"]["value"] for part in parts])
            lines.append(
                (
                    diversity["mBLEU-4"],
                    [settings.label or system, decoding, f"{cider:.1f}", *_rounded(diversity)],
                )
            )
    table = markdown(
        ["System", "Decoding", "CIDEr", *DIVERSITY],
        [line for _, line in sorted(lines, key=lambda line: line[0])],
    )
    return (
        table
        + "\n\nMeans over seeds, the most diverse (lowest mBLEU-4) first: compare systems at like diversity."
    )


def _rounded(values: dict[str, float]) -> Iterable[str]:
    return (f"{values[name]:.{digits}f}" for name, digits in DIVERSITY.items())


def _shares(groups: Iterable[list[bool]]) -> Iterable[str]:
    return (f"{100 * np.mean(group):.1f}" if group else "-" for group in groups)
