"""How much k captions of the same image differ, and how new they are.

Definitions as in the evaluation code of Luo & Shakhnarovich (arXiv 2002.11848) and Shetty et al. (2017): Div-n per image, mBLEU-4
per slot. The numbers depend on k, so state it.
"""

from statistics import fmean

from pycocoevalcap.bleu.bleu import Bleu

from dsacap.errors import UserError
from dsacap.scoring.results import MetricResult, mean_over_images


def diversity(samples: dict[int, list[str]], train_captions: set[str]) -> dict[str, MetricResult]:
    """Measures of the k >= 2 tokenised captions of each image, by image id.

    Div-1, Div-2: distinct n-grams of an image's captions / their words (not n-grams), mean over images; higher is more diverse.
    mBLEU-4: corpus BLEU-4 of every image's i-th caption against its other k-1, mean over i; lower is more diverse.
    unique: distinct captions of an image, a count up to k, mean over images.
    novel: share of the captions that are not in `train_captions` (tokenised) word for word.
    vocabulary: distinct words of all the captions together.
    mBLEU-4 and vocabulary have no score per image. Raises UserError where images differ in k, or k < 2.
    """
    k = _samples_per_image(samples)
    return {
        "Div-1": mean_over_images({i: _distinct_ngrams_per_word(captions, 1) for i, captions in samples.items()}),
        "Div-2": mean_over_images({i: _distinct_ngrams_per_word(captions, 2) for i, captions in samples.items()}),
        "mBLEU-4": MetricResult(fmean(_bleu4_against_the_others(samples, slot) for slot in range(k)), {}),
        "unique": mean_over_images({i: float(len(set(captions))) for i, captions in samples.items()}),
        "novel": mean_over_images({i: sum(c not in train_captions for c in captions) / k for i, captions in samples.items()}),
        "vocabulary": MetricResult(float(len({word for captions in samples.values() for c in captions for word in c.split()})), {}),
    }


def _samples_per_image(samples: dict[int, list[str]]) -> int:
    if not samples:
        raise UserError("diversity needs captions: there is no image")
    first, k = next((image_id, len(captions)) for image_id, captions in samples.items())
    for image_id, captions in samples.items():
        if len(captions) != k:
            raise UserError(f"image {image_id} has {len(captions)} captions, image {first} has {k}: draw as many for every image")
    if k < 2:
        raise UserError(f"diversity compares the captions of an image: it needs two or more, image {first} has {k}")
    return k


def _distinct_ngrams_per_word(captions: list[str], n: int) -> float:
    sentences = [caption.split() for caption in captions]
    ngrams = {tuple(words[start : start + n]) for words in sentences for start in range(len(words) - n + 1)}
    return len(ngrams) / max(1, sum(map(len, sentences)))  # empty captions only: 0


def _bleu4_against_the_others(samples: dict[int, list[str]], slot: int) -> float:
    others = {image_id: captions[:slot] + captions[slot + 1 :] for image_id, captions in samples.items()}
    return Bleu(4).compute_score(others, {image_id: [captions[slot]] for image_id, captions in samples.items()}, verbose=0)[0][3]
