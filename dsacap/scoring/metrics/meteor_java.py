"""METEOR 1.5 through its own classes: pycocoevalcap's numbers to the last bit, from a process that is started once.

Java's power is one piece of code for all x86-64 processors: measured with and without AVX and fused multiply-add, and emulated.

Java aligns each distinct pair of caption and reference once, in parallel, with the part of the paraphrase table that matters to them.
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

_BATCH = 2_500  # captions a job, half a second; all of one image are in one, since they may be aligned with the same references
_JAVA_SPACE = "".join(map(chr, range(33)))
_is_normal = re.compile(
    "[a-z0-9 ]*"
).fullmatch  # METEOR's Normalizer looks for other characters only

References = Mapping[int, list[str]]  # image id -> tokenised references
Candidates = Mapping[int, str]  # image id -> one tokenised caption
Sent = tuple[str, list[str]]  # a caption and its references


def score_meteor(
    references: References, candidates: Candidates, worker: JvmWorker | None = None
) -> MetricResult:
    """METEOR, 0..1, of one tokenised caption an image; both by image id. The corpus score pools counts, as METEOR's own does.

    Raises UserError where Java fails.
    """
    return score_meteors([(references, candidates)], worker)[0]


def score_meteors(
    pairs: Sequence[tuple[References, Candidates]], worker: JvmWorker | None = None
) -> list[MetricResult]:
    """`score_meteor` of each of several pairs of references and candidates. A reference that stands in many costs little more."""
    worker = worker or shared_worker()
    with ThreadPoolExecutor(2) as threads, tempfile.TemporaryDirectory() as folder:
        threads.submit(
            worker.call, "meteor_load", threads=THREADS
        )  # if it fails, so will the next call
        index = paraphrase_index(METEOR_FOLDER / "data" / "paraphrase-en.gz")
        sent = [
            [_as_sent(references[i], candidates[i]) for i in references]
            for references, candidates in pairs
        ]
        normal = _normal(
            {text for images in sent for caption, said in images for text in (caption, *said)},
            worker,
        )
        size = max(1, _BATCH // len(sent))
        parts = [
            [images[at : at + size] for images in sent]
            for at in range(0, max(map(len, sent)), size)
        ]
        jobs = threads.map(
            partial(_job, normal, index, Path(folder)), parts, count()
        )  # made while Java aligns those before
        done = [
            worker.call("meteor_align", **job)
            for job in (progress(jobs, "METEOR", "batches", len(parts)) if len(parts) > 1 else jobs)
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
    """What METEOR makes of those texts that it does not leave as they are."""
    odd = [text for text in texts if not _is_normal(text)]
    return dict(zip(odd, worker.call("meteor_normal", texts=odd), strict=True)) if odd else {}


def _job(
    normal: Mapping[str, str],
    index: ParaphraseIndex,
    folder: Path,
    part: Sequence[Sequence[Sent]],
    number: int,
) -> dict[str, Any]:
    """The arguments of `meteor_align` for some images of each pair."""
    numbers: defaultdict[str, int] = defaultdict(count().__next__)
    groups = [
        [numbers[normal.get(text, text)] for text in (caption, *said)]
        for images in part
        for caption, said in images
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
    """Caption and references as METEOR's command line gets them from pycocoevalcap: parted by |||, and trimmed as Java trims."""
    caption = caption.replace("|||", "").replace("  ", " ")
    _, *said, caption = (
        " ||| ".join(("SCORE", *references, caption)).encode(errors="replace").decode().split("|||")
    )
    return caption.strip(_JAVA_SPACE), [reference.strip(_JAVA_SPACE) for reference in said]
