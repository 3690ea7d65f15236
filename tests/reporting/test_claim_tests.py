"""What tests of claims find: which values they compare, and how these are paired."""

import json

import numpy as np
import pytest

from dsacap.common.errors import UserError
from dsacap.config.claims import AtSameDiversity, Comparison, Dial
from dsacap.config.sections import Row
from dsacap.reporting import claim_tests
from dsacap.reporting.claim_tests import measure, named, share_weights
from dsacap.runs.layout import Layout
from dsacap.scoring.random_effects import effect
from helpers import JUDGE, score_files, tiny_config

GREEDY, DRAWN = Row(system="ar", decoding="greedy"), Row(system="dsacap", decoding="K=1")
TUNED = Row(system="dsacap-rl", decoding="K=1")
OF_SEED = np.array([[0.0], [1.0], [5.0]]) + np.random.default_rng(2).normal(size=(3, 60)) * 0.01


def layout_of(tmp_path, scores=None, test=None) -> Layout:
    claims = {"C": {"says": "a claim", "primary": test.model_dump()}} if test else {}
    ablation = {"judge": JUDGE, "claims": claims}
    layout = Layout(tiny_config(tmp_path, seeds=[0, 1, 2], ablation=ablation))
    score_files(layout, scores or {})
    return layout


def test_seeds_are_paired_where_one_row_is_tuned_from_the_other(tmp_path):
    scores = {row: {"METEOR": OF_SEED} for row in (GREEDY, DRAWN)}
    scores[TUNED] = {"METEOR": OF_SEED + 0.1}
    layout = layout_of(tmp_path, scores)
    paired = measure(layout, Comparison(metric="METEOR", better=TUNED, worse=DRAWN))
    separate = measure(layout, Comparison(metric="METEOR", better=TUNED, worse=GREEDY))
    assert paired.over == "paired seeds, images" and separate.over == "separate seeds, images"
    assert (paired.effect, separate.effect) == pytest.approx((10, 10))
    assert paired.p < 1e-6 and separate.p > 0.9
    by_hand = effect([100 * OF_SEED + 10, -100 * OF_SEED])
    assert (separate.low, separate.high) == pytest.approx((by_hand.low, by_hand.high))


def test_seeds_mean_the_same_to_rows_from_the_same_weights_or_teacher(tmp_path):
    config = tiny_config(tmp_path)
    systems = {name: system.model_dump() for name, system in config.systems.items()}
    systems["other-rl"] = systems["dsacap-rl"]
    systems["pupil"] = systems["dsacap"] | {"distilled_from": GREEDY.model_dump()}
    config = tiny_config(tmp_path, systems=systems)
    assert share_weights(config, "dsacap", "dsacap-rl")
    assert share_weights(config, "other-rl", "dsacap-rl") and share_weights(config, "ar", "ar")
    assert share_weights(config, "pupil", "ar")
    assert not share_weights(config, "ar", "dsacap") and not share_weights(
        config, "pupil", "dsacap"
    )


def test_a_metric_that_a_row_lacks_is_named(tmp_path):
    layout = layout_of(tmp_path, {row: {"CIDEr": OF_SEED} for row in (GREEDY, DRAWN)})
    with pytest.raises(UserError, match="ar, greedy has no unique per image"):
        measure(layout, Comparison(metric="unique", better=GREEDY, worse=DRAWN))


def test_speed_is_a_ratio_of_paired_rounds_at_a_batch_size(tmp_path):
    layout = layout_of(tmp_path)
    rounds = (1.0, 1.5, 1.1, 0.9)
    rows = [
        {
            "system": row.system,
            "decoding": row.decoding,
            "batch_size": size,
            "ms": [ms * round_ for round_ in rounds],
        }
        for row, size, ms in ((DRAWN, 1, 2.0), (GREEDY, 1, 6.0), (DRAWN, 4, 10.0), (GREEDY, 4, 5.0))
    ]
    layout.latency.parent.mkdir(parents=True, exist_ok=True)
    layout.latency.write_text(json.dumps({"rows": rows}))
    speed = Comparison(metric="images_per_s", better=DRAWN, worse=GREEDY)
    first = measure(layout, speed)
    assert (first.effect, first.low, first.high) == pytest.approx((3, 3, 3))
    middle = np.prod(rounds) ** (1 / len(rounds))
    assert first.better == pytest.approx(1000 / (2 * middle)) and first.p < 0.05
    assert (first.over, first.images, first.reason) == ("rounds", 4, None)
    largest = measure(layout, speed.model_copy(update={"batch_size": 4}))
    assert largest.effect == pytest.approx(0.5)
    assert largest.better == pytest.approx(4000 / (10 * middle))


def test_continuations_of_a_wrong_beginning_are_scored_by_themselves(tmp_path, monkeypatch):
    """A system that is as bad after a right beginning is not rewarded for it."""
    test = Comparison(metric="right_after_wrong", better=DRAWN, worse=GREEDY)
    layout = layout_of(tmp_path, test=test)
    monkeypatch.setattr(
        claim_tests, "references_of", lambda _: {"1": ["a b c d"], "2": ["e f g h"]}
    )
    for system, decoding, wrong in (("dsacap", "K=1", "x f g"), ("ar", "greedy", "e f g h")):
        for seed in (0, 1, 2):
            path = layout.completions(system, seed)
            path.parent.mkdir(parents=True, exist_ok=True)
            texts = {"1": "a b c x", "2": wrong}
            nothing = {"1": "x", "2": "x"}
            path.write_text(json.dumps({decoding: {"after_wrong": texts, "after_right": nothing}}))
    found = measure(layout, test)
    assert (found.better, found.worse) == pytest.approx((25, 75))
    after_right = test.model_copy(update={"metric": "right_after_right"})
    assert measure(layout, after_right).better == 0


def test_what_would_be_extrapolated_is_not_compared(tmp_path, monkeypatch):
    dial = Dial(system="ar", decodings=("greedy", "T=1"))
    test = AtSameDiversity(at=0.5, better=dial, worse=dial)

    def refuse(*_):
        raise claim_tests.Extrapolated("ar would be extrapolated")

    monkeypatch.setattr(claim_tests, "cider_at", refuse)
    found = measure(layout_of(tmp_path), test)
    assert np.isnan(found.p) and np.isnan(found.effect)
    assert (found.seeds, found.reason) == (3, "ar would be extrapolated")
    assert named(dial) == "ar, greedy / T=1"


def test_interpolated_cider_is_compared_seed_by_seed(tmp_path, monkeypatch):
    worse = Dial(system="ar", decodings=("greedy", "T=1"))
    better = Dial(system="dsacap", decodings=("K=1", "K=2"))
    values = {("dsacap", seed): OF_SEED[seed] + 7 for seed in range(3)}
    values |= {("ar", seed): OF_SEED[seed] for seed in range(3)}

    def cider_at(_, dial, seed, at):
        assert at == 0.5
        return dict(enumerate(values[dial.system, seed]))

    monkeypatch.setattr(claim_tests, "cider_at", cider_at)
    found = measure(layout_of(tmp_path), AtSameDiversity(at=0.5, better=better, worse=worse))
    by_hand = effect([OF_SEED + 7, -OF_SEED])
    assert (found.effect, found.low, found.p) == pytest.approx((7, by_hand.low, by_hand.p))
