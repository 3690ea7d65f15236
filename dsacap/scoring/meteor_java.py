"""METEOR 1.5 through its own classes: pycocoevalcap's numbers to the last bit, tables loaded once a process, captions aligned in
parallel."""

from collections.abc import Mapping

from dsacap.progress import progress
from dsacap.scoring.jvm import METEOR_FOLDER, THREADS, JvmWorker, shared_worker
from dsacap.scoring.meteor import meteor_counts, meteor_of_sums
from dsacap.scoring.results import MetricResult, Pooled

_BATCH = 2_000  # images a job: a second or two
_JAVA_SPACE = "".join(map(chr, range(33)))
_SETTINGS = {"paraphrases": str(METEOR_FOLDER / "data" / "paraphrase-en.gz"), "threads": THREADS}


def score_meteor(references: Mapping[int, list[str]], candidates: Mapping[int, str], worker: JvmWorker | None = None) -> MetricResult:
    """METEOR, 0..1, of one tokenised caption an image; both by image id. The corpus score pools counts, as METEOR's own does.

    Raises UserError where Java fails.
    """
    lines = meteor_lines(references, candidates, worker)
    corpus, per_image = (worker or shared_worker()).call("meteor_scores", counts=lines, **_SETTINGS)
    return MetricResult(corpus, dict(zip(references, per_image, strict=True)), Pooled(meteor_counts(lines), meteor_of_sums))


def meteor_lines(references: Mapping[int, list[str]], candidates: Mapping[int, str], worker: JvmWorker | None = None) -> list[str]:
    """The counts of each image's caption, a line each, in the references' order."""
    ids, worker = list(references), worker or shared_worker()
    starts = range(0, len(ids), _BATCH)
    lines = []
    for start in progress(starts, "METEOR", "batches") if len(starts) > 1 else starts:
        part = ids[start : start + _BATCH]
        captions, said = zip(*(_as_sent(references[image_id], candidates[image_id]) for image_id in part), strict=True)
        lines += worker.call("meteor_counts", captions=captions, references=said, **_SETTINGS)
    return lines


def _as_sent(references: list[str], caption: str) -> tuple[str, list[str]]:
    """Caption and references as METEOR's command line gets them from pycocoevalcap: parted by |||, and trimmed as Java trims."""
    caption = caption.replace("|||", "").replace("  ", " ")
    _, *said, caption = " ||| ".join(("SCORE", *references, caption)).encode(errors="replace").decode().split("|||")
    return caption.strip(_JAVA_SPACE), [reference.strip(_JAVA_SPACE) for reference in said]
