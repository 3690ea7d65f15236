"""docs/noise.md from hand-made tests of claims: table, sentences, figure, and what is missing."""

import csv
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from dsacap.common.errors import UserError
from dsacap.common.git_checkout import ROOT
from dsacap.config.experiment import parse_config
from dsacap.config.noise_jobs import Job, load_jobs
from dsacap.config.sections import Row
from dsacap.reporting.claim_tests import named
from dsacap.reporting.noise_page import (
    JOBS,
    NOT_TRAINED,
    OLDER,
    PAGE,
    answer,
    outcomes_of,
    table,
    update,
)
from dsacap.runs.layout import Layout

HEAD = ("metric", "role", "better", "worse", "effect", "low", "high", "seeds", "p", "reason")
LISTED = load_jobs(ROOT / JOBS)
ROW, CONTROL = (Row(system=name, decoding="K=1") for name in ("dsacap", "noise-off"))


def job(name: str, *metrics: str) -> Job:
    return Job(
        job=f"the job {name}",
        config=(Path("config/tiny.yaml"),),
        results=Path(f"results/{name}"),
        row=ROW,
        control=CONTROL,
        metrics=metrics or ("CIDEr",),
    )


def write_claims(root: Path, name: str, *tests: tuple, head=HEAD) -> None:
    """Write the claims.csv of a job from (metric, effect, low, high, seeds, p)."""
    folder = root / "results" / name
    folder.mkdir(parents=True)
    with open(folder / "claims.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, head, extrasaction="ignore")
        writer.writeheader()
        for metric, effect, low, high, seeds, p in tests:
            found = {"effect": effect, "low": low, "high": high, "seeds": seeds, "p": p}
            sides = {"better": "dsacap, K=1", "worse": "noise-off, K=1", "reason": ""}
            reason = {"reason": "two seeds"} if seeds < 3 else {}
            control = {"effect": 99, "role": "control"}  # of the same rows by chance
            writer.writerow({"metric": metric, **found, **sides, **control})
            writer.writerow({"metric": metric, "role": "secondary", **found, **sides, **reason})


def cells(text: str, start: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_a_job_has_its_effects_and_a_verdict_corrected_for_all_jobs(tmp_path):
    write_claims(
        tmp_path, "a", ("CIDEr", 4.04, 1.0, 7.0, 5, 0.012), ("true", -2.0, -5.0, 1.0, 5, 0.2)
    )
    write_claims(tmp_path, "b", ("CIDEr", -6.0, -9.0, -3.0, 3, 0.0001))
    write_claims(tmp_path, "c", ("CIDEr", 5.0, 0.5, 9.5, 3, 0.03))
    write_claims(tmp_path, "d", ("CIDEr", 1.0, -3.0, 5.0, 2, ""))
    outcomes = outcomes_of([job("a", "CIDEr", "true"), *map(job, "bcde")], tmp_path)
    # Holm over a, b and c: 3 x .0001, 2 x .012 and 1 x .03.
    assert [one.p_holm for one in outcomes[:3]] == pytest.approx([0.024, 0.0003, 0.03])
    assert [one.sign for one in outcomes] == [1, -1, 1, None, None]
    text = table(outcomes)
    assert cells(text, "the job a") == [
        "the job a",
        "dsacap, K=1",
        "noise-off, K=1",
        "5",
        "+4.0",
        "+1.0 to +7.0",
        "0.024",
        "true -2.0 (-5.0 to +1.0)",
        "noise helps",
    ]
    assert cells(text, "the job b")[3:] == [
        *("3", "-6.0", "-9.0 to -3.0", "< .001", "-", "noise harms"),
    ]
    assert cells(text, "the job d")[6:] == ["-", "-", "undecided: two seeds"]
    assert cells(text, "the job e")[3:] == ["-"] * 5 + [NOT_TRAINED]


def test_the_sentences_say_what_the_numbers_say(tmp_path):
    write_claims(tmp_path, "a", ("CIDEr", 1.0, -3.0, 5.25, 5, 0.6))
    write_claims(tmp_path, "b", ("CIDEr", -1.0, -8.0, 6.04, 3, 0.7))
    assert answer(outcomes_of([*map(job, "abc")], tmp_path)) == (
        "Noise on the image was given 2 jobs, each against a control without it, and it is shown to"
        " raise CIDEr in none.",
        "The largest gain that a 95 % interval leaves open is 6.0 CIDEr (the job b).",
    )
    write_claims(tmp_path, "d", ("CIDEr", 5.0, 4.0, 6.0, 4, 0.0001))
    write_claims(tmp_path, "e", ("CIDEr", -7.0, -9.0, -5.0, 4, 0.0001))
    assert answer(outcomes_of([*map(job, "abde")], tmp_path)) == (
        "Noise on the image was given 4 jobs, each against a control without it, and it is shown to"
        " raise CIDEr in 1: the job d; it is shown to lower CIDEr in 1.",
        "The largest gain that is shown is 5.0 CIDEr (95 % interval 4.0 to 6.0, 4 seeds). The"
        " largest gain that a 95 % interval leaves open is 6.0 CIDEr (the job b).",
    )
    first, second = answer(outcomes_of([job("e")], tmp_path))
    assert (
        " given 1 job, " in first
        and "raise CIDEr in none; it is shown to lower CIDEr in 1." in first
    )
    assert second == "No 95 % interval leaves a gain of CIDEr open."
    assert answer(outcomes_of([*map(job, "xy")], tmp_path)) == (
        "No job for noise on the image has been tested with three seeds yet.",
        "2 jobs are listed, of which 2 are not trained yet.",
    )


def test_tests_of_an_older_form_are_not_read(tmp_path):
    write_claims(tmp_path, "a", ("CIDEr", 4.0, 1.0, 7.0, 5, 0.01), head=HEAD[:-2])
    [outcome] = outcomes_of([job("a")], tmp_path)
    assert (outcome.effects, outcome.verdict, outcome.sign) == ((), OLDER, None)


def test_a_test_that_is_missing_is_named(tmp_path):
    write_claims(tmp_path, "a", ("CIDEr", 4.0, 1.0, 7.0, 5, 0.01))
    with pytest.raises(UserError, match="no test of true of dsacap, K=1 against noise-off, K=1"):
        outcomes_of([job("a", "true")], tmp_path)


def test_the_page_keeps_what_is_written_by_hand_and_gets_a_figure(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page, listed = tmp_path / "noise.md", tmp_path / "noise.yaml"
    by_hand = (ROOT / PAGE).read_text()
    page.write_text(by_hand)
    jobs = [job(name).model_dump(mode="json") for name in "ab"]
    listed.write_text(yaml.safe_dump({"jobs": jobs}))
    assert update(page, listed) == [page] and not page.with_suffix(".svg").exists()
    write_claims(tmp_path, "a", ("CIDEr", 4.0, 1.0, 7.0, 5, 0.01))
    for _ in range(2):  # twice gives the same
        assert update(page, listed) == [page, page.with_suffix(".svg")]
        text = page.read_text()
        assert "> The largest gain that is shown is 4.0 CIDEr" in text and "](noise.svg)" in text
        assert cells(text, "the job a")[-1] == "noise helps"
        assert cells(text, "the job b")[-1] == NOT_TRAINED
        assert "## Tried, and not made into rows" in text and text.count("<!-- end -->") == 2
    assert "the job a" in page.with_suffix(".svg").read_text()
    page.write_text("no place\n")
    with pytest.raises(UserError, match="needs a place for each of answer, jobs"):
        update(page, listed)


def test_two_jobs_of_one_name_are_refused(tmp_path):
    jobs = [job("a").model_dump(mode="json")] * 2
    (tmp_path / "noise.yaml").write_text(yaml.safe_dump({"jobs": jobs}))
    with pytest.raises(UserError, match="two jobs have the same name"):
        load_jobs(tmp_path / "noise.yaml")


@pytest.mark.parametrize("listed", LISTED, ids=lambda listed: listed.job.replace(" ", "-"))
def test_each_listed_job_is_a_test_of_its_configuration(listed, monkeypatch):
    data: dict = {}
    for path in listed.config:
        update_config(data, yaml.safe_load((ROOT / path).read_text()))
    config = parse_config(data, str(listed.config))
    assert Layout(config).published == listed.results
    compared = {
        (test.metric, named(test.better), named(test.worse))
        for claim in config.ablation.claims.values()
        for test in (claim.primary, *claim.secondary)
    }
    for metric in listed.metrics:
        assert (metric, named(listed.row), named(listed.control)) in compared


def test_the_committed_page_is_that_of_the_committed_results(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    page = tmp_path / "noise.md"
    page.write_text((ROOT / PAGE).read_text())
    update(page, ROOT / JOBS)
    assert page.read_text() == (ROOT / PAGE).read_text()
