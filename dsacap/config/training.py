"""The sections of the configuration that say how a system is trained or tuned."""

from typing import Literal

from pydantic import Field, model_validator

from dsacap.config.section import Section


class FineTuning(Section):
    """The image encoder, trained along with a captioner from the pixels; see dsacap/vision/features/pixels.py."""

    learning_rate: float = Field(gt=0, description="of the encoder, by the captioner's schedule")
    drawn: bool = Field(
        False,
        description="a step sees of each photo a part cut out anew, mirrored half of the time where captions allow",
    )


class Training(Section):
    """One supervised run. The budget is in steps, so that the same command gives the same bytes."""

    steps: int = Field(gt=0)
    batch_size: int = Field(24, gt=0, description="images a step, each with all its references")
    learning_rate: float = Field(2e-3, gt=0)
    warmup: int = Field(100, ge=0)
    weight_decay: float = Field(0.01, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    ema: float = Field(
        0,
        ge=0,
        lt=1,
        description="decay of the average of weights that is decoded with and kept; 0: none",
    )
    references: int = Field(5, gt=0, description="captions of an image seen a step")
    evaluations: int = Field(6, gt=0)
    validation_images: int = Field(500, gt=1)
    accumulate: int = Field(
        1,
        ge=1,
        description="parts of a batch that a process works through in turn, for memory; results are the same",
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="bf16: by autocast; weights, sums over paths and decoding stay fp32"
    )
    compile: bool = Field(False, description="transformer blocks through torch.compile")
    fine_tune: FineTuning | None = Field(
        None,
        description="the encoder is trained too; default: it is frozen, and its features are read",
    )


class Rewards(Section):
    """Weights of what a caption is rewarded for; see dsacap/training/rewards.py."""

    cider: float = Field(
        0,
        ge=0,
        description="CIDEr-D, 0 to 10: draws every caption towards what the references agree on",
    )
    coverage: float = Field(
        0,
        ge=0,
        description="what a caption adds to how well the references are matched, each by its best caption",
    )
    reconstruction: float = Field(
        0,
        ge=0,
        description="cosine, -1 to 1, of what the generator makes of a caption with the original",
    )
    clipscore: float = Field(
        0,
        ge=0,
        description="cosine, at least 0, of a caption with its photo in the space of an open_clip encoder",
    )
    repeats: float = Field(0, ge=0, description="subtracted for each word or phrase said twice")
    excess: float = Field(
        0, ge=0, description="subtracted for each word more than the longest reference has"
    )

    @model_validator(mode="after")
    def _some(self) -> "Rewards":
        if not self.cider + self.coverage + self.reconstruction + self.clipscore:
            raise ValueError(
                "needs a weight for cider, coverage, reconstruction or clipscore: guards alone reward saying nothing"
            )
        return self


class ExpectedNgrams(Section):
    """The exact objective of a readout that is a graph: expected overlap with the references; see dsacap/method/dag_expected_ngrams.py."""

    orders: int = Field(4, ge=1, description="n-grams of 1 to so many words")
    temperature: float = Field(
        1.0,
        gt=0,
        description="below 1, words and transitions are sharpened before they are counted",
    )
    beta: float = Field(
        0, ge=0, description="sharpens the choice among references; 0: the mean over them"
    )


class Tuning(Training):
    """One tuning from trained weights: by rewards of captions drawn, or by the expected n-grams of all."""

    rewards: Rewards | None = None
    ngrams: ExpectedNgrams | None = None
    samples: int = Field(
        8, ge=2, description="captions drawn an image; each is measured against the others"
    )
    noises: Literal["one", "each"] = Field(
        "one",
        description="whether an image's samples are drawn under one noise, or each under its own, at so many times the work",
    )
    guided: bool = Field(
        False,
        description="one of an image's samples is a reference, as in SCD-Net's guided self-critical training",
    )
    spread: Literal["batch", "image"] = Field(
        "batch", description="over what advantages have a spread of 1; image is GRPO's choice"
    )
    kl: float = Field(
        0, ge=0, description="weight of log p / p before tuning, subtracted from the reward"
    )
    supervised: float = Field(0, ge=0, description="weight of the loss of training, added")
    learning_rate: float = Field(3e-4, gt=0)
    warmup: int = Field(10, ge=0)

    @model_validator(mode="after")
    def _one_objective(self) -> "Tuning":
        if (self.rewards is None) == (self.ngrams is None):
            raise ValueError("give either rewards or ngrams")
        if self.ngrams and self.kl:
            raise ValueError(
                "kl is a term of the reward; beside ngrams, supervised keeps a system near what it learnt"
            )
        if self.fine_tune and self.kl:
            raise ValueError(
                "kl measures against the system before tuning, which fine_tune's encoder would blur; leave one of them out"
            )
        return self

    @property
    def reconstructs(self) -> bool:
        return bool(self.rewards and self.rewards.reconstruction)
