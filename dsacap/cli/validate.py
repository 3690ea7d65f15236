"""`dsacap validate FILE`: check predictions, annotations, splits, photos and configurations."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dsacap.common.errors import UserError
from dsacap.common.printable import counted, printable
from dsacap.common.progress import progress
from dsacap.data.caption_files.forms import Captions, listed
from dsacap.data.caption_files.oddities import oddities
from dsacap.data.caption_files.reader import check_predictions, read_captions
from dsacap.data.caption_files.source import STDIN
from dsacap.data.photos import PhotoSource, decode, is_source
from dsacap.evaluation.inputs import Reading, load_references, match_inputs, too_long

_SHOWN = 5  # faults of the same kind that are listed


def validate_all(paths: Sequence[Path], references: Sequence[Path], how: Reading) -> bool:
    """Print what each file is, or what is wrong with it.

    Args:
        paths: The files and folders.
        references: Files of references with which predictions are compared.
        how: How captions are read.

    Returns:
        Whether all files are usable.
    """
    sound = True
    described = load_references(references, how) if references else None
    for path in paths:
        try:
            report = f"{path}: {validate(path, described, how)}"
            print(printable(report).replace("\n", "\n  "))
        except UserError as error:
            sound = False
            print(printable(f"error: {error}"), file=sys.stderr)
    return sound


def validate(path: Path, references: Captions | None = None, how: Reading | None = None) -> str:
    """Check a file.

    Args:
        path: A file, or a folder of photos.
        references: The references with which predictions are compared.
        how: How captions are read.

    Returns:
        What the file is and what it contains, as one or several lines.

    Raises:
        UserError: The file is unusable; the message says why and where.
    """
    how = how or Reading()
    if not path.exists() and str(path) != STDIN:
        raise UserError(f"{path}: no such file or folder")
    if is_source(path):
        return _photos(path)
    if path.suffix in (".yaml", ".yml"):
        return _configuration(path)
    part = how.decoding if references else how.decoding or how.split
    captions = read_captions(path, how.form, part)
    if captions.parts:
        captions.notes.append(listed(captions.parts))
    lines = [f"{captions.form}: {_counts(captions)}"]
    if references:
        pair = match_inputs(check_predictions(captions, how.duplicates), references, how)
        part = "some images of the references have captions, and no other image has"
        whole = "every image of the references has captions, and no other image has"
        is_part = len(pair.images) < len(references.by_image)
        lines += [part if is_part else whole, *pair.notes]
        firsts = {image: texts[:1] for image, texts in pair.captions.items()}
        lines += too_long(firsts, "caption") + too_long(pair.references, "reference", how.tokenized)
    else:
        lines += ["image ids are not checked; give --references to check them"]
        lines += [*captions.notes, *oddities(captions.by_image)]
        lines += too_long(captions.by_image, "caption", how.tokenized)
    return "\n".join(lines)


def _configuration(path: Path) -> str:
    # A configuration is checked by its captioners, which need torch; captions are not.
    from dsacap.config.experiment import load_config
    from dsacap.runs.layout import Layout

    layout = Layout(load_config(path))
    rows = sum(len(system.decodings) for system in layout.config.systems.values())
    systems, trainings = len(layout.config.systems), len(layout.runs)
    count = f"{counted(systems, 'system')} in {counted(trainings, 'training')}"
    return f"a configuration of {count}, {counted(rows, 'row')} a seed"


def _counts(found: Captions) -> str:
    captions = found.by_image
    everything = [caption for texts in captions.values() for caption in texts]
    counts = sorted({len(texts) for texts in captions.values()})
    each = (
        f"{counts[0]} to {counts[-1]} captions"
        if len(counts) > 1
        else counted(counts[0], "caption")
    )
    words = sum(len(caption.split()) for caption in everything) / len(everything)
    return (
        f"{counted(len(captions), 'image')}, {each} each, {words:.1f} words on average,"
        f" {counted(len(set(everything)), 'different caption')}"
    )


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
        count = f"{len(bad):,} of {counted(len(names), 'photo')}"
        wrong = f"unusable: {count}" if bad else "no photos in it"
        raise UserError("\n  ".join([f"{path}: {wrong}", *bad[:_SHOWN], *notes]))
    (width, height), most = sizes.most_common(1)[0]
    return "\n".join(
        [
            f"{counted(sizes.total(), 'usable photo')}; of {width} x {height} pixels: {most:,}",
            *(f"note: {note}" for note in notes),
        ]
    )
