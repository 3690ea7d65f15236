"""METEOR 1.5 by its own Java classes, in a process that is started once.

Scores equal those of pycocoevalcap to the last bit. They are the same on every x86-64 processor,
because Java computes powers by the same code on all of them (tested with and without AVX and fused
multiply-add, and in emulation). Each distinct pair of a caption and a reference is aligned once, in
parallel, with the part of the paraphrase table that matters to the texts.
"""

import gzip
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Any

from dsacap.common.progress import progress
from dsacap.scoring.java.jvm import METEOR_FOLDER, THREADS, JvmWorker, shared_worker
from dsacap.scoring.metrics.meteor import meteor_counts, meteor_of_sums
from dsacap.scoring.metrics.metric_result import MetricResult, Pooled
from dsacap.scoring.metrics.paraphrases import ParaphraseIndex, paraphrase_index

# Captions per job, which takes half a second. All captions of an image are in the same job, because
# they may be aligned with the same references.
_BATCH = 2_500
_JAVA_SPACE = "".join(map(chr, range(33)))  # the characters that Java's trim() removes
# METEOR's Normalizer leaves these characters as they are.
_is_normal = re.compile("[a-z0-9 ]*").fullmatch

References = Mapping[int, list[str]]  # image id -> tokenised references
Candidates = Mapping[int, str]  # image id -> one tokenised caption
Sent = tuple[str, list[str]]  # a caption and its references


def score_meteor(
    references: References, candidates: Candidates, worker: JvmWorker | None = None
) -> MetricResult:
    """Score one caption per image by METEOR.

    Args:
        references: Tokenised references by image id.
        candidates: One tokenised caption by image id.
        worker: The process that runs Java; by default a shared one.

    Returns:
        METEOR, 0..1. As in METEOR itself, the corpus score is computed from summed counts.

    Raises:
        UserError: Java fails.
    """
    return score_meteors([(references, candidates)], worker)[0]


def score_meteors(
    pairs: Sequence[tuple[References, Candidates]], worker: JvmWorker | None = None
) -> list[MetricResult]:
    """Score several pairs of references and candidates as `score_meteor` does.

    A reference that occurs in many pairs costs little more than one in a single pair.
    """
    worker = worker or shared_worker()
    with ThreadPoolExecutor(2) as threads, tempfile.TemporaryDirectory() as folder:
        # If this fails, so will the next call.
        threads.submit(worker.call, "meteor_load", threads=THREADS)
        index = paraphrase_index(METEOR_FOLDER / "data" / "paraphrase-en.gz")
        sent = [
            [_as_sent(references[i], candidates[i]) for i in references]
            for references, candidates in pairs
        ]
        normal = _normal(
            {text for images in sent for caption, others in images for text in (caption, *others)},
            worker,
        )
        size = max(1, _BATCH // len(sent))
        parts = [
            [images[at : at + size] for images in sent]
            for at in range(0, max(map(len, sent)), size)
        ]
        # Jobs are prepared while Java aligns the captions of the previous ones.
        jobs = threads.map(partial(_job, normal, index, Path(folder)), parts, count())
        done = [
            worker.call("meteor_align", **job)
            for job in (progress(jobs, "METEOR", "batch", len(parts)) if len(parts) > 1 else jobs)
        ]
    best: list[list[tuple[float, str]]] = [[] for _ in sent]
    for part, of_part in zip(parts, map(iter, done), strict=True):
        for of_pair, images in zip(best, part, strict=True):
            of_pair += islice(of_part, len(images))
    counts = [meteor_counts(line for _, line in of_pair) for of_pair in best]
    sums = [" ".join(map(str, counts_IK.sum(0).tolist())) for counts_IK in counts]
    corpus = worker.call("meteor_scores", counts=sums, threads=THREADS)
    return [
        MetricResult(
            score,
            dict(zip(references, (s for s, _ in of_pair), strict=True)),
            Pooled(counts_IK, meteor_of_sums),
        )
        for score, (references, _), of_pair, counts_IK in zip(
            corpus, pairs, best, counts, strict=True
        )
    ]


def _normal(texts: Iterable[str], worker: JvmWorker) -> dict[str, str]:
    """Return text -> what METEOR normalises it to, for texts that it may change."""
    odd = [text for text in texts if not _is_normal(text)]
    return dict(zip(odd, worker.call("meteor_normal", texts=odd), strict=True)) if odd else {}


def _job(
    normal: Mapping[str, str],
    index: ParaphraseIndex,
    folder: Path,
    part: Sequence[Sequence[Sent]],
    number: int,
) -> dict[str, Any]:
    """Return the arguments of `meteor_align` for some images of each pair."""
    numbers: defaultdict[str, int] = defaultdict(count().__next__)
    groups = [
        [numbers[normal.get(text, text)] for text in (caption, *others)]
        for images in part
        for caption, others in images
    ]
    paraphrases = folder / f"{number}.gz"
    paraphrases.write_bytes(gzip.compress(index.table_of(numbers).encode(), 1))
    return {
        "texts": list(numbers),
        "groups": groups,
        "paraphrases": str(paraphrases),
        "threads": THREADS,
    }


def _as_sent(references: list[str], caption: str) -> Sent:
    """Return caption and references as METEOR's command line gets them from pycocoevalcap.

    That is, joined and split at `|||`, and trimmed as Java does.
    """
    caption = caption.replace("|||", "").replace("  ", " ")
    _, *others, caption = (
        " ||| ".join(("SCORE", *references, caption)).encode(errors="replace").decode().split("|||")
    )
    return caption.strip(_JAVA_SPACE), [reference.strip(_JAVA_SPACE) for reference in others]
