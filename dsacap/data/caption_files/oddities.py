"""Notes on captions that are scored as they are, but may be mistakes."""

import re
from collections.abc import Mapping, Sequence

from dsacap.data.caption_files.ids import ImageId, shown

_SHOWN = 5  # images of a note that are named
_CONTROL = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")
_HALF = re.compile("[\ud800-\udfff]")
_SPECIAL = re.compile(
    r"</?s>|<(?:unk|pad|eos|bos|start|end|sep|cls|mask)>|<\|[a-z_]+\|>"
    r"|\[(?:SEP|CLS|PAD|UNK|MASK|EOS|BOS)\]|\b(?:startseq|endseq)\b",
    re.IGNORECASE,
)
_MISSING = ("nan", "na", "<na>", "none", "null", "n/a")
_WORDS_OF_PTB = re.compile(r"[A-Za-z0-9]")


def oddities(captions: Mapping[ImageId, Sequence[str]]) -> list[str]:
    """Return a note for each kind of oddity, with the number of images and an example.

    Args:
        captions: The captions of each image.
    """
    found: dict[str, list[tuple[ImageId, str]]] = {}
    for image, texts in captions.items():
        kinds = {kind: text for text in texts for kind in _kinds(text)}
        for kind, text in kinds.items():
            found.setdefault(kind, []).append((image, text))
    return [_note(kind, images) for kind, images in found.items()]


def _kinds(text: str) -> list[str]:
    kinds = []
    if not text.strip():
        kinds.append("is empty")
    elif text.strip().lower() in _MISSING:
        kinds.append("is what programs write for a missing one")
    elif not _WORDS_OF_PTB.search(text):
        kinds.append("has no Latin letter or digit, so that n-grams may not match")
    if _CONTROL.search(text):
        kinds.append("contains a line break or another control character")
    if _HALF.search(text):
        kinds.append("contains half a surrogate pair, so that it was damaged before it was written")
    if _SPECIAL.search(text):
        kinds.append("contains special tokens, which lower the scores")
    return kinds


def _note(kind: str, images: list[tuple[ImageId, str]]) -> str:
    named = ", ".join(shown(image) for image, _ in images[:_SHOWN])
    more = ", ..." if len(images) > _SHOWN else ""
    example = images[0][1].strip()
    quoted = f"; for example {example[:60]!r}" if example else ""
    count = f"{len(images):,} image{'s have' if len(images) > 1 else ' has'} a caption that {kind}"
    return f"note: {count}: {named}{more}{quoted}"
