"""The whole configuration as frozen, typed models, read from YAML.

An unknown key, a wrong type or an impossible value is an error. What belongs to one captioner (its
size, its decoding options) is declared by that captioner and checked here through
`dsacap.captioner`, so that a misspelt key of a model stops the run before its first stage.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from dsacap.captioner.registry import captioner_class
from dsacap.common.errors import UserError
from dsacap.config.claims import Ablation, AtSameDiversity, Diversity
from dsacap.config.dataset import Coco, Downloads, Scenes
from dsacap.config.encoder import PATCHES, Encoder
from dsacap.config.measurements import Inspection, Robustness, Scoring, Timing
from dsacap.config.parsing import (
    checked_options,
    decoding_of,
    message_of,
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
    def _systems(self) -> "Config":
        for name in self.systems:
            self.check_system(name)
        check_trials(self)
        return self

    @model_validator(mode="after")
    def _encoder_of_pictures(self) -> "Config":
        """Require an encoder where a generator's pictures are to be encoded."""
        for generator, encoder in (
            (owner.generator, owner.encoder) for owner in (self, self.judge) if owner
        ):
            if generator and generator.name and (generator.encoder or encoder).features:
                raise ValueError(
                    "generator.encoder: pictures of a pipeline have to be encoded, and features"
                    " alone cannot do that; name an encoder"
                )
        return self

    def check_system(self, name: str) -> None:
        """Raise a ValueError that names the key if the settings of a system do not fit."""
        system = self.systems[name]
        if system.tuned_from and system.tuned_from not in self.systems:
            raise ValueError(f"systems.{name}.tuned_from: no system {system.tuned_from!r}")
        if self.trained(name).tuned_from:
            raise ValueError(
                f"systems.{name}.tuned_from: {system.tuned_from!r} is itself tuned; name a"
                " system that was trained"
            )
        if system.tuning and system.tuning.reconstructs and not self.generator:
            raise ValueError(
                f"systems.{name}.tuning.rewards: reconstruction and contrast need a generator"
                " section"
            )
        self._check_teacher(name)
        self._check_seeds(name)
        cls = captioner_class(self.captioner_of(name))
        model = checked_options(cls.Model, self.trained(name).model, f"systems.{name}.model")
        for decoding, options in system.decodings.items():
            decoding_of(cls, options, f"systems.{name}.decodings.{decoding}", model)
        try:
            self.training_of(name)
        except ValidationError as error:
            raise ValueError(message_of(error.errors()[0], f"systems.{name}.training")) from None
        given = self.encoder.name or "encoder.features"
        if self.sees_pixels(name) and (self.encoder.features or given.startswith(PATCHES)):
            raise ValueError(
                f"systems.{name}: fine_tune trains an encoder, but {given} has no weights;"
                " leave it out, or name another encoder"
            )

    def _check_teacher(self, name: str) -> None:
        teacher = self.systems[name].distilled_from
        if teacher is None:
            return
        self._check_row(teacher, f"systems.{name}.distilled_from")
        if self.trained(teacher.system).distilled_from:
            raise ValueError(
                f"systems.{name}.distilled_from: {teacher.system!r} is itself distilled; name a"
                " system that was trained on references"
            )

    def _check_seeds(self, name: str) -> None:
        """Require the first seed, which is timed, and no seed that the system's source lacks."""
        system, seeds = self.systems[name], self.seeds_of(name)
        source = system.tuned_from or (system.distilled_from and system.distilled_from.system)
        known = self.seeds_of(source) if source else self.seeds
        if self.seeds[0] not in seeds or not set(seeds) <= set(known):
            raise ValueError(
                f"systems.{name}.seeds: must contain {self.seeds[0]}, the first seed, and may"
                f" contain only {', '.join(map(str, known))}"
            )

    @model_validator(mode="after")
    def _portable(self) -> "Config":
        """Refuse what portable arithmetic cannot cover: a GPU, compiled code and bf16."""
        if self.arithmetic == "portable":
            if self.device == "cuda":
                raise ValueError(
                    "arithmetic: portable cannot be promised on a GPU; set device: cpu, or"
                    " arithmetic: fast"
                )
            for name in self.systems:
                training = self.training_of(name)
                if training.compile or training.precision != "fp32":
                    key = "compile" if training.compile else "precision"
                    raise ValueError(
                        f"arithmetic: portable cannot be combined with training.{key} of"
                        f" systems.{name}; leave one of them out"
                    )
        return self

    @model_validator(mode="after")
    def _predictions(self) -> "Config":
        for name in self.predictions:
            if name in self.systems or name == "human":
                raise ValueError(
                    f"predictions.{name}: another row has this name; choose a different one"
                )
        return self

    @model_validator(mode="after")
    def _claims(self) -> "Config":
        if self.judge and not self.generator:
            raise ValueError(
                "ablation.judge: needs a generator section, because reconstructions are compared by"
                " that generator and by the judge's"
            )
        if self.ablation and self.ablation.compares_reconstructions and not self.judge:
            raise ValueError(
                "ablation.claims: claims on reconstructions need a judge; add ablation.judge, or"
                " leave these claims out"
            )
        for name, claim in self.ablation.claims.items() if self.ablation else ():
            for test in claim.tests:
                for row in test.rows:
                    self._check_row(row, f"ablation.claims.{name}")
                size = getattr(test, "batch_size", None)
                if size is not None and size not in self.timing.batch_sizes:
                    raise ValueError(
                        f"ablation.claims.{name}.batch_size: {size} is not timed; choose one of"
                        f" timing.batch_sizes, {', '.join(map(str, self.timing.batch_sizes))}"
                    )
        return self

    @model_validator(mode="after")
    def _dials(self) -> "Config":
        """Require rows for dials, and one range of diversity for all systems and claims."""
        for _, dial in self.diversity.named_dials if self.diversity else ():
            for row in dial.rows:
                self._check_row(row, f"diversity.dials.{dial.system}")
        for name, claim in self.ablation.claims.items() if self.ablation else ():
            for test in claim.tests:
                between = test.between if isinstance(test, AtSameDiversity) else None
                if between and (self.diversity is None or between != self.diversity.between):
                    raise ValueError(
                        f"ablation.claims.{name}.between: must be diversity.between, the one range"
                        " over which systems are compared"
                    )
        return self

    def _check_row(self, row: Row, where: str) -> None:
        if row.system not in self.systems or row.decoding not in self.systems[row.system].decodings:
            raise ValueError(f"{where}: no row {row.system!r}, {row.decoding!r}")

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
