import random

import numpy as np
import pytest
from pycocoevalcap.cider.cider_scorer import CiderScorer as StockScorer

from dsacap.common.errors import UserError
from dsacap.training.cider_reward import CiderDReward
from ulps import assert_close_to_stock, assert_mostly_equals_stock

RNG = random.Random(7)


def caption(words: str) -> str:
    return " ".join(RNG.choices(words, k=RNG.randint(0, 12)))


TRAIN = [[f"{i} {caption('abcdefgh')}" for _ in range(RNG.randint(1, 6))] for i in range(50)]


@pytest.fixture(scope="module")
def reward() -> CiderDReward:
    return CiderDReward(TRAIN)


class CountedAs(list):
    """A list as long as the training corpus, for stock CIDEr takes its document count from it."""

    documents: int

    def __len__(self) -> int:
        return self.documents


def stock(
    references: list[list[str]], candidates: list[str], corpus: list[list[str]] = TRAIN
) -> np.ndarray:
    train = StockScorer()
    for of_image in corpus:
        train += (None, of_image)
    train.compute_doc_freq()
    scorer = StockScorer()
    scorer.document_frequency = train.document_frequency
    for of_image, candidate in zip(references, candidates, strict=True):
        scorer += (candidate, of_image)
    scorer.crefs = CountedAs(scorer.crefs)
    scorer.crefs.documents = len(corpus)
    return np.array(scorer.compute_cider())


def test_equals_stock_on_images_of_the_corpus(reward):
    references = RNG.choices(TRAIN, k=80)
    candidates = [
        RNG.choice([caption("abcdefghxyz"), RNG.choice(of_image), ""]) for of_image in references
    ]
    assert_mostly_equals_stock(reward.score(references, candidates), stock(references, candidates))


def test_equals_stock_on_other_images(reward):
    """Words and n-grams that the corpus does not have count as if one image had them."""
    other = [[caption("abcxyz"), caption("xyz")] for _ in range(10)]
    references = RNG.choices(TRAIN + other, k=80)
    candidates = [
        RNG.choice([caption("abcdefghxyz"), RNG.choice(of_image), "never heard of it"])
        for of_image in references
    ]
    assert_mostly_equals_stock(reward.score(references, candidates), stock(references, candidates))


def test_the_first_and_the_last_ngram_of_the_corpus_count_as_all_do():
    """N-grams and images are numbered together.

    An unknown n-gram must not be taken for the last one of the image before.
    """
    corpus = [["a b c d", "d d d"], ["a b"], ["a b c"]]
    candidates = [
        "a zebra d",
        "zebra",
        "a b zebra zebra b c d",
        "d a",
        "",
        "a a b b",
        "a b c d e d d d",
    ]
    reward = CiderDReward(corpus)
    for of_image in corpus:
        assert_close_to_stock(
            reward.score([of_image] * len(candidates), candidates),
            stock([of_image] * len(candidates), candidates, corpus),
        )
    firsts = [of_image[0] for of_image in corpus]
    assert_close_to_stock(reward.score(corpus, firsts), stock(corpus, firsts, corpus))


def test_a_corpus_of_two_images_is_enough():
    corpus = [["a dog"], ["a cat"]]
    assert_close_to_stock(
        CiderDReward(corpus).score(corpus, ["a dog", "a dog"]),
        stock(corpus, ["a dog", "a dog"], corpus),
    )


def test_a_caption_scores_the_same_in_any_batch(reward):
    candidates = [caption("abcdef") for _ in TRAIN]
    whole = reward.score(TRAIN, candidates)
    assert [
        reward.score([of_image], [c])[0] for of_image, c in zip(TRAIN, candidates, strict=True)
    ] == whole.tolist()
    assert whole.max() > 0


def test_no_candidates(reward):
    assert reward.score([], []).tolist() == []


def test_guards(reward):
    with pytest.raises(UserError, match="2 candidates need as many lists of references; got 1"):
        reward.score([TRAIN[0]], ["a", "b"])
    with pytest.raises(UserError, match="no reference"):
        reward.score([[]], ["a"])
    with pytest.raises(UserError, match="1 image: CIDEr needs"):
        CiderDReward([["a dog"]])
