"""CLIPScore and RefCLIPScore (Hessel et al. 2021): how well a caption fits the photo itself, in the space of an image-text encoder."""

from collections.abc import Mapping, Sequence

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor

from dsacap.common.errors import UserError
from dsacap.common.progress import progress
from dsacap.data.photos import PhotoSource, decode
from dsacap.scoring.metrics.metric_result import MetricResult, mean_over_images
from dsacap.vision.encoders.base import Encoder
from dsacap.vision.encoders.clip_encoder import ClipEncoder

PROMPT = "A photo depicts "  # the paper's, before captions and references alike
_SCALE = 2.5  # w of the paper, which spreads the values over about 0..1


def clip_score(
    encoder: Encoder,
    tokenizer: open_clip.SimpleTokenizer,
    photos: PhotoSource,
    file_names: Mapping[int, str],
    references: Mapping[int, Sequence[str]],
    candidates: Mapping[int, str],
    batch_size: int = 64,
) -> dict[str, MetricResult]:
    """Scores raw (not tokenised) captions, by image id.

    CLIPScore = 2.5 max(cos(caption, photo), 0), eq. 1; RefCLIPScore = harmonic mean of it and the best max(cos(caption, reference), 0),
    eq. 2, where CLIPScore enters with its scale, as in the authors' code.
    """
    ids = list(candidates)
    caption_BE = encode_texts(encoder, tokenizer, [candidates[i] for i in ids], batch_size)
    image_BE = torch.cat(
        [
            _encode_photos(encoder, photos, file_names, part)
            for part in progress(_parts(ids, batch_size), "encode photos", "batch")
        ]
    )
    fit_B = _SCALE * (image_BE * caption_BE).sum(-1).clamp_min(0)
    flat = [caption for i in ids for caption in references[i]]
    reference_RE = encode_texts(encoder, tokenizer, flat, batch_size).split(
        [len(references[i]) for i in ids]
    )
    agreement_B = torch.stack(
        [(r @ c).max() for r, c in zip(reference_RE, caption_BE, strict=True)]
    ).clamp_min(0)
    both_B = 2 * fit_B * agreement_B / (fit_B + agreement_B).clamp_min(1e-12)
    return {
        "CLIPScore": mean_over_images(dict(zip(ids, fit_B.tolist(), strict=True))),
        "RefCLIPScore": mean_over_images(dict(zip(ids, both_B.tolist(), strict=True))),
    }


def _parts(items: Sequence, size: int) -> list[Sequence]:
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
    """Unit vectors [n, E] of captions, on the CPU. UserError where the encoder reads no text."""
    if not isinstance(encoder, ClipEncoder):
        raise UserError(
            "CLIPScore: needs an image-text encoder, so an open_clip name; a timm model reads no text"
        )
    texts = [
        tokenizer([prompt + caption for caption in part]) for part in _parts(captions, batch_size)
    ]
    return torch.cat(
        [F.normalize(encoder.clip.encode_text(text).float(), dim=-1) for text in texts]
    )
