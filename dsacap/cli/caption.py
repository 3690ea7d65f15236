"""`dsacap caption PHOTO...`: captions of the user's photos, as lines of text or of JSON."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from dsacap.common.broken_pipe import until_unread
from dsacap.common.errors import UserError
from dsacap.common.printable import printable
from dsacap.common.progress import progress
from dsacap.data.photo_pixels import BadImage
from dsacap.data.photos import PhotoSource, is_source
from dsacap.export.photo_captioner import BATCH, PhotoCaptioner, PreparedPhoto, read_file

STDIN = "-"

Photo = tuple[str, Callable[[], bytes]]  # the name of a photo, and the function that reads it


def check(options: argparse.Namespace) -> None:
    """Check that the options of `dsacap caption` go together.

    Raises:
        UserError: They do not.
    """
    if options.photos and bool(options.folder) == bool(options.system):
        raise UserError(
            "caption: name the system by which photos are captioned: either --from FOLDER, as"
            " written by `dsacap export`, or --system of a configuration"
        )
    if not options.photos and options.folder:
        raise UserError(
            "caption: no photos given; name files, folders or zips, or - for standard input"
        )
    if not options.photos and not options.system:
        raise UserError(
            "caption: give photos and --from FOLDER (or --system), or --system alone to caption"
            " the test split"
        )
    given = {name: getattr(options, name) for name in ("samples", "decoding", "json", "image_id")}
    for_photos = [name for name, value in given.items() if value is not None and value is not False]
    if not options.photos and for_photos:
        raise UserError(
            f"caption: --{for_photos[0].replace('_', '-')} needs photos; the test split is"
            " captioned as the configuration says"
        )


def caption_photos(options: argparse.Namespace, model: PhotoCaptioner) -> None:
    """Caption photos and print each caption as soon as it is made.

    If there may be several photos, the photo's name comes first. A photo that is unusable is
    reported on stderr, and the others are captioned all the same. So are files in folders and zips
    that are no photos, which is no error.

    Args:
        options: The options of `dsacap caption`.
        model: The system.

    Raises:
        UserError: Some photos could not be captioned, or the system has no such decoding.
    """
    samples = 1 if options.samples is None else options.samples
    seed = options.seed if options.folder else None  # with --system, --seed names the run
    model.decoding(options.decoding, samples)
    bad: list[str] = []
    photos = list(_photos(options.photos, bad))
    total = len(photos) + len(bad)
    if options.image_id is not None and len(photos) != 1:
        raise UserError(f"--image-id: is the id of one photo, but {len(photos)} are given")
    named = len(photos) > 1 or options.photos != [photos[0][0] if photos else ""]
    batches = [photos[at : at + BATCH] for at in range(0, len(photos), BATCH)]
    # On a terminal the captions themselves show the progress.
    shown = len(batches) > 1 and not sys.stdout.isatty()
    with until_unread():
        for batch in progress(batches, "caption photos", "batch") if shown else batches:
            usable = list(_usable(batch, model, options.image_id, bad))
            captions = model.caption_prepared(
                [photo for _, photo in usable], options.decoding, samples=samples, seed=seed
            )
            for (name, _), texts in zip(usable, captions, strict=True):
                _print(name, texts, named, options.json)
    if bad:
        raise UserError(f"{len(bad)} of {total} photos could not be captioned")


def _photos(arguments: Iterable[str], bad: list[str]) -> Iterator[Photo]:
    """Yield files in the order given, and for folders and zips the photos in them, by name."""
    for argument in arguments:
        path = Path(argument)
        try:
            if not argument:
                raise BadImage("'': an empty name; is a shell variable unset?")
            if argument == STDIN:
                yield STDIN, _standard_input
            elif is_source(path):
                yield from _photos_in(path)
            else:
                yield argument, partial(read_file, path)
        except UserError as error:
            _complain(error, bad)


def _photos_in(path: Path) -> Iterator[Photo]:
    source = PhotoSource(path)
    contents = source.contents()
    for note in contents.notes():
        print(printable(f"{path}: {note}"), file=sys.stderr)
    if not contents.photos:
        raise BadImage(f"{path}: no photos in it")
    for name in contents.photos:
        yield str(path / name), partial(source.read, name)


def _standard_input() -> bytes:
    if sys.stdin.isatty():
        raise BadImage(
            "standard input: is a terminal; redirect a photo to it, as in"
            " `dsacap caption - --from FOLDER < photo.jpg`"
        )
    return sys.stdin.buffer.read()


def _usable(
    batch: Iterable[Photo], model: PhotoCaptioner, image_id: int | None, bad: list[str]
) -> Iterator[tuple[str, PreparedPhoto]]:
    for name, read in batch:
        try:
            yield name, model.prepare(read(), "standard input" if name == STDIN else name, image_id)
        except UserError as error:
            _complain(error, bad)


def _complain(error: UserError, bad: list[str]) -> None:
    bad.append(str(error))
    print(printable(str(error)), file=sys.stderr)


def _print(name: str, captions: list[str], named: bool, as_json: bool) -> None:
    if as_json:
        print(
            json.dumps({"photo": printable(name), "captions": captions}, ensure_ascii=False),
            flush=True,
        )
        return
    for caption in captions:
        print(f"{printable(name)}: {caption}" if named else caption, flush=True)
