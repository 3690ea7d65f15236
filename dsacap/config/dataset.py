"""The section `dataset`, what it is made or read from, and how what is published is had."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from dsacap.config.section import Section
from dsacap.config.sections import Sha256

Digest = Annotated[str, StringConstraints(pattern=r"^(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})$")]


class Remote(Section):
    """A file to be had from the net, and how to know that it is the right one."""

    url: str
    size: int
    md5: str | None = None
    sha256: str | None = None
    unpack: dict[Path, Digest | None] = Field(
        {}, description="files wanted from the archive, put into its own folder, and their digests"
    )

    @property
    def checksums(self) -> dict[str, str]:
        return {
            name: value for name, value in (("md5", self.md5), ("sha256", self.sha256)) if value
        }


class Downloads(Section):
    """How the files of `dataset.downloads` are had. What they are does not depend on it, so it leaves finished stages alone."""

    folder: Path | None = Field(
        None,
        description="where some or all lie under their own names: checked, then linked instead of fetched",
    )
    offline: bool = Field(
        False,
        description="the network is never asked; what is not in place and not in the folder is an error",
    )
    mirrors: tuple[str, ...] = Field(
        (),
        description="addresses where all lie under their own names, asked after the published ones",
    )
    connections: int = Field(
        4, gt=0, le=16, description="segments of a file that are fetched at a time"
    )


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
    expected_ids: dict[str, Sha256] | None = Field(
        None, description="of the image ids of each split; see dsacap.data.coco.hash_of_ids"
    )
    downloads: dict[Path, Remote] = Field({})

    @property
    def caption_files(self) -> list[Path]:
        """What captions and splits are read from."""
        return [*self.annotations, *([self.karpathy] if self.karpathy else [])]

    @model_validator(mode="after")
    def _one_split(self) -> "Coco":
        if (self.karpathy is None) == (self.random_split is None):
            raise ValueError("give either karpathy (a split file) or random_split")
        for archive, remote in self.downloads.items():
            if not remote.checksums:
                raise ValueError(
                    f"downloads.{archive}: give its md5 or sha256; what is not checked is not fetched"
                )
            if outside := [
                path for path in remote.unpack if not path.is_relative_to(archive.parent)
            ]:
                raise ValueError(
                    f"downloads.{archive}.unpack: {outside[0]} is not in the archive's folder, into which it is unpacked"
                )
        return self
