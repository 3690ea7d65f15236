"""Prepared data sets.

The files are the same whatever the origin, so that all later stages share one code path:

captions.jsonl    one image a line: id, file, source, split, captions (raw) and tokens (captions as
                  PTB tokens joined by spaces)
vocabulary.json   the words that a captioner may use, special ones first
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, read_jsonl, write_json, write_jsonl
from dsacap.data.coco import CaptionedImage
from dsacap.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class Example:
    """An image of a prepared data set.

    Attributes:
        image: The image and its captions.
        tokens: Its captions after PTB tokenisation.
    """

    image: CaptionedImage
    tokens: tuple[str, ...]

    @property
    def image_id(self) -> int:
        """The id of the image."""
        return self.image.image_id


def prepare(images: Sequence[CaptionedImage], folder: Path, min_count: int) -> dict:
    """Tokenise all captions, build the vocabulary from the train split, and write both.

    Args:
        images: The images of all splits.
        folder: Where to write `captions.jsonl` and `vocabulary.json`.
        min_count: How often a word must occur in the train split to enter the vocabulary.

    Returns:
        Counts for the manifest.

    Raises:
        UserError: An image has no caption that contains a word.
    """
    from dsacap.text.ptb_tokenizer import ptb_tokenize  # needs Java's packages

    tokens = iter(ptb_tokenize([caption for image in images for caption in image.captions]))
    rows: list[dict[str, Any]] = []
    for image in images:
        rows.append(
            {
                "id": image.image_id,
                "file": image.file_name,
                "source": image.source,
                "split": image.split,
                "captions": list(image.captions),
                "tokens": [next(tokens) for _ in image.captions],
            }
        )
        if not any(rows[-1]["tokens"]):
            raise UserError(
                f"image id {image.image_id} ({image.file_name}): no caption contains a word;"
                " correct the captions or remove the image"
            )
    vocabulary = Vocabulary.of(
        [c for row in rows if row["split"] == "train" for c in row["tokens"]], min_count
    )
    write_jsonl(folder / "captions.jsonl", rows)
    write_json(folder / "vocabulary.json", vocabulary.words)
    lengths = [len(c.split()) for row in rows for c in row["tokens"]]
    return {
        "images": dict(Counter(row["split"] for row in rows)),
        "captions": len(lengths),
        "vocabulary": len(vocabulary),
        "words_a_caption": {"mean": round(sum(lengths) / len(lengths), 2), "max": max(lengths)},
    }


def load_references(folder: Path) -> dict[int, list[str]]:
    """Return the tokenised references of each test image, without those that contain no word."""
    return {e.image_id: [c for c in e.tokens if c] for e in load_examples(folder, "test")}


def load_examples(folder: Path, split: str | None = None) -> list[Example]:
    """Return the images of a prepared data set.

    Args:
        folder: The folder that `prepare` wrote.
        split: A split; None for all images.

    Returns:
        The images in the order in which they were prepared.
    """
    return [
        Example(
            CaptionedImage(
                row["id"], row["file"], row["source"], row["split"], tuple(row["captions"])
            ),
            tuple(row["tokens"]),
        )
        for row in read_jsonl(folder / "captions.jsonl")
        if split in (None, row["split"])
    ]


def load_vocabulary(folder: Path) -> Vocabulary:
    """Return the vocabulary of a prepared data set."""
    return Vocabulary(read_json(folder / "vocabulary.json"))
