"""The sections of the configuration, except the data set, the encoder and training."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from dsacap.common.files import check_pinned
from dsacap.config.encoder import Encoder, Sight
from dsacap.config.section import Section
from dsacap.config.training import Tuning

# Names become parts of file names and of shell commands, labels become cells of the table.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Label = Annotated[str, StringConstraints(pattern=r"^[^|\n]+$")]


class Text(Section):
    """The vocabulary: PTB tokens that occur at least `min_count` times in the train captions."""

    min_count: int = Field(1, ge=1)
    max_words: int = Field(20, ge=1)


class GeneratorTraining(Section):
    """Training of the caption prior; see dsacap/vision/generators/caption_prior.py."""

    seed: int = 0
    steps: int = Field(gt=0)
    batch_size: int = Field(48, gt=1)
    learning_rate: float = Field(1e-3, gt=0)
    width: int = Field(160, gt=0, multiple_of=32)
    layers: int = Field(2, gt=0)


class Generator(Section):
    """The generator that turns captions back into pictures.

    It is a caption prior trained here (`train`), or a text-to-image pipeline of diffusers by name.
    """

    train: GeneratorTraining | None = None
    name: str | None = Field(
        None, description="a name on the hub, or a folder in diffusers' format"
    )
    revision: str | None = Field(
        None, description="commit of a name on the hub, which pins the weights"
    )
    steps: int = Field(1, gt=0, description="denoising steps of the pipeline")
    size: int = Field(512, gt=0, description="width and height of the pictures, in pixels")
    batch_size: int = Field(8, gt=0, description="batch size of the pipeline")
    compare: Literal["tokens", "pooled"] = Field(
        "tokens", description="compare pictures by their tokens, or by one pooled vector each"
    )
    grid: int = Field(2, gt=0, description="compare tokens by their means over grid x grid cells")
    encoder: Sight | None = Field(
        None,
        description="encoder whose features are compared, such as a DINOv2; by default the"
        " captioners'",
    )

    @model_validator(mode="after")
    def _one_source(self) -> "Generator":
        if (self.train is None) == (self.name is None):
            raise ValueError(
                "give either train (a prior trained on the captions) or name (a text-to-image"
                " pipeline)"
            )
        if self.name:
            check_pinned(self.name, self.revision)
        if self.encoder and self.encoder.beside and self.compare == "tokens":
            raise ValueError(
                "encoder.beside: several encoders have one pooled vector, but no common tokens;"
                " set compare: pooled"
            )
        return self


class Row(Section):
    """A row of the table: a system and one of its decodings."""

    system: Name
    decoding: Label


class Expected(Section):
    """The CIDEr below which a trained system shows that something is wrong for all of them.

    The run then ends before other systems are trained (dsacap/stages/expectation.py). It decides
    nothing that a stage writes, so changing it invalidates no finished stage.
    """

    cider: float = Field(
        gt=0,
        description="lowest plausible CIDEr of the validation images, by the first decoding, on the"
        " scale of the tables (115, not 1.15)",
    )
    source: Label = Field(description="where the figure comes from, for the message")


class System(Section):
    """One trained model and its decodings, each of which is a row of the table.

    With `tuned_from` it is that system, of the same seed, tuned by `tuning`. With `distilled_from`
    it is trained on that row's captions of the train images instead of on their references
    (sequence-level distillation, Kim & Rush 2016).
    """

    captioner: str | None = None
    label: Label | None = None
    seeds: tuple[int, ...] | None = Field(
        None,
        min_length=1,
        description="seeds of the configuration that this system is trained with; default: all",
    )
    model: dict[str, Any] = Field({})
    training: dict[str, Any] = Field({})
    expected: Expected | None = Field(
        None,
        description="what the system must reach, once trained, before the others are trained",
    )
    distilled_from: Row | None = None
    tuned_from: Name | None = None
    tuning: Tuning | None = None
    decodings: dict[Label, dict[str, Any]] = Field(min_length=1)

    @model_validator(mode="after")
    def _trained_or_tuned(self) -> "System":
        if (self.captioner is None) == (self.tuned_from is None):
            raise ValueError(
                "give either captioner (to train a system) or tuned_from (to tune one)"
            )
        if (self.tuned_from is None) != (self.tuning is None):
            raise ValueError("give both tuned_from and tuning, or neither")
        if self.tuned_from and (self.model or self.training or self.distilled_from):
            raise ValueError(
                "a tuned system has the model, training and distilled_from of tuned_from;"
                " leave them out"
            )
        if self.expected and (self.tuned_from or self.distilled_from):
            raise ValueError(
                "expected: belongs to a system that is trained on references, since others wait for"
                " it; leave it out"
            )
        return self


class Checkpoint(Section):
    """A published captioner, loaded with transformers; see baselines/pretrained.py."""

    name: str = Field(description="a name on the hub, or a folder in transformers' format")
    revision: str | None = Field(
        None, description="commit of a name on the hub, which pins the weights"
    )
    beams: int = Field(3, ge=1)
    max_words: int = Field(20, ge=1, description="longest caption, in the model's own tokens")
    batch_size: int = Field(16, ge=1)

    @model_validator(mode="after")
    def _same_tomorrow(self) -> "Checkpoint":
        check_pinned(self.name, self.revision)
        return self


class Predictions(Section):
    """A row of a system that was not trained here, and what a reader must know about it.

    Its captions of the test split are in a file in COCO's results format, or a published checkpoint
    generates them.
    """

    file: Path | None = None
    checkpoint: Checkpoint | None = None
    label: Label | None = None
    citation: Label
    trained_on: Label = Field(
        description="all data that it was trained on, pre-training included; any comparison depends"
        " on it"
    )

    @model_validator(mode="after")
    def _one_source(self) -> "Predictions":
        if (self.file is None) == (self.checkpoint is None):
            raise ValueError(
                "give either file (captions in COCO's results format) or checkpoint (a published"
                " captioner)"
            )
        return self


class Decoding(Section):
    """Settings of decoding that all systems share."""

    batch_size: int = Field(50, gt=0)
    samples: int = Field(5, ge=2, description="captions per image of a decoding that is random")
    seed: int = 0


class Judge(Section):
    """A second encoder and generator, which no reward uses.

    A gain that only exploits the first pair does not show in their scores.
    """

    encoder: Encoder
    generator: Generator
