"""`dsacap caption PHOTO...`: captions of photos of one's own, as lines of text or of JSON."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from dsacap.common.broken_pipe import until_unread
from dsacap.common.errors import UserError
from dsacap.common.progress import progress
from dsacap.data.photos import BadImage, PhotoSource
from dsacap.export.photo_captioner import BATCH, PhotoCaptioner, PreparedPhoto, read_file

STDIN = "-"
_SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".png",
    ".gif",
    ".webp",
    ".bmp",
    ".tif",
    ".tiff",
    ".ppm",
)  # taken from a folder or zip

Photo = tuple[str, Callable[[], bytes]]  # its name, and what reads it


def check(options: argparse.Namespace) -> None:
    """UserError where options of `dsacap caption` do not go together."""
    if options.photos and bool(options.folder) == bool(options.system):
        raise UserError(
            "caption: by which system? Give --from FOLDER (what `dsacap export` wrote), or --system of a configuration"
        )
    if not options.photos and options.folder:
        raise UserError("caption: no photos; name files, folders or zips, or - for standard input")
    if not options.photos and not options.system:
        raise UserError(
            "caption: give photos and --from FOLDER (or --system), or --system alone to caption the test split"
        )
    given = {name: getattr(options, name) for name in ("samples", "decoding", "json", "image_id")}
    lonely = [name for name, value in given.items() if value is not None and value is not False]
    if not options.photos and lonely:
        raise UserError(
            f"caption: --{lonely[0].replace('_', '-')} is for photos, and none is named; the test split has the configuration's"
        )


def caption_photos(options: argparse.Namespace, model: PhotoCaptioner) -> None:
    """Prints captions as they come, each after its photo's name where there may be several photos. A photo that cannot be used is named on
    stderr and the others go on; then a UserError says how many there were."""
    samples = 1 if options.samples is None else options.samples
    seed = options.seed if options.folder else None  # --system has it name the run
    model.decoding(options.decoding, samples)
    bad: list[str] = []
    photos = list(_photos(options.photos, bad))
    asked = len(photos) + len(bad)
    if options.image_id is not None and len(photos) != 1:
        raise UserError(f"--image-id: the id of one photo, and here are {len(photos)}")
    named = len(photos) > 1 or options.photos != [photos[0][0] if photos else ""]
    batches = [photos[at : at + BATCH] for at in range(0, len(photos), BATCH)]
    shown = (
        len(batches) > 1 and not sys.stdout.isatty()
    )  # on a terminal the captions themselves show it
    with until_unread():
        for batch in progress(batches, "caption photos", "batch") if shown else batches:
            seen = list(_usable(batch, model, options.image_id, bad))
            captions = model.caption_prepared(
                [photo for _, photo in seen], options.decoding, samples=samples, seed=seed
            )
            for (name, _), said in zip(seen, captions, strict=True):
                _print(name, said, named, options.json)
    if bad:
        raise UserError(f"{len(bad)} of {asked} could not be captioned")


def _photos(arguments: Iterable[str], bad: list[str]) -> Iterator[Photo]:
    """Files as they are named; the photos in folders and zips, however deep, in order of their names."""
    for argument in arguments:
        path = Path(argument)
        try:
            if not argument:
                raise BadImage("'': an empty name; is a variable of the shell unset?")
            if argument == STDIN:
                yield STDIN, _standard_input
            elif path.is_dir() or path.suffix.lower() == ".zip":
                yield from _photos_in(path)
            else:
                yield argument, lambda path=path: read_file(path)
        except UserError as error:
            _complain(error, bad)


def _photos_in(path: Path) -> Iterator[Photo]:
    source = PhotoSource(path)
    names = [name for name in source.paths() if name.lower().endswith(_SUFFIXES)]
    if not names:
        raise BadImage(f"{path}: no photos in it ({', '.join(_SUFFIXES)})")
    for name in names:
        yield str(path / name), lambda name=name: source.read(name)


def _standard_input() -> bytes:
    if sys.stdin.isatty():
        raise BadImage(
            "standard input: a terminal; pipe a photo in, as in `dsacap caption - --from FOLDER < photo.jpg`"
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
    print(_printable(str(error)), file=sys.stderr)


def _print(name: str, captions: list[str], named: bool, as_json: bool) -> None:
    if as_json:
        print(
            json.dumps({"photo": _printable(name), "captions": captions}, ensure_ascii=False),
            flush=True,
        )
        return
    for caption in captions:
        print(f"{_printable(name)}: {caption}" if named else caption, flush=True)


def _printable(text: str) -> str:
    """File names may hold bytes that are no text."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
