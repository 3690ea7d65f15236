"""The sections of the configuration: frozen, typed, and closed to keys that they do not know."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from dsacap.common.files import check_pinned
from dsacap.config.section import Section
from dsacap.config.training import Tuning

Name = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
]  # ends up in file names and shell lines
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Label = Annotated[str, StringConstraints(pattern=r"^[^|\n]+$")]  # ends up in a cell of the table


class Text(Section):
    """Which words a captioner may use: PTB tokens that stand at least `min_count` times in the train captions."""

    min_count: int = Field(1, ge=1)
    max_words: int = Field(20, ge=1)


class EncoderTraining(Section):
    """The tiny CLIP for scenes; see dsacap/vision/encoders/tiny_clip.py."""

    seed: int = 0
    steps: int = Field(gt=0)
    batch_size: int = 64
    learning_rate: float = 4e-3


class Encoder(Section):
    """Either trained here (`train`), or by name: an open_clip name, `local-dir:FOLDER` in its format, or `timm:NAME`."""

    train: EncoderTraining | None = None
    name: str | None = None
    pretrained: str | None = Field(
        None,
        description="open_clip: a tag or a file of weights; timm: a file, package:NAME, or nothing for the name's own weights",
    )
    sha256: Sha256 | None = Field(
        None, description="of the file of weights; checked before it is read"
    )
    grid: int | None = Field(
        None, gt=0, description="tokens are averaged to grid x grid where the encoder gives more"
    )
    batch_size: int = Field(64, gt=0)
    shard_size: int = Field(4096, gt=0)
    on_bad_image: Literal["error", "skip"] = "error"
    dtype: Literal["float16", "bfloat16"] = Field("float16", description="of features on disk")
    views: int = Field(
        1,
        gt=0,
        le=32,
        description="of each photo: itself, and parts cut out of it at random; a step trains on one of them",
    )
    workers: int = Field(
        0, ge=0, description="processes that decode photos, beside the one that encodes them"
    )

    @model_validator(mode="after")
    def _one_source(self) -> "Encoder":
        if (self.train is None) == (self.name is None):
            raise ValueError(
                "give either train (a tiny CLIP trained on the data set) or name (an open_clip or timm model)"
            )
        if self.train and (self.pretrained or self.sha256):
            raise ValueError(
                "pretrained and sha256 go with name; what is trained here has no weights yet"
            )
        if self.name and not self.pretrained and not self.name.startswith(("local-dir:", "timm:")):
            raise ValueError(
                "an open_clip name needs a pretrained tag or file, or local-dir:FOLDER: random weights make no features"
            )
        return self


class Weights(Section):
    """An encoder by name, with its weights; keys as those of `Encoder`."""

    name: str
    pretrained: str | None = None
    sha256: Sha256 | None = None


class Sight(Encoder):
    """The encoder, or several, in whose space a generator's pictures are compared with the originals."""

    beside: tuple[Weights, ...] = Field(
        (), description="more encoders, of the same input size; pooled vectors stand side by side"
    )


class GeneratorTraining(Section):
    """The caption prior; see dsacap/vision/generators/caption_prior.py."""

    seed: int = 0
    steps: int = Field(gt=0)
    batch_size: int = Field(48, gt=1)
    learning_rate: float = Field(1e-3, gt=0)
    width: int = Field(160, gt=0, multiple_of=32)
    layers: int = Field(2, gt=0)


class Generator(Section):
    """What turns captions back into pictures: either a prior trained here (`train`), or a text-to-image pipeline of diffusers by name."""

    train: GeneratorTraining | None = None
    name: str | None = Field(None, description="of the hub, or a folder in diffusers' format")
    revision: str | None = Field(
        None, description="the commit of a name of the hub, so that the same weights come tomorrow"
    )
    steps: int = Field(1, gt=0, description="denoising steps of a pipeline")
    size: int = Field(512, gt=0, description="of a pipeline's pictures, in pixels")
    batch_size: int = Field(8, gt=0, description="of a pipeline")
    compare: Literal["tokens", "pooled"] = Field(
        "tokens", description="pictures are compared by their tokens, or by one vector each"
    )
    grid: int = Field(
        2, gt=0, description="tokens are compared by their means in grid x grid cells"
    )
    encoder: Sight | None = Field(
        None,
        description="in whose space pictures are compared, such as a DINOv2's; default: the captioners'",
    )

    @model_validator(mode="after")
    def _one_source(self) -> "Generator":
        if (self.train is None) == (self.name is None):
            raise ValueError(
                "give either train (a prior trained on the captions) or name (a text-to-image pipeline)"
            )
        if self.name:
            check_pinned(self.name, self.revision)
        if self.encoder and self.encoder.beside and self.compare == "tokens":
            raise ValueError(
                "encoder.beside: several encoders have one pooled vector, but no common tokens; say compare: pooled"
            )
        return self


class Row(Section):
    system: Name
    decoding: Label


class System(Section):
    """One trained model and the ways it is decoded; each decoding is a row of the table.

    With `tuned_from` it is that system, of the same seed, tuned by `tuning`. With `distilled_from` it learns from what that row says of the
    train images instead of from their references (sequence-level distillation, Kim & Rush 2016).
    """

    captioner: str | None = None
    label: Label | None = None
    seeds: tuple[int, ...] | None = Field(
        None,
        min_length=1,
        description="those of the configuration's that this row has; default: all",
    )
    model: dict[str, Any] = Field({})
    training: dict[str, Any] = Field({})
    distilled_from: Row | None = None
    tuned_from: Name | None = None
    tuning: Tuning | None = None
    decodings: dict[Label, dict[str, Any]] = Field(min_length=1)

    @model_validator(mode="after")
    def _trained_or_tuned(self) -> "System":
        if (self.captioner is None) == (self.tuned_from is None):
            raise ValueError(
                "give either captioner (a system to train) or tuned_from (a system to tune)"
            )
        if (self.tuned_from is None) != (self.tuning is None):
            raise ValueError("tuned_from and tuning go together")
        if self.tuned_from and (self.model or self.training or self.distilled_from):
            raise ValueError(
                "model, training and distilled_from are those of the system that is tuned; leave them out"
            )
        return self


class Checkpoint(Section):
    """A published captioner, loaded through transformers; see baselines/pretrained.py."""

    name: str = Field(description="of the hub, or a folder in transformers' format")
    revision: str | None = Field(
        None, description="the commit of a name of the hub, so that the same weights come tomorrow"
    )
    beams: int = Field(3, ge=1)
    max_words: int = Field(20, ge=1, description="of the model's own tokens")
    batch_size: int = Field(16, ge=1)

    @model_validator(mode="after")
    def _same_tomorrow(self) -> "Checkpoint":
        check_pinned(self.name, self.revision)
        return self


class Predictions(Section):
    """A row of a system that was not trained here, and what a reader has to know of it: captions of the test split in COCO's results
    format, or a published checkpoint that makes them."""

    file: Path | None = None
    checkpoint: Checkpoint | None = None
    label: Label | None = None
    citation: Label
    trained_on: Label = Field(
        description="all data that it saw, pre-training too: what a comparison stands or falls with"
    )

    @model_validator(mode="after")
    def _one_source(self) -> "Predictions":
        if (self.file is None) == (self.checkpoint is None):
            raise ValueError(
                "give either file (captions in COCO's results format) or checkpoint (a published captioner)"
            )
        return self


class Decoding(Section):
    batch_size: int = Field(50, gt=0)
    samples: int = Field(5, ge=2, description="captions an image, where a decoding is random")
    seed: int = 0


class Inspection(Section):
    """What is recorded of the inside of systems that can show it; see dsacap/method/inspection.py."""

    images: int = Field(24, ge=1, description="of the test split, evenly spread")
    steps: int = Field(
        8, ge=1, description="of denoising, from as much noise as the system was trained with"
    )


class Scoring(Section):
    spice: Literal["auto", "required", "off"] = Field(
        "auto", description="auto: where its parser can be had; n/a with the reason if not"
    )


class Timing(Section):
    """`rounds` visits to every system, of `iterations` batches each; see dsacap/timing/latency.py."""

    batch_sizes: tuple[int, ...] = (1, 32)
    warmup: int = Field(10, ge=1)
    rounds: int = Field(10, ge=1)
    iterations: int = Field(3, ge=1)


class Judge(Section):
    """A second encoder and generator, which no reward knows: what is gained by pleasing the first alone does not show here."""

    encoder: Encoder
    generator: Generator


class Comparison(Section):
    """That row `better` has more of `metric` than row `worse`; see dsacap/reporting/claims.py for what can be compared."""

    metric: str
    better: Row
    worse: Row


class Claim(Section):
    """Supported if all of its tests are, not supported if one turns out the other way round, else undecided."""

    says: Label
    tests: tuple[Comparison, ...] = Field(min_length=1)


class Ablation(Section):
    """What turns a table of results into one of findings: rows of more seeds, judged by what no reward knows, and claims that can fail."""

    judge: Judge | None = (
        None  # only claims on what comes back of a picture, and ablation.md, need one
    )
    claims: dict[Name, Claim] = Field({})

    def decodings_tested(self, metric: str) -> dict[str, list[str]]:
        """System -> its decodings that a claim compares by `metric`."""
        rows = [
            row
            for claim in self.claims.values()
            for t in claim.tests
            if t.metric == metric
            for row in (t.better, t.worse)
        ]
        return {
            row.system: sorted({other.decoding for other in rows if other.system == row.system})
            for row in rows
        }

    @property
    def compares_reconstructions(self) -> bool:
        """Whether a claim is on what comes back of a picture, which takes both generators."""
        return any(
            self.decodings_tested(metric) for metric in ("reconstruction", "judged_reconstruction")
        )
