"""Comparison of several sets of captions of the same images: `dsacap.compare`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from dsacap.common.errors import UserError
from dsacap.common.printable import counted, printable
from dsacap.data.caption_files.ids import ImageId, shown
from dsacap.evaluation.corpus import load_corpus
from dsacap.evaluation.inputs import (
    Given,
    Inputs,
    Reading,
    check_choices,
    load_predictions,
    load_references,
    match_inputs,
)
from dsacap.scoring.frequencies import Frequencies
from dsacap.scoring.java.corenlp import CoreNlpMissing
from dsacap.scoring.metrics.coco_metrics import score_many
from dsacap.scoring.metrics.metric_result import MetricResult
from dsacap.scoring.metrics.spice import CaptionTooLong, score_spice
from dsacap.scoring.metrics.spider import spider
from dsacap.scoring.score import Spice, tokenise
from dsacap.scoring.signature import GIVEN, scored_against, signature
from dsacap.scoring.statistics import compare as compare_pair

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.05  # of significance, for ranks


@dataclass(frozen=True)
class Difference:
    """How two systems differ in a metric.

    Attributes:
        metric: The metric.
        first: The name of one system.
        second: The name of the other one.
        difference: The score of the first minus that of the second.
        low: Lower end of the difference's 95 % interval.
        high: Upper end of it.
        p: Two-sided p of a paired permutation test over images.
        p_holm: The same with Holm's correction for all pairs of this metric (Holm 1979).
    """

    metric: str
    first: str
    second: str
    difference: float
    low: float
    high: float
    p: float
    p_holm: float


@dataclass(frozen=True, repr=False)
class Comparison:
    """The scores of several systems on the same images, and their differences.

    Attributes:
        values: System -> metric -> score; CIDEr in 0..10, the others in 0..1.
        ranks: System -> metric -> rank: one more than the number of systems that are significantly
            better, so that systems which do not differ are tied.
        differences: One for each metric and pair of systems.
        signatures: Metric -> what another number must share to be comparable.
        captions: System -> image -> its first caption.
        ciders: System -> image -> CIDEr.
        references: Image -> its references, as they were read.
        file_names: Image -> the name of its photo, where the references have it.
        notes: What was read, what was left out, and why a metric is missing.
    """

    values: dict[str, dict[str, float]]
    ranks: dict[str, dict[str, int]]
    differences: list[Difference]
    signatures: dict[str, str]
    captions: dict[str, dict[ImageId, str]]
    ciders: dict[str, dict[ImageId, float]]
    references: dict[ImageId, list[str]]
    file_names: dict[ImageId, str]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        of_systems = (f"{name}: CIDEr={of['CIDEr']}" for name, of in self.values.items())
        return f"Comparison({', '.join(of_systems)})"

    def to_pandas(self) -> "pd.DataFrame":
        """Return the differences as a table, one row for each metric and pair."""
        import pandas as pd

        return pd.DataFrame([vars(difference) for difference in self.differences])

    def won(self) -> dict[str, list[ImageId]]:
        """Return system -> the images on which its CIDEr is the highest, alone or with others.

        Those on which systems differ most come first; where all are equal, nobody wins.
        """
        images = sorted(filter(self.spread, self.references), key=self.spread, reverse=True)
        highest = {i: max(of[i] for of in self.ciders.values()) for i in images}
        return {
            name: [i for i in images if of[i] == highest[i]] for name, of in self.ciders.items()
        }

    def examples(self, count: int = 5) -> dict[str, list[ImageId]]:
        """Return system -> images that it won, those on which systems differ most; none twice.

        Args:
            count: The number of images of each system, or fewer if there are no others.
        """
        chosen: dict[str, list[ImageId]] = {}
        for name, images in self.won().items():
            seen = {image for of_other in chosen.values() for image in of_other}
            chosen[name] = [image for image in images if image not in seen][:count]
        return chosen

    def spread(self, image: ImageId) -> float:
        """Return the largest difference of CIDEr between two systems on an image."""
        scores = [of_system[image] for of_system in self.ciders.values()]
        return max(scores) - min(scores)


def compare(
    systems: Mapping[str, Given],
    references: Given | Sequence[Given],
    *,
    spice: Spice = "auto",
    document_frequencies: Given | None = None,
    how: Reading | None = None,
) -> Comparison:
    """Compare systems; see `dsacap.compare`."""
    how = check_choices(spice, how)
    if not isinstance(systems, Mapping):
        kind = type(systems).__name__
        raise UserError(f"compare: systems must be a dictionary of captions by name, not {kind}")
    if systems and all(
        isinstance(one, str) and not os.path.exists(one) for one in systems.values()
    ):
        raise UserError(
            "compare: systems must map the name of each system to its captions, as in {'ours':"
            " {1: 'a dog'}, 'theirs': 'theirs.json'}; these look like the captions of one system,"
            " or are files that do not exist"
        )
    if len(systems) < 2:
        raise UserError("compare: needs two or more files of captions")
    loaded = {name: load_predictions(given, how, name) for name, given in systems.items()}
    first = next(iter(loaded))
    if len(loaded[first].by_image) == 1:
        raise UserError(
            f"{first}: has one image, and p and intervals need two or more; add images, or score"
            " each file by `dsacap score`"
        )
    described = load_references(references, how)
    inputs = {name: match_inputs(one, described, how) for name, one in loaded.items()}
    for name, one in inputs.items():
        if unmatched := set(one.images.values()) ^ set(inputs[first].images.values()):
            raise UserError(
                f"{name}: not of the same images as {first}; only one of them has"
                f" {counted(len(unmatched), 'image')}, such as {shown(min(unmatched, key=str))}"
            )
    several = [name for name, one in inputs.items() if len(next(iter(one.captions.values()))) > 1]
    domains = ("note: domains are not compared; `dsacap score` has a column for each",)
    left_out = domains if inputs[first].groups else ()
    first_only = tuple(f"{name}: the first caption of each image is compared" for name in several)
    corpus = load_corpus(document_frequencies, how)
    frequencies = corpus.frequencies() if corpus else None
    tokens = inputs[first].references if how.tokenized else tokenise(inputs[first].references)
    results, missing = _results(tokens, inputs, frequencies, spice)
    scored = scored_against(tokens, GIVEN if how.tokenized else None)
    if frequencies:
        scored = replace(scored, frequencies=frequencies.name)
    differences = [one for metric in results[first] for one in _differences(metric, results)]
    images = inputs[first].images
    return Comparison(
        {name: {m: r.corpus for m, r in of.items()} for name, of in results.items()},
        {name: {m: _rank(name, m, differences) for m in of} for name, of in results.items()},
        differences,
        {metric: signature(metric, scored) for metric in results[first]},
        {
            name: {images[i]: texts[0] for i, texts in one.captions.items()}
            for name, one in inputs.items()
        },
        {
            name: {images[i]: score for i, score in of["CIDEr"].per_image.items()}
            for name, of in results.items()
        },
        {images[i]: texts for i, texts in inputs[first].references.items()},
        {images[i]: name for i, name in inputs[first].file_names.items()},
        tuple(dict.fromkeys(note for one in inputs.values() for note in one.notes))
        + left_out
        + first_only
        + missing,
    )


def names_of(paths: Sequence[Path]) -> dict[str, Given]:
    """Return files by short names: their stems, or their paths where stems are the same."""
    stems = [path.name.removesuffix(".gz").rpartition(".")[0] or path.name for path in paths]
    unique = len(set(stems)) == len(stems)
    names = [printable(name) for name in (stems if unique else map(str, paths))]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{twice}: is named twice; compare different files")
    return dict(zip(names, paths, strict=True))


def _results(
    references: Mapping[int, list[str]],
    inputs: Mapping[str, Inputs],
    frequencies: Frequencies | None,
    spice: Spice,
) -> tuple[dict[str, dict[str, MetricResult]], tuple[str, ...]]:
    """Return system -> metric -> result, and why SPICE and SPIDEr are missing."""
    firsts = [
        {i: texts[0] for i, texts in tokenise(one.captions).items()} for one in inputs.values()
    ]
    pairs = [(references, one) for one in firsts]
    scores = score_many(pairs, frequencies=frequencies.table if frequencies else None)
    results = dict(zip(inputs, scores, strict=True))
    if spice == "off":
        return results, ()
    try:
        spices = [score_spice(*pair)["SPICE"] for pair in pairs]
    except (CoreNlpMissing, CaptionTooLong) as error:
        if spice == "required":
            raise
        return results, (str(error),)
    for name, of_system in zip(inputs, spices, strict=True):
        results[name]["SPICE"] = of_system
        if "CIDEr" in results[name]:
            results[name]["SPIDEr"] = spider(of_system, results[name]["CIDEr"])
    return results, ()


def _differences(
    metric: str, results: Mapping[str, Mapping[str, MetricResult]]
) -> list[Difference]:
    """Compare all pairs by a metric that is computed from counts or is a mean over images."""
    found = []
    for first, second in combinations(results, 2):
        paired = compare_pair(results[first][metric], results[second][metric])
        if paired:
            found.append((first, second, paired.difference, paired.low, paired.high, paired.p))
    corrected = holm([one[-1] for one in found])
    return [Difference(metric, *one, p) for one, p in zip(found, corrected, strict=True)]


def holm(p: Sequence[float]) -> list[float]:
    """Return p values with Holm's correction: step-down, at most 1, and in the order given.

    Args:
        p: The p values of one family of tests.
    """
    order = sorted(range(len(p)), key=lambda i: p[i])
    corrected, largest = [0.0] * len(p), 0.0
    for done, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - done) * p[i]))
        corrected[i] = largest
    return corrected


def _rank(name: str, metric: str, differences: Sequence[Difference]) -> int:
    better = 0
    for one in differences:
        if one.metric == metric and one.p_holm < LEVEL and name in (one.first, one.second):
            sign = 1 if name == one.first else -1
            better += sign * one.difference < 0
    return 1 + better
