"""CLIPScore and RefCLIPScore (Hessel et al. 2021): the fit of a caption to the photo itself."""

from collections.abc import Mapping, Sequence

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor

from dsacap.common.errors import UserError
from dsacap.common.printable import printable
from dsacap.common.progress import progress
from dsacap.data.photos import PhotoSource, decode
from dsacap.scoring.metrics.metric_result import MetricResult, mean_over_images
from dsacap.vision.encoders.base import Encoder
from dsacap.vision.encoders.clip_encoder import ClipEncoder

PROMPT = "A photo depicts "  # the paper's, put before captions and references alike
_SCALE = 2.5  # the paper's w, which spreads the values over about 0..1


def clip_score(
    encoder: Encoder,
    tokenizer: open_clip.SimpleTokenizer,
    photos: PhotoSource,
    file_names: Mapping[int, str],
    references: Mapping[int, Sequence[str]],
    candidates: Mapping[int, str],
    batch_size: int = 64,
) -> dict[str, MetricResult]:
    """Compute CLIPScore and RefCLIPScore of one caption per image.

    CLIPScore is 2.5 max(cos(caption, photo), 0), equation 1 of Hessel et al. (2021). RefCLIPScore
    is the harmonic mean of CLIPScore and the best max(cos(caption, reference), 0), equation 2,
    where CLIPScore keeps its factor of 2.5, as in the authors' code.

    Args:
        encoder: The image-text encoder in whose space captions and photos are compared.
        tokenizer: The encoder's tokenizer.
        photos: Where photos are read from.
        file_names: The file of each image id.
        references: Raw references by image id; empty if there are none.
        candidates: Raw captions, not tokenised, by image id.
        batch_size: Photos, or texts, that are encoded at a time.

    Returns:
        `CLIPScore` and, if there are references, `RefCLIPScore`, each with its scores per image.

    Raises:
        UserError: The encoder has no text tower, or a photo cannot be read.
    """
    ids = list(candidates)
    caption_BE = encode_texts(encoder, tokenizer, [candidates[i] for i in ids], batch_size)
    image_BE = torch.cat(
        [
            _encode_photos(encoder, photos, file_names, part)
            for part in progress(_batches(ids, batch_size), "encode photos", "batch")
        ]
    )
    clip_score_B = _SCALE * (image_BE * caption_BE).sum(-1).clamp_min(0)
    scores = {"CLIPScore": mean_over_images(dict(zip(ids, clip_score_B.tolist(), strict=True)))}
    if not references:
        return scores
    flat = [caption for i in ids for caption in references[i]]
    reference_RE = encode_texts(encoder, tokenizer, flat, batch_size).split(
        [len(references[i]) for i in ids]
    )
    agreement_B = torch.stack(
        [(r @ c).max() for r, c in zip(reference_RE, caption_BE, strict=True)]
    ).clamp_min(0)
    harmonic_B = 2 * clip_score_B * agreement_B / (clip_score_B + agreement_B).clamp_min(1e-12)
    scores["RefCLIPScore"] = mean_over_images(dict(zip(ids, harmonic_B.tolist(), strict=True)))
    return scores


def _batches(items: Sequence, size: int) -> list[Sequence]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _encode_photos(
    encoder: Encoder, photos: PhotoSource, file_names: Mapping[int, str], ids: Sequence[int]
) -> Tensor:
    pixels = [
        encoder.preprocess(decode(photos.read(file_names[i]), f"{file_names[i]} (image id {i})"))
        for i in ids
    ]
    return encoder(torch.stack(pixels))[1]


@torch.inference_mode()
def encode_texts(
    encoder: Encoder,
    tokenizer: open_clip.SimpleTokenizer,
    captions: Sequence[str],
    batch_size: int = 64,
    prompt: str = PROMPT,
) -> Tensor:
    """Encode captions in the space of an image-text encoder.

    Args:
        encoder: An encoder with a text tower.
        tokenizer: Its tokenizer.
        captions: Raw captions.
        batch_size: Captions that are encoded at a time.
        prompt: Put before each caption.

    Returns:
        Unit vectors (captions, width), on the CPU.

    Raises:
        UserError: The encoder has no text tower.
    """
    if not isinstance(encoder, ClipEncoder):
        raise UserError(
            "CLIPScore: needs an image-text encoder, and this one has no text tower; set"
            " encoder.name to a model of open_clip"
        )
    texts = [
        tokenizer([prompt + printable(caption) for caption in part])
        for part in _batches(captions, batch_size)
    ]
    return torch.cat(
        [
            F.normalize(
                encoder.clip.encode_text(text.to(encoder.device, non_blocking=True)).float(), dim=-1
            )
            for text in texts
        ]
    ).cpu()
