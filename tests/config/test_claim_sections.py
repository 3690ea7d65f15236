"""The sections on claims: one primary test each, and what they may compare."""

import pytest

from dsacap.common.errors import UserError
from dsacap.config.claims import Ablation, Claim
from dsacap.config.experiment import Config
from dsacap.config.parsing import parse_section
from dsacap.runs.layout import Layout
from helpers import JUDGE, tiny_config

GREEDY, DRAWN = (
    {"system": "ar", "decoding": "greedy"},
    {"system": "dsacap", "decoding": "K=1"},
)
TUNED = {"system": "dsacap-rl", "decoding": "K=1"}
CIDER = {"metric": "CIDEr", "better": GREEDY, "worse": DRAWN}
SAME_DIVERSITY = {
    "at": 0.5,
    "better": {"system": "ar", "decodings": ["greedy", "T=1"]},
    "worse": {"system": "ar", "decodings": ["T=1", "greedy"]},
}
OVER = {**SAME_DIVERSITY, "at": None, "between": [0.3, 0.8]}
DIALS = {"between": [0.3, 0.8], "dials": {"ar": {"temperature": ["T=1", "greedy"]}}}


def with_claim(tmp_path, **claim) -> Config:
    claims = {"C": {"says": "a claim", **claim}}
    return tiny_config(tmp_path, ablation={"judge": JUDGE, "claims": claims})


def claim_of(config: Config) -> Claim:
    assert config.ablation
    return config.ablation.claims["C"]


def test_the_control_takes_the_place_of_the_better_row(tmp_path):
    other = {**CIDER, "metric": "METEOR"}
    secondary = [SAME_DIVERSITY, other]
    claim = claim_of(with_claim(tmp_path, primary=CIDER, secondary=secondary, control=TUNED))
    assert [test.metric for test in claim.tests] == [
        *("CIDEr", "CIDEr at mBLEU-4 0.5", "METEOR"),
        *("CIDEr", "METEOR"),
    ]
    for control in claim.controls:
        assert control.better.system == "dsacap-rl" and control.worse.system == "dsacap"
    assert claim.primary.better.system == "ar"


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        ({}, "primary: is missing"),
        ({"tests": [CIDER]}, "tests: unknown key"),
        ({"primary": [CIDER, CIDER]}, "primary"),
        ({"primary": {**CIDER, "metrik": "CIDEr"}}, "metrik: unknown key"),
        ({"primary": {**SAME_DIVERSITY, "metric": "CIDEr"}}, "metric: unknown key"),
        ({"primary": {**SAME_DIVERSITY, "at": 1.5}}, "at: Input should be less than 1"),
        ({"primary": {**OVER, "at": 0.5}}, "give either at (one mBLEU-4) or between (a range"),
        ({"primary": {**OVER, "between": [0.8, 0.3]}}, "between: needs two numbers from 0 to 1"),
        ({"primary": OVER}, "ablation.claims.C.between: must be diversity.between"),
        ({"primary": SAME_DIVERSITY, "control": TUNED}, "control: can only take the place"),
        ({"primary": {**CIDER, "batch_size": 4}}, "batch_size: belongs to images_per_s"),
        (
            {"primary": {**CIDER, "metric": "images_per_s", "batch_size": 3}},
            "ablation.claims.C.batch_size: 3 is not timed; choose one of timing.batch_sizes, 1, 4",
        ),
        (
            {"primary": CIDER, "control": {**TUNED, "decoding": "K=9"}},
            "ablation.claims.C: no row 'dsacap-rl', 'K=9'",
        ),
        (
            {"primary": {**SAME_DIVERSITY, "better": {"system": "ar", "decodings": ["X", "T=1"]}}},
            "ablation.claims.C: no row 'ar', 'X'",
        ),
    ],
)
def test_a_wrong_claim_is_named(tmp_path, claim, message):
    with pytest.raises(UserError) as error:
        with_claim(tmp_path, **claim)
    assert message in str(error.value)


def test_decodings_are_listed_by_the_metrics_that_compare_them():
    wrong, right = (
        {"metric": metric, "better": GREEDY, "worse": {**GREEDY, "decoding": decoding}}
        for metric, decoding in (("right_after_wrong", "T=1"), ("right_after_right", "T=2"))
    )
    claims = {
        "A": {"says": "a", "primary": wrong, "control": DRAWN},
        "B": {"says": "b", "primary": right},
    }
    ablation = parse_section(Ablation, {"claims": claims}, "wrong")
    assert ablation.decodings_tested("right_after_wrong") == {
        "ar": ["T=1", "greedy"],
        "dsacap": ["K=1"],
    }
    both = ablation.decodings_tested("right_after_wrong", "right_after_right")
    assert both["ar"] == ["T=1", "T=2", "greedy"]
    assert not ablation.compares_reconstructions


def test_claims_have_the_range_of_the_section_on_diversity(tmp_path):
    ablation = {"judge": JUDGE, "claims": {"C": {"says": "a claim", "primary": OVER}}}
    config = tiny_config(tmp_path, ablation=ablation, diversity=DIALS)
    assert claim_of(config).primary.metric == "CIDEr over mBLEU-4 0.3 to 0.8"
    with pytest.raises(UserError, match="one range over which systems are compared"):
        tiny_config(tmp_path, ablation=ablation, diversity={**DIALS, "between": [0.3, 0.7]})


def test_dials_are_of_rows(tmp_path):
    [(name, dial)] = tiny_config(tmp_path, diversity=DIALS).diversity.named_dials
    assert (name, dial.system, dial.decodings) == ("temperature", "ar", ("T=1", "greedy"))
    wrong = {**DIALS, "dials": {"ar": {"temperature": ["T=1", "T=2"]}}}
    with pytest.raises(UserError, match=r"diversity\.dials\.ar: no row 'ar', 'T=2'"):
        tiny_config(tmp_path, diversity=wrong)


def test_spice_may_be_left_out_of_points_of_a_curve_alone(tmp_path):
    config = tiny_config(tmp_path, diversity={**DIALS, "spice": False})
    first, *others = config.systems["ar"].decodings
    assert config.without_spice("ar") == [name for name in others if name in ("T=1", "greedy")]
    assert config.without_spice("ar") and first not in config.without_spice("ar")
    assert config.without_spice("dsacap") == config.without_spice("human") == []
    layout, scored = Layout(config), Layout(tiny_config(tmp_path, diversity=DIALS))
    assert scored.config.without_spice("ar") == []
    assert layout.scores("ar", 0) != scored.scores("ar", 0)
    assert layout.scores("dsacap", 0) == scored.scores("dsacap", 0)
