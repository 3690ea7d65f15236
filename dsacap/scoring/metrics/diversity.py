"""How much k captions of the same image differ, how new they are, and how good the best of them is.

Definitions as in the evaluation code of Luo & Shakhnarovich (arXiv 2002.11848) and Shetty et al. (2017): Div-n per image, mBLEU per
slot; Self-CIDEr as in Wang & Chan (2019). The numbers depend on k, so state it.
"""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

import numpy as np

from dsacap.common.errors import UserError
from dsacap.scoring.metrics import exact
from dsacap.scoring.metrics.bleu import bleu_statistics_within
from dsacap.scoring.metrics.cider import CiderScorer, DocumentFrequencies, Lookup
from dsacap.scoring.metrics.metric_result import MetricResult, mean_over_images
from dsacap.scoring.metrics.ngrams import count_ngrams, read_captions

_PAIRS = 200_000  # of captions compared at a time in Self-CIDEr: some 100 MB


def diversity(
    samples: Mapping[int, list[str]],
    train_captions: set[str],
    frequencies: DocumentFrequencies | None = None,
) -> dict[str, MetricResult]:
    """Measures of the k >= 2 tokenised captions of each image, by image id.

    Div-1, Div-2: distinct n-grams of an image's captions / their words (not n-grams), mean over images; higher is more diverse.
    mBLEU-1 to mBLEU-4: corpus BLEU-n of every image's i-th caption against its other k-1, mean over i; lower is more diverse.
    Self-CIDEr, where `frequencies` are given: see `self_cider`; higher is more diverse.
    unique: distinct captions of an image, a count up to k, mean over images.
    novel: share of the captions that are not in `train_captions` (tokenised) word for word.
    vocabulary: distinct words of all the captions together.
    mBLEU and vocabulary have no score per image. Raises UserError where images differ in k, or k < 2.
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
    """Self-CIDEr (Wang & Chan, CVPR 2019) of k >= 2 tokenised captions an image, 0 (all say the same) to 1 (no n-gram in common).

    The kernel of an image is K_ij = CIDEr(c_i, c_j) / 10, CIDEr being the plain one: without CIDEr-D's clipping and Gaussian it is
    symmetric. With its eigenvalues l, r = sqrt(max l) / sum sqrt(l); the score is -log r / log k. `frequencies` are those of
    `document_frequencies`: Wang & Chan take COCO's training captions, Luo & Shakhnarovich the evaluated images' references; say which.
    An image with empty captions only scores 0.
    """
    k = samples_per_image(samples)
    kernels = _kernels(list(samples.values()), k, frequencies)
    scores = np.concatenate([_spread(exact.eigenvalues(kernel_IKK)) for kernel_IKK in kernels])
    return mean_over_images(dict(zip(samples, scores.tolist(), strict=True)))


def oracle(slots: Sequence[Mapping[str, MetricResult]]) -> dict[str, MetricResult]:
    """The best of k: for each metric with scores per image, each image's highest over `slots`, mean over images.

    `slots` are the scores of every image's i-th caption, for each i (`score_many`). The best caption is chosen for each metric apart;
    BLEU is that of the single caption, as in the literature. Raises UserError where slots differ in images, or there are none.
    """
    if not slots:
        raise UserError(
            "the best of no captions: give the scores of one or more captions of every image"
        )
    metrics = [metric for metric, result in slots[0].items() if result.per_image]
    for number, slot in enumerate(slots):
        for metric in metrics:
            if (
                metric not in slot
                or slot[metric].per_image.keys() != slots[0][metric].per_image.keys()
            ):
                raise UserError(
                    f"{metric} of caption {number + 1} is not of the same images as that of caption 1: score all on one set"
                )
    images = {metric: slots[0][metric].per_image for metric in metrics}
    return {
        metric: mean_over_images(
            {i: max(s[metric].per_image[i] for s in slots) for i in images[metric]}
        )
        for metric in metrics
    }


def samples_per_image(samples: Mapping[int, list[str]]) -> int:
    """k. Raises UserError where images differ in it, or it is below 2."""
    if not samples:
        raise UserError("diversity needs captions: there is no image")
    first, k = next((image_id, len(captions)) for image_id, captions in samples.items())
    for image_id, captions in samples.items():
        if len(captions) != k:
            raise UserError(
                f"image {image_id} has {len(captions)} captions, image {first} has {k}: draw as many for every image"
            )
    if k < 2:
        raise UserError(
            f"diversity compares the captions of an image: it needs two or more, image {first} has {k}"
        )
    return k


def _distinct_ngrams_per_word(captions: list[str], n: int) -> float:
    sentences = [caption.split() for caption in captions]
    ngrams = {
        tuple(words[start : start + n])
        for words in sentences
        for start in range(len(words) - n + 1)
    }
    return len(ngrams) / max(1, sum(map(len, sentences)))  # empty captions only: 0


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
        said = [caption for captions in shard for caption in captions]
        captions = read_captions(shard, said, np.repeat(np.arange(len(shard)), k))
        scorer = CiderScorer(captions, Lookup(frequencies, captions), clipped=False)
        for ngrams in count_ngrams(captions):
            scorer.add(ngrams)
        cosines_IKK = scorer.mean_cosines().reshape(len(shard), k, k)
        yield (
            cosines_IKK + cosines_IKK.transpose(0, 2, 1)
        ) / 2  # a caption's terms are summed in its own order


def _spread(eigenvalues_IK: np.ndarray) -> np.ndarray:
    roots_IK = np.sqrt(np.clip(eigenvalues_IK, 0, None))
    sums_I = roots_IK.sum(1)
    ratio_I = np.divide(roots_IK[:, -1], sums_I, out=np.ones_like(sums_I), where=sums_I > 0)
    return np.abs(exact.log(ratio_I) / exact.log(roots_IK.shape[1]))
