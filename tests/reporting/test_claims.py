"""Verdicts on claims, and the files that have them."""

import json

import numpy as np
import pandas as pd
import pytest

from dsacap.config.claims import Claim, Comparison
from dsacap.config.sections import Row
from dsacap.reporting.claims import (
    CONTRADICTED,
    NOT_BY_NOISE,
    SUPPORTED,
    UNDECIDED,
    write_claims,
)
from dsacap.reporting.page.findings import findings_of
from dsacap.runs.layout import Layout
from dsacap.scoring.random_effects import parts_of, quantile
from helpers import JUDGE, score_files, tiny_config

GREEDY, DRAWN = Row(system="ar", decoding="greedy"), Row(system="dsacap", decoding="K=1")
TUNED = Row(system="dsacap-rl", decoding="K=1")
RNG = np.random.default_rng(0)
SEEDS, IMAGES = (0, 1, 2), 200
MORE = Comparison(metric="CIDEr", better=GREEDY, worse=DRAWN)
LESS = Comparison(metric="CIDEr", better=DRAWN, worse=GREEDY)
SAME = Comparison(metric="METEOR", better=GREEDY, worse=DRAWN)
NOTHING = np.zeros((len(SEEDS), IMAGES))
NOISE = RNG.normal(size=(6, len(SEEDS), IMAGES)) * 0.1


def claimed(primary, *secondary, **others) -> Claim:
    return Claim(says="a claim", primary=primary, secondary=secondary, **others)


def layout_with(tmp_path, scores: dict, claims: dict, seeds=SEEDS) -> Layout:
    """Write result files of rows, from row -> metric -> values by seed and image."""
    ablation = {"judge": JUDGE, "claims": {n: claim.model_dump() for n, claim in claims.items()}}
    layout = Layout(tiny_config(tmp_path, seeds=list(seeds), ablation=ablation))
    score_files(layout, scores)
    return layout


def verdicts(layout: Layout) -> dict[str, str]:
    write_claims(layout)
    headings = [line for line in layout.claims.read_text().splitlines() if line.startswith("## ")]
    return dict(line.removeprefix("## ").split(": ", 1) for line in headings)


def better_by(effect: float) -> dict:
    return {
        GREEDY: {"CIDEr": NOISE[0] + effect, "METEOR": NOISE[1]},
        DRAWN: {"CIDEr": NOISE[2], "METEOR": NOISE[3]},
        TUNED: {"CIDEr": NOISE[4], "METEOR": NOISE[5]},
    }


def test_the_primary_test_alone_decides(tmp_path):
    claims = {
        "more": (claimed(MORE), SUPPORTED),
        "less": (claimed(LESS), CONTRADICTED),
        "same": (claimed(SAME), UNDECIDED),
        "more-beside-less-and-same": (claimed(MORE, LESS, SAME), SUPPORTED),
        "same-beside-more": (claimed(SAME, MORE), UNDECIDED),
    }
    layout = layout_with(tmp_path, better_by(0.1), {n: claim for n, (claim, _) in claims.items()})
    assert verdicts(layout) == {name: expected for name, (_, expected) in claims.items()}


@pytest.mark.parametrize(("seeds", "reason"), [((0,), "one seed"), ((0, 1), "two seeds")])
def test_fewer_than_three_seeds_give_no_verdict(tmp_path, seeds, reason):
    layout = layout_with(tmp_path, better_by(1), {"C": claimed(MORE)}, seeds)
    assert verdicts(layout) == {"C": f"{UNDECIDED}: {reason}"}
    (row,) = pd.read_csv(layout.claims.with_suffix(".csv")).to_dict("records")
    assert (row["verdict"], row["reason"]) == (UNDECIDED, reason) and np.isnan(row["p"])


def test_p_is_corrected_for_the_claims_of_the_page(tmp_path):
    """With p = .04, a claim is supported alone, and undecided beside another of the same p."""
    parts = parts_of([NOISE[0], -NOISE[2]])
    effect = quantile(parts.degrees, level=0.96) * np.sqrt(parts.variance) - parts.value
    alone = layout_with(tmp_path / "1", better_by(effect), {"A": claimed(MORE)})
    assert verdicts(alone) == {"A": SUPPORTED}
    both = {"A": claimed(MORE), "B": claimed(MORE)}
    beside = layout_with(tmp_path / "2", better_by(effect), both)
    assert verdicts(beside) == {"A": UNDECIDED, "B": UNDECIDED}
    table = pd.read_csv(beside.claims.with_suffix(".csv"))
    assert list(table.p) == pytest.approx([0.04] * 2, rel=1e-6)
    assert list(table.p_holm) == pytest.approx([0.08] * 2, rel=1e-6)
    secondary = layout_with(tmp_path / "3", better_by(effect), {"A": claimed(MORE, SAME, LESS)})
    assert verdicts(secondary) == {"A": SUPPORTED}  # secondary tests do not count


def test_a_claim_whose_control_passes_does_not_hold_by_noise(tmp_path):
    scores = better_by(0.2)
    by_chance = NOISE[2].mean() - NOISE[4].mean() + 1e-4
    scores[TUNED]["CIDEr"] = NOISE[4] + by_chance
    claims = {"C": claimed(MORE, SAME, control=TUNED), "less": claimed(LESS, control=TUNED)}
    assert verdicts(layout_with(tmp_path / "fails", scores, claims)) == {
        "C": SUPPORTED,
        "less": CONTRADICTED,
    }
    scores[TUNED]["CIDEr"] = NOISE[4] + 0.1
    layout = layout_with(tmp_path / "passes", scores, claims)
    assert verdicts(layout) == {"C": NOT_BY_NOISE, "less": CONTRADICTED}
    scores[TUNED]["CIDEr"] = NOISE[4] - 0.1
    assert verdicts(layout_with(tmp_path / "opposite", scores, claims))["C"] == SUPPORTED
    table = pd.read_csv(layout.claims.with_suffix(".csv"))
    of_claim = table[table.claim == "C"]
    assert list(of_claim.role) == ["primary", "secondary", "control", "control"]
    assert list(of_claim.metric) == ["CIDEr", "METEOR"] * 2
    assert list(of_claim.better) == ["ar, greedy"] * 2 + ["dsacap-rl, K=1"] * 2


def test_the_page_tells_the_findings_in_words(tmp_path):
    scores = {GREEDY: {"CIDEr": NOTHING + 1}, DRAWN: {"CIDEr": NOTHING + 0.75}}
    layout = layout_with(tmp_path, scores, {"first": claimed(MORE, LESS)})
    assert findings_of(layout) is None  # before claims.csv is written
    write_claims(layout)
    found = findings_of(layout)
    assert found and found["sentences"] == [
        "CIDEr: ar (greedy) has 100.0 and dsacap (K=1) 75.0, a difference of +25.0 (95 % interval"
        " +25.0 to +25.0); supported."
    ]
    (claim,) = found["claims"]
    assert (claim["name"], claim["verdict"], len(claim["tests"])) == ("first", SUPPORTED, 2)


def test_a_seed_that_disagrees_leaves_a_claim_undecided(tmp_path):
    """Of this the bootstrap made "supported": its interval lay between the seeds' means."""
    of_seed = NOTHING + np.array([[0.02], [1.0], [0.3]])
    scores = {GREEDY: {"CIDEr": of_seed}, DRAWN: {"CIDEr": NOTHING}}
    assert verdicts(layout_with(tmp_path, scores, {"C": claimed(MORE)})) == {"C": UNDECIDED}


def test_a_claim_is_undecided_if_no_image_can_be_compared(tmp_path):
    layout = layout_with(tmp_path, better_by(1), {"C": claimed(MORE)})
    for seed in SEEDS:
        quality = {"CIDEr": {"per_image": {"another image": 1.0}}}
        layout.scores("ar", seed).write_text(
            json.dumps({"greedy": {"quality": quality, "diversity": {}}})
        )
    reason = "fewer than two images can be compared"
    assert verdicts(layout) == {"C": f"{UNDECIDED}: {reason}"}


def test_the_page_and_the_table_show_every_test(tmp_path):
    layout = layout_with(tmp_path, better_by(0.1), {"C": claimed(MORE, SAME)})
    write_claims(layout)
    text = layout.claims.read_text()
    first = next(line for line in text.splitlines() if "CIDEr: ar, greedy" in line)
    cells = [cell.strip() for cell in first.split("|")[1:-1]]
    assert cells[0] == "primary" and cells[7:9] == ["3 / 200", "separate seeds, images"]
    assert cells[9:] == ["< .001", "< .001"]
    table = pd.read_csv(layout.claims.with_suffix(".csv"))
    assert list(table.verdict) == [SUPPORTED, "secondary"]
    assert list(table.better_label) == ["ar (greedy)"] * 2 and list(table.says) == ["a claim"] * 2
    assert table.value_of_better[0] - table.value_of_worse[0] == pytest.approx(table.effect[0])
    assert np.isnan(table.p_holm[1]) and not np.isnan(table.p[1])
