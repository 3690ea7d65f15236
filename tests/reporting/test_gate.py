"""A judge that ranks human captions below a system's decides no claim."""

import numpy as np
import pandas as pd

from dsacap.common.files import write_json
from dsacap.config.claims import Claim, Comparison
from dsacap.config.sections import Row
from dsacap.reporting.claims import SUPPORTED, UNDECIDED, write_claims
from dsacap.reporting.gate import failure_of
from dsacap.reporting.page.findings import findings_of
from dsacap.runs.layout import HUMAN, Layout
from dsacap.scoring.random_effects import effect
from helpers import JUDGE, score_files, tiny_config

SEEDS, IMAGES = (0, 1, 2), 50
RNG = np.random.default_rng(3)
GREEDY, OURS = Row(system="ar", decoding="greedy"), Row(system="dsacap", decoding="K=1")
HUMANS = 0.4 + RNG.normal(size=IMAGES) * 0.05
NOISE = {row.system: RNG.normal(size=(len(SEEDS), IMAGES)) * 0.01 for row in (GREEDY, OURS)}


def judged_layout(tmp_path, better: float, worse: float, metric="judged_contrast") -> Layout:
    """A claim that DSACap has more by a judge, and by how much each row exceeds human captions."""
    claims = {
        name: Claim(says=name, primary=Comparison(metric=of, better=OURS, worse=GREEDY))
        for name, of in (("judged", metric), ("counted", "CIDEr"))
    }
    ablation = {"judge": JUDGE, "claims": {n: claim.model_dump() for n, claim in claims.items()}}
    layout = Layout(tiny_config(tmp_path, seeds=list(SEEDS), ablation=ablation))
    scores = {row: HUMANS + NOISE[row.system] for row in (GREEDY, OURS)}
    scores = {GREEDY: scores[GREEDY] + worse, OURS: scores[OURS] + better}
    score_files(layout, {row: {"CIDEr": values} for row, values in scores.items()})
    for row, values_SI in scores.items():
        for seed, values in zip(SEEDS, values_SI, strict=True):
            judged(layout, row.system, seed, row.decoding, metric, values)
    judged(layout, HUMAN, 0, "references", metric, HUMANS)
    return layout


def judged(layout, system, seed, decoding, metric, values) -> None:
    of_image = {str(i): float(value) for i, value in enumerate(values)}
    write_json(layout.reconstructions(system, seed), {decoding: {metric: of_image}})


def verdicts(layout: Layout) -> dict[str, str]:
    write_claims(layout)
    headings = [line for line in layout.claims.read_text().splitlines() if line.startswith("## ")]
    return dict(line.removeprefix("## ").split(": ", 1) for line in headings)


def test_a_judge_that_ranks_humans_highest_decides(tmp_path):
    layout = judged_layout(tmp_path, better=-0.1, worse=-0.2)
    assert failure_of(layout, "judged_contrast") is None
    assert verdicts(layout) == {"judged": SUPPORTED, "counted": SUPPORTED}
    assert "decides no claim" not in layout.claims.read_text()


def test_humans_that_are_below_by_chance_do_not_fail_a_judge(tmp_path):
    by_chance = 1e-4 - NOISE["dsacap"].mean()
    layout = judged_layout(tmp_path, better=by_chance, worse=-0.2)
    assert failure_of(layout, "judged_contrast") is None
    assert verdicts(layout)["judged"] == SUPPORTED


def test_a_judge_that_ranks_humans_below_a_row_decides_nothing(tmp_path):
    layout = judged_layout(tmp_path, better=0.2, worse=0.1)
    failure = failure_of(layout, "judged_contrast")
    assert failure and failure.row == OURS
    assert failure.above == effect([100 * (0.2 + HUMANS + NOISE["dsacap"] - HUMANS)])
    reason = "the judge ranks human captions below those of dsacap, K=1"
    assert verdicts(layout) == {"judged": f"{UNDECIDED}: {reason}", "counted": SUPPORTED}
    text = layout.claims.read_text()
    found, human = failure.above, 100 * HUMANS.mean()
    sentence = (
        f"judged_contrast decides no claim, because it ranks human captions ({human:.1f}) below"
        f" those of dsacap, K=1, by {found.value:.1f} ({found.low:.1f} to {found.high:.1f})."
    )
    assert text.count(sentence) == text.count("decides no claim") == 1
    table = pd.read_csv(layout.claims.with_suffix(".csv")).set_index("claim")
    assert table.reason["judged"] == reason and np.isnan(table.p["judged"])
    assert table.effect["judged"] > 0  # it is shown all the same
    page = findings_of(layout)
    assert page
    [sentence] = next(claim for claim in page["claims"] if claim["name"] == "judged")["tests"]
    assert (
        sentence.endswith(f"; {UNDECIDED}: {reason}.")
        and "told apart from similar ones" in sentence
    )


def test_a_row_that_no_claim_compares_by_the_judge_does_not_count(tmp_path):
    layout = judged_layout(tmp_path, better=-0.1, worse=-0.2)
    for seed in SEEDS:
        judged(layout, "dsacap-rl", seed, "K=1", "judged_contrast", HUMANS + 1)
    assert failure_of(layout, "judged_contrast") is None
    assert failure_of(layout, "CIDEr") is None
