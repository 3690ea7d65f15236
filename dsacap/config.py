"""Typed configuration: YAML at the edge, frozen models inside; an unknown key, a wrong type or an impossible value is an error.

What belongs to one captioner (its size, its decoding options) is declared by that captioner and checked here through
`dsacap.captioner`, so that a misspelt key of a model stops the run before the first stage and not after the third.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, model_validator

from dsacap.captioner import captioner_class
from dsacap.errors import UserError
from dsacap.files import read_text

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]  # ends up in file names and shell lines
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Label = Annotated[str, StringConstraints(pattern=r"^[^|\n]+$")]  # ends up in a cell of the table


_SAID = {"extra_forbidden": "unknown key", "missing": "is missing"}  # plainer than pydantic's own words


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Remote(Section):
    """A file to be had from the net, and how to know that it is the right one."""

    url: str
    size: int
    md5: str | None = None
    sha256: str | None = None
    unpack: tuple[Path, ...] = Field((), description="files wanted from the archive; it is unpacked into its own folder")


class Scenes(Section):
    """The embedded data set, generated."""

    kind: Literal["scenes"]
    seed: int = 0
    train: int = Field(gt=1)
    val: int = Field(gt=1)
    test: int = Field(gt=1)


class RandomSplit(Section):
    val: int = Field(gt=1)
    test: int = Field(gt=1)
    seed: int = 0


class Coco(Section):
    """Captions and photos on disk, in COCO's format. Paths are relative to the working directory."""

    kind: Literal["coco"]
    annotations: tuple[Path, ...] = ()
    images: dict[str, Path]
    karpathy: Path | None = None
    random_split: RandomSplit | None = None
    expected: dict[str, int] | None = None
    downloads: dict[Path, Remote] = {}

    @model_validator(mode="after")
    def _one_split(self) -> "Coco":
        if (self.karpathy is None) == (self.random_split is None):
            raise ValueError("give either karpathy (a split file) or random_split")
        return self


class Text(Section):
    """Which words a captioner may use: PTB tokens that stand at least `min_count` times in the train captions."""

    min_count: int = Field(1, ge=1)
    max_words: int = Field(20, ge=1)


class EncoderTraining(Section):
    """The tiny CLIP for scenes; see dsacap/vision/tiny_clip.py."""

    seed: int = 0
    steps: int = Field(gt=0)
    batch_size: int = 64
    learning_rate: float = 4e-3


class Encoder(Section):
    """Either trained here (`train`), or by name: an open_clip name, `local-dir:FOLDER` in its format, or `timm:NAME`."""

    train: EncoderTraining | None = None
    name: str | None = None
    pretrained: str | None = Field(
        None, description="open_clip: a tag or a file of weights; timm: a file, package:NAME, or nothing for the name's own weights"
    )
    sha256: Sha256 | None = Field(None, description="of the file of weights; checked before it is read")
    grid: int | None = Field(None, gt=0, description="tokens are averaged to grid x grid where the encoder gives more")
    batch_size: int = Field(64, gt=0)
    shard_size: int = Field(4096, gt=0)
    on_bad_image: Literal["error", "skip"] = "error"

    @model_validator(mode="after")
    def _one_source(self) -> "Encoder":
        if (self.train is None) == (self.name is None):
            raise ValueError("give either train (a tiny CLIP trained on the data set) or name (an open_clip or timm model)")
        if self.train and (self.pretrained or self.sha256):
            raise ValueError("pretrained and sha256 go with name; what is trained here has no weights yet")
        if self.name and not self.pretrained and not self.name.startswith(("local-dir:", "timm:")):
            raise ValueError("an open_clip name needs a pretrained tag or file, or local-dir:FOLDER: random weights make no features")
        return self


class Training(Section):
    """One supervised run. The budget is in steps, so that the same command gives the same bytes."""

    steps: int = Field(gt=0)
    batch_size: int = Field(24, gt=0, description="images a step, each with all its references")
    learning_rate: float = Field(2e-3, gt=0)
    warmup: int = Field(100, ge=0)
    weight_decay: float = Field(0.01, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    references: int = Field(5, gt=0, description="captions of an image seen a step")
    evaluations: int = Field(6, gt=0)
    validation_images: int = Field(500, gt=1)


class Rewards(Section):
    """Weights of what a caption is rewarded for; see dsacap/training/rewards.py."""

    cider: float = Field(0, ge=0, description="CIDEr-D, 0 to 10: draws every caption towards what the references agree on")
    coverage: float = Field(0, ge=0, description="what a caption adds to how well the references are matched, each by its best caption")
    repeats: float = Field(0, ge=0, description="subtracted for each word or phrase said twice")
    excess: float = Field(0, ge=0, description="subtracted for each word more than the longest reference has")

    @model_validator(mode="after")
    def _some(self) -> "Rewards":
        if not self.cider + self.coverage:
            raise ValueError("needs a weight for cider or coverage: guards alone reward saying nothing")
        return self


class Tuning(Training):
    """One tuning by rewards, from trained weights."""

    rewards: Rewards
    samples: int = Field(8, ge=2, description="captions drawn an image; each is measured against the others")
    noises: Literal["one", "each"] = Field(
        "one", description="whether an image's samples are drawn under one noise, or each under its own, at so many times the work"
    )
    kl: float = Field(0, ge=0, description="weight of log p / p before tuning, subtracted from the reward")
    supervised: float = Field(0, ge=0, description="weight of the loss of training, added")
    learning_rate: float = Field(3e-4, gt=0)
    warmup: int = Field(10, ge=0)


class System(Section):
    """One trained model and the ways it is decoded; each decoding is a row of the table.

    With `tuned_from` it is that system, of the same seed, tuned by `tuning`.
    """

    captioner: str | None = None
    label: Label | None = None
    model: dict[str, Any] = {}
    training: dict[str, Any] = {}
    tuned_from: Name | None = None
    tuning: Tuning | None = None
    decodings: dict[Label, dict[str, Any]] = Field(min_length=1)

    @model_validator(mode="after")
    def _trained_or_tuned(self) -> "System":
        if (self.captioner is None) == (self.tuned_from is None):
            raise ValueError("give either captioner (a system to train) or tuned_from (a system to tune)")
        if (self.tuned_from is None) != (self.tuning is None):
            raise ValueError("tuned_from and tuning go together")
        if self.tuned_from and (self.model or self.training):
            raise ValueError("model and training are those of the system that is tuned; leave them out")
        return self


class Decoding(Section):
    batch_size: int = Field(50, gt=0)
    samples: int = Field(5, ge=2, description="captions an image, where a decoding is random")
    seed: int = 0


class Scoring(Section):
    spice: Literal["auto", "required", "off"] = Field("auto", description="auto: where its parser can be had; n/a with the reason if not")


class Timing(Section):
    batch_sizes: tuple[int, ...] = (1, 32)
    warmup: int = Field(5, ge=1)
    iterations: int = Field(30, ge=3)


class Config(Section):
    name: Name
    note: str | None = Field(None, description="said below the title of the table")
    results: Path = Path("results")
    work: Path = Path("work")
    threads: int = Field(1, ge=1, description="torch threads a process; two jobs of one beat one job of two")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    dataset: Annotated[Scenes | Coco, Field(discriminator="kind")]
    text: Text = Text()
    encoder: Encoder
    training: Training
    systems: dict[Name, System] = Field(min_length=1)
    decoding: Decoding = Decoding()
    scoring: Scoring = Scoring()
    timing: Timing = Timing()

    @model_validator(mode="after")
    def _systems(self) -> "Config":
        for name, system in self.systems.items():
            if system.tuned_from and system.tuned_from not in self.systems:
                raise ValueError(f"systems.{name}.tuned_from: no system {system.tuned_from!r}")
            if self.trained(name).tuned_from:
                raise ValueError(f"systems.{name}.tuned_from: {system.tuned_from!r} is itself tuned; name the system that was trained")
            trained = self.trained(name)
            cls = captioner_class(trained.captioner)
            model = _checked(cls.Model, trained.model, f"systems.{name}.model")
            for decoding, options in system.decodings.items():
                where = f"systems.{name}.decodings.{decoding}"
                asked = _checked(cls.Decoding, options, where)
                try:
                    cls.check(model, asked)
                except ValueError as error:
                    raise ValueError(f"{where}: {error}") from None
            self.training_of(name)
        return self

    def trained(self, system: str) -> System:
        """The system itself, or the one that it is tuned from: whose captioner and model it has."""
        return self.systems[self.systems[system].tuned_from or system]

    def training_of(self, system: str) -> Training:
        """The common training settings with this system's own on top; of a tuned system, its tuning."""
        return self.systems[system].tuning or Training(**{**self.training.model_dump(), **self.systems[system].training})


def _checked(settings: type, options: dict[str, Any], where: str) -> Any:
    """`options` as a captioner's own dataclass of settings."""
    known = {field.name for field in dataclasses.fields(settings)}
    unknown = sorted(set(options) - known)
    if unknown:
        raise ValueError(f"{where}: unknown key {unknown[0]!r}; known: {', '.join(sorted(known)) or 'none'}")
    try:
        return TypeAdapter(settings).validate_python(options)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join([where, *map(str, first['loc'])])}: {first['msg']}") from None


def parse_config(data: Any, where: str) -> Config:
    """Checks plain `data` (as YAML or JSON gives it); errors name `where` and the key."""
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc'])) or '(top)'}: {_SAID.get(e['type'], e['msg'])}" for e in error.errors()]
        raise UserError(f"{where}: the configuration is wrong\n" + "\n".join(lines)) from None


def load_config(path: Path) -> Config:
    try:
        data = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML: {error}") from None
    return parse_config(data, str(path))
