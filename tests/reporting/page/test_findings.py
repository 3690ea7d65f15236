import pytest

from dsacap.common.errors import UserError
from dsacap.reporting.page.findings import findings, findings_of


def row(claim: str, verdict: str, effect: float, low: float, high: float, **changes) -> dict:
    return {
        "claim": claim,
        "says": f"what {claim} says",
        "verdict_of_claim": verdict,
        "metric": "CIDEr",
        "better_label": "DSACap (K=1, t_s=0)",
        "worse_label": "Autoregressive (greedy)",
        "value_of_better": str(100 + effect),
        "value_of_worse": "100.0",
        "effect": str(effect),
        "low": str(low),
        "high": str(high),
        "role": "primary",
        "batch_size": "",
        "reason": "",
        "verdict": verdict,
        **changes,
    }


def test_a_sentence_has_the_values_the_difference_and_the_verdict():
    found = findings([row("C1", "supported", 13.52, 5.31, 21.79)])
    assert found["sentences"] == [
        "CIDEr: DSACap (K=1, t_s=0) has 113.5 and Autoregressive (greedy) 100.0, a difference of"
        " +13.5 (95 % interval +5.3 to +21.8); supported."
    ]
    assert found["claims"] == [
        {
            "name": "C1",
            "says": "what C1 says",
            "verdict": "supported",
            "tests": found["sentences"],
        }
    ]


def test_of_each_claim_the_primary_test_is_told_and_decided_claims_first():
    rows = [
        row("A", "undecided", 1, -1, 3),
        row("B", "not supported", -5, -6, -4),
        row("B", "secondary", 20, 19, 21, role="secondary"),
        row("C", "undecided", 2, -1, 5),
        row("D", "supported", 9, 8, 10),
    ]
    told = findings(rows)["sentences"]
    assert ["-5.0" in told[0], "+9.0" in told[1], "+1.0" in told[2], len(told)] == [True] * 3 + [3]
    claims = findings(rows)["claims"]
    assert [claim["name"] for claim in claims] == ["A", "B", "C", "D"]
    assert claims[1]["verdict"] == "not supported" and claims[1]["tests"][1].endswith("secondary.")


def test_a_ratio_is_told_as_one():
    speed = {
        "metric": "images_per_s",
        "value_of_better": "400",
        "value_of_worse": "100",
        "batch_size": "32",
    }
    (told,) = findings([row("Q", "supported", 3.9, 3.8, 4.1, **speed)])["sentences"]
    assert (
        told.startswith("Images per second in batches of 32: ")
        and "3.90 times as many (95 % interval 3.80 to 4.10)" in told
    )


def test_the_reason_of_a_missing_verdict_is_told():
    (told,) = findings([row("A", "undecided", 9, 8, 10, reason="one seed")])["sentences"]
    assert told.endswith("; undecided: one seed.")


def test_a_test_without_images_is_not_told():
    nan = float("nan")
    found = findings([row("A", "undecided", nan, nan, nan)])
    assert found["sentences"] == [] and found["claims"][0]["tests"] == []


def test_claims_of_another_data_set_are_not_those_of_this_page(layout):
    assert findings_of(layout) is None
    layout.claims.parent.mkdir(parents=True, exist_ok=True)
    layout.claims.write_text("# other: which of the paper's claims hold\n")
    layout.claims.with_suffix(".csv").write_text("claim,verdict\nA,supported\n")
    assert findings_of(layout) is None
    layout.claims.write_text("# tiny: which of the paper's claims hold\n")
    with pytest.raises(UserError, match=r"no column 'says'.*report-claims"):
        findings_of(layout)
