import json
import random
import sys
from itertools import chain

import pytest

from dsacap.common.errors import UserError
from dsacap.scoring.java.jvm import JvmWorker
from dsacap.scoring.metrics import coco_metrics as module
from dsacap.scoring.metrics.coco_metrics import (
    METRICS,
    score_captions,
    score_cider,
    score_many,
    score_without_java,
)
from dsacap.scoring.metrics.document_frequencies import document_frequencies
from dsacap.scoring.metrics.metric_result import MetricResult
from stock import show_edit_tell, stock_scores
from ulps import assert_mostly_equals_stock

REFERENCES = {
    7: ["a red dog runs in the park", "the dog runs"],
    3: ["two cats sleep on a bed"],
    5: ["a man rides a wave"],
}
CANDIDATES = {3: "two cats on a bed", 5: "a man rides a wave", 7: "a dog in a park"}


def made_up_captions(seed: int, images: int) -> tuple[dict[int, list[str]], list[dict[int, str]]]:
    """Return one to six references per image, and two sets of candidates.

    References have one to twelve words, candidates none to twelve.
    """
    rng = random.Random(seed)
    words = [
        "a",
        "the",
        "two",
        "dog",
        "dogs",
        "cat",
        "runs",
        "running",
        "on",
        "in",
        "café",
        "park",
        "red",
        "big",
        "large",
        "'s",
        "12",
    ]

    def caption(shortest: int) -> str:
        return " ".join(rng.choices(words, k=rng.randint(shortest, 12)))

    ids = rng.sample(range(10**6), images)
    references = {image_id: [caption(1) for _ in range(rng.randint(1, 6))] for image_id in ids}
    return references, [{image_id: caption(0) for image_id in sorted(ids)} for _ in range(2)]


def assert_equal_stocks(scores: dict[str, MetricResult], stocks: dict[str, MetricResult]) -> None:
    """Assert that scores equal the stock code's.

    METEOR, which is Java on both sides, and ROUGE-L, which takes no powers, are compared to the
    last bit; the others within the rounding of the stock code.
    """
    assert scores.keys() == stocks.keys()
    for metric in ("METEOR", "ROUGE-L"):
        assert scores[metric] == stocks[metric]
    values = (
        [*chain(*([result.corpus, *result.per_image.values()] for result in side.values()))]
        for side in (scores, stocks)
    )
    assert_mostly_equals_stock(*values)


def test_equals_stock_pycocoevalcap_also_under_a_german_locale(stock_meteor, monkeypatch, capfd):
    references, candidate_sets = made_up_captions(seed=0, images=40)
    expected = [stock_scores(references, candidates, stock_meteor) for candidates in candidate_sets]
    for variable in ("LANG", "LC_ALL"):
        monkeypatch.setenv(variable, "de_DE.UTF-8")
    # The locale itself may not be installed.
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Duser.language=de -Duser.country=DE")
    score_captions(REFERENCES, CANDIDATES)  # may print that it makes the index of paraphrases
    capfd.readouterr()
    worker = JvmWorker()
    try:
        scores = score_many([(references, candidates) for candidates in candidate_sets], worker)
    finally:
        worker.close()
    assert capfd.readouterr() == ("", "")
    for of_set, stocks in zip(scores, expected, strict=True):
        assert_equal_stocks(of_set, stocks)
    assert [tuple(names) for names in scores] == [METRICS, METRICS]
    assert [score_cider(references, candidates) for candidates in candidate_sets] == [
        of_set["CIDEr"] for of_set in scores
    ]


class NoJava:
    """A fake METEOR, the number of words, with the interface of pycocoevalcap and ours."""

    def __init__(self):
        self.workers = []

    def compute_score(self, references, candidates):
        per_image = [len(candidates[i][0].split()) / 100 for i in references]
        return sum(per_image), per_image

    def score_meteors(self, pairs, worker):
        self.workers.append(worker)
        scores = [
            self.compute_score(references, {i: [c] for i, c in candidates.items()})
            for references, candidates in pairs
        ]
        return [
            MetricResult(corpus, dict(zip(r, of_images, strict=True)))
            for (corpus, of_images), (r, _) in zip(scores, pairs, strict=True)
        ]


def test_each_set_of_captions_has_every_metric_of_its_own(monkeypatch):
    """Test everything but the Java, which other tests run."""
    meteor = NoJava()
    monkeypatch.setattr(module, "score_meteors", meteor.score_meteors)
    references, candidate_sets = made_up_captions(seed=2, images=30)
    scores = score_many([(references, candidates) for candidates in candidate_sets], "a worker")
    for candidates, of_set in zip(candidate_sets, scores, strict=True):
        assert_equal_stocks(of_set, stock_scores(references, candidates, meteor))
    assert [tuple(of_set) for of_set in scores] == [METRICS, METRICS]
    assert score_captions(references, candidate_sets[1], "another") == scores[1]
    assert meteor.workers == ["a worker", "another"]
    for candidates, of_set in zip(candidate_sets, scores, strict=True):
        assert score_without_java(references, candidates) == {
            m: result for m, result in of_set.items() if m != "METEOR"
        }
        assert score_cider(references, candidates) == of_set["CIDEr"]
        for metric in METRICS[:4]:
            pooled = of_set[metric].pooled
            assert pooled.score(pooled.counts_IK.sum(0)[None])[0] == pytest.approx(
                of_set[metric].corpus, abs=1e-12
            )
            assert pooled.score(pooled.counts_IK) == pytest.approx(
                list(of_set[metric].per_image.values()), abs=1e-12
            )
    with pytest.raises(UserError, match="no caption"):
        score_without_java(references, {})


def test_pooled_counts_give_the_corpus_score():
    """Some captions share no word with a reference, are empty, or equal one.

    METEOR pools the counts of the last kind differently.
    """
    references, (candidates, _) = made_up_captions(seed=1, images=60)
    ids = list(references)
    candidates |= (
        {i: references[i][0] for i in ids[:10]}
        | dict.fromkeys(ids[10:20], "elephants fly")
        | dict.fromkeys(ids[20:22], "")
    )
    scores = score_captions(references, candidates)
    for metric in METRICS[:5]:
        pooled = scores[metric].pooled
        assert pooled.score(pooled.counts_IK.sum(0)[None])[0] == pytest.approx(
            scores[metric].corpus, abs=1e-12
        )
    assert scores["CIDEr"].pooled is scores["ROUGE-L"].pooled is None
    meteor = scores["METEOR"]
    assert meteor.pooled.score(meteor.pooled.counts_IK[20:]) == pytest.approx(
        list(meteor.per_image.values())[20:], abs=1e-12
    )


def test_cider_of_a_perfect_caption_is_ten():
    references = {1: ["a red dog runs"], 2: ["two cats sleep soundly"]}
    result = score_cider(references, {2: "five quick birds fly", 1: "a red dog runs"})
    assert result.per_image == {1: pytest.approx(10), 2: 0}
    assert result.corpus == pytest.approx(5)


@pytest.mark.parametrize(
    ("references", "candidates", "message"),
    [
        (
            REFERENCES,
            {3: "a", 7: "b"},
            r"1 of 3 images have no caption \(first: 5\), 0 of 2 captions have no references$",
        ),
        (
            REFERENCES,
            CANDIDATES | {9: "a", 8: "b"},
            r"0 of 3 images have no caption, 2 of 5 captions .* \(first: 8, 9\)",
        ),
        (
            {image: ["x"] for image in "abcd"},
            {},
            r"4 of 4 images have no caption \(first: a, b, c\), 0 of 0 captions have no ref",
        ),
        ({}, {}, "no images to score; give captions"),
        (
            REFERENCES | {5: []},
            CANDIDATES,
            r"image 5: its references must be a list with one or more captions, not \[\]",
        ),
        (REFERENCES | {5: [""]}, CANDIDATES, "image 5: its references must be a list with one"),
        (
            REFERENCES | {5: "a man"},
            CANDIDATES,
            "image 5: its references must be a list with one or more captions, not 'a man'",
        ),
        (
            REFERENCES,
            CANDIDATES | {3: ["a cat", "two cats"]},
            "image 3: its caption must be one string, not",
        ),
        (REFERENCES, CANDIDATES | {3: "a cat\nsleeps"}, "image 3: line break"),
        (REFERENCES | {7: ["a dog", "the\rdog"]}, CANDIDATES, "image 7: line break"),
    ],
)
@pytest.mark.parametrize("score", [score_captions, score_cider])
def test_guards(references, candidates, message, score):
    with pytest.raises(UserError, match=message):
        score(references, candidates)


def test_one_image_has_all_scores_but_cider():
    """CIDEr of one image is 0 in pycocoevalcap, whatever the caption."""
    references, candidates = {3: ["a cat sleeps", "the cat"]}, {3: "a cat sleeps"}
    scores = score_captions(references, candidates)
    assert tuple(scores) == METRICS[:-1] == tuple(score_many([(references, candidates)])[0])
    assert scores["BLEU-1"].corpus == pytest.approx(1) and scores["ROUGE-L"].corpus == 1
    with pytest.raises(UserError, match="1 image: CIDEr needs two or more"):
        score_cider(references, candidates)
    others = document_frequencies([["a dog"], ["a cat"], ["the sun"]])
    with_others = score_captions(references, candidates, frequencies=others)
    assert tuple(with_others) == METRICS and with_others["CIDEr"].corpus > 1
    assert {metric: with_others[metric] for metric in scores} == scores


def test_no_candidate_sets():
    assert score_many([]) == []


def test_a_dying_meteor_is_reported():
    worker = JvmWorker([sys.executable, "-c", "import sys; sys.exit('out of memory')"])
    with pytest.raises(UserError, match=r"failed twice: exit status 1: out of memory\n.*4 GB"):
        score_captions(REFERENCES, CANDIDATES, worker)


# ----------------------------------------------------------------------------- published numbers


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def corpus_scores(scores: dict[str, MetricResult]) -> dict[str, float]:
    return {name: result.corpus for name, result in scores.items()}


def test_fakecap_scores_as_published(real_data):
    references = {
        int(k): v
        for k, v in read(real_data / "predictions" / "fakecap_references_tokenized.json").items()
    }
    candidates = {
        r["image_id"]: r["caption"]
        for r in read(real_data / "predictions" / "captions_val2014_fakecap_results.json")
    }
    scores = corpus_scores(score_captions(references, candidates))
    published = dict(zip(METRICS, (0.579, 0.404, 0.279, 0.191, 0.195, 0.396, 0.600), strict=True))
    assert {name: round(score, 3) for name, score in scores.items()} == published


def test_equals_stock_pycocoevalcap_on_coco(real_data, stock_meteor):
    references, candidates = show_edit_tell(real_data, 500)
    assert len(references) == 500
    assert_equal_stocks(
        score_captions(references, candidates), stock_scores(references, candidates, stock_meteor)
    )


@pytest.mark.slow
def test_show_edit_tell_scores_as_published(real_data):
    scores = corpus_scores(score_captions(*show_edit_tell(real_data, 5000)))
    published = read(real_data / "predictions" / "show-edit-tell_xe_results.json")
    names = {
        "Bleu_1": "BLEU-1",
        "Bleu_2": "BLEU-2",
        "Bleu_3": "BLEU-3",
        "Bleu_4": "BLEU-4",
        "ROUGE_L": "ROUGE-L",
        "CIDEr": "CIDEr",
    }
    assert {name: scores[names[name]] for name in published} == pytest.approx(published, rel=1e-15)
    # Computed with the stock code, because the authors report no METEOR.
    assert round(scores["METEOR"], 5) == 0.28084
