"""The sections of the configuration on image encoders."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from dsacap.common.files import check_pinned
from dsacap.config.section import Section, Sha256

PATCHES = "patches:"  # begins the name of an encoder that gives pixels
BLIP = "blip:"  # begins the name of the vision transformer of a BLIP


class EncoderTraining(Section):
    """Training of the tiny CLIP for scenes; see dsacap/vision/encoders/tiny_clip.py."""

    seed: int = 0
    steps: int = Field(gt=0)
    batch_size: int = 64
    learning_rate: float = 4e-3


class AutoencoderSizes(Section):
    """Sizes of an autoencoder of photos; see dsacap/vision/encoders/latent_encoder.py."""

    size: int = Field(64, gt=0, multiple_of=32, description="photos are squashed to size x size")
    width: int = Field(
        16, gt=0, multiple_of=8, description="channels at full resolution, doubled twice below it"
    )
    channels: int = Field(
        4, gt=0, description="of the latent, which is 8 times smaller than the photo each way"
    )


class AutoencoderTraining(AutoencoderSizes):
    """Training of an autoencoder of photos; see dsacap/training/train_autoencoder.py."""

    seed: int = 0
    steps: int = Field(gt=0)
    batch_size: int = Field(32, gt=0)
    learning_rate: float = Field(1e-3, gt=0)
    kl: float = Field(
        1e-4, ge=0, description="weight of the latent's divergence from a normal one, per value"
    )


class Encoder(Section):
    """The image encoder: trained here (`train`, or `autoencoder`), loaded by name, or none.

    With `features` there is none: features that the user has are read, and photos never are.

    A name is one of open_clip's, `local-dir:FOLDER` in open_clip's format, `timm:NAME`, `blip:NAME`
    for a checkpoint of transformers (a name on the hub or a folder), or `patches:SIZE/PATCH` for
    tokens that are a photo's pixels.
    """

    train: EncoderTraining | None = Field(
        None, description="train a tiny CLIP, whose labels only the data set scenes has"
    )
    autoencoder: AutoencoderTraining | None = Field(
        None, description="train an autoencoder on the photos of the train split, without captions"
    )
    features: Path | None = Field(
        None,
        description="features that you have, as many tokens for each image: a folder of one .npz"
        " file an image (xmodaler, bottom-up-attention), or an .h5 file",
    )
    name: str | None = None
    pretrained: str | None = Field(
        None,
        description="open_clip: a tag or a file of weights; timm: a file, package:NAME, or nothing"
        " for the name's default weights; blip: the commit of a name on the hub",
    )
    sha256: Sha256 | None = Field(
        None, description="hash of the file of weights, checked before it is read"
    )
    grid: int | None = Field(
        None, gt=0, description="average the tokens to grid x grid if the encoder gives more"
    )
    batch_size: int = Field(64, gt=0)
    shard_size: int = Field(4096, gt=0)
    on_bad_image: Literal["error", "skip"] = "error"
    dtype: Literal["float16", "bfloat16"] = Field(
        "float16", description="type of the features on disk"
    )
    views: int = Field(
        1,
        gt=0,
        le=32,
        description="views of each photo: itself and random crops; a training step uses one",
    )
    workers: int = Field(
        0,
        ge=0,
        description="processes that decode photos, besides the one that encodes them",
    )

    @model_validator(mode="after")
    def _one_source(self) -> "Encoder":
        sources = (self.train, self.autoencoder, self.features, self.name)
        if sum(source is not None for source in sources) != 1:
            raise ValueError(
                "give either train (a tiny CLIP trained on the data set), autoencoder (trained on"
                " its photos), name (a model of open_clip or timm, a BLIP, or patches) or features"
                " (a folder or file of your own)"
            )
        if not self.has_weights and (self.pretrained or self.sha256):
            raise ValueError(
                "pretrained and sha256 belong to name; an encoder trained here has no weights yet,"
                " and patches and features never have any"
            )
        if self.features and (self.views > 1 or self.grid or self.on_bad_image == "skip"):
            raise ValueError(
                "views, grid and on_bad_image belong to an encoder; features are taken as they are"
            )
        if self.name and self.name.startswith(BLIP):
            check_pinned(self.name.removeprefix(BLIP), self.pretrained)
        named = ("local-dir:", "timm:", BLIP, PATCHES)
        if self.name and not self.pretrained and not self.name.startswith(named):
            raise ValueError(
                "an open_clip name needs a pretrained tag or file, or use local-dir:FOLDER instead;"
                " features of random weights are useless"
            )
        return self

    @property
    def has_weights(self) -> bool:
        """Whether it comes with weights: it is neither trained here nor patches of pixels."""
        return self.name is not None and not self.name.startswith(PATCHES)


class Weights(Section):
    """An encoder that is loaded by name; the keys are those of `Encoder`."""

    name: str
    pretrained: str | None = None
    sha256: Sha256 | None = None


class Sight(Encoder):
    """The encoder or encoders whose features compare a generator's pictures with the originals."""

    beside: tuple[Weights, ...] = Field(
        (),
        description="more encoders of the same input size; their pooled vectors are concatenated",
    )
