"""Named language models of transformers: their weights, and captions in tokens of theirs instead of the benchmark's words."""

from torch import Tensor, nn
from transformers import AutoTokenizer

from dsacap.captioner.interface import ImageSpec, until_eos
from dsacap.common.errors import UserError
from dsacap.text.vocabulary import UNK


def from_pretrained(kind, name: str, revision: str | None):
    """`kind.from_pretrained`. UserError where the name, or that commit of it, cannot be had."""
    try:
        return kind.from_pretrained(name, revision=revision)
    except (OSError, ValueError) as error:
        raise UserError(f"language_model {name}: {str(error).splitlines()[0]}") from None


def untie(model: nn.Module) -> None:
    """Gives the output embeddings memory of their own: what is shared cannot be saved twice."""
    head = model.get_output_embeddings()
    head.weight = nn.Parameter(head.weight.detach().clone())


class Pieces:
    """The tokens of a named model. `longest` is the most of a caption, its end included."""

    def __init__(self, name: str, revision: str | None, spec: ImageSpec, longest: int):
        if not spec.words:
            raise ValueError("a language_model needs to know the benchmark's words")
        self.tokenizer = from_pretrained(AutoTokenizer, name, revision)
        self.words, self.longest = spec.words, longest
        self.id_of = {word: i for i, word in enumerate(spec.words)}

    def of(self, captions_XL: Tensor, end: int) -> list[list[int]]:
        """The tokens of captions given as word ids, each closed by `end`."""
        texts = [
            " ".join(self.words[word] for word in until_eos(caption))
            for caption in captions_XL.tolist()
        ]
        return [
            [*self.tokenizer(text, add_special_tokens=False).input_ids[: self.longest - 1], end]
            for text in texts
        ]

    def word_ids(self, tokens: list[list[int]]) -> list[list[int]]:
        """What tokens say in the benchmark's words; other words are dropped."""
        texts = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [
            [self.id_of[word] for word in text.split() if self.id_of.get(word, UNK) > UNK]
            for text in texts
        ]
