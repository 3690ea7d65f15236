"""SPICE (Anderson et al. 2016) by its authors' Java, and AllSPICE (Luo & Shakhnarovich 2020).

Nearly all time goes into parsing, 40 ms per caption. So each distinct caption is parsed only once
(`spice_tuples.py`), the references of published data sets are not parsed at all
(`known_tuples.py`), and captions that were parsed before are scored without the parser, which takes
1.5 ms per image.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from pycocoevalcap.spice import spice

from dsacap.common.errors import UserError
from dsacap.common.progress import progress
from dsacap.scoring.java.corenlp import CODE, MODELS, cache_folder, corenlp_jars
from dsacap.scoring.java.jvm import JvmWorker, ordered_worker, parser_workers
from dsacap.scoring.metrics.known_tuples import known_tuples
from dsacap.scoring.metrics.metric_result import MetricResult
from dsacap.scoring.metrics.spice_tuples import TupleCache, Tuples

CATEGORIES = ("Object", "Relation", "Attribute", "Color", "Cardinality", "Size")  # SPICE's spelling
METRICS = (
    "SPICE",
    "SPICE-precision",
    "SPICE-recall",
    *(f"SPICE-{category.lower()}" for category in CATEGORIES),
)
# The parser's time grows with the cube of the words, its memory with the square: 17 s and 0.4 GB
# for 100 words, 99 s and 2 GB for 200.
MAX_WORDS = 100
# The stock SPICE requests `ner` as well but does not use its output: it tags words after they have
# been parsed (tests/scoring/metrics/test_spice.py compares both).
ANNOTATORS = "tokenize,ssplit,parse,lemma"
_FOLDER = Path(spice.__file__).parent
_PARSE_BATCH = 32  # captions per job, which takes a second or two
# Fewer captions do not start another parser, which takes ten seconds of CPU time to load and warm
# up.
_CAPTIONS_A_PARSER = 1500
_SCORE_BATCH = 500  # images per job, which takes a second
_sources: ContextVar[dict[str, str]] = ContextVar("caption -> where its tuples came from")


class CaptionTooLong(UserError):
    """A caption or reference has more words than SPICE parses."""


def score_spice(
    references: Mapping[int, Sequence[str]],
    candidates: Mapping[int, str],
    download: bool = True,
    worker: JvmWorker | None = None,
) -> dict[str, MetricResult]:
    """Score one caption per image by SPICE.

    Args:
        references: Tokenised references by image id.
        candidates: One tokenised caption by image id.
        download: Whether CoreNLP may be downloaded (385 MB, once).
        worker: The process that runs Java; by default shared ones.

    Returns:
        The metrics of `METRICS`, 0..1, each a mean over images. A category is undefined for an
        image whose references have no tuple of it; the image is then left out of its mean, and a
        category without any image is left out of the result.

    Raises:
        CoreNlpMissing: CoreNLP is not available.
        CaptionTooLong: A caption or reference has more than `MAX_WORDS` words.
        UserError: Java fails.
    """
    scores = _score(
        {i: ([candidates[i]], of_image) for i, of_image in references.items()}, download, worker
    )
    parts = [
        ("All", "f"),
        ("All", "pr"),
        ("All", "re"),
        *((category, "f") for category in CATEGORIES),
    ]
    by_image = [
        {i: by_category[category][part] for i, by_category in scores.items()}
        for category, part in parts
    ]
    results = dict(zip(METRICS, map(_mean, by_image), strict=True))
    return {metric: result for metric, result in results.items() if result.per_image}


def all_spice(
    references: Mapping[int, Sequence[str]],
    samples: Mapping[int, Sequence[str]],
    download: bool = True,
    worker: JvmWorker | None = None,
) -> MetricResult:
    """Score all captions of an image together by AllSPICE.

    It is the F-score of SPICE of the tuples of all captions of an image, joined in one scene graph.

    Args:
        references: Tokenised references by image id.
        samples: Tokenised captions by image id.
        download: Whether CoreNLP may be downloaded.
        worker: The process that runs Java; by default shared ones.

    Returns:
        AllSPICE, 0..1.

    Raises:
        CoreNlpMissing: CoreNLP is not available.
        CaptionTooLong: A caption or reference has more than `MAX_WORDS` words.
        UserError: Java fails.
    """
    pairs = {i: (samples[i], of_image) for i, of_image in references.items()}
    scores = _score(pairs, download, worker)
    return _mean({i: by_category["All"]["f"] for i, by_category in scores.items()})


@contextmanager
def tuple_sources() -> Iterator[dict[str, str]]:
    """Record where tuples come from, inside a `with` block.

    Yields:
        A mapping that is filled with the captions whose tuples are requested in the block. Its
        values are the source of a caption's tuples when they were first requested: "cache" (parsed
        before on this machine), "shipped" (with this package) or "parsed".
    """
    token = _sources.set({})
    try:
        yield _sources.get()
    finally:
        _sources.reset(token)


def caption_tuples(
    captions: Iterable[str],
    download: bool,
    worker: JvmWorker | None = None,
    annotators: str = ANNOTATORS,
    use_known: bool = True,
) -> dict[str, Tuples]:
    """Return SPICE's tuples of each distinct caption.

    They come from the user's cache, otherwise from the tuples that are shipped with this package,
    otherwise from the parser. Newly parsed captions are added to the cache.

    Args:
        captions: Tokenised captions.
        download: Whether CoreNLP may be downloaded.
        worker: The process that parses; by default several shared ones.
        annotators: CoreNLP's setting of this name.
        use_known: Whether shipped tuples are used.

    Returns:
        Caption -> its tuples, in SPICE's order.

    Raises:
        CoreNlpMissing: CoreNLP is needed and not available.
        UserError: Java fails, or the cache cannot be used.
    """
    distinct, parser = list(dict.fromkeys(captions)), parser_key(annotators)
    sources = _sources.get({})
    with closing(TupleCache(cache_folder() / "tuples.sqlite", parser)) as cached:
        tuples = cached.get(distinct)
        shipped = (
            known_tuples((caption for caption in distinct if caption not in tuples), parser)
            if use_known
            else {}
        )
        for source, found in (("cache", tuples), ("shipped", shipped)):
            for caption in found:
                sources.setdefault(caption, source)
        tuples |= shipped
        missing = [caption for caption in distinct if caption not in tuples]
        if not missing:
            return tuples
        settings = {"jars": _jars(corenlp_jars(download)), "annotators": annotators}
        with progress((), "SPICE, parsing", "caption", total=len(missing)) as bar:
            parsers = (
                [worker]
                if worker
                else parser_workers()[: math.ceil(len(missing) / _CAPTIONS_A_PARSER)]
            )
            for part in _parse(missing, settings, parsers):
                cached.put(part)
                tuples |= part
                sources |= dict.fromkeys(part, "parsed")
                bar.update(len(part))
    return tuples


def _parse(
    captions: list[str], settings: dict[str, Any], workers: Sequence[JvmWorker]
) -> Iterator[dict[str, Tuples]]:
    """Yield the tuples of batches of captions, in order, each parsed by a worker that is free."""
    free: SimpleQueue[JvmWorker] = SimpleQueue()
    for worker in workers:
        free.put(worker)

    def parse(batch: list[str]) -> dict[str, Tuples]:
        worker = free.get()
        try:
            return dict(
                zip(batch, worker.call("spice_tuples", captions=batch, **settings), strict=True)
            )
        finally:
            free.put(worker)

    with ThreadPoolExecutor(len(workers)) as pool:
        jobs = [
            pool.submit(parse, captions[start : start + _PARSE_BATCH])
            for start in range(0, len(captions), _PARSE_BATCH)
        ]
        try:
            for job in jobs:
                yield job.result()
        finally:
            pool.shutdown(cancel_futures=True)


def parser_key(annotators: str = ANNOTATORS) -> str:
    """Return the key under which tuples are kept.

    They are reused only for the same parser with the same annotators.
    """
    return f"{parser_id()} {annotators} one at a time"


@cache
def parser_id() -> str:
    """Return a hash of what SPICE's tuples depend on besides the caption: all of its jars."""
    digest = hashlib.sha256(f"{CODE.sha256} {MODELS.sha256}".encode())
    for jar in _own_jars():
        digest.update(hashlib.sha256(jar.read_bytes()).digest())
    return digest.hexdigest()


def _score(
    images: Mapping[int, tuple[Sequence[str], Sequence[str]]],
    download: bool,
    worker: JvmWorker | None,
) -> dict[int, dict[str, Any]]:
    """Score the captions of each image against its references.

    Args:
        images: Image id -> (captions, references), all tokenised.
        download: Whether CoreNLP may be downloaded.
        worker: The process that runs Java; by default shared ones.

    Returns:
        Image id -> category -> SPICE's counts and scores.
    """
    cleaned = {
        i: tuple(
            [_clean(f"image {i}: a {kind}", caption) for caption in side]
            for kind, side in zip(("caption", "reference"), sides, strict=True)
        )
        for i, sides in images.items()
    }
    scorer, jars = worker or ordered_worker(), _jars(corenlp_jars(download, models=False))
    ids = list(cleaned)
    with ThreadPoolExecutor(1) as pool:
        # Java loads its classes in the meantime. If this fails, so will the next call.
        pool.submit(scorer.call, "spice_scores", images=[], jars=jars)
        tuples = caption_tuples(
            (c for sides in cleaned.values() for side in sides for c in side), download, worker
        )
    scores: dict[int, dict[str, Any]] = {}
    for start in range(0, len(ids), _SCORE_BATCH):
        part = ids[start : start + _SCORE_BATCH]
        joined = [
            [[each for caption in side for each in tuples[caption]] for side in cleaned[i]]
            for i in part
        ]
        scores |= zip(part, scorer.call("spice_scores", images=joined, jars=jars), strict=True)
    return scores


def _clean(where: str, caption: str) -> str:
    """Return the caption as Java reads it; raise CaptionTooLong if it is too long to parse."""
    if (words := len(caption.split())) > MAX_WORDS:
        raise CaptionTooLong(
            f"SPICE: not computed: {where} of {words} words ({caption[:40]!r}...) is too long;"
            f" SPICE parses up to {MAX_WORDS}.\n  Shorten it, or score without SPICE (--no-spice,"
            " in Python spice='off')."
        )
    return caption.encode(errors="replace").decode()


def _mean(per_image: dict[int, float | None]) -> MetricResult:
    defined = {i: float(score) for i, score in per_image.items() if score is not None}
    # The order of the stock code, on which the last digit of the mean depends.
    in_order = [defined[i] for i in sorted(defined)]
    return MetricResult(float(np.mean(in_order)) if in_order else float("nan"), defined)


def _own_jars() -> list[Path]:
    """Return the jars of SPICE and its libraries.

    Those of METEOR (on the class path already), of caching and of tests are left out.
    """
    needed = ("SceneGraphParser", "ejml", "guava", "json-simple", "slf4j")
    return [
        _FOLDER / spice.SPICE_JAR,
        *sorted(jar for jar in (_FOLDER / "lib").glob("*.jar") if jar.name.startswith(needed)),
    ]


def _jars(corenlp: list[Path]) -> list[str]:
    return [str(jar) for jar in (*_own_jars(), *corenlp)]
