"""The sections of the configuration on claims: what is compared, and what decides."""

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from dsacap.config.section import Section
from dsacap.config.sections import Judge, Label, Name, Row

SPEED = "images_per_s"
# Shares of right trigrams in what a captioner makes of given beginnings.
CONTINUATIONS = ("right_after_wrong", "right_after_right")
# Comparisons of what a generator makes of captions with the originals, by the generator of the
# rewards and by that of the judge.
RECONSTRUCTIONS = ("reconstruction", "judged_reconstruction", "contrast", "judged_contrast")


class Comparison(Section):
    """The statement that row `better` has a higher `metric` than row `worse`.

    `dsacap/reporting/claim_tests.py` describes what can be compared.
    """

    metric: str
    better: Row
    worse: Row
    batch_size: int | None = Field(
        None,
        description="of images_per_s: one of timing.batch_sizes; default: the first",
    )

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows that are compared."""
        return self.better, self.worse

    @model_validator(mode="after")
    def _batches_are_timed(self) -> "Comparison":
        if self.batch_size is not None and self.metric != SPEED:
            raise ValueError(f"batch_size: belongs to {SPEED}; leave it out")
        return self


def _ascending(ends: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= ends[0] < ends[1] <= 1:
        raise ValueError("needs two numbers from 0 to 1, the lower one first")
    return ends


Range = Annotated[tuple[float, float], AfterValidator(_ascending)]


class Dial(Section):
    """Decodings of a system that differ in one setting, such as the temperature."""

    system: Name
    decodings: tuple[Label, ...] = Field(min_length=2)

    @property
    def rows(self) -> tuple[Row, ...]:
        """The decodings as rows."""
        return tuple(Row(system=self.system, decoding=name) for name in self.decodings)


class Diversity(Section):
    """Curves of quality against diversity; see dsacap/reporting/diversity_curves.py."""

    between: Range = Field(
        description="the mBLEU-4 over which CIDEr is averaged, the same for all systems"
    )
    dials: dict[Name, dict[Label, tuple[Label, ...]]] = Field(
        min_length=1,
        description="system -> name of a setting -> decodings that differ in it alone",
    )
    spice: bool = Field(
        True,
        description="whether SPICE, which has to parse every new caption, is computed for the"
        " decodings of dials that are not the first of their system",
    )

    @property
    def named_dials(self) -> Iterable[tuple[str, Dial]]:
        """The dials, with their names."""
        return (
            (name, Dial(system=system, decodings=decodings))
            for system, dials in self.dials.items()
            for name, decodings in dials.items()
        )


class AtSameDiversity(Section):
    """The statement that, at the same mBLEU-4, `better` has a higher CIDEr than `worse`.

    CIDEr is interpolated between the decodings of each system, at one mBLEU-4 or on average over a
    range of it; extrapolation leaves the test undecided.
    """

    at: float | None = Field(None, gt=0, lt=1, description="the mBLEU-4 at which CIDEr is compared")
    between: Range | None = Field(
        None,
        description="the mBLEU-4 over which mean CIDEr is compared, as in the section `diversity`",
    )
    better: Dial
    worse: Dial

    @model_validator(mode="after")
    def _where(self) -> "AtSameDiversity":
        if (self.at is None) == (self.between is None):
            raise ValueError("give either at (one mBLEU-4) or between (a range of it)")
        return self

    @property
    def metric(self) -> str:
        """What is compared, in words."""
        if self.between:
            return "CIDEr over mBLEU-4 {:g} to {:g}".format(*self.between)
        return f"CIDEr at mBLEU-4 {self.at:g}"

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows that are interpolated between."""
        return self.better.rows + self.worse.rows


def _kind_of_test(test: Any) -> str:
    same_diversity = isinstance(test, AtSameDiversity) or (
        isinstance(test, dict) and bool({"at", "between"} & set(test))
    )
    return "at the same diversity" if same_diversity else "two rows"


Test = Annotated[
    Annotated[Comparison, Tag("two rows")]
    | Annotated[AtSameDiversity, Tag("at the same diversity")],
    Discriminator(_kind_of_test),
]


class Claim(Section):
    """A claim, the test that decides on it, and what is shown beside it.

    The claim is supported or not by the primary test alone. Secondary tests are shown. `control` is
    a row without what the claim credits, noise: if it passes the primary test in the place of
    `better`, the verdict says that the claim holds, but not by noise.
    """

    says: Label
    primary: Test
    secondary: tuple[Test, ...] = ()
    control: Row | None = None

    @model_validator(mode="after")
    def _control_replaces_a_row(self) -> "Claim":
        if self.control and not isinstance(self.primary, Comparison):
            raise ValueError("control: can only take the place of a row; leave it out")
        return self

    @property
    def controls(self) -> tuple[Comparison, ...]:
        """The tests of two rows, with the control in the place of `better`; the primary first."""
        return tuple(
            test.model_copy(update={"better": self.control})
            for test in (self.primary, *self.secondary)
            if self.control and isinstance(test, Comparison)
        )

    @property
    def tests(self) -> tuple[Comparison | AtSameDiversity, ...]:
        """All tests, the primary first."""
        return self.primary, *self.secondary, *self.controls


class Ablation(Section):
    """What turns results into findings: claims that can fail, and an independent judge."""

    judge: Judge | None = None  # needed only for claims on reconstructions, and for ablation.md
    claims: dict[Name, Claim] = Field({})

    def decodings_tested(self, *metrics: str) -> dict[str, list[str]]:
        """Return, by system, the decodings that some claim compares by one of `metrics`."""
        rows = [
            row
            for claim in self.claims.values()
            for test in claim.tests
            if test.metric in metrics
            for row in test.rows
        ]
        return {
            row.system: sorted({other.decoding for other in rows if other.system == row.system})
            for row in rows
        }

    @property
    def compares_reconstructions(self) -> bool:
        """Whether a claim compares reconstructions of pictures, which takes both generators."""
        return bool(self.decodings_tested(*RECONSTRUCTIONS))
