"""The sections of the configuration on what is measured beside scores of captions."""

from typing import Annotated, Literal

from pydantic import Field

from dsacap.config.section import Section

Strengths = Annotated[tuple[float, ...], Field(min_length=1)]


class Robustness(Section):
    """Degradations of the test photos; see dsacap/vision/degradations.py."""

    noise: Strengths = Field(
        (10.0, 20.0, 40.0), description="standard deviation of each channel, of 0 to 255"
    )
    blur: Strengths = Field(
        (1.5, 2.5, 4.0), description="standard deviation, in % of the photo's shorter side"
    )
    jpeg: Strengths = Field((50.0, 30.0, 10.0), description="quality, 1 to 95")
    darkness: Strengths = Field((0.8, 0.6, 0.4), description="what pixels are multiplied by")

    @property
    def degradations(self) -> list[tuple[str, float]]:
        """Every kind of degradation with each of its strengths."""
        return [
            (kind, strength)
            for kind in ("noise", "blur", "jpeg", "darkness")
            for strength in getattr(self, kind)
        ]


class Inspection(Section):
    """What `dsacap inspect` records of systems that support it; see dsacap/method/inspection.py."""

    images: int = Field(24, ge=1, description="images of the test split, evenly spaced")
    steps: int = Field(
        8,
        ge=1,
        description="denoising steps, from the highest noise level of training",
    )


class Scoring(Section):
    """Which metrics are computed."""

    spice: Literal["auto", "required", "off"] = Field(
        "auto", description="auto: if its parser is available, otherwise n/a with the reason"
    )


class Timing(Section):
    """Measurement of latency: `rounds` visits to every system, of `iterations` batches each.

    See `dsacap/timing/latency.py`.
    """

    batch_sizes: tuple[int, ...] = (1, 32)
    warmup: int = Field(10, ge=1)
    rounds: int = Field(10, ge=1)
    iterations: int = Field(3, ge=1)
