"""The sections of the configuration on training and tuning."""

from typing import Literal

from pydantic import Field, model_validator

from dsacap.config.section import Section


class FineTuning(Section):
    """Training of the image encoder together with a captioner, from pixels.

    See `dsacap/vision/features/pixels.py`.
    """

    learning_rate: float = Field(
        gt=0, description="of the encoder, with the same schedule as the captioner's"
    )
    drawn: bool = Field(
        False,
        description="each step takes a new random crop of each photo, mirrored half of the time"
        " unless captions forbid it",
    )


class Training(Section):
    """Supervised training. Its budget is in steps, so that a command gives the same bytes again."""

    steps: int = Field(gt=0)
    batch_size: int = Field(24, gt=0, description="images per step, each with its references")
    learning_rate: float = Field(2e-3, gt=0)
    warmup: int = Field(100, ge=0)
    weight_decay: float = Field(0.01, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    ema: float = Field(
        0,
        ge=0,
        lt=1,
        description="decay of the moving average of the weights, which is what is kept; 0: none",
    )
    images: int | None = Field(
        None,
        gt=0,
        description="train on so many images of the train split, which the row's seed draws; all"
        " else that is made of the split (vocabulary, encoder, look-ups, rewards) sees the whole",
    )
    references: int = Field(5, gt=0, description="captions of an image that a step uses")
    evaluations: int = Field(6, gt=0)
    validation_images: int = Field(500, gt=1)
    accumulate: int = Field(
        1,
        ge=1,
        description="parts of a batch that a process works through in turn to save memory; results"
        " are the same",
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32",
        description="bf16 uses autocast; weights, sums over paths and decoding stay in fp32",
    )
    compile: bool = Field(False, description="compile the transformer blocks by torch.compile")
    fine_tune: FineTuning | None = Field(
        None,
        description="train the encoder too; by default it is frozen, and its features are read from"
        " files",
    )


class Rewards(Section):
    """Weights of the rewards of a caption; see dsacap/training/rewards.py."""

    cider: float = Field(
        0,
        ge=0,
        description="CIDEr-D, 0 to 10; it pulls every caption towards what the references agree on",
    )
    coverage: float = Field(
        0,
        ge=0,
        description="of the set of captions drawn for an image: the mean over references of the"
        " best CIDEr-D, 0 to 10, that a caption of the set has with it",
    )
    best: float = Field(
        0,
        ge=0,
        description="of the set of captions drawn for an image: the highest CIDEr-D among them",
    )
    reconstruction: float = Field(
        0,
        ge=0,
        description="cosine, -1 to 1, of the picture that the generator makes of a caption and the"
        " original",
    )
    contrast: float = Field(
        0,
        ge=0,
        description="probability, 0 to 1, that the picture that the generator makes of a caption is"
        " the original, and not one of the 15 train images nearest to it",
    )
    clipscore: float = Field(
        0,
        ge=0,
        description="cosine, at least 0, of a caption and its photo in the space of an open_clip"
        " encoder",
    )
    repeats: float = Field(0, ge=0, description="subtracted for each repeated word or phrase")
    excess: float = Field(
        0, ge=0, description="subtracted for each word beyond the length of the longest reference"
    )

    @model_validator(mode="after")
    def _some(self) -> "Rewards":
        looks = self.reconstruction + self.contrast + self.clipscore
        if not self.cider + looks and not self.of_sets:
            raise ValueError(
                "needs a weight for cider, coverage, best, reconstruction, contrast or clipscore:"
                " penalties alone favour captions that say nothing"
            )
        return self

    @property
    def of_sets(self) -> bool:
        """Whether the set of an image's captions is rewarded."""
        return bool(self.coverage + self.best)


class ExpectedNgrams(Section):
    """The exact objective of a graph readout: its expected n-gram overlap with the references.

    See `dsacap/method/dag_expected_ngrams.py`.
    """

    orders: int = Field(4, ge=1, description="n-grams of 1 to this many words")
    temperature: float = Field(
        1.0,
        gt=0,
        description="below 1 it sharpens words and transitions before they are counted",
    )
    beta: float = Field(
        0, ge=0, description="how sharply the best reference is selected; 0: mean over references"
    )


class Tuning(Training):
    """Tuning of trained weights by rewards of drawn captions, or by expected n-grams."""

    rewards: Rewards | None = None
    ngrams: ExpectedNgrams | None = None
    samples: int = Field(
        8, ge=2, description="captions drawn per image; each is compared with the others"
    )
    noises: Literal["one", "each"] = Field(
        "one",
        description="one: all samples of an image share its noise; each: every sample has its own,"
        " at as many times the cost",
    )
    guided: bool = Field(
        False,
        description="replace one of an image's samples by a reference, as in SCD-Net's guided"
        " self-critical training; it is scored by the other references, and is no part of the"
        " baseline of the other samples",
    )
    spread: Literal["batch", "image"] = Field(
        "batch",
        description="advantages are divided by their spread over the batch, or over the image as in"
        " GRPO",
    )
    kl: float = Field(
        0, ge=0, description="weight of log(p / p before tuning), subtracted from the reward"
    )
    supervised: float = Field(0, ge=0, description="weight of the training loss, which is added")
    learning_rate: float = Field(3e-4, gt=0)
    warmup: int = Field(10, ge=0)

    @model_validator(mode="after")
    def _one_objective(self) -> "Tuning":
        if (self.rewards is None) == (self.ngrams is None):
            raise ValueError("give either rewards or ngrams")
        if self.guided and self.samples < 3:
            raise ValueError("guided needs samples >= 3: two that are compared with each other")
        if self.rewards and self.rewards.of_sets and (self.guided or self.samples < 3):
            raise ValueError(
                "rewards of sets (coverage, best) need samples >= 3, and no guide, which would be"
                " part of the set"
            )
        if self.ngrams and self.kl:
            raise ValueError(
                "kl is a term of the reward; with ngrams, use supervised to stay close to what was"
                " learned"
            )
        if self.fine_tune and self.kl:
            raise ValueError(
                "kl measures the distance from the system before tuning, whose features fine_tune"
                " would change; leave one of them out"
            )
        return self

    @property
    def reconstructs(self) -> bool:
        """Whether the reward reconstructs pictures, which takes a generator."""
        return bool(self.rewards and self.rewards.reconstruction + self.rewards.contrast)
