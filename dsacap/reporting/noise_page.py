"""docs/noise.md: what noise on the image is for, from the committed tests of claims.

    python -m dsacap.reporting.noise_page

docs/noise.yaml lists the jobs. The page's table, its two sentences and its figure are written from
the claims.csv of each configuration, so none of it is typed by hand. A job without results is
listed as such.
"""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path

from dsacap.common.errors import UserError
from dsacap.common.files import read_text, write_text
from dsacap.config.noise_jobs import Job, load_jobs
from dsacap.evaluation.comparison import LEVEL, holm
from dsacap.reporting.claim_tests import named
from dsacap.reporting.claims import CONTROL
from dsacap.reporting.noise_plot import Bar, write_noise_plot
from dsacap.reporting.pipe_table import markdown

JOBS, PAGE = Path("docs/noise.yaml"), Path("docs/noise.md")
NOT_TRAINED, OLDER = "not trained yet", "tested by older rules; to be tested again"
_COLUMNS = ("metric", "role", "better", "worse", "effect", "low", "high", "seeds", "p", "reason")
_PLACE = re.compile(
    r"(<!-- (?P<part>answer|jobs): written by python -m dsacap\.reporting\.noise_page -->\n)"
    r".*?(<!-- end -->)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Effect:
    """What a test found: the metric of the row with noise minus that of its control.

    Attributes:
        metric: The metric.
        value: The difference.
        low: The lower end of its 95 % interval.
        high: The upper end.
        seeds: The number of seeds.
        p: Two-sided p, uncorrected; nan if there can be no verdict.
        reason: Why there can be none, or empty.
    """

    metric: str
    value: float
    low: float
    high: float
    seeds: int
    p: float
    reason: str


@dataclass(frozen=True)
class Outcome:
    """A job with what its tests found.

    Attributes:
        job: The job.
        effects: One for each metric, the one that decides first; empty without results.
        missing: Why there are no results; None if there are.
        p_holm: p of the first one, corrected for all jobs of the page; nan if there is none.
    """

    job: Job
    effects: tuple[Effect, ...]
    missing: str | None
    p_holm: float = nan

    @property
    def sign(self) -> int | None:
        """1 if noise is shown to help, -1 if it is shown to harm, 0 if neither; None: untested."""
        if isnan(self.p_holm):
            return None
        if self.p_holm >= LEVEL:
            return 0
        return 1 if self.effects[0].value > 0 else -1

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        if self.missing:
            return self.missing
        if self.sign is None:
            return f"undecided: {self.effects[0].reason or 'no p'}"
        return {1: "noise helps", -1: "noise harms", 0: "undecided"}[self.sign]


def outcomes_of(jobs: Sequence[Job], root: Path = Path()) -> list[Outcome]:
    """Return what the committed results say about each job.

    Args:
        jobs: The jobs.
        root: The folder to which their paths are relative.

    Raises:
        UserError: A claims.csv lacks the test of a job.
    """
    found = [_outcome(job, root / job.results / "claims.csv") for job in jobs]
    tested = [at for at, one in enumerate(found) if one.effects and not isnan(one.effects[0].p)]
    corrected = holm([found[at].effects[0].p for at in tested])
    for at, p in zip(tested, corrected, strict=True):
        found[at] = Outcome(found[at].job, found[at].effects, None, p)
    return found


def answer(outcomes: Sequence[Outcome]) -> tuple[str, str]:
    """Return the two sentences that can be quoted: what noise did, and what it may do at most."""
    tested = [one for one in outcomes if one.sign is not None]
    if not tested:
        return (
            "No job for noise on the image has been tested with three seeds yet.",
            f"{_count(len(outcomes), 'job')} are listed, of which"
            f" {sum(one.missing == NOT_TRAINED for one in outcomes)} are not trained yet.",
        )
    gained, lost = ([one for one in tested if one.sign == sign] for sign in (1, -1))
    first = f"Noise on the image was given {_count(len(tested), 'job')}, each against a control"
    first += " without it, and "
    if gained:
        first += f"it is shown to raise CIDEr in {len(gained)}: {_listed(gained)}"
    else:
        first += "it is shown to raise CIDEr in none"
    first += f"; it is shown to lower CIDEr in {len(lost)}." if lost else "."
    most = max(tested, key=lambda one: one.effects[0].high)
    high = most.effects[0].high
    second = (
        f"The largest gain that a 95 % interval leaves open is {high:.1f} CIDEr ({most.job.job})."
        if high > 0
        else "No 95 % interval leaves a gain of CIDEr open."
    )
    if gained:
        best = max(gained, key=lambda one: one.effects[0].value).effects[0]
        second = (
            f"The largest gain that is shown is {best.value:.1f} CIDEr (95 % interval"
            f" {best.low:.1f} to {best.high:.1f}, {best.seeds} seeds). {second}"
        )
    return first, second


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the table of all jobs as Markdown."""
    rows = []
    for one in outcomes:
        compared = [one.job.job, named(one.job.row), named(one.job.control)]
        if not one.effects:
            rows.append([*compared, *["-"] * 5, one.verdict])
            continue
        first, *others = one.effects
        p = "-" if isnan(one.p_holm) else "< .001" if one.p_holm < 0.001 else f"{one.p_holm:.3f}"
        rows.append(
            [
                *compared,
                str(first.seeds),
                _signed(first.value),
                _interval(first),
                p,
                "; ".join(f"{o.metric} {_signed(o.value)} ({_interval(o)})" for o in others) or "-",
                one.verdict,
            ]
        )
    headers = ["What noise should do", "Row", "Control", "Seeds", "CIDEr", "95 % interval"]
    return markdown([*headers, "p (Holm)", "Beside it", "Verdict"], rows, texts=3)


def update(page: Path = PAGE, jobs: Path = JOBS) -> list[Path]:
    """Write the generated parts of the page to their places, and the figure beside it.

    Returns:
        The files that were written.

    Raises:
        UserError: The list is invalid, a claims.csv lacks the test of a job, or the page lacks a
            place.
    """
    outcomes = outcomes_of(load_jobs(jobs))
    text, plot = read_text(page), page.with_suffix(".svg")
    parts = {"answer": "\n\n".join(f"> {sentence}" for sentence in answer(outcomes))}
    parts["jobs"] = table(outcomes)
    if {found["part"] for found in _PLACE.finditer(text)} != set(parts):
        raise UserError(
            f"{page}: needs a place for each of {', '.join(parts)}, as <!-- {next(iter(parts))}:"
            " written by python -m dsacap.reporting.noise_page --> and <!-- end -->"
        )
    bars = [
        Bar(one.job.job, one.effects[0].value, one.effects[0].low, one.effects[0].high, one.sign)
        for one in outcomes
        if one.effects
    ]
    written = [page]
    if bars:
        write_noise_plot(bars, plot)
        written.append(plot)
    else:
        plot.unlink(missing_ok=True)  # of other results
    figure = f"\n\n![CIDEr with noise minus CIDEr without it]({plot.name})" if bars else ""
    parts["answer"] += figure
    write_text(page, _PLACE.sub(lambda at: f"{at[1]}\n{parts[at['part']]}\n\n{at[3]}", text))
    return written


def _outcome(job: Job, file: Path) -> Outcome:
    if not file.exists():
        return Outcome(job, (), NOT_TRAINED)
    reader = csv.DictReader(io.StringIO(read_text(file)))
    tests = list(reader)
    if not set(_COLUMNS) <= set(reader.fieldnames or ()):
        return Outcome(job, (), OLDER)
    return Outcome(job, tuple(_effect(job, metric, tests, file) for metric in job.metrics), None)


def _effect(job: Job, metric: str, tests: Sequence[dict[str, str]], file: Path) -> Effect:
    compared = metric, named(job.row), named(job.control)
    for test in tests:
        if test["role"] != CONTROL and (test["metric"], test["better"], test["worse"]) == compared:
            effect, low, high = (_number(test[key]) for key in ("effect", "low", "high"))
            seeds, reason = int(float(test["seeds"])), test["reason"]
            return Effect(metric, effect, low, high, seeds, _number(test["p"]), reason)
    raise UserError(
        f"{file}: has no test of {metric} of {compared[1]} against {compared[2]}; add it to the"
        f" claims of {job.config[-1]} and test them again, or change the job {job.job!r}"
    )


def _number(text: str) -> float:
    return float(text) if text else nan


def _signed(value: float) -> str:
    return "-" if isnan(value) else f"{value:+.1f}"


def _interval(effect: Effect) -> str:
    return "-" if isnan(effect.low) else f"{effect.low:+.1f} to {effect.high:+.1f}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _listed(outcomes: Sequence[Outcome]) -> str:
    return "; ".join(one.job.job for one in outcomes)


if __name__ == "__main__":
    for path in update():
        print(f"wrote {path}")
