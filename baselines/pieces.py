"""Pretrained language models of transformers: their weights, and captions as their own tokens."""

from typing import Any

from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedModel

from dsacap.captioner.interface import ImageSpec, until_eos
from dsacap.common.errors import UserError
from dsacap.text.vocabulary import UNK


def from_pretrained(kind: Any, name: str, revision: str | None) -> Any:
    """Return `kind.from_pretrained(name, revision=revision)`, with a readable error.

    Args:
        kind: A model or tokenizer class of transformers.
        name: A model on the hub, or a folder in transformers' format.
        revision: The commit of a model on the hub.

    Raises:
        UserError: The model, or that commit of it, cannot be loaded.
    """
    try:
        return kind.from_pretrained(name, revision=revision)
    except (OSError, ValueError) as error:
        raise UserError(f"language_model {name}: {str(error).splitlines()[0]}") from None


def untie(model: PreTrainedModel) -> None:
    """Give the output embeddings memory of their own: shared tensors cannot be saved twice."""
    head = model.get_output_embeddings()
    head.weight = nn.Parameter(head.weight.detach().clone())


class Pieces:
    """Converts between the benchmark's words and the tokens of a pretrained language model.

    Attributes:
        tokenizer: The model's tokenizer.
        longest: The largest number of tokens of a caption, its end token included.
    """

    def __init__(self, name: str, revision: str | None, spec: ImageSpec, longest: int):
        if not spec.words:
            raise ValueError(
                "a language_model needs the benchmark's words, and spec.words is empty"
            )
        self.tokenizer = from_pretrained(AutoTokenizer, name, revision)
        self.words, self.longest = spec.words, longest
        self.id_of = {word: i for i, word in enumerate(spec.words)}

    def encode(self, captions_XL: Tensor, end: int) -> list[list[int]]:
        """Return the tokens of captions given as word ids, each closed by the token `end`."""
        texts = [
            " ".join(self.words[word] for word in until_eos(caption))
            for caption in captions_XL.tolist()
        ]
        return [
            [*self.tokenizer(text, add_special_tokens=False).input_ids[: self.longest - 1], end]
            for text in texts
        ]

    def decode(self, tokens: list[list[int]]) -> list[list[int]]:
        """Return captions in the benchmark's word ids; words outside its vocabulary are dropped."""
        texts = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [
            [self.id_of[word] for word in text.split() if self.id_of.get(word, UNK) > UNK]
            for text in texts
        ]
