"""Diversity, novelty and oracle scores of k captions of the same image.

The definitions are those of the evaluation code of Luo & Shakhnarovich (arXiv 2002.11848) and of
Shetty et al. (2017): Div-n per image, mBLEU per slot (the i-th captions of all images). Self-CIDEr
is that of Wang & Chan (2019). All numbers depend on k, so report it with them.
"""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

import numpy as np

from dsacap.common.errors import UserError
from dsacap.scoring.metrics import exact
from dsacap.scoring.metrics.bleu import bleu_statistics_within
from dsacap.scoring.metrics.cider import CiderScorer
from dsacap.scoring.metrics.document_frequencies import DocumentFrequencies, Lookup
from dsacap.scoring.metrics.metric_result import MetricResult, mean_over_images
from dsacap.scoring.metrics.ngrams import count_ngrams, read_captions

_PAIRS = 200_000  # pairs of captions that Self-CIDEr compares at a time: some 100 MB


def diversity(
    samples: Mapping[int, list[str]],
    train_captions: set[str],
    frequencies: DocumentFrequencies | None = None,
) -> dict[str, MetricResult]:
    """Measure the diversity of k captions per image.

    Args:
        samples: Tokenised captions by image id, k >= 2 for every image.
        train_captions: Tokenised captions of the train split.
        frequencies: Document frequencies for Self-CIDEr, which is left out if None.

    Returns:
        Div-1, Div-2: Distinct n-grams of an image's captions / their words (not n-grams), mean
            over images; higher is more diverse.
        mBLEU-1 to mBLEU-4: Corpus BLEU-n of every image's i-th caption against its other k - 1,
            mean over i; lower is more diverse. It has no score per image.
        Self-CIDEr: See `self_cider`; higher is more diverse.
        unique: Distinct captions of an image, 1..k, mean over images.
        novel: Share of captions that are not word for word among the training captions, 0..1.
        vocabulary: Distinct words of all captions together. It has no score per image.

    Raises:
        UserError: Images have different numbers of captions, or fewer than two.
    """
    k = samples_per_image(samples)
    return {
        "Div-1": mean_over_images(
            {i: _distinct_ngrams_per_word(captions, 1) for i, captions in samples.items()}
        ),
        "Div-2": mean_over_images(
            {i: _distinct_ngrams_per_word(captions, 2) for i, captions in samples.items()}
        ),
        **_mbleu(samples, k),
        **({"Self-CIDEr": self_cider(samples, frequencies)} if frequencies else {}),
        "unique": mean_over_images(
            {i: float(len(set(captions))) for i, captions in samples.items()}
        ),
        "novel": mean_over_images(
            {
                i: sum(c not in train_captions for c in captions) / k
                for i, captions in samples.items()
            }
        ),
        "vocabulary": MetricResult(
            float(
                len({word for captions in samples.values() for c in captions for word in c.split()})
            ),
            {},
        ),
    }


def self_cider(samples: Mapping[int, list[str]], frequencies: DocumentFrequencies) -> MetricResult:
    """Return Self-CIDEr (Wang & Chan, CVPR 2019), from 0 (equal captions) to 1 (no common n-gram).

    The kernel of an image is K_ij = CIDEr(c_i, c_j) / 10. CIDEr is the plain one, which is
    symmetric because it lacks the clipping and the Gaussian of CIDEr-D. With the eigenvalues l of
    K and r = sqrt(max l) / sum sqrt(l), the score is -log r / log k. An image whose captions are
    all empty has the score 0.

    Args:
        samples: Tokenised captions by image id, k >= 2 for every image.
        frequencies: Document frequencies. Wang & Chan take those of COCO's training captions, Luo
            & Shakhnarovich those of the references of the evaluated images; report which.

    Raises:
        UserError: Images have different numbers of captions, or fewer than two.
    """
    k = samples_per_image(samples)
    kernels = _kernels(list(samples.values()), k, frequencies)
    scores = np.concatenate([_spread(exact.eigenvalues(kernel_IKK)) for kernel_IKK in kernels])
    return mean_over_images(dict(zip(samples, scores.tolist(), strict=True)))


def oracle(slots: Sequence[Mapping[str, MetricResult]]) -> dict[str, MetricResult]:
    """Return the scores of the best of k captions: each image's highest score, mean over images.

    The best caption is chosen separately for each metric. BLEU is that of the single caption, as
    in the literature. Metrics without per-image scores are left out.

    Args:
        slots: For each i in 1..k, the scores of every image's i-th caption (`score_many`).

    Raises:
        UserError: The slots are of different images, or there are none.
    """
    if not slots:
        raise UserError(
            "no captions to choose the best of; give the scores of one or more captions per image"
        )
    metrics = [metric for metric, result in slots[0].items() if result.per_image]
    for number, slot in enumerate(slots):
        for metric in metrics:
            if (
                metric not in slot
                or slot[metric].per_image.keys() != slots[0][metric].per_image.keys()
            ):
                raise UserError(
                    f"{metric} of caption {number + 1} was computed on other images than that of"
                    " caption 1; score all captions on the same images"
                )
    images = {metric: slots[0][metric].per_image for metric in metrics}
    return {
        metric: mean_over_images(
            {i: max(s[metric].per_image[i] for s in slots) for i in images[metric]}
        )
        for metric in metrics
    }


def samples_per_image(samples: Mapping[int, list[str]]) -> int:
    """Return k, the number of captions of every image.

    Raises:
        UserError: Images have different numbers of captions, or fewer than two.
    """
    if not samples:
        raise UserError("diversity needs captions, and there are none; give two or more per image")
    first, k = next((image_id, len(captions)) for image_id, captions in samples.items())
    for image_id, captions in samples.items():
        if len(captions) != k:
            raise UserError(
                f"image {image_id} has {len(captions)} captions, image {first} has {k}; draw the"
                " same number for every image"
            )
    if k < 2:
        raise UserError(
            f"diversity compares the captions of an image; it needs two or more, image {first} has"
            f" {k}"
        )
    return k


def _distinct_ngrams_per_word(captions: list[str], n: int) -> float:
    sentences = [caption.split() for caption in captions]
    ngrams = {
        tuple(words[start : start + n])
        for words in sentences
        for start in range(len(words) - n + 1)
    }
    return len(ngrams) / max(1, sum(map(len, sentences)))  # 0 if all captions are empty


def _mbleu(samples: Mapping[int, list[str]], k: int) -> dict[str, MetricResult]:
    statistics = bleu_statistics_within(list(samples.values()))
    by_slot = [statistics.every(k, slot).pooled() for slot in range(k)]
    return {
        f"mBLEU-{n}": MetricResult(fmean(scores), {})
        for n, scores in enumerate(zip(*by_slot, strict=True), 1)
    }


def _kernels(
    samples: list[list[str]], k: int, frequencies: DocumentFrequencies
) -> Iterator[np.ndarray]:
    at_once = max(1, _PAIRS // k**2)
    for start in range(0, len(samples), at_once):
        shard = samples[start : start + at_once]
        candidates = [caption for of_image in shard for caption in of_image]
        captions = read_captions(shard, candidates, np.repeat(np.arange(len(shard)), k))
        scorer = CiderScorer(captions, Lookup(frequencies, captions), clipped=False)
        for ngrams in count_ngrams(captions):
            scorer.add(ngrams)
        cosines_IKK = scorer.mean_cosines().reshape(len(shard), k, k)
        # The kernel is symmetric up to rounding: each caption's terms are summed in its own order.
        yield (cosines_IKK + cosines_IKK.transpose(0, 2, 1)) / 2


def _spread(eigenvalues_IK: np.ndarray) -> np.ndarray:
    roots_IK = np.sqrt(np.clip(eigenvalues_IK, 0, None))
    sums_I = roots_IK.sum(1)
    ratio_I = np.divide(roots_IK[:, -1], sums_I, out=np.ones_like(sums_I), where=sums_I > 0)
    return np.abs(exact.log(ratio_I) / exact.log(roots_IK.shape[1]))
