"""The whole configuration as frozen, typed models, read from YAML.

An unknown key, a wrong type or an impossible value is an error. What belongs to one captioner (its
size, its decoding options) is declared by that captioner and checked here through
`dsacap.captioner`, so that a misspelt key of a model stops the run before its first stage.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from dsacap.captioner.registry import captioner_class
from dsacap.common.errors import UserError
from dsacap.config.claims import Ablation, Diversity
from dsacap.config.consistency import check_consistency
from dsacap.config.dataset import Coco, Downloads, Scenes
from dsacap.config.encoder import Encoder
from dsacap.config.measurements import Inspection, Robustness, Scoring, Timing
from dsacap.config.parsing import (
    decoding_of,
    parse_section,
    strict_json,
)
from dsacap.config.section import Section
from dsacap.config.sections import (
    Decoding,
    Generator,
    Judge,
    Name,
    Predictions,
    Row,
    System,
    Text,
)
from dsacap.config.training import Training, Tuning
from dsacap.config.trials import Trials, check_trials
from dsacap.config.yaml_file import read_yaml


class Config(Section):
    """All choices of an experiment; config/README.md describes its sections."""

    name: Name
    note: str | None = Field(None, description="printed below the title of the table")
    results: Path = Path("results")
    work: Path = Path("work")
    threads: int = Field(
        1,
        ge=1,
        description="torch threads per process; two jobs with one beat one job with two",
    )
    processes: int = Field(
        1,
        ge=1,
        description="processes per training, each with a GPU or `threads` CPU threads; results are"
        " the same",
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    arithmetic: Literal["fast", "portable"] = Field(
        "fast",
        description="portable: the same bytes on every x86-64 processor with AVX2, at half the"
        " speed; see docs/reproducibility.md",
    )
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    dataset: Annotated[Scenes | Coco, Field(discriminator="kind")]
    downloads: Downloads = Downloads()
    text: Text = Text()
    encoder: Encoder
    generator: Generator | None = None
    training: Training
    systems: dict[Name, System] = Field(min_length=1)
    predictions: dict[Name, Predictions] = Field(default_factory=dict)
    decoding: Decoding = Decoding()
    scoring: Scoring = Scoring()
    timing: Timing = Timing()
    inspection: Inspection = Inspection()
    robustness: Robustness = Robustness()
    diversity: Diversity | None = None
    ablation: Ablation | None = None
    trials: Trials = Field(default_factory=dict)
    published: Path | None = Field(
        None,
        description="file of figures reported by others, which get a section of their own in the"
        " table; see config/published.csv",
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> "Config":
        check_consistency(self)
        check_trials(self)
        return self

    @property
    def judge(self) -> Judge | None:
        """The ablation's second encoder and generator, if it has them."""
        return self.ablation.judge if self.ablation else None

    def trained(self, system: str) -> System:
        """Return the system itself or, if it is tuned, the one that it is tuned from."""
        return self.systems[self.systems[system].tuned_from or system]

    def ancestors(self, system: str) -> set[str]:
        """Return a system, and those that it is tuned or distilled from, by any way."""
        settings = self.systems[system]
        taught = settings.distilled_from and settings.distilled_from.system
        sources = [name for name in (settings.tuned_from, taught) if name]
        return {system}.union(*map(self.ancestors, sources))

    def captioner_of(self, system: str) -> str:
        """Return the name of a system's captioner, also if the system is tuned."""
        captioner = self.trained(system).captioner
        assert captioner is not None  # a system has one unless it is tuned from another
        return captioner

    def seeds_of(self, system: str) -> tuple[int, ...]:
        """Return the seeds that a system is trained with."""
        return self.systems[system].seeds or self.seeds

    def steps_of(self, system: str, decoding: str) -> int | None:
        """Return the steps of a row's decoding; None if it has none or there is no such row."""
        if system not in self.systems or decoding not in self.systems[system].decodings:
            return None
        options = self.systems[system].decodings[decoding]
        parsed = decoding_of(captioner_class(self.captioner_of(system)), options, decoding)
        return getattr(parsed, "steps", None)

    def without_spice(self, system: str) -> list[str]:
        """Return the decodings of a system for which SPICE is not computed, though others have it.

        They are those of dials, except the first of the system, if `diversity.spice` is false.
        """
        if self.diversity is None or self.diversity.spice or system not in self.systems:
            return []
        dials = [dial for _, dial in self.diversity.named_dials if dial.system == system]
        _, *others = self.systems[system].decodings
        return [name for name in others if any(name in dial.decodings for dial in dials)]

    def training_of(self, system: str) -> Training:
        """Return a system's training settings: its own over the common ones, or its tuning."""
        settings = self.systems[system]
        own = strict_json({**self.training.model_dump(), **settings.training})
        if settings.tuning is None:
            return Training.model_validate_json(own, strict=True)
        # What a system was trained in, it is tuned in, unless its tuning says otherwise.
        base = self.training_of(self.base_of(system))
        inherited = {
            name: getattr(base, name)
            for name in ("precision", "ema")
            if name not in settings.tuning.model_fields_set
        }
        return settings.tuning.model_copy(update=inherited)

    @property
    def reads_photos(self) -> bool:
        """Whether photos are encoded; not if the user has the features of all encoders."""
        encoders = [self.encoder, *([self.judge.encoder] if self.judge else [])]
        if self.generator and self.generator.encoder:
            encoders.append(self.generator.encoder)
        return any(encoder.features is None for encoder in encoders)

    def sees_pixels(self, system: str) -> bool:
        """Return whether a system or the one that it is tuned from has an encoder of its own."""
        base = self.systems[system].tuned_from
        return self.training_of(system).fine_tune is not None or (
            base is not None and self.sees_pixels(base)
        )

    # The parts that only some configurations have, for what cannot do without them.

    def base_of(self, system: str) -> str:
        """Return the system that a tuned system is tuned from.

        Raises:
            UserError: The system is not tuned.
        """
        base = self.systems[system].tuned_from
        if base is None:
            raise UserError(f"systems.{system}.tuned_from: is missing; the system is not tuned")
        return base

    def tuning_of(self, system: str) -> Tuning:
        """Return the settings by which a system is tuned.

        Raises:
            UserError: The system is not tuned.
        """
        tuning = self.training_of(system)
        if not isinstance(tuning, Tuning):
            raise UserError(f"systems.{system}.tuning: is missing; the system is not tuned")
        return tuning

    def teacher_of(self, system: str) -> Row:
        """Return the row whose captions a distilled system learns from.

        Raises:
            UserError: The system is not distilled.
        """
        teacher = self.systems[system].distilled_from
        if teacher is None:
            raise UserError(f"systems.{system}.distilled_from: is missing; it has no teacher")
        return teacher

    def required_generator(self) -> Generator:
        """Return the section `generator`.

        Raises:
            UserError: The configuration has none.
        """
        if self.generator is None:
            raise UserError(f"{self.name}: the configuration has no section generator")
        return self.generator

    def required_judge(self) -> Judge:
        """Return the section `ablation.judge`.

        Raises:
            UserError: The configuration has none.
        """
        if self.judge is None:
            raise UserError(f"{self.name}: the configuration has no section ablation.judge")
        return self.judge


def parse_config(data: Any, where: str) -> Config:
    """Check a configuration.

    Args:
        data: Plain data, as read from YAML or JSON.
        where: Name of its source, for messages.

    Raises:
        UserError: It is invalid; the message names the source and the keys.
    """
    return parse_section(Config, data, f"{where}: invalid configuration")


def load_config(path: Path) -> Config:
    """Read and check a configuration file; raise UserError if it is invalid."""
    if not path.exists():
        raise UserError(
            f"{path}: no such file; name a configuration by --config: those of the benchmark are in"
            " the folder config/ of a checkout of its repository"
        )
    return parse_config(read_yaml(path), str(path))
