"""SPICE (Anderson et al. 2016) by its authors' classes, and AllSPICE (Luo & Shakhnarovich 2020) on top of them.

Nearly all its time goes into parsing, 40 ms a caption; so each distinct caption is parsed once, ever (`spice_tuples.py`), references that
everybody scores against are not parsed at all (`known_tuples.py`), and captions parsed before are scored without the parser: 1.5 ms an
image.
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

CATEGORIES = (
    "Object",
    "Relation",
    "Attribute",
    "Color",
    "Cardinality",
    "Size",
)  # as SPICE spells them
METRICS = (
    "SPICE",
    "SPICE-precision",
    "SPICE-recall",
    *(f"SPICE-{category.lower()}" for category in CATEGORIES),
)
MAX_WORDS = 100  # the parser takes time in the cube of the words and memory in the square: 17 s and 0.4 GB at 100, 99 s and 2 GB at 200
# SPICE asks for `ner` as well, and reads none of it: it only tags words that are parsed by then (proof:
# tests/scoring/metrics/test_spice.py).
ANNOTATORS = "tokenize,ssplit,parse,lemma"
_FOLDER = Path(spice.__file__).parent
_PARSE_BATCH = 32  # captions a job: a second or two
_CAPTIONS_A_PARSER = 1500  # a parser takes ten seconds of CPU time to load and warm up, which other jobs may be waiting for
_SCORE_BATCH = 500  # images a job: a second
_sources: ContextVar[dict[str, str]] = ContextVar("caption -> where its tuples came from")


def score_spice(
    references: Mapping[int, Sequence[str]],
    candidates: Mapping[int, str],
    download: bool = True,
    worker: JvmWorker | None = None,
) -> dict[str, MetricResult]:
    """SPICE of one tokenised caption an image against its tokenised references, both by image id; returns the metrics of METRICS, 0..1.

    Each is a mean over images. A category is undefined, and left out, for an image whose references have no tuple of it, and as a whole
    where that is every image. `download` lets CoreNLP be fetched (385 MB, once). Raises CoreNlpMissing where it cannot be had, UserError
    where Java fails or a caption has more than MAX_WORDS words.
    """
    scores = _score(
        {i: ([candidates[i]], said) for i, said in references.items()}, download, worker
    )
    parts = [
        ("All", "f"),
        ("All", "pr"),
        ("All", "re"),
        *((category, "f") for category in CATEGORIES),
    ]
    by_image = [{i: of[category][part] for i, of in scores.items()} for category, part in parts]
    results = dict(zip(METRICS, map(_mean, by_image), strict=True))
    return {metric: result for metric, result in results.items() if result.per_image}


def all_spice(
    references: Mapping[int, Sequence[str]],
    samples: Mapping[int, Sequence[str]],
    download: bool = True,
    worker: JvmWorker | None = None,
) -> MetricResult:
    """AllSPICE, 0..1: SPICE's F of the tuples of all captions of an image, joined in one scene graph, against those of its references.

    Raises what `score_spice` raises.
    """
    scores = _score({i: (samples[i], said) for i, said in references.items()}, download, worker)
    return _mean({i: of["All"]["f"] for i, of in scores.items()})


@contextmanager
def tuple_sources() -> Iterator[dict[str, str]]:
    """Yield a mapping that fills up with the captions whose tuples are asked for within.

    Its values say where a caption's tuples came from when they were first needed: "cache" (parsed here before), "shipped" (with this
    package), or "parsed".
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
    """SPICE's tuples of each distinct caption, in its order: from the user's cache, else from those shipped with this package (unless not
    `use_known`), else from the parser; what was parsed is in the cache from then on."""
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
        with progress((), "SPICE, parsing", "captions", total=len(missing)) as bar:
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
    """The captions in batches, in their order; a batch is taken by a worker that is free."""
    free = SimpleQueue()
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
    """What tuples are kept under: they are used again only where the same parser is asked for the same annotations."""
    return f"{parser_id()} {annotators} one at a time"


@cache
def parser_id() -> str:
    """What SPICE's tuples depend on besides the caption: the hash of its own jars, and the pins of CoreNLP's."""
    digest = hashlib.sha256(f"{CODE.sha256} {MODELS.sha256}".encode())
    for jar in _own_jars():
        digest.update(hashlib.sha256(jar.read_bytes()).digest())
    return digest.hexdigest()


def _score(
    images: Mapping[int, tuple[Sequence[str], Sequence[str]]],
    download: bool,
    worker: JvmWorker | None,
) -> dict[int, dict[str, Any]]:
    """image id -> category -> SPICE's counts and scores, of the captions of an image against its references."""
    images = {
        i: tuple([_clean(i, caption) for caption in side] for side in sides)
        for i, sides in images.items()
    }
    scorer, jars, ids = (
        worker or ordered_worker(),
        _jars(corenlp_jars(download, models=False)),
        list(images),
    )
    with ThreadPoolExecutor(1) as pool:
        pool.submit(
            scorer.call, "spice_scores", images=[], jars=jars
        )  # gets ready meanwhile; if it fails, so will the next call
        tuples = caption_tuples(
            (c for sides in images.values() for side in sides for c in side), download, worker
        )
    scores: dict[int, dict[str, Any]] = {}
    for start in range(0, len(ids), _SCORE_BATCH):
        part = ids[start : start + _SCORE_BATCH]
        joined = [
            [[each for caption in side for each in tuples[caption]] for side in images[i]]
            for i in part
        ]
        scores |= zip(part, scorer.call("spice_scores", images=joined, jars=jars), strict=True)
    return scores


def _clean(image_id: int, caption: str) -> str:
    """The caption as Java takes it; UserError if it is too long to parse."""
    if (words := len(caption.split())) > MAX_WORDS:
        raise UserError(
            f"image {image_id}: a caption of {words} words ({caption[:40]!r}...); SPICE parses up to {MAX_WORDS}. Shorten it, or score\n"
            "  without SPICE."
        )
    return caption.encode(errors="replace").decode()


def _mean(per_image: dict[int, float | None]) -> MetricResult:
    defined = {i: float(score) for i, score in per_image.items() if score is not None}
    in_order = [
        defined[i] for i in sorted(defined)
    ]  # the stock code's; the mean's last digit depends on it
    return MetricResult(float(np.mean(in_order)) if in_order else float("nan"), defined)


def _own_jars() -> list[Path]:
    """SPICE's and its libraries', without METEOR (on the class path already) and what is for caching and testing only."""
    needed = ("SceneGraphParser", "ejml", "guava", "json-simple", "slf4j")
    return [
        _FOLDER / spice.SPICE_JAR,
        *sorted(jar for jar in (_FOLDER / "lib").glob("*.jar") if jar.name.startswith(needed)),
    ]


def _jars(corenlp: list[Path]) -> list[str]:
    return [str(jar) for jar in (*_own_jars(), *corenlp)]
