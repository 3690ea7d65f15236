"""Benchmark and evaluation harness for DSACap and its rivals in image captioning.

`score` scores captions of any origin. `load` captions photos of your own with any system that the
benchmark has trained.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from dsacap.evaluation.comparison import Comparison
    from dsacap.evaluation.inputs import Given, Reading
    from dsacap.evaluation.results import Scores
    from dsacap.export.photo_captioner import PhotoCaptioner
    from dsacap.scoring.score import Spice

__all__ = ["Reading", "compare", "load", "score"]


def __getattr__(name: str) -> Any:
    """Import what is not needed by every caller, so that `import dsacap` takes no time."""
    if name == "Reading":
        from dsacap.evaluation.inputs import Reading

        return Reading
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names, also those that are imported when they are first used."""
    return sorted({*globals(), *__all__})


def score(
    predictions: Given,
    references: Given | Sequence[Given],
    *,
    metrics: Collection[str] | None = None,
    spice: Spice = "auto",
    document_frequencies: Given | None = None,
    bertscore: str | Path | None = None,
    how: Reading | None = None,
) -> Scores:
    """Score captions against references, as `dsacap score` does.

    Args:
        predictions: A dictionary from image id to a caption, or to as many captions for every
            image; or a file in any of the forms of docs/scoring.md.
        references: A dictionary from image id to captions, or a file; or several of them.
        metrics: The metrics that are computed, such as ("CIDEr", "BLEU"); by default all but
            BERTScore. Besides the tokeniser, Java runs for METEOR, SPICE and SPIDEr only.
        spice: "auto" computes SPICE if its parser is on this machine or can be downloaded,
            "required" raises an error if not, and "off" leaves it out, and SPIDEr with it.
        document_frequencies: What CIDEr takes its document frequencies from: "coco-val2014", all
            captions of COCO's val2014; or a file or a dictionary of references of many images. By
            default they are those of `references`.
        bertscore: The model by which BERTScore is computed too: its name or folder, and a layer if
            bert-score does not know it, as in "my-bert:9". By default roberta-large if `metrics`
            names BERTScore. It needs the extra `bertscore`, and the weights on this machine.
        how: How files are read and matched, such as `dsacap.Reading(split="test", subset=True)`.

    Returns:
        The scores by metric, each with its interval, per-image scores and signature. A metric that
        cannot be computed has the value None and the reason.

    Raises:
        UserError: The captions or references are malformed, or of different images, or a metric is
            unknown or cannot be computed.

    Example:
        ```py
        import dsacap

        scores = dsacap.score(
            {"photo.jpg": "a dog runs", "other.jpg": "two cats"},
            {"photo.jpg": ["A dog running.", "A dog."], "other.jpg": ["Two cats asleep."]},
            metrics=["CIDEr", "BLEU"],
        )
        scores["CIDEr"].value
        scores.to_pandas()
        ```
    """
    from dsacap.evaluation import scoring

    return scoring.score(
        predictions,
        references,
        metrics=metrics,
        spice=spice,
        document_frequencies=document_frequencies,
        bertscore=bertscore,
        how=how,
    )


def compare(
    systems: Mapping[str, Given],
    references: Given | Sequence[Given],
    *,
    spice: Spice = "auto",
    document_frequencies: Given | None = None,
    how: Reading | None = None,
) -> Comparison:
    """Compare several systems on the same images, as `dsacap compare` does.

    Args:
        systems: The captions of each system by its name: a dictionary from image id to captions,
            or a file.
        references: A dictionary from image id to captions, or a file; or several of them.
        spice: See `score`.
        document_frequencies: See `score`.
        how: How files are read and matched: an instance of `dsacap.Reading`.

    Returns:
        Scores, ranks with ties, and for each metric and pair of systems the difference with its
        interval and the p of a permutation test, with Holm's correction.

    Raises:
        UserError: Captions or references are malformed, or of different images.

    Example:
        ```py
        import dsacap

        references = {1: ["A dog running.", "A dog."], 2: ["Two cats asleep."]}
        systems = {"ours": {1: "a dog runs", 2: "two cats"}, "theirs": {1: "a cat", 2: "cats"}}
        comparison = dsacap.compare(systems, references, spice="off")
        comparison.ranks["ours"]["CIDEr"]
        comparison.to_pandas()
        ```
    """
    from dsacap.evaluation import comparison

    return comparison.compare(
        systems, references, spice=spice, document_frequencies=document_frequencies, how=how
    )


def load(folder: str | Path, device: str = "auto") -> PhotoCaptioner:
    """Load a trained system, with its image encoder, from a folder that `dsacap export` wrote.

    Args:
        folder: The exported folder. Its files are checked against their recorded hashes first, and
            no code in it is executed.
        device: Where to compute: `auto` (a GPU if there is one), `cpu` or `cuda`.

    Returns:
        The captioner of photos; see its method `caption`.

    Raises:
        UserError: The folder was not written by `dsacap export`, or a file in it, which the message
            names, is missing, damaged or changed; or the extra `train` is not installed.

    Example:
        ```py
        import dsacap

        captioner = dsacap.load("exported/dsacap")
        captioner.caption(["photo.jpg"])
        ```
    """
    from dsacap.common.extras import naming_extras

    with naming_extras():
        from dsacap.common.machine import device_of
        from dsacap.export.reading import read_folder

        return read_folder(Path(folder), device_of(device))
