"""What is scored: predictions and references of the same images, from files or dictionaries."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from dsacap.common.errors import UserError
from dsacap.common.printable import counted
from dsacap.data.caption_files.forms import FORMS, Captions, captions_of_mapping
from dsacap.data.caption_files.ids import ImageId, is_file_name, shown
from dsacap.data.caption_files.oddities import oddities
from dsacap.data.caption_files.reader import (
    Ids,
    check_predictions,
    check_references,
    joined,
    matched,
    read_captions,
)
from dsacap.scoring.metrics.spice import MAX_WORDS
from dsacap.scoring.score import Spice
from dsacap.text.ptb_tokenizer import ptb_tokenize

_WORD = re.compile("[A-Za-z0-9]")
_FORMS = (None, *FORMS)
_KNOWN: dict[str, tuple] = {
    "form": _FORMS,
    "references_form": _FORMS,
    "ids": get_args(Ids),
    "duplicates": (None, "first"),
}

Given = Path | str | Mapping[Any, Any]  # a file, or a dictionary of captions by image id


@dataclass(frozen=True)
class Reading:
    """How predictions and references are read: the options of `dsacap score` by that name.

    Attributes:
        form: The form of the predictions, such as "coco-results"; None to find it out.
        references_form: The form of the references; None to find it out.
        decoding: The decoding that is read of a run's captions.
        split: The split that is read of a file of references that has several.
        ids: Whether ids are matched as they are, or as names of image files.
        duplicates: "first" keeps the first of several captions of an image.
        tokenized: Whether the references are PTB tokens already.
        subset: Whether images without a prediction are allowed.
    """

    form: str | None = None
    references_form: str | None = None
    decoding: str | None = None
    split: str | None = None
    ids: Ids = "as-given"
    duplicates: Literal["first"] | None = None
    tokenized: bool = False
    subset: bool = False

    def __post_init__(self) -> None:
        for name, known in _KNOWN.items():
            value = getattr(self, name)
            if value not in known:
                options = ", ".join(repr(one) for one in known)
                raise UserError(f"{name}: {value!r} is unknown; known: {options}")
        for name, kind, what in (
            *((name, bool, "True or False") for name in ("tokenized", "subset")),
            *((name, str | None, "text or None") for name in ("decoding", "split")),
        ):
            if not isinstance(value := getattr(self, name), kind):
                raise UserError(f"{name}: must be {what}, not {value!r}")


@dataclass(frozen=True)
class Inputs:
    """Predictions and references of the same images, in the order of the references.

    Images have numbers, since ids may be text: their own numbers if all of them have one.

    Attributes:
        name: The name of the predictions, for messages.
        images: The id of each image by its number.
        captions: The predicted captions of each image.
        references: The references of each image, as they were read.
        file_names: The name of each image's photo, where the references or the ids have it.
        groups: The group of each image, such as its domain, where the references have it.
        notes: What was read, what was left out, and what may be a mistake.
        hashes: The hashes of the files.
    """

    name: str
    images: dict[int, ImageId]
    captions: dict[int, list[str]]
    references: dict[int, list[str]]
    file_names: dict[int, str]
    groups: dict[int, str]
    notes: tuple[str, ...]
    hashes: tuple[str, ...]


def check_choices(spice: Spice, how: Reading | None) -> Reading:
    """Return how captions are read, by default as they are.

    Args:
        spice: Whether SPICE is computed.
        how: What a caller gave as such.

    Raises:
        UserError: One of them is none of its kind.
    """
    if spice not in get_args(Spice):
        known = ", ".join(map(repr, get_args(Spice)))
        raise UserError(f"spice: {spice!r} is unknown; known: {known}")
    if how is not None and not isinstance(how, Reading):
        raise UserError(f"how: must be a dsacap.Reading, not {type(how).__name__}")
    return how or Reading()


def load_inputs(
    predictions: Given, references: Given | Sequence[Given], how: Reading | None = None
) -> Inputs:
    """Read predictions and references, each once, and match them.

    Args:
        predictions: A file or a dictionary, with equally many captions for every image.
        references: A file or a dictionary, or several.
        how: How they are read.

    Raises:
        UserError: They are malformed, or of different images.
    """
    how = how or Reading()
    loaded = load_references(references, how)
    inputs = match_inputs(load_predictions(predictions, how), loaded, how)
    several = len(next(iter(inputs.captions.values())))
    if several == 1:
        return inputs
    note = (
        f"note: {inputs.name}: {several} captions for each image: quality is that of the first,"
        f" diversity and the best of {several} are those of all. If images are repeated by mistake,"
        " pass --duplicates first (in Python Reading(duplicates='first'))"
    )
    return replace(inputs, notes=(*inputs.notes, note))


def load_without_references(predictions: Given, how: Reading) -> Inputs:
    """Read predictions alone; see `load_inputs`."""
    read = load_predictions(predictions, how)
    images = _numbered(read.by_image)
    notes = (_described(read), *read.notes, *oddities(read.by_image))
    captions = {number: read.by_image[image] for number, image in images.items()}
    names = _of_numbers(_file_names(read.by_image) | read.file_names, images)
    return Inputs(read.name, images, captions, {}, names, {}, notes, (read.sha256,))


def load_predictions(given: Given, how: Reading, name: str = "predictions") -> Captions:
    """Read predictions, which messages call `name` if they are a dictionary; see `load_inputs`."""
    return check_predictions(_loaded(given, how.form, how.decoding, name), how.duplicates)


def load_references(given: Given | Sequence[Given], how: Reading) -> Captions:
    """Read references; see `load_inputs`."""
    several: list[Any] = list(given) if isinstance(given, list | tuple) else [given]
    if not several:
        raise UserError("references: none are given")
    read = [_loaded(one, how.references_form, how.split, "references") for one in several]
    return check_references(joined(read), how.tokenized)


def load_captions(given: Sequence[Given], split: str | None, name: str = "captions") -> Captions:
    """Read captions that are not references, such as those of the train split.

    Args:
        given: The files, or dictionaries.
        split: The split that is read of those that have several.
        name: What messages call a dictionary.

    Raises:
        UserError: A file is malformed, or has no such split.
    """
    return check_references(joined([_loaded(one, None, split, name) for one in given]))


def predictions_of_run(path: Path) -> dict[int, list[str]]:
    """Read the predictions of a row that was not trained here, whose images have numbers."""
    captions = check_predictions(read_captions(path))
    return {image: texts for image, texts in captions.by_image.items() if isinstance(image, int)}


def match_inputs(predictions: Captions, references: Captions, how: Reading) -> Inputs:
    """Match predictions with the references of their images; see `load_inputs`."""
    pair = matched(predictions, references, how.subset, how.ids)
    _check_words(pair.references, references.name, how.tokenized)
    images = _numbered(pair.references)
    origin = {number: pair.origin[image] for number, image in images.items()}
    notes = [_described(predictions), _described(references)]
    notes += [*predictions.notes, *references.notes, *pair.notes, *oddities(pair.predictions)]
    return Inputs(
        predictions.name,
        images,
        {number: pair.predictions[image] for number, image in images.items()},
        {number: pair.references[image] for number, image in images.items()},
        _of_numbers(_file_names(pair.origin.values()) | references.file_names, origin),
        _of_numbers(references.groups, origin),
        tuple(notes),
        (predictions.sha256, references.sha256),
    )


def too_long(
    captions: Mapping[Any, Sequence[str]], what: str, tokenized: bool = False
) -> list[str]:
    """Return a note if SPICE cannot parse some of the captions that it is computed from.

    Args:
        captions: The captions of each image.
        what: What they are called in the note.
        tokenized: Whether they are PTB tokens already.
    """
    # A word has a letter at least, so shorter captions need no Java.
    long = [(i, text) for i, texts in captions.items() for text in texts if len(text) > MAX_WORDS]
    texts = [text for _, text in long]
    tokens = texts if tokenized else ptb_tokenize(texts)
    images = [
        i for (i, _), words in zip(long, tokens, strict=True) if len(words.split()) > MAX_WORDS
    ]
    if not images:
        return []
    return [
        f"note: {counted(len(images), what)} of more than {MAX_WORDS} words,"
        f" which SPICE cannot parse; its score is n/a: image {shown(images[0])}"
    ]


def _check_words(references: Mapping[ImageId, list[str]], name: str, tokenized: bool) -> None:
    """Check that every image has a reference with words, without which no score is defined."""
    # A letter or digit of English is a token at least, so other references need no Java.
    bare = {i: texts for i, texts in references.items() if not any(map(_WORD.search, texts))}
    flat = [text for texts in bare.values() for text in texts]
    tokens = iter(flat if tokenized else ptb_tokenize(flat))  # all at once: Java starts each time
    for image, texts in bare.items():
        if not any([next(tokens).split() for _ in texts]):
            raise UserError(
                f"{name}: image {shown(image)}: no word is left of its references, such as"
                f" {texts[0][:60]!r}, once punctuation is removed; add one, or leave the image out"
            )


def _loaded(given: Given, form: str | None, part: str | None, name: str) -> Captions:
    if isinstance(given, Mapping):
        return captions_of_mapping(given, name)
    if not isinstance(given, Path | str):
        kind = type(given).__name__
        raise UserError(f"{name}: must be a dictionary by image id or a file, not {kind}")
    return read_captions(Path(given), form, part)


def _numbered(images: Iterable[ImageId]) -> dict[int, ImageId]:
    """Return images by their own numbers if all of them have one, or else in their order."""
    order = list(images)
    own = [image for image in order if isinstance(image, int)]
    return dict(zip(own if len(own) == len(order) else range(len(order)), order, strict=True))


def _described(captions: Captions) -> str:
    count = sum(map(len, captions.by_image.values()))
    images = counted(len(captions.by_image), "image")
    return f"{captions.name}: {captions.form}, {images}, {counted(count, 'caption')}"


def _file_names(ids: Iterable[ImageId]) -> dict[ImageId, str]:
    """Return the ids that are names of image files."""
    return {key: key for key in ids if isinstance(key, str) and is_file_name(key)}


def _of_numbers(values: Mapping[ImageId, str], origin: Mapping[int, ImageId]) -> dict[int, str]:
    return {number: values[key] for number, key in origin.items() if key in values}
