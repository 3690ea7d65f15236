"""A trained captioner together with its image encoder: photos in, captions out."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dsacap.captioner.interface import Batch, Captioner
from dsacap.common.errors import UserError
from dsacap.data.photo_pixels import BadImage, from_array, from_image
from dsacap.data.photos import decode
from dsacap.decoding.caption_batch import caption_batch
from dsacap.decoding.train_memory import PhotoMemory
from dsacap.vision.encoders.base import Encoder

BATCH = 16  # photos that are encoded and captioned together

Photo = str | Path | bytes | Image.Image | np.ndarray


@dataclass(frozen=True)
class PreparedPhoto:
    """A decoded photo, preprocessed for the encoder.

    Attributes:
        image_id: The key of the photo's random numbers.
        pixels_3HW: The encoder's input.
    """

    image_id: int
    pixels_3HW: Tensor


class PhotoCaptioner:
    """Captions photos with a trained system; `dsacap.load` returns one.

    Photos are read, encoded and standardised exactly as by the benchmark's stages, so a photo of
    the test split gets the caption that is in the run's files.

    Attributes:
        decodings: The options of each decoding by name.
        default_decoding: The name of the decoding that is used if none is given.
        seed: The seed that is used if none is given.
    """

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
        photos: Sequence[Photo],
        decoding: str | None = None,
        *,
        samples: int = 1,
        seed: int | None = None,
        image_ids: Sequence[int] | None = None,
    ) -> list[list[str]]:
        """Return captions of photos.

        Args:
            photos: Paths, the bytes of files, images of Pillow, or arrays: uint8 of the shape
                (height, width), (height, width, 3) for RGB or (height, width, 4) for RGBA.
            decoding: A name in `decodings`; None means `default_decoding`.
            samples: Captions per photo. More than one needs a decoding that draws at random.
            seed: Seed of the random draws; None means that of the run.
            image_ids: The photos' ids in their data set. Random draws depend on the seed and the
                id, which is by default a hash of the file, or of the pixels of an image or array.

        Returns:
            For each photo a list of `samples` captions.

        Raises:
            BadImage: A photo cannot be used.
            TypeError: A single photo is given instead of a list, or a photo is of another type.
            UserError: There is no such decoding, or it cannot give so many captions.
        """
        if isinstance(photos, Photo) and getattr(photos, "ndim", 0) != 4:  # 4: several arrays
            raise TypeError("photos must be a list of photos, such as ['photo.jpg']")
        ids: Sequence[int | None] = [None] * len(photos) if image_ids is None else image_ids
        named = list(zip(photos, ids, strict=True))
        self.decoding(decoding, samples)
        captions = []
        for start in range(0, len(named), BATCH):
            prepared = [
                self._prepared(photo, f"photos[{at}]", image_id)
                for at, (photo, image_id) in enumerate(named[start : start + BATCH], start)
            ]
            captions += self.caption_prepared(prepared, decoding, samples=samples, seed=seed)
        return captions

    def decoding(self, name: str | None, samples: int = 1) -> Any:
        """Return the options of a decoding.

        Args:
            name: A name in `decodings`; None means `default_decoding`.
            samples: Captions per photo that it has to give.

        Raises:
            UserError: There is no such decoding, or it cannot give so many captions.
        """
        name = self.default_decoding if name is None else name
        if name not in self.decodings:
            raise UserError(f"no decoding {name!r}; known: {_listed(self.decodings)}")
        if samples < 1:
            raise UserError(f"samples: {samples}; ask for at least one caption per photo")
        if samples > 1 and not self.decodings[name].random:
            drawn = _listed(other for other, options in self.decodings.items() if options.random)
            raise UserError(
                f"decoding {name!r} gives one caption per photo; for several, choose one that "
                f"draws at random ({drawn or 'this system has none'})"
            )
        return self.decodings[name]

    def prepare(self, data: bytes, where: str, image_id: int | None = None) -> PreparedPhoto:
        """Decode and preprocess a photo.

        Args:
            data: The bytes of its file.
            where: The name of the file, for errors.
            image_id: The key of its random numbers; None means a hash of the file.

        Raises:
            BadImage: The photo cannot be used.
        """
        pixels_3HW = self.encoder.preprocess(decode(data, where))
        return PreparedPhoto(_hash(data) if image_id is None else image_id, pixels_3HW)

    def _prepared(self, photo: Photo, where: str, image_id: int | None) -> PreparedPhoto:
        match photo:
            case bytes():
                return self.prepare(photo, where, image_id)
            case str() | Path():
                return self.prepare(read_file(photo), str(photo), image_id)
            case Image.Image():
                image = from_image(photo, where)
            case np.ndarray():
                image = from_array(photo, where)
            case _:
                raise TypeError(
                    f"{where} is of the type {type(photo).__name__}; give a path, the bytes of a"
                    " file, an image of Pillow or an array of NumPy"
                )
        if image_id is None:
            image_id = _hash(b"%d x %d " % image.size + image.tobytes())
        return PreparedPhoto(image_id, self.encoder.preprocess(image))

    @torch.inference_mode()
    def caption_prepared(
        self,
        photos: Sequence[PreparedPhoto],
        decoding: str | None = None,
        *,
        samples: int = 1,
        seed: int | None = None,
    ) -> list[list[str]]:
        """Return captions of prepared photos, as `caption` does, in one batch."""
        if not photos:
            return []
        options, seed = self.decoding(decoding, samples), self.seed if seed is None else seed
        if min(seed, *(photo.image_id for photo in photos)) < 0:
            raise UserError("seeds and image ids must not be negative")
        batch = Batch(tuple(photo.image_id for photo in photos), self.features(photos))
        captions = caption_batch(self.captioner, batch, samples, seed, options)
        return [
            [" ".join(self.words[word] for word in caption) for caption in captions_of_photo]
            for captions_of_photo in captions
        ]

    @torch.inference_mode()
    def features(self, photos: Sequence[PreparedPhoto]) -> Tensor:
        """Return the standardised tokens of photos, (photos, tokens, channels).

        Also registers the photos' pooled vectors with the memory, which looks up similar images.

        Raises:
            UserError: The encoder's tokens are not those that the captioner was trained on.
        """
        device = next(self.captioner.parameters()).device
        tokens_BNC, pooled_BE = self.encoder(
            torch.stack([photo.pixels_3HW for photo in photos]).to(device)
        )
        spec, found = self.captioner.spec, tuple(tokens_BNC.shape[1:])
        if found != (spec.tokens, spec.channels):
            raise UserError(
                f"the encoder gives {found[0]} tokens of {found[1]} channels; the system needs "
                f"{spec.tokens} of {spec.channels}, from the encoder that it was trained with"
            )
        # By way of half precision, in which features are stored.
        self._memory.look_at([photo.image_id for photo in photos], pooled_BE.half().float().cpu())
        return ((tokens_BNC.half().float().cpu() - self.mean_C) / self.std_C).to(device)


def read_file(path: str | Path) -> bytes:
    """Return the bytes of a file; raise BadImage if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise BadImage(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise BadImage(
            f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.sha256(data).digest()[:8])


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
