"""Code that several baselines share."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

from dsacap.captioner.interface import Batch, ImageSpec
from dsacap.captioner.layers import DecoderBlock, ImageEncoder
from dsacap.text.vocabulary import PAD

M = TypeVar("M", bound=nn.Module)

KeysValues = tuple[Tensor, Tensor]
"""The keys and values of one attention layer, each (rows, heads, tokens, width / heads)."""

if TYPE_CHECKING:

    class ModuleList(nn.ModuleList, Generic[M]):
        """`nn.ModuleList` as the type checker should see it: with the type of its modules."""

        def __init__(self, modules: Iterable[M]) -> None: ...
        def __iter__(self) -> Iterator[M]: ...

else:
    ModuleList = nn.ModuleList


@dataclass(frozen=True)
class EncoderSize:
    """Size of a model's image encoder; the decoder has the same width, heads and dropout.

    Attributes:
        feature_dropout: Dropout rate of the projected image tokens; None for `dropout`.
    """

    width: int = 128
    heads: int = 4
    encoder_layers: int = 2
    dropout: float = 0.0
    feature_dropout: float | None = None


def image_encoder(size: EncoderSize, spec: ImageSpec) -> ImageEncoder:
    """Return a new image encoder of the given size."""
    return ImageEncoder(
        spec.tokens,
        spec.channels,
        size.width,
        size.heads,
        size.encoder_layers,
        size.dropout,
        size.feature_dropout,
    )


def training_captions(batch: Batch) -> Tensor:
    """Return the references of a training batch, (images, references, max_words + 1).

    Raises:
        ValueError: The batch has no captions.
    """
    if batch.captions is None:
        raise ValueError("the loss needs a batch with captions")
    return batch.captions


def at_full_length(captions_BRL: Tensor, spec: ImageSpec) -> Tensor:
    """Return captions of a training batch with PAD up to the `max_words + 1` places of decoding.

    A batch ends with its longest caption. A system that decodes at all places would meet those
    beyond it for the first time in decoding.
    """
    return F.pad(captions_BRL, (0, spec.max_words + 1 - captions_BRL.shape[-1]), value=PAD)


def image_keys_values(blocks: Iterable[DecoderBlock], memory_BND: Tensor) -> list[KeysValues]:
    """Return each block's cross-attention keys and values of the encoded image tokens.

    Args:
        blocks: The blocks of the decoder.
        memory_BND: Output of the `ImageEncoder`, (images, tokens, width).
    """
    return [block.cross_attention.keys_values(memory_BND) for block in blocks]


def replace_method(module: nn.Module, name: str, compiled: Callable[[Callable], Callable]) -> None:
    """Replace one method of one module, not of its class, by what `compiled` makes of it."""
    setattr(module, name, compiled(getattr(module, name)))
