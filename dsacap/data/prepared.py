"""A prepared data set: the same files whatever it was made from, so that everything after this stage is one code path.

captions.jsonl    one image a line: id, file, source, split, captions (raw) and tokens (PTB, joined by spaces)
vocabulary.json   the words a captioner may use; specials first
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, read_jsonl, write_json, write_jsonl
from dsacap.data.coco import CaptionedImage
from dsacap.text.ptb_tokenizer import ptb_tokenize
from dsacap.text.vocabulary import Vocabulary


@dataclass(frozen=True)
class Example:
    """An image of a prepared data set; `tokens` are its captions after PTB tokenisation."""

    image: CaptionedImage
    tokens: tuple[str, ...]

    @property
    def image_id(self) -> int:
        return self.image.image_id


def prepare(images: Sequence[CaptionedImage], folder: Path, min_count: int) -> dict:
    """Tokenises all captions, builds the vocabulary from the train split and writes both to `folder`. Returns facts to record."""
    tokens = iter(ptb_tokenize([caption for image in images for caption in image.captions]))
    rows = []
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
                f"image id {image.image_id} ({image.file_name}): no caption holds a word, only punctuation; mend or remove them"
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
    """Image id -> tokenised references of the test split, without those that hold no word."""
    return {e.image_id: [c for c in e.tokens if c] for e in load_examples(folder, "test")}


def load_examples(folder: Path, split: str | None = None) -> list[Example]:
    """The images of a split (or all), in a fixed order."""
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
    return Vocabulary(read_json(folder / "vocabulary.json"))
