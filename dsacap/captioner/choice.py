"""Decodings that draw several captions of an image and keep one, the same for every captioner."""

from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Choice:
    """How one of several drawn captions is chosen.

    Attributes:
        choose: `consensus` for the caption closest to the others (minimum Bayes risk), or `rerank`
            for the one that the image explains best, beside what is likely without an image.
        of: How many captions are drawn.
        image_free: In `rerank`, the weight lambda of the likelihood without an image.
    """

    choose: str
    of: int = 10
    image_free: float = 0.25

    def __post_init__(self):
        if self.choose not in ("consensus", "rerank"):
            raise ValueError(f"choose: {self.choose!r} is neither consensus nor rerank")
        if self.of < 2:
            raise ValueError("needs of >= 2: the captions that one is chosen from")
        if not 0 <= self.image_free <= 1:
            raise ValueError("needs 0 <= image_free <= 1")
        if self.choose != "rerank" and self.image_free != type(self).image_free:
            raise ValueError("image_free is an option of choose: rerank; leave it out")


@dataclass(frozen=True)
class ChosenDecoding:
    """A decoding that chooses among the captions that another one draws.

    Attributes:
        draws: The captioner's own decoding, by which captions are drawn.
        choice: How one of them is chosen.
    """

    draws: Any
    choice: Choice

    random: ClassVar[bool] = False  # one caption is chosen

    @property
    def steps(self) -> int | None:
        """The steps of the decoding that draws; None if it has none."""
        return getattr(self.draws, "steps", None)
