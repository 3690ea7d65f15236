import json

import numpy as np
import pytest

from dsacap.common.errors import UserError
from dsacap.config.sections import Claim, Comparison, Row
from dsacap.reporting.claims import CONTRADICTED, SUPPORTED, UNDECIDED, write_claims
from dsacap.reporting.page.findings import findings_of
from dsacap.runs.layout import Layout
from dsacap.scoring.statistics import bootstrap_seeds_interval
from helpers import tiny_config

GREEDY, DRAWN = Row(system="ar", decoding="greedy"), Row(system="dsacap", decoding="K=1")
JUDGE = {
    "encoder": {"train": {"steps": 2, "seed": 1}},
    "generator": {"train": {"steps": 2, "seed": 1}},
}
RNG = np.random.default_rng(0)
IMAGES = range(200)


def layout_with(tmp_path, scores: dict, claims: dict, seeds=(0, 1)) -> Layout:
    """Write result files of two rows, from (row, seed) -> metric -> values of the images."""
    claims = {
        name: Claim(says="a claim", tests=tests).model_dump() for name, tests in claims.items()
    }
    layout = Layout(
        tiny_config(tmp_path, seeds=list(seeds), ablation={"judge": JUDGE, "claims": claims})
    )
    for (row, seed), metrics in scores.items():
        path = layout.scores(row.system, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        quality = {
            metric: {"per_image": dict(zip(map(str, IMAGES), values, strict=True))}
            for metric, values in metrics.items()
        }
        path.write_text(json.dumps({row.decoding: {"quality": quality, "diversity": {}}}))
    return layout


def verdicts(layout: Layout) -> dict[str, str]:
    write_claims(layout)
    lines = layout.claims.read_text().splitlines()
    return {
        line.split("## ")[1].split(":")[0]: line.split(": ")[1]
        for line in lines
        if line.startswith("## ")
    }


def test_verdicts(tmp_path):
    base = RNG.normal(size=len(IMAGES))
    scores = {}
    for seed in (0, 1):
        noise = RNG.normal(size=(3, len(IMAGES))) * 0.1
        better = {"CIDEr": (base + 0.1 + noise[0]).tolist(), "METEOR": (base + noise[1]).tolist()}
        scores |= {
            (GREEDY, seed): better,
            (DRAWN, seed): {"CIDEr": base.tolist(), "METEOR": (base + noise[2]).tolist()},
        }
    more, less, same = (
        Comparison(metric=metric, better=a, worse=b)
        for metric, a, b in (
            ("CIDEr", GREEDY, DRAWN),
            ("CIDEr", DRAWN, GREEDY),
            ("METEOR", GREEDY, DRAWN),
        )
    )
    claims = {
        "more": [more],
        "less": [less],
        "same": [same],
        "more-and-same": [more, same],
        "more-and-less": [more, less],
    }
    expected = [SUPPORTED, CONTRADICTED, UNDECIDED, UNDECIDED, CONTRADICTED]
    assert verdicts(layout_with(tmp_path / "two", scores, claims)) == dict(
        zip(claims, expected, strict=True)
    )
    one = {key: value for key, value in scores.items() if key[1] == 0}
    assert set(verdicts(layout_with(tmp_path / "one", one, claims, seeds=[0])).values()) == {
        UNDECIDED
    }


def test_the_page_tells_the_findings_in_words(tmp_path):
    scores = {(GREEDY, seed): {"CIDEr": [1.0] * len(IMAGES)} for seed in (0, 1)}
    scores |= {(DRAWN, seed): {"CIDEr": [0.9] * len(IMAGES)} for seed in (0, 1)}
    test = Comparison(metric="CIDEr", better=GREEDY, worse=DRAWN)
    layout = layout_with(tmp_path, scores, {"first": (test,)})
    assert findings_of(layout) is None  # before claims.csv is written
    write_claims(layout)
    sentence = (
        "CIDEr: ar (greedy) has 100.0 and dsacap (K=1) 90.0, a difference of +10.0 (95 % interval"
        " +10.0 to +10.0); supported."
    )
    assert findings_of(layout) == {
        "sentences": [sentence],
        "claims": [
            {"name": "first", "says": "a claim", "verdict": "supported", "tests": [sentence]}
        ],
    }


def test_a_seed_that_disagrees_leaves_a_claim_undecided(tmp_path):
    base = np.zeros(len(IMAGES))
    scores = {(DRAWN, seed): {"CIDEr": base.tolist()} for seed in (0, 1)}
    scores |= {
        (GREEDY, 0): {"CIDEr": (base + 1).tolist()},
        (GREEDY, 1): {"CIDEr": (base - 0.5).tolist()},
    }
    layout = layout_with(
        tmp_path, scores, {"C": [Comparison(metric="CIDEr", better=GREEDY, worse=DRAWN)]}
    )
    assert verdicts(layout) == {"C": UNDECIDED}


def test_a_claim_is_undecided_if_no_image_can_be_compared(tmp_path):
    scores = {
        (row, seed): {"CIDEr": [1.0] * len(IMAGES)} for row in (GREEDY, DRAWN) for seed in (0, 1)
    }
    layout = layout_with(
        tmp_path, scores, {"C": [Comparison(metric="CIDEr", better=GREEDY, worse=DRAWN)]}
    )
    for seed in (0, 1):
        quality = {"CIDEr": {"per_image": {"another image": 1.0}}}
        layout.scores("ar", seed).write_text(
            json.dumps({"greedy": {"quality": quality, "diversity": {}}})
        )
    assert verdicts(layout) == {"C": UNDECIDED}


def test_a_metric_that_a_row_lacks_is_named(tmp_path):
    scores = {
        (row, seed): {"CIDEr": [1.0] * len(IMAGES)} for row in (GREEDY, DRAWN) for seed in (0, 1)
    }
    layout = layout_with(
        tmp_path, scores, {"C": [Comparison(metric="unique", better=GREEDY, worse=DRAWN)]}
    )
    with pytest.raises(UserError, match="ar, greedy has no unique per image"):
        write_claims(layout)


def test_the_interval_covers_seeds_and_images():
    values = np.repeat([[0.0], [1.0]], 50, axis=1)
    assert bootstrap_seeds_interval(values) == (0, 1)
    low, high = bootstrap_seeds_interval(RNG.normal(size=(1, 400)))
    assert high - low == pytest.approx(2 * 1.96 / 20, rel=0.2)


def test_speed_is_a_ratio_of_paired_rounds(tmp_path):
    speed = Comparison(metric="images_per_s", better=DRAWN, worse=GREEDY)
    layout = layout_with(tmp_path, {}, {"Q1": [speed]}, seeds=[0])
    rows = [
        {
            "system": row.system,
            "decoding": row.decoding,
            "batch_size": 1,
            "ms": [ms * round_ for round_ in (1.0, 1.5, 1.1, 0.9)],
        }
        for row, ms in ((DRAWN, 2.0), (GREEDY, 6.0))
    ]
    layout.latency.parent.mkdir(parents=True, exist_ok=True)
    layout.latency.write_text(json.dumps({"rows": rows}))
    assert verdicts(layout) == {"Q1": SUPPORTED}
    assert "x3.00" in layout.claims.read_text()
