"""The possible uses of noise on the image (docs/noise.yaml), as typed sections."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, model_validator

from dsacap.config.claims import Dial
from dsacap.config.parsing import parse_section
from dsacap.config.section import Section
from dsacap.config.sections import Label, Row
from dsacap.config.yaml_file import read_yaml


class Job(Section):
    """A possible use of noise, and the test that shows whether noise helps there.

    The test is one of a configuration's claims, primary or secondary.
    """

    job: Label = Field(description="what noise should do, as a noun phrase")
    config: tuple[Path, ...] = Field(min_length=1, description="merged in this order")
    results: Path = Field(description="the folder in which claims.csv is committed")
    row: Row | Dial = Field(description="with noise")
    control: Row | Dial = Field(description="without it, and otherwise the same")
    metrics: tuple[str, ...] = Field(
        ("CIDEr",), min_length=1, description="the first one decides; others are shown beside it"
    )


class Jobs(Section):
    """The whole list."""

    jobs: tuple[Job, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _named_once(self) -> "Jobs":
        names = [job.job for job in self.jobs]
        if len(set(names)) < len(names):
            raise ValueError("jobs: two jobs have the same name")
        return self


def load_jobs(path: Path) -> Sequence[Job]:
    """Read the list; raise UserError if it is invalid."""
    return parse_section(Jobs, read_yaml(path), f"{path}: invalid list of jobs").jobs
