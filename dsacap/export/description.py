"""The schemas of `model.json` and `index.json` in an exported system."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from dsacap.config.encoder import PATCHES, AutoencoderSizes
from dsacap.config.section import Section, Sha256
from dsacap.config.sections import Label, Name

FORMAT = 1  # raised when an older reader would misread what is written

# A name that is neither a path, nor a URL, nor on a hub.
_Plain = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class ResNet(Section):
    """The image tower of the tiny CLIP; see dsacap/vision/encoders/tiny_clip_resnet.py."""

    kind: Literal["resnet"] = "resnet"
    image_size: int = Field(gt=0)
    layers: tuple[int, ...]
    width: int = Field(gt=0)
    heads: int = Field(gt=0)
    embed_dim: int = Field(gt=0)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    grid: int | None = None


class Timm(Section):
    """A timm model, whose weights are in the folder."""

    kind: Literal["timm"] = "timm"
    name: _Plain
    grid: int | None = None


class OpenClip(Section):
    """An open_clip model by name.

    With a `tag`, open_clip downloads the weights, whose hash must be `tensors_sha256`. Without one,
    they are in the folder.
    """

    kind: Literal["open_clip"] = "open_clip"
    name: _Plain
    tag: _Plain | None = None
    tensors_sha256: Sha256 | None = None
    grid: int | None = None

    @model_validator(mode="after")
    def _known_weights(self) -> "OpenClip":
        if (self.tag is None) != (self.tensors_sha256 is None):
            raise ValueError("tag and tensors_sha256 must be given together")
        return self


class OpenClipFolder(Section):
    """An open_clip model whose configuration and weights are in the folder."""

    kind: Literal["open_clip_folder"] = "open_clip_folder"
    grid: int | None = None


class Patches(Section):
    """Patches of pixels; see dsacap/vision/encoders/patch_encoder.py."""

    kind: Literal["patches"] = "patches"
    name: Annotated[str, StringConstraints(pattern=rf"^{PATCHES}[0-9]+/[0-9]+$")]
    grid: int | None = None


class Latents(AutoencoderSizes):
    """The encoding half of an autoencoder, whose weights are in the folder."""

    kind: Literal["latents"] = "latents"
    grid: int | None = None


Encoders = Annotated[
    ResNet | Timm | OpenClip | OpenClipFolder | Patches | Latents, Field(discriminator="kind")
]


class Description(Section):
    """The contents of `model.json`.

    `run` is the folder of the run that trained the system; its last part is a hash of all settings
    that determine the weights.
    """

    system: Name
    label: Label
    run: str
    captioner: str
    release: str | None = Field(
        None,
        description="name and version of the package that provides the captioner; null for "
        "dsacap-bench itself",
    )
    model: dict[str, Any]
    tokens: int = Field(gt=0)
    channels: int = Field(gt=0)
    max_words: int = Field(gt=0)
    encoder: Encoders
    decodings: dict[Label, dict[str, Any]] = Field(min_length=1)
    default_decoding: Label
    seed: int = Field(0, ge=0, description="seed of the random draws in decoding")

    @model_validator(mode="after")
    def _has_default(self) -> "Description":
        if self.default_decoding not in self.decodings:
            raise ValueError(
                f"default_decoding: {self.default_decoding!r} is not one of the decodings"
            )
        return self


class FileEntry(Section):
    """Size and hash of a file."""

    bytes: int = Field(ge=0)
    sha256: Sha256


class Index(Section):
    """The contents of `index.json`."""

    format: Literal[1]
    files: dict[_Plain, FileEntry]
