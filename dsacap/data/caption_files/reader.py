"""The one reader of captions to be scored and of their references."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dsacap.common.errors import UserError
from dsacap.common.printable import counted
from dsacap.data.caption_files.document import Kind, parse
from dsacap.data.caption_files.forms import Captions, captions_of, listed
from dsacap.data.caption_files.ids import ImageId, id_of_file_name, is_file_name, shown
from dsacap.data.caption_files.source import read_source
from dsacap.text.ptb_tokenizer import ptb_tokenize

_KINDS: dict[str, Kind] = {
    "jsonl": "jsonl",
    "csv": "csv",
    "tsv": "tsv",
    "flickr8k-tokens": "flickr8k-tokens",
}

Ids = Literal["as-given", "file-names"]

_RAW = 0.1  # share of captions with a final full stop above which a file is not tokenised


@dataclass(frozen=True)
class Matched:
    """Predictions with the references of their images, in the order of the references.

    The PTB tokenizer reads all captions as one text, so its tokens depend on their order. This is
    the order that pycocoevalcap has.

    Attributes:
        predictions: The predicted captions of each image.
        references: The references of each image.
        origin: The id of each image in the file of references.
        notes: What was matched how, and what was left out.
    """

    predictions: dict[ImageId, list[str]]
    references: dict[ImageId, list[str]]
    origin: dict[ImageId, ImageId]
    notes: tuple[str, ...]


def read_captions(path: Path, form: str | None = None, part: str | None = None) -> Captions:
    """Read a file of captions in any of the forms.

    Args:
        path: A file, a pipe, or `-` for standard input; it is read once.
        form: Its form, one of `FORMS`; None to find it out from its content.
        part: The split that is read of a file of Karpathy's, or the decoding of a run's captions.

    Raises:
        UserError: The file is malformed, or not of that form.
    """
    source = read_source(path)
    document = parse(source, _KINDS.get(form, "json") if form else None)
    found = captions_of(document, form)
    if found.parts and part:
        found = captions_of(document, form, part)
    elif part:
        found.notes.append(f"{found.name}: has no parts, so {part!r} was not chosen from it")
    found.sha256 = source.sha256
    return found


def check_predictions(captions: Captions, duplicates: Literal["first"] | None = None) -> Captions:
    """Check that every image has equally many captions.

    Args:
        captions: The predictions.
        duplicates: What is done with further captions of an image: "first" keeps the first one.
            By default they are several captions, of which every image must have as many.

    Raises:
        UserError: The images have different numbers of captions, or the file has those of several
            decodings.
    """
    if captions.parts:
        raise UserError(
            f"{captions.name}: choose one by --decoding (in Python Reading(decoding=...)):"
            f" {listed(captions.parts)}"
        )
    if duplicates == "first":
        more = sum(len(texts) - 1 for texts in captions.by_image.values())
        captions.by_image = {image: texts[:1] for image, texts in captions.by_image.items()}
        if more:
            further = counted(more, "further caption")
            captions.notes.append(f"left out: {further} of the same images")
    first, count = next((image, len(texts)) for image, texts in captions.by_image.items())
    for image, texts in captions.by_image.items():
        if len(texts) != count:
            raise UserError(
                f"{captions.name}: image {shown(image)} has {counted(len(texts), 'caption')}, image"
                f" {shown(first)} has {count}; give every image the same number, or pass"
                " --duplicates first (in Python Reading(duplicates='first')), which keeps the first"
                " caption of an image (distributed evaluation repeats some)"
            )
    return captions


def check_references(captions: Captions, tokenized: bool = False) -> Captions:
    """Check references.

    Args:
        captions: The references.
        tokenized: Whether they should be PTB tokens.

    Raises:
        UserError: The file has several splits, or captions that should be tokenised are not.
    """
    if captions.parts:
        raise UserError(
            f"{captions.name}: choose one by --split (in Python Reading(split=...)):"
            f" {listed(captions.parts)}"
        )
    if tokenized:
        _check_tokens(captions)
    return captions


def joined(captions: Sequence[Captions]) -> Captions:
    """Join the captions of several files.

    Args:
        captions: The captions of each file. No image may occur in two of them.

    Raises:
        UserError: An image occurs in two files.
    """
    first, *others = captions
    for other in others:
        if both := first.by_image.keys() & other.by_image.keys():
            image = next(key for key in other.by_image if key in both)
            raise UserError(
                f"{other.name}: image {shown(image)} is in {first.name} too; remove one"
            )
        first.by_image |= other.by_image
        first.file_names |= other.file_names
        first.groups |= other.groups
        first.parts += other.parts
        first.notes += other.notes
        first.name += f", {other.name}"
        first.sha256 += other.sha256
    return first


def _check_tokens(captions: Captions) -> None:
    """Check that captions look as PTB tokens do: a line in lower case, without final full stop.

    An abbreviation keeps its full stop. The tokenizer also takes a last word for one now and then,
    since captions are one text to it; so a few full stops are no sign of raw captions.
    """
    texts = [(image, text) for image, of_image in captions.by_image.items() for text in of_image]
    stopped = [text for _, text in texts if text.rstrip().endswith((".", "!", "?"))]
    tokens = ptb_tokenize(stopped)
    raw = {text for text, token in zip(stopped, tokens, strict=True) if text != token}
    if len(raw) <= _RAW * len(texts):
        raw = set()
    for image, text in texts:
        has_lines = "\n" in text or "\r" in text
        if text != text.lower() or text in raw or has_lines:
            has = "a line break" if has_lines else "capitals or ends in a full stop"
            raise UserError(
                f"{captions.name}: image {shown(image)}: {text[:60]!r} is not tokenised, since it"
                f" has {has}; leave --tokenized out (in Python tokenized=True of Reading)"
            )


def matched(
    predictions: Captions, references: Captions, subset: bool = False, ids: Ids = "as-given"
) -> Matched:
    """Match predictions with the references of their images.

    Args:
        predictions: The predictions.
        references: The references.
        subset: Whether images without a prediction are allowed. By default they are refused, since
            scoring a part of the images changes CIDEr's document frequencies.
        ids: With "file-names", `COCO_val2014_000000391895.jpg` is the image 391895.

    Raises:
        UserError: A prediction has no references, or an image has no prediction.
    """
    predicted, described, notes = predictions.by_image, references.by_image, []
    origin: dict[ImageId, ImageId] = {key: key for key in described}
    if ids == "file-names":
        predicted, _, names = _by_file_name(predictions)
        described, origin, more = _by_file_name(references)
        notes = [*names, *more]
    if unknown := [key for key in predicted if key not in described]:
        hint = "Are these the right references?"
        if spelt := next((key for key in described if _folded(key) == _folded(unknown[0])), None):
            hint = (
                f"They have {spelt!a} for {unknown[0]!a}, which differs in letter case or in the"
                " encoding of accents only; write both alike."
            )
        elif ids == "as-given" and (
            is_file_name(unknown[0]) or is_file_name(next(iter(described)))
        ):
            hint = (
                "Pass --ids file-names (in Python Reading(ids='file-names')) if ids are names of"
                " image files."
            )
        raise UserError(
            f"{predictions.name}: no references for {len(unknown):,} of"
            f" {counted(len(predicted), 'predicted image')}; first: image {shown(unknown[0])}. The"
            " references have image"
            f" {shown(next(iter(described)))} and others. {hint}"
        )
    missing = [key for key in described if key not in predicted]
    if missing and not subset:
        raise UserError(
            f"{predictions.name}: no prediction for {len(missing):,} of"
            f" {counted(len(described), 'image')}; first: image {shown(missing[0])}. Predict them,"
            " or pass --subset (in Python Reading(subset=True)) to score the predicted images only:"
            " CIDEr then takes its document frequencies from these, and the score is not comparable"
            " with any other"
        )
    if missing:
        notes.append(f"left out: {counted(len(missing), 'image')} without a prediction")
    order = [key for key in described if key in predicted]
    return Matched(
        {key: predicted[key] for key in order},
        {key: described[key] for key in order},
        {key: origin[key] for key in order},
        tuple(notes),
    )


def _folded(image: ImageId) -> ImageId:
    """Return an id without differences of letter case and of how Unicode composes accents."""
    return unicodedata.normalize("NFC", image).casefold() if isinstance(image, str) else image


def _by_file_name(
    captions: Captions,
) -> tuple[dict[ImageId, list[str]], dict[ImageId, ImageId], list[str]]:
    """Return captions by the ids of their images' file names, those ids' origins, and a note.

    The file name is what the file has as such, or else the id itself.
    """
    found: dict[ImageId, list[str]] = {}
    origin: dict[ImageId, ImageId] = {}
    for key, texts in captions.by_image.items():
        image = id_of_file_name(captions.file_names.get(key, key))
        if image in found:
            raise UserError(
                f"{captions.name}: the ids {shown(origin[image])} and {shown(key)} are the same"
                " file name; leave out --ids file-names (in Python ids='file-names' of Reading)"
            )
        found[image], origin[image] = texts, key
    changed = [(key, image) for image, key in origin.items() if image != key]
    if not changed:
        return found, origin, []
    key, image = changed[0]
    count = f"{len(changed):,} of {counted(len(found), 'id')}"
    note = f"{captions.name}: matched by file names: {count}; {shown(key)} is image {shown(image)}"
    return found, origin, [note]
