"""`dsacap validate FILE`: is this what it should be? Predictions, annotations, a split, references, photos or a configuration."""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dsacap.common.errors import UserError
from dsacap.common.files import read_json
from dsacap.common.progress import progress
from dsacap.config.experiment import load_config
from dsacap.data.coco import read_captions, read_split
from dsacap.data.photos import BadImage, PhotoSource, decode
from dsacap.data.predictions import matched, read_predictions, read_references
from dsacap.runs.layout import Layout

_SHOWN = 5  # faults of a kind that are named


def validate_all(paths: Sequence[Path], references: Sequence[Path], tokenized: bool) -> bool:
    """Prints what each file is, or what is wrong with it; whether nothing is."""
    sound = True
    for path in paths:
        try:
            print(f"{path}: {validate(path, references, tokenized)}".replace("\n", "\n  "))
        except UserError as error:
            sound = False
            print(f"error: {error}", file=sys.stderr)
    return sound


def validate(path: Path, references: Sequence[Path] = (), tokenized: bool = False) -> str:
    """What a file is and holds, in a line or a few; predictions are also held against `references`.

    Raises UserError, which says what is wrong and where, if it is not fit for use.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if path.is_dir() or path.suffix == ".zip":
        return _photos(path)
    if path.suffix in (".yaml", ".yml"):
        layout = Layout(load_config(path))
        rows = sum(len(system.decodings) for system in layout.config.systems.values())
        return f"a configuration of {len(layout.config.systems)} systems in {len(layout.runs)} trainings, {rows} rows a seed"
    data = read_json(path)
    if isinstance(data, list):
        return _predictions(path, references, tokenized)
    if isinstance(data, dict) and {"images", "annotations"} <= data.keys():
        captions = {i: image.captions for i, image in read_captions([path]).items()}
        return "\n".join(
            [f"annotations in COCO's format: {_counts(captions)}", *_oddities(captions)]
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
        f"{path}: none of what is known here: predictions (a list of image_id and caption), annotations (an object with\n"
        "  images and annotations), a split (with images alone), tokenised references (of image id -> captions), a YAML\n"
        "  configuration, a folder or zip of photos"
    )


def _predictions(path: Path, references: Sequence[Path], tokenized: bool) -> str:
    said = read_predictions(path)
    lines = [f"predictions: {_counts(said)}", *_oddities(said)]
    if references:
        matched(path, said, read_references(references, tokenized)[0], subset=False)
        lines.append("every image of the references has its captions, and no other")
    else:
        lines.append("image ids are not checked: give --references")
    return "\n".join(lines)


def _counts(captions: Mapping[int, Sequence[str]]) -> str:
    every = [caption for said in captions.values() for caption in said]
    a_few = sorted({len(said) for said in captions.values()})
    each = (
        f"{a_few[0]} to {a_few[-1]} captions"
        if len(a_few) > 1
        else f"{a_few[0]} caption{'s' * (a_few[0] > 1)}"
    )
    words = sum(len(caption.split()) for caption in every) / len(every)
    return f"{len(captions):,} images, {each} each, {words:.1f} words on average, {len(set(every)):,} captions differ"


def _oddities(captions: Mapping[int, Iterable[str]]) -> list[str]:
    """What is scored as it stands, and may not be meant."""
    kinds = {
        "is empty": lambda caption: not caption.strip(),
        "holds a line break or another control character": lambda caption: any(
            ord(c) < 32 or c in "\x7f\x85\u2028\u2029" for c in caption
        ),
        "holds a special token, such as <unk>": lambda caption: any(
            token in caption for token in ("<unk>", "<pad>", "<eos>", "[SEP]", "</s>")
        ),
    }
    lines = []
    for kind, holds in kinds.items():
        ids = [i for i, said in captions.items() if any(map(holds, said))]
        if ids:
            lines.append(f"note: of {len(ids):,} images a caption {kind}: {_few(ids)}")
    return lines


def _photos(path: Path) -> str:
    """Decodes every photo, as preprocessing would."""
    source, sizes, bad = PhotoSource(path), Counter(), []
    names = source.paths()
    for name in progress(names, f"decode {path.name}", "photo"):
        try:
            sizes[decode(source.read(name), name).size] += 1
        except BadImage as error:
            bad.append(str(error))
    if bad:
        shown = "\n  ".join(bad[:_SHOWN])
        raise UserError(f"{path}: {len(bad):,} of {len(names):,} photos cannot be used:\n  {shown}")
    (width, height), most = sizes.most_common(1)[0]
    return f"{sizes.total():,} photos, all can be decoded; {most:,} of them have {width} x {height} pixels"


def _few(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids[:_SHOWN])) + (", ..." if len(ids) > _SHOWN else "")
