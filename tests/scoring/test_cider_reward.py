import random

import numpy as np
import pytest
from pycocoevalcap.cider.cider_scorer import CiderScorer as StockScorer

from dsacap.errors import UserError
from dsacap.scoring.cider_reward import CiderDReward

RNG = random.Random(7)


def caption(words: str) -> str:
    return " ".join(RNG.choices(words, k=RNG.randint(0, 12)))


TRAIN = [[f"{i} {caption('abcdefgh')}" for _ in range(RNG.randint(1, 6))] for i in range(50)]
REWARD = CiderDReward(TRAIN)


class CountedAs(list):
    """A list that says it is as long as the training corpus: stock CIDEr takes its document count from there."""

    def __len__(self) -> int:
        return len(TRAIN)


def stock(references: list[list[str]], candidates: list[str]) -> np.ndarray:
    train = StockScorer()
    for said in TRAIN:
        train += (None, said)
    train.compute_doc_freq()
    scorer = StockScorer()
    scorer.document_frequency = train.document_frequency
    for said, candidate in zip(references, candidates, strict=True):
        scorer += (candidate, said)
    scorer.crefs = CountedAs(scorer.crefs)
    return np.array(scorer.compute_cider())


def test_equals_stock_on_images_of_the_corpus():
    references = RNG.choices(TRAIN, k=80)
    candidates = [RNG.choice([caption("abcdefghxyz"), RNG.choice(said), ""]) for said in references]
    assert REWARD.score(references, candidates).tolist() == stock(references, candidates).tolist()


def test_equals_stock_on_other_images():
    """Words and n-grams that the corpus has not count as if one image had them."""
    other = [[caption("abcxyz"), caption("xyz")] for _ in range(10)]
    references = RNG.choices(TRAIN + other, k=80)
    candidates = [RNG.choice([caption("abcdefghxyz"), RNG.choice(said), "never heard of it"]) for said in references]
    assert REWARD.score(references, candidates).tolist() == stock(references, candidates).tolist()


def test_a_caption_scores_the_same_in_any_batch():
    candidates = [caption("abcdef") for _ in TRAIN]
    whole = REWARD.score(TRAIN, candidates)
    assert [REWARD.score([said], [c])[0] for said, c in zip(TRAIN, candidates, strict=True)] == whole.tolist()
    assert whole.max() > 0


def test_no_candidates():
    assert REWARD.score([], []).tolist() == []


def test_guards():
    with pytest.raises(UserError, match="2 candidates need as many lists of references, got 1"):
        REWARD.score([TRAIN[0]], ["a", "b"])
    with pytest.raises(UserError, match="no reference"):
        REWARD.score([[]], ["a"])
    with pytest.raises(UserError, match="1 image: CIDEr needs"):
        CiderDReward([["a dog"]])
