"""captions.md: the captions themselves, and where they go wrong.

Captions are broken down by faults of grammar, by length, and by how far the references agree.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from dsacap.common.files import read_json, write_text
from dsacap.data.prepared import Example, load_examples
from dsacap.reporting.agreement import agreement_of
from dsacap.reporting.pipe_table import markdown
from dsacap.runs.layout import HUMAN, Layout
from dsacap.scoring.metrics.caption_faults import FAULTS, Lexicon, faults
from dsacap.scoring.metrics.coco_metrics import score_cider

_PHOTOS = 12
_LONGEST = {"up to 8 words": 8, "9, 10": 10, "11, 12": 12, "13 and more": np.inf}
_THIRDS = ("disagree", "middling", "agree")
_ROW = ["system", "decoding"]


def write_caption_page(layout: Layout) -> None:
    """Write captions.md from the captions of every run."""
    captions = pd.DataFrame(_captions(layout), columns=[*_ROW, "seed", "image", "caption"])
    captioned = set(captions.image)
    test = [e for e in load_examples(layout.data, "test") if e.image_id in captioned]
    train = [caption for e in load_examples(layout.data, "train") for caption in e.tokens]
    write_text(layout.caption_page, _render(layout, captions, test, train))


def _captions(layout: Layout) -> Iterator[tuple]:
    """Rows of the data frame; of a decoding that draws several captions, the first counts."""
    for system, seed in layout.runs:
        for decoding, by_image in read_json(layout.captions(system, seed)).items():
            for image, captions in by_image.items():
                yield system, decoding, seed, int(image), captions[0]


def _render(layout: Layout, captions: pd.DataFrame, test: list[Example], train: list[str]) -> str:
    references = {e.image_id: [caption for caption in e.tokens if caption] for e in test}
    lexicon = Lexicon.of(train)
    humans = pd.DataFrame(
        [(HUMAN, "references", caption) for tokens in references.values() for caption in tokens],
        columns=[*_ROW, "caption"],
    )
    everyone = pd.concat([humans, captions], ignore_index=True)
    everyone["words"] = everyone.caption.str.split().str.len()
    found = [faults(caption, lexicon) for caption in everyone.caption]
    for fault in FAULTS:
        everyone[fault] = [100.0 * (fault in each) for each in found]
    everyone["any"] = [100.0 * bool(each) for each in found]

    captions["CIDEr"] = np.nan
    for _, run in captions.groupby([*_ROW, "seed"]):
        per_image = score_cider(
            references, dict(zip(run.image, run.caption, strict=True))
        ).per_image
        captions.loc[run.index, "CIDEr"] = [100 * per_image[i] for i in run.image]
    captions["length"] = pd.cut(
        captions.caption.str.split().str.len(), [-1, *_LONGEST.values()], labels=list(_LONGEST)
    )
    captions["share"] = 100 / captions.groupby(_ROW).caption.transform("size")

    means = everyone.groupby(_ROW, sort=False)[[*FAULTS, "any", "words"]].mean()
    by_length = captions.groupby([*_ROW, "length"], sort=False, observed=True)
    lengths = pd.concat(
        {
            "CIDEr": by_length.CIDEr.mean().unstack(),
            "%": by_length.share.sum().unstack(fill_value=0),
        },
        axis=1,
    )
    lengths = lengths.reindex(
        columns=[(what, name) for name in _LONGEST for what in ("CIDEr", "%")]
    )
    lengths.columns = [f"{name}: {what}" for what, name in lengths.columns]
    seeds = "one seed" if len(layout.config.seeds) == 1 else f"all {len(layout.config.seeds)} seeds"
    parts = [
        f"# {layout.config.name}: the captions",
        f"{len(test)} test images, {seeds}; of a decoding that draws several captions, the first"
        " one counts.",
        "## Faults of grammar",
        _table(layout, means),
        'Share (%) of captions with a doubled word, two finite verbs in a row ("is swims"), the'
        ' wrong number ("two dog", "a dogs"), or an unfinished phrase; with any of these; and words'
        " per caption. The rules are those of dsacap/scoring/metrics/caption_faults.py.",
        "## CIDEr by length of the caption",
        _table(layout, lengths),
        "Mean CIDEr (x100) of the captions with that many words, and their share.",
        *_by_agreement(layout, captions, references),
        f"## {min(_PHOTOS, len(test))} photos",
        f"Every {_step(test)}th test photo; seed {layout.config.seeds[0]}.",
        *_photos(layout, captions, test),
    ]
    return "\n\n".join(parts) + "\n"


def _by_agreement(
    layout: Layout, captions: pd.DataFrame, references: dict[int, list[str]]
) -> list[str]:
    """The section on thirds of the images; empty if images have one reference only."""
    if (agreement := agreement_of(references)) is None:
        return []
    thirds = pd.qcut(agreement.rank(method="first"), 3, labels=_THIRDS)
    by_third = (
        captions.groupby([*_ROW, captions.image.map(thirds)], sort=False, observed=True)
        .CIDEr.mean()
        .unstack()[list(_THIRDS)]
    )
    return [
        "## CIDEr by agreement of the references",
        _table(layout, by_third),
        "Thirds of the images, by how well their references describe each other (the mean CIDEr of"
        " each against the others): where they disagree, a parallel decoder is most likely to mix"
        " several captions up.",
    ]


def _photos(layout: Layout, captions: pd.DataFrame, test: list[Example]) -> Iterator[str]:
    shown = captions[captions.seed == layout.config.seeds[0]].set_index([*_ROW, "image"]).caption
    for example in test[:: _step(test)][:_PHOTOS]:
        lines = [
            f"- {_label(layout, *row)}: {caption}"
            for row, caption in shown.xs(example.image_id, level="image").items()
        ]
        yield f"### {example.image.file_name}\n\n" + "\n".join(lines)


def _table(layout: Layout, numbers: pd.DataFrame) -> str:
    rows = [
        [_label(layout, *row), *("-" if pd.isna(x) else f"{x:.1f}" for x in values)]
        for row, *values in numbers.itertuples()
    ]
    return markdown(["System", *map(str, numbers.columns)], rows)


def _label(layout: Layout, system: str, decoding: str) -> str:
    if system == HUMAN:
        return "Human"
    return f"{layout.config.systems[system].label or system}, {decoding}"


def _step(photos: list[Example]) -> int:
    """The distance from one photo that is shown to the next; all of a small split are shown."""
    return max(1, len(photos) // _PHOTOS)
