"""`dsacap validate FILE`: check predictions, annotations, splits, photos and configurations."""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dsacap.common.errors import UserError
from dsacap.common.files import read_json
from dsacap.common.printable import printable
from dsacap.common.progress import progress
from dsacap.config.experiment import load_config
from dsacap.data.coco import read_captions, read_split
from dsacap.data.photos import PhotoSource, decode, is_source
from dsacap.data.predictions import matched, read_predictions, read_references
from dsacap.runs.layout import Layout

_SHOWN = 5  # faults of the same kind that are listed


def validate_all(paths: Sequence[Path], references: Sequence[Path], tokenized: bool) -> bool:
    """Print what each file is, or what is wrong with it.

    Args:
        paths: The files and folders.
        references: Files of references with which predictions are compared.
        tokenized: Whether the references are PTB tokens already.

    Returns:
        Whether all files are usable.
    """
    sound = True
    for path in paths:
        try:
            report = f"{path}: {validate(path, references, tokenized)}"
            print(printable(report).replace("\n", "\n  "))
        except UserError as error:
            sound = False
            print(printable(f"error: {error}"), file=sys.stderr)
    return sound


def validate(path: Path, references: Sequence[Path] = (), tokenized: bool = False) -> str:
    """Check a file.

    Args:
        path: A file, or a folder of photos.
        references: Files of references with which predictions are compared.
        tokenized: Whether the references are PTB tokens already.

    Returns:
        What the file is and what it contains, as one or several lines.

    Raises:
        UserError: The file is unusable; the message says why and where.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if is_source(path):
        return _photos(path)
    if path.suffix in (".yaml", ".yml"):
        layout = Layout(load_config(path))
        rows = sum(len(system.decodings) for system in layout.config.systems.values())
        systems, trainings = len(layout.config.systems), len(layout.runs)
        return f"a configuration of {systems} systems in {trainings} trainings, {rows} rows a seed"
    data = read_json(path)
    if isinstance(data, list):
        return _predictions(path, references, tokenized)
    if isinstance(data, dict) and {"images", "annotations"} <= data.keys():
        annotated = {i: image.captions for i, image in read_captions([path]).items()}
        return "\n".join(
            [f"annotations in COCO's format: {_counts(annotated)}", *_oddities(annotated)]
        )
    if isinstance(data, dict) and "images" in data:
        of_split = Counter(read_split(path).values())
        return "a split file in Karpathy's format: " + ", ".join(
            f"{count:,} {name}" for name, count in sorted(of_split.items())
        )
    if isinstance(data, dict) and data and all(str(key).isdigit() for key in data):
        captions = read_references([path], tokenized=True)[0]
        return "\n".join([f"tokenised references: {_counts(captions)}", *_oddities(captions)])
    raise UserError(
        f"{path}: is not of a known kind. These are known: predictions (a list of image_id and\n"
        "  caption), annotations (an object with images and annotations), a split (an object with\n"
        "  images only), tokenised references (an object from image id to captions), a YAML\n"
        "  configuration, and a folder or zip of photos"
    )


def _predictions(path: Path, references: Sequence[Path], tokenized: bool) -> str:
    captions = read_predictions(path)
    lines = [f"predictions: {_counts(captions)}", *_oddities(captions)]
    if references:
        matched(path, captions, read_references(references, tokenized)[0], subset=False)
        lines.append("every image of the references has its captions, and no other")
    else:
        lines.append("image ids are not checked; give --references to check them")
    return "\n".join(lines)


def _counts(captions: Mapping[int, Sequence[str]]) -> str:
    everything = [caption for texts in captions.values() for caption in texts]
    counts = sorted({len(texts) for texts in captions.values()})
    each = (
        f"{counts[0]} to {counts[-1]} captions"
        if len(counts) > 1
        else f"{counts[0]} caption{'s' * (counts[0] > 1)}"
    )
    words = sum(len(caption.split()) for caption in everything) / len(everything)
    return (
        f"{len(captions):,} images, {each} each, {words:.1f} words on average,"
        f" {len(set(everything)):,} different captions"
    )


def _oddities(captions: Mapping[int, Iterable[str]]) -> list[str]:
    """Return notes on captions that are scored as they are, but may be mistakes."""
    kinds = {
        "is empty": lambda caption: not caption.strip(),
        "contains a line break or another control character": lambda caption: any(
            ord(c) < 32 or c in "\x7f\x85\u2028\u2029" for c in caption
        ),
        "contains a special token, such as <unk>": lambda caption: any(
            token in caption for token in ("<unk>", "<pad>", "<eos>", "[SEP]", "</s>")
        ),
    }
    lines = []
    for kind, holds in kinds.items():
        ids = [i for i, texts in captions.items() if any(map(holds, texts))]
        if ids:
            lines.append(f"note: a caption of {len(ids):,} images {kind}: {_few(ids)}")
    return lines


def _photos(path: Path) -> str:
    """Decode every photo as preprocessing does, and describe them."""
    source, bad = PhotoSource(path), []
    contents = source.contents()
    names, notes = contents.photos, contents.notes()
    sizes: Counter[tuple[int, int]] = Counter()
    for name in progress(names, f"decode {path.name}", "photo"):
        try:
            sizes[decode(source.read(name), name).size] += 1
        except UserError as error:
            bad.append(str(error))
    if bad or not names:
        wrong = f"{len(bad):,} of {len(names):,} photos are unusable:" if bad else "no photos in it"
        raise UserError("\n  ".join([f"{path}: {wrong}", *bad[:_SHOWN], *notes]))
    (width, height), most = sizes.most_common(1)[0]
    return "\n".join(
        [
            f"{sizes.total():,} photos, all of them usable; {most:,} of them have"
            f" {width} x {height} pixels",
            *(f"note: {note}" for note in notes),
        ]
    )


def _few(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids[:_SHOWN])) + (", ..." if len(ids) > _SHOWN else "")
