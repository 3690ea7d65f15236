"""Stock pycocoevalcap and ours on captions of the Karpathy test split, in one run.

    pytest --benchmark-only tests/benchmarks/test_scoring.py

The captions are Show-Edit-Tell's of all 5,000 images, with five references each; ten minutes. The
table has a group for each comparison. The goals are to be 10 times as fast without METEOR, 7 times
with it, and 20 times for a reward of 24 images with 8 captions. Both sides are given tokenised
captions. DSACAP_BENCH_IMAGES=500 takes fewer images, of which start-up is a larger share.
"""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.cider.cider_scorer import CiderScorer as StockScorer
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge

from dsacap.scoring.metrics.coco_metrics import (
    METRICS,
    score_captions,
    score_cider,
    score_without_java,
)
from dsacap.text.ptb_tokenizer import java_environment
from dsacap.training.cider_reward import CiderDReward
from stock import show_edit_tell
from ulps import assert_mostly_equals_stock

IMAGES = int(os.environ.get("DSACAP_BENCH_IMAGES", "5000"))
TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def captions(real_data) -> tuple[dict[int, list[str]], dict[int, str]]:
    """Tokenised references and candidates by image id."""
    return show_edit_tell(real_data, IMAGES)


def stock(references, candidates) -> list[np.ndarray]:
    candidates = {image_id: [caption] for image_id, caption in candidates.items()}
    bleu = Bleu(4).compute_score(references, candidates, verbose=0)[1]
    return [
        *bleu,
        Rouge().compute_score(references, candidates)[1],
        Cider().compute_score(references, candidates)[1],
    ]


def ours(references, candidates) -> list[list[float]]:
    return [
        list(result.per_image.values())
        for result in score_without_java(references, candidates).values()
    ]


@pytest.mark.parametrize("implementation", [stock, ours])
def test_bleu_rouge_cider(benchmark, captions, implementation):
    benchmark.group = f"BLEU-1..4, ROUGE-L, CIDEr-D of {IMAGES} images"
    scores = benchmark.pedantic(implementation, args=captions, rounds=3, warmup_rounds=1)
    assert_mostly_equals_stock(np.ravel(scores), np.ravel(stock(*captions)))


def stock_with_meteor(references, candidates) -> list[np.ndarray]:
    with java_environment():
        meteor = Meteor()
    scores = stock(references, candidates)  # while METEOR loads
    scores.insert(
        METRICS.index("METEOR"),
        meteor.compute_score(references, {i: [caption] for i, caption in candidates.items()})[1],
    )
    meteor.meteor_p.kill()
    meteor.meteor_p.communicate()
    return scores


def ours_with_meteor(references, candidates) -> list[list[float]]:
    return [
        list(result.per_image.values())
        for result in score_captions(references, candidates).values()
    ]


@pytest.mark.parametrize("implementation", [stock_with_meteor, ours_with_meteor])
def test_all_four_warm(benchmark, captions, implementation):
    """Score again in one process: pycocoevalcap starts METEOR each time, ours keeps it."""
    benchmark.group = f"all four metrics of {IMAGES} images, warm"
    ours = implementation is ours_with_meteor
    scores = benchmark.pedantic(
        implementation, args=captions, rounds=3 if ours else 1, warmup_rounds=5 if ours else 0
    )
    if ours:
        assert_mostly_equals_stock(np.ravel(scores), np.ravel(stock_with_meteor(*captions)))


@pytest.mark.parametrize("implementation", [stock_with_meteor, ours_with_meteor])
def test_all_four_in_a_new_process(benchmark, captions, tmp_path, implementation):
    """From the start of Python to the scores."""
    benchmark.group = f"all four metrics of {IMAGES} images, in a new process"
    (tmp_path / "captions.json").write_text(json.dumps(captions))
    script = (
        f"import json, sys; from {__name__} import {implementation.__name__} as score; "
        "score(*json.load(open(sys.argv[1])))"
    )
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, (TESTS.parent, TESTS, Path(__file__).parent)))
    }
    command = [sys.executable, "-c", script, str(tmp_path / "captions.json")]
    benchmark.pedantic(
        subprocess.run, args=(command,), kwargs={"env": environment, "check": True}, rounds=2
    )


@pytest.mark.parametrize(
    "implementation", [Cider().compute_score, score_cider], ids=["stock", "ours"]
)
def test_cider(benchmark, captions, implementation):
    """What training does to choose a checkpoint."""
    benchmark.group = f"CIDEr-D of {IMAGES} images"
    references, candidates = captions
    given = (
        candidates
        if implementation is score_cider
        else {i: [caption] for i, caption in candidates.items()}
    )
    benchmark.pedantic(implementation, args=(references, given), rounds=3, warmup_rounds=1)


def stock_reward(
    train: StockScorer, references: list[list[str]], candidates: list[str]
) -> np.ndarray:
    scorer = StockScorer()
    scorer.document_frequency = train.document_frequency
    for texts, candidate in zip(references, candidates, strict=True):
        scorer += (candidate, texts)
    return np.array(
        scorer.compute_cider()
    )  # its document count is the batch's, which is wrong but costs the same


@pytest.mark.parametrize("implementation", ["stock", "ours"])
@pytest.mark.parametrize(("images", "samples"), [(8, 5), (24, 8), (64, 5)])
def test_reward(benchmark, captions, images, samples, implementation):
    """Score a batch: each image's samples, by document frequencies of all images."""
    benchmark.group = f"CIDEr-D reward of {images} x {samples} captions"
    references, texts = list(captions[0].values()), list(captions[1].values())
    batch = [references[i] for i in range(images) for _ in range(samples)]
    sampled = [texts[i + s] for i in range(images) for s in range(samples)]
    if implementation == "ours":
        score = CiderDReward(references).score
    else:
        train = StockScorer()
        for image in references:
            train += (None, image)
        train.compute_doc_freq()
        score = partial(stock_reward, train)
    rewards = benchmark.pedantic(score, args=(batch, sampled), rounds=10, warmup_rounds=1)
    assert len(rewards) == images * samples
