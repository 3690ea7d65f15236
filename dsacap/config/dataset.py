"""The sections `dataset` and `downloads`: where the data come from and how they are fetched."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from dsacap.config.section import Section, Sha256

Digest = Annotated[str, StringConstraints(pattern=r"^(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})$")]


class Remote(Section):
    """A published file, and how to verify a copy of it."""

    url: str
    size: int
    md5: str | None = None
    sha256: str | None = None
    unpack: dict[Path, Digest | None] = Field(
        {}, description="files to extract from the archive into its folder, and their digests"
    )

    @property
    def checksums(self) -> dict[str, str]:
        """The checksums that are given, by algorithm."""
        return {
            name: value for name, value in (("md5", self.md5), ("sha256", self.sha256)) if value
        }


class Downloads(Section):
    """How to obtain the files of `dataset.downloads`.

    Their content does not depend on it, so changing it invalidates no finished stage.
    """

    folder: Path | None = Field(
        None,
        description="a folder with copies of some or all of them, under their own names; they are"
        " verified, then linked instead of downloaded",
    )
    offline: bool = Field(
        False,
        description="never use the network; a file that is neither in place nor in the folder is an"
        " error",
    )
    mirrors: tuple[str, ...] = Field(
        (),
        description="URLs of folders with all files under their own names, tried after their own"
        " URLs",
    )
    connections: int = Field(
        4, gt=0, le=16, description="segments of a file that are downloaded at a time"
    )


class Scenes(Section):
    """The embedded data set of generated pictures."""

    kind: Literal["scenes"]
    seed: int = 0
    train: int = Field(gt=1)
    val: int = Field(gt=1)
    test: int = Field(gt=1)


class RandomSplit(Section):
    """Sizes of the validation and test splits, drawn at random; the rest is the train split."""

    val: int = Field(gt=1)
    test: int = Field(gt=1)
    seed: int = 0


class Coco(Section):
    """Captions and photos on disk in COCO's format; paths are relative to the working directory."""

    kind: Literal["coco"]
    annotations: tuple[Path, ...] = ()
    images: dict[str, Path]
    karpathy: Path | None = None
    random_split: RandomSplit | None = None
    expected: dict[str, int] | None = None
    expected_ids: dict[str, Sha256] | None = Field(
        None, description="hash of each split's image ids; see dsacap.data.coco.hash_of_ids"
    )
    downloads: dict[Path, Remote] = Field({})

    @property
    def caption_files(self) -> list[Path]:
        """The files from which captions and splits are read."""
        return [*self.annotations, *([self.karpathy] if self.karpathy else [])]

    @model_validator(mode="after")
    def _one_split(self) -> "Coco":
        if (self.karpathy is None) == (self.random_split is None):
            raise ValueError("give either karpathy (a split file) or random_split")
        for archive, remote in self.downloads.items():
            if not remote.checksums:
                raise ValueError(
                    f"downloads.{archive}: give its md5 or sha256; files without a checksum are"
                    " not downloaded"
                )
            if outside := [
                path for path in remote.unpack if not path.is_relative_to(archive.parent)
            ]:
                raise ValueError(
                    f"downloads.{archive}.unpack: {outside[0]} must be inside the archive's folder,"
                    " into which the archive is extracted"
                )
        return self
