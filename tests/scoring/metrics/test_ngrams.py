"""BLEU, ROUGE-L and CIDEr-D compared with stock pycocoevalcap on awkward captions.

The powers and logarithms of the stock code depend on the processor.
"""

import random
import time
import tracemalloc
from decimal import Context, Decimal
from itertools import chain

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from dsacap.common.errors import UserError
from dsacap.scoring.metrics import bleu as bleu_module
from dsacap.scoring.metrics import coco_metrics
from dsacap.scoring.metrics import document_frequencies as document_frequencies_module
from dsacap.scoring.metrics.bleu import (
    BleuCounter,
    bleu_of_sums,
    bleu_statistics,
    bleu_statistics_within,
)
from dsacap.scoring.metrics.cider import CiderScorer
from dsacap.scoring.metrics.coco_metrics import score_cider, score_without_java
from dsacap.scoring.metrics.document_frequencies import Lookup, document_frequencies, own_idf
from dsacap.scoring.metrics.ngrams import count_ngrams, find, read_captions
from dsacap.scoring.metrics.rouge import rouge_l
from ulps import assert_close_to_stock, assert_mostly_equals_stock

# Non-breaking and ideographic spaces separate words for str.split() but not for split(" "). Two
# spaces are one separator for the former, and contain an empty word for the latter (ROUGE).
WORDS = [
    "a",
    "the",
    "dog",
    "dogs",
    "café",
    "カメラ",
    "x\u00a0y",
    "\u3000z",
    "'s",
    "12",
    "e\u0301",
    "",
    "🐕",
]


def awkward(rng: random.Random, images: int) -> tuple[list[list[str]], list[str]]:
    def caption() -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(0, rng.choice([1, 4, 25]))))

    references = [[caption() for _ in range(rng.randint(1, 7))] for _ in range(images)]
    candidates = [rng.choice([caption(), rng.choice(of_image)]) for of_image in references]
    references[0].append("a dog")  # stock CIDEr fails if no reference has a word
    return references, candidates


@pytest.mark.parametrize("seed", range(60))
def test_equals_stock(seed):
    rng = random.Random(seed)
    references, candidates = awkward(rng, rng.choice([2, 3, 10]))
    gts, res = dict(enumerate(references)), {i: [caption] for i, caption in enumerate(candidates)}
    statistics = bleu_statistics(references, candidates)
    corpus, per_image = Bleu(4).compute_score(gts, res, verbose=0)
    assert_close_to_stock(statistics.pooled(), corpus)
    assert_close_to_stock(chain(*statistics.by_caption()), chain(*per_image))
    assert [
        rouge_l(of_image, caption) for of_image, caption in zip(references, candidates, strict=True)
    ] == Rouge().compute_score(gts, res)[1].tolist()
    corpus, per_image = Cider().compute_score(gts, res)
    cider = (
        score_cider(gts | {0: references[0]}, dict(enumerate(candidates)))
        if all(map(any, references))
        else None
    )
    if cider:
        assert_close_to_stock([cider.corpus, *cider.per_image.values()], [corpus, *per_image])


def test_most_scores_equal_stocks_to_the_last_bit():
    ours, stocks = [], []
    for seed in range(20):
        references, candidates = awkward(random.Random(seed), 10)
        references = [[caption or "a" for caption in of_image] for of_image in references]
        gts, res = (
            dict(enumerate(references)),
            {i: [caption] for i, caption in enumerate(candidates)},
        )
        ours += [
            *chain(*bleu_statistics(references, candidates).by_caption()),
            *score_cider(gts, dict(enumerate(candidates))).per_image.values(),
        ]
        stocks += [
            *chain(*Bleu(4).compute_score(gts, res, verbose=0)[1]),
            *Cider().compute_score(gts, res)[1],
        ]
    assert_mostly_equals_stock(ours, stocks)


def test_bleu_is_made_of_powers_that_are_rounded_correctly():
    references, candidates = awkward(random.Random(3), 60)
    statistics, digits = bleu_statistics(references, candidates), Context(prec=50)
    counts = zip(
        statistics.matches_CN.tolist(),
        statistics.totals_CN.tolist(),
        statistics.length_C,
        statistics.closest_C,
        strict=True,
    )
    for at, (matches, totals, length, closest) in enumerate(counts):
        product, ratio = 1.0, (float(length) + 1e-15) / (float(closest) + 1e-9)
        penalty = float(digits.exp(Decimal(1 - 1 / ratio))) if ratio < 1 else 1.0
        for n in range(4):
            product *= (matches[n] + 1e-15) / (totals[n] + 1e-9)
            expected = float(digits.power(Decimal(product), Decimal(1 / (n + 1)))) * penalty
            assert statistics.by_caption()[n][at] == expected


def test_one_image_without_a_word_and_no_words_at_all():
    statistics = bleu_statistics([[""], ["a dog"]], ["", "a dog"])
    corpus, per_image = Bleu(4).compute_score(
        {0: [""], 1: ["a dog"]}, {0: [""], 1: ["a dog"]}, verbose=0
    )
    assert_close_to_stock(statistics.pooled(), corpus)
    assert_close_to_stock(chain(*statistics.by_caption()), chain(*per_image))
    assert_close_to_stock(
        bleu_statistics([[""]], [""]).pooled(),
        Bleu(4).compute_score({0: [""], 1: [""]}, {0: [""], 1: [""]}, verbose=0)[0],
    )


def test_statistics_by_hand():
    statistics = bleu_statistics([["a dog", "a red dog runs off"], ["b"]], ["a dog a dog", "b"])
    assert statistics.matches_CN.tolist() == [[2, 1, 0, 0], [1, 0, 0, 0]]
    assert statistics.totals_CN.tolist() == [[4, 3, 2, 1], [1, 0, 0, 0]]
    assert statistics.length_C.tolist() == [4, 1]
    assert statistics.closest_C.tolist() == [5, 1]
    # Two references are equally close; the shorter one counts.
    assert bleu_statistics([["a", "a b c"]], ["a b"]).closest_C.tolist() == [1]


def test_images_may_have_several_captions_or_none_in_any_order():
    references, image_of = [["a dog", "a red dog runs off"], ["a"], ["b b", "b"]], [2, 0, 2, 0]
    candidates = ["b", "a dog runs", "b b b b", "a red"]
    captions = read_captions(references, candidates, image_of)
    bleu, cider = BleuCounter(captions), CiderScorer(captions, own_idf(captions))
    for ngrams in count_ngrams(captions):
        bleu.add(ngrams)
        cider.add(ngrams)
    expected = bleu_statistics([references[i] for i in image_of], candidates)
    assert bleu.statistics().by_caption() == expected.by_caption()
    assert bleu.statistics().pooled() == expected.pooled()
    for at, (caption, image) in enumerate(zip(candidates, image_of, strict=True)):
        gts = dict(enumerate(references))
        stock = Cider().compute_score(gts, {i: [caption if i == image else "a"] for i in gts})[1][
            image
        ]
        assert_close_to_stock([cider.scores()[at]], [stock])


def test_the_cosine_of_a_caption_with_itself_is_one():
    captions = read_captions(
        [["a red dog runs", "two cats sleep soundly"], ["x"]], ["a red dog runs", "a red"], [0, 0]
    )
    scorer = CiderScorer(captions, own_idf(captions), clipped=False)
    for ngrams in count_ngrams(captions):
        scorer.add(ngrams)
    one, other, half, nothing = scorer.mean_cosines()
    assert one == pytest.approx(1) and other == nothing == 0 and 0 < half < 0.5


@pytest.mark.parametrize("seed", range(20))
def test_a_corpus_counted_alone_weights_its_ngrams_as_if_counted_with_candidates(seed, monkeypatch):
    """N-grams of one image are not in its document frequencies, and lose nothing by that."""
    references, candidates = awkward(random.Random(seed), 5)
    captions = read_captions(references, candidates, range(5))
    monkeypatch.setattr(document_frequencies_module, "SHARD", 2 + seed % 4)
    own, lookup = own_idf(captions), Lookup(document_frequencies(references), captions)
    for ngrams in count_ngrams(captions):
        assert lookup(ngrams).tolist() == own(ngrams).tolist()


@pytest.mark.parametrize("seed", range(20))
def test_images_in_shards_have_the_scores_of_all_at_once(seed, monkeypatch):
    references, candidates = (dict(enumerate(of)) for of in awkward(random.Random(seed), 5))
    references = {image: [*of_image, "a dog"] for image, of_image in references.items()}
    at_once = score_without_java(references, candidates)
    monkeypatch.setattr(coco_metrics, "SHARD", 2)
    in_shards = score_without_java(references, candidates)
    assert in_shards == at_once
    for metric in ("BLEU-1", "BLEU-4"):
        expected, pooled = at_once[metric].pooled, in_shards[metric].pooled
        assert pooled.counts_IK.tolist() == expected.counts_IK.tolist()


def test_captions_in_shards_have_the_mbleu_of_all_at_once(monkeypatch):
    samples = [[*of_image, "a dog"] for of_image in awkward(random.Random(3), 7)[0]]
    at_once = bleu_statistics_within(samples).table()
    monkeypatch.setattr(bleu_module, "SHARD", 3)
    assert bleu_statistics_within(samples).table().tolist() == at_once.tolist()


def test_an_image_without_a_reference_has_its_number_in_the_whole_corpus(monkeypatch):
    monkeypatch.setattr(document_frequencies_module, "SHARD", 2)
    with pytest.raises(UserError, match="image number 3 "):
        document_frequencies([["a"], ["b"], ["c"], [], ["d"]])


@pytest.mark.parametrize("keys", [10, 300_000])
def test_all_keys_that_exist_are_found(keys):
    sorted_keys = np.arange(keys) * 3
    wanted = np.random.default_rng(0).integers(-3, 3 * keys + 3, size=1000)
    found, place = find(sorted_keys, wanted)
    assert found.tolist() == np.isin(wanted, sorted_keys).tolist() and 0 < found.sum() < 1000
    assert sorted_keys[place].tolist() == wanted[found].tolist()


def test_no_captions_have_no_scores():
    captions = read_captions([["a dog"], ["a cat"]], [], [])
    bleu, cider = BleuCounter(captions), CiderScorer(captions, own_idf(captions))
    for ngrams in count_ngrams(captions):
        bleu.add(ngrams)
        cider.add(ngrams)
    assert cider.scores().tolist() == bleu.statistics().closest_C.tolist() == []


def test_resampled_bleu_is_bleu():
    references, candidates = awkward(random.Random(1), 10)
    statistics = bleu_statistics(references, candidates)
    rows = np.concatenate([statistics.table(), statistics.table().sum(0, keepdims=True)])
    expected = [
        [*per_image, corpus]
        for per_image, corpus in zip(statistics.by_caption(), statistics.pooled(), strict=True)
    ]
    for n in range(1, 5):
        assert bleu_of_sums(rows, n).tolist() == expected[n - 1]


def test_guards():
    with pytest.raises(UserError, match="1 captions for the references of 2 images"):
        bleu_statistics([["a"], ["b"]], ["a"])
    with pytest.raises(UserError, match=r"image number 1 \(from 0\) has no reference"):
        bleu_statistics([["a"], []], ["a", "b"])
    with pytest.raises(UserError, match=r"image number 0 \(from 0\) has too few captions \(1\)"):
        bleu_statistics_within([["a"]])


def test_captions_of_an_image_against_each_other_by_hand():
    statistics = bleu_statistics_within([["a dog", "a dog a", "b"], ["c", "c c"]])
    assert statistics.matches_CN.tolist() == [
        [2, 1, 0, 0],
        [2, 1, 0, 0],
        [0, 0, 0, 0],
        [1, 0, 0, 0],
        [1, 0, 0, 0],
    ]
    assert statistics.totals_CN[:, 0].tolist() == statistics.length_C.tolist() == [2, 3, 1, 1, 2]
    assert statistics.closest_C.tolist() == [1, 2, 2, 2, 1]  # of two equally close, the shorter


def test_a_caption_of_ten_thousand_characters():
    long = " ".join(["a", "red", "dog"] * 1000)
    references, candidates = {1: ["a red dog", long], 2: ["two cats"]}, {1: long, 2: "two dogs"}
    expected = Cider().compute_score(
        references, {i: [caption] for i, caption in candidates.items()}
    )[1]
    assert_close_to_stock(score_cider(references, candidates).per_image.values(), expected)
    assert rouge_l(references[1], long) == pytest.approx(1)


def cost(images: int) -> tuple[float, int]:
    """Return the seconds (the best of three) and peak bytes of scoring a number of images."""
    rng = random.Random(0)
    words = [f"w{int(1.3 ** rng.randint(0, 30))}" for _ in range(2000)]
    references = [[" ".join(rng.choices(words, k=10)) for _ in range(5)] for _ in range(images)]
    candidates = [of_image[0] for of_image in references]

    def score() -> None:
        captions = read_captions(references, candidates, range(images))
        scorer = CiderScorer(captions, own_idf(captions))
        for ngrams in count_ngrams(captions):
            scorer.add(ngrams)
        scorer.scores()

    seconds = []
    for _ in range(3):
        started = time.process_time()
        score()
        seconds.append(time.process_time() - started)
    tracemalloc.start()
    score()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return min(seconds), peak


def test_time_and_memory_grow_with_the_captions():
    small, large = cost(500), cost(4000)
    assert large[0] < 8 * 3 * small[0]
    assert large[1] < 8 * 1.5 * small[1]
    assert large[1] / 4000 < 12_000  # bytes per image, with six captions
