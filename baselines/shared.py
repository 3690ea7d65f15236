"""Code that several baselines share."""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from torch import Tensor, nn

from dsacap.captioner.interface import Batch
from dsacap.captioner.layers import DecoderBlock

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


def training_captions(batch: Batch) -> Tensor:
    """Return the references of a training batch, (images, references, max_words + 1).

    Raises:
        ValueError: The batch has no captions.
    """
    if batch.captions is None:
        raise ValueError("the loss needs a batch with captions")
    return batch.captions


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
