"""A trained system with its encoder before it: photos in, captions out."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dsacap.captioner.interface import Batch, Captioner
from dsacap.common.errors import UserError
from dsacap.data.photos import BadImage, decode
from dsacap.decoding.train_memory import PhotoMemory
from dsacap.vision.encoders.base import Encoder

BATCH = 16  # photos that are encoded and captioned at once


@dataclass(frozen=True)
class Seen:
    """A photo that could be used, as the encoder wants it; its id is what random numbers are keyed by."""

    image_id: int
    pixels_3HW: Tensor


class PhotoCaptioner:
    """`dsacap.load` makes one. Photos are read, encoded and standardised as the benchmark's stages do it, so a photo of the test split gets
    the caption that stands in the run's files."""

    def __init__(
        self,
        captioner: Captioner,
        encoder: Encoder,
        mean_C: Tensor,
        std_C: Tensor,
        words: Sequence[str],
        decodings: Mapping[str, Any],
        default_decoding: str,
        seed: int,
        memory: PhotoMemory,
    ):
        self.captioner, self.encoder = captioner, encoder.to(next(captioner.parameters()).device)
        self.mean_C, self.std_C, self.words = mean_C, std_C, list(words)
        self.decodings, self.default_decoding, self.seed = dict(decodings), default_decoding, seed
        self._memory = memory
        captioner.learn_from(memory)

    def caption(
        self,
        photos: Sequence[str | Path | bytes],
        decoding: str | None = None,
        *,
        samples: int = 1,
        seed: int | None = None,
        image_ids: Sequence[int] | None = None,
    ) -> list[list[str]]:
        """`samples` captions of each photo, given as a path or as the bytes of its file.

        `decoding` is a name of `decodings` (default: `default_decoding`); `samples` above 1 need one that draws. What is drawn is decided
        by `seed` and the photo, which is known by its bytes, unless `image_ids` gives the ids that photos have in their data set. Raises
        BadImage for a photo that cannot be used, and UserError for a decoding that is not there.
        """
        if isinstance(photos, str | Path | bytes):
            raise TypeError("photos: give a list of paths or bytes, such as ['photo.jpg']")
        ids = [None] * len(photos) if image_ids is None else image_ids
        named = list(zip(photos, ids, strict=True))
        self.decoding(decoding, samples)
        captions = []
        for start in range(0, len(named), BATCH):
            seen = [
                self.see(*_read(photo), image_id)
                for photo, image_id in named[start : start + BATCH]
            ]
            captions += self.caption_seen(seen, decoding, samples=samples, seed=seed)
        return captions

    def decoding(self, name: str | None, samples: int = 1) -> Any:
        """The options of a decoding, or of the default one. UserError where there is none, or it cannot give so many captions."""
        name = self.default_decoding if name is None else name
        if name not in self.decodings:
            raise UserError(f"no decoding {name!r}; known: {_listed(self.decodings)}")
        if samples < 1:
            raise UserError(f"samples: {samples}; at least one caption a photo")
        if samples > 1 and not self.decodings[name].random:
            drawn = _listed(other for other, options in self.decodings.items() if options.random)
            raise UserError(
                f"decoding {name!r} has one caption for a photo; for several name one that draws: {drawn or 'this system has none'}"
            )
        return self.decodings[name]

    def see(self, data: bytes, where: str, image_id: int | None = None) -> Seen:
        """A photo from the bytes of its file. Raises BadImage, starting with `where`."""
        pixels_3HW = self.encoder.preprocess(decode(data, where))
        return Seen(
            int.from_bytes(hashlib.sha256(data).digest()[:8]) if image_id is None else image_id,
            pixels_3HW,
        )

    @torch.inference_mode()
    def caption_seen(
        self,
        photos: Sequence[Seen],
        decoding: str | None = None,
        *,
        samples: int = 1,
        seed: int | None = None,
    ) -> list[list[str]]:
        """As `caption`, of photos that were looked at, in one batch."""
        if not photos:
            return []
        options, seed = self.decoding(decoding, samples), self.seed if seed is None else seed
        if min(seed, *(photo.image_id for photo in photos)) < 0:
            raise UserError("seeds and ids of images are numbers from 0 on")
        batch = Batch(tuple(photo.image_id for photo in photos), self.features(photos))
        said = self.captioner.caption(batch, samples, seed, options)
        return [
            [" ".join(self.words[word] for word in caption) for caption in of_photo]
            for of_photo in said
        ]

    @torch.inference_mode()
    def features(self, photos: Sequence[Seen]) -> Tensor:
        """Standardised tokens [B, N, C] of photos; the memory is told what they look like."""
        device = next(self.captioner.parameters()).device
        tokens_BNC, pooled_BE = self.encoder(
            torch.stack([photo.pixels_3HW for photo in photos]).to(device)
        )
        spec, found = self.captioner.spec, tuple(tokens_BNC.shape[1:])
        if found != (spec.tokens, spec.channels):
            raise UserError(
                f"the encoder gives {found[0]} tokens of {found[1]} channels; the system reads {spec.tokens} of {spec.channels}"
            )
        # In half precision in between, as features are kept on disk.
        self._memory.look_at([photo.image_id for photo in photos], pooled_BE.half().float().cpu())
        return ((tokens_BNC.half().float().cpu() - self.mean_C) / self.std_C).to(device)


def read_file(path: str | Path) -> bytes:
    """BadImage where the file cannot be read."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise BadImage(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise BadImage(
            f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None


def _read(photo: str | Path | bytes) -> tuple[bytes, str]:
    return (photo, "photo") if isinstance(photo, bytes) else (read_file(photo), str(photo))


def _listed(names) -> str:
    return ", ".join(map(repr, names))
