"""Strategies for files of captions in every form of the reader: sound, odd, or damaged."""

import codecs
import csv
import gzip
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from malformed import bent, torn

from dsacap.data.caption_files.forms import FORMS
from dsacap.data.caption_files.ids import ImageId, image_id

Texts = dict[Any, list[str]]  # image id, as a file has it -> captions

_WORDS = (
    *("a", "the", "dog", "dogs", "red", "runs", "on", "grass", "A", "Dog,", "cat.", "two", "2"),
    *("café", "cafe\u0301", "猫", "İ", "ß", "🐕", "\u200b", "\u00a0", "\u2028", "\x85", "\ud800"),
    *("U.S.", "isn't", "...", "-", "|||", '"', "'", ",", "\t", "\n", "\r", "#1", "{", "[", "\\"),
    *("<start>", "[PAD]", "x" * 300, " ", "", "null"),
)
_plain = st.lists(st.sampled_from(_WORDS[:13]), min_size=1, max_size=9).map(" ".join)
_odd = st.lists(st.sampled_from(_WORDS), max_size=9).map(" ".join)
_long = st.integers(90, 260).map(lambda count: " ".join(["dog"] * count))
_captions = st.one_of(_plain, _plain, _plain, _odd, _long)
_tokens = st.lists(
    st.sampled_from(
        ("a", "dog", "red", "u.s.", "...", "-lrb-", "|||", "猫", "\n", "\r", "\x85", "")
    ),
    max_size=6,
).map(" ".join)
_IDS: tuple[Callable[[int], Any], ...] = (
    lambda i: i,
    lambda i: i,
    str,
    "{}.jpg".format,
    "COCO_val2014_{:012d}.jpg".format,
    lambda i: 2**53 + i,
    lambda i: -(2**70) - i,
    float,
    "{}.0".format,
    "0{}".format,
    "ä {}/#".format,
)


def _records(texts: Texts) -> list[dict]:
    return [{"image_id": i, "caption": text} for i, of in texts.items() for text in of]


def _annotations(texts: Texts) -> dict:
    """Return captions as COCO has them, with marks of nocaps and VizWiz on some."""
    images = [{"id": i, "file_name": f"{i}.jpg", "domain": "near-domain"} for i in texts]
    marks = ({}, {"is_rejected": False, "is_precanned": False}, {"is_rejected": True})
    more = [marks[0 if at < len(texts) else at % 3] for at in range(len(_records(texts)))]
    # The first caption of each image comes first, so that it is never one that is left out.
    ordered = sorted(_records(texts), key=lambda one: texts[one["image_id"]][0] != one["caption"])
    return {
        "images": images,
        "annotations": [{"id": 1, **one, **m} for one, m in zip(ordered, more, strict=True)],
    }


_SPLITS = ("test", "test", "restval")  # of three images after each other


def _karpathy(texts: Texts) -> dict:
    return {
        "images": [
            {
                "filename": f"{i}.jpg",
                "imgid": at,
                "cocoid": i,
                "split": _SPLITS[at % 3],
                "sentences": [{"raw": text, "tokens": text.split()} for text in of],
            }
            for at, (i, of) in enumerate(texts.items())
        ],
        "dataset": "flickr8k",
    }


def _rows(names: tuple[str, str]) -> Callable[[Texts], list[list]]:
    return lambda texts: [[*names], *([i, text] for i, of in texts.items() for text in of)]


# How captions are laid out as plain data.
LAYOUTS: dict[str, Callable[[Texts], Any]] = {
    "results": _records,
    "results of lists": lambda texts: [{"image_id": i, "caption": of} for i, of in texts.items()],
    "annotations": _annotations,
    "annotations of LAVIS": lambda texts: {
        "images": [{"id": i} for i in texts],
        "annotations": [{"id": one["image_id"], **one} for one in _records(texts)],
    },
    "evaluation": lambda texts: {
        "imgToEval": {str(i): {"image_id": i, "caption": of[0]} for i, of in texts.items()}
    },
    "dictionary": lambda texts: {str(i): of[0] for i, of in texts.items()},
    "dictionary of lists": lambda texts: {str(i): of for i, of in texts.items()},
    "dictionary of objects": lambda texts: {
        str(i): [{"caption": text} for text in of] for i, of in texts.items()
    },
    "karpathy": _karpathy,
    "run": lambda texts: {"greedy": {str(i): of for i, of in texts.items()}},
    "textcaps": lambda texts: {
        "data": [{"image_id": i, "caption_str": text} for i, of in texts.items() for text in of]
    },
    "jsonl": _records,
    "csv": _rows(("image_id", "caption")),
    "captions.txt": _rows(("image", "caption")),
    "tsv": _rows(("image_id", "caption")),
    "Flickr8k.token.txt": lambda texts: [
        [f"{i}#{k}", text] for i, of in texts.items() for k, text in enumerate(of)
    ],
}


def _lines(tree: Any, separator: str, end: str) -> str:
    """Write rows without quotes, as Flickr8k.token.txt is written."""
    rows = [row if isinstance(row, list) else [row] for row in tree]
    return "".join(separator.join(map(str, row)) + end for row in rows)


def _table(tree: Any, separator: str) -> str:
    buffer = io.StringIO()
    rows = [row if isinstance(row, list) else [row] for row in tree]
    csv.writer(buffer, delimiter=separator).writerows(rows)
    return buffer.getvalue()


def _written(layout: str, tree: Any, plainly: bool) -> str:
    if layout == "jsonl" and isinstance(tree, list):
        return "".join(json.dumps(one, ensure_ascii=plainly) + "\n" for one in tree)
    if not isinstance(tree, list):
        return json.dumps(tree, ensure_ascii=plainly)
    match layout:
        case "csv" | "captions.txt":
            return _lines(tree, ",", "\n") if plainly else _table(tree, ",")
        case "tsv":
            return _lines(tree, "\t", "\r\n") if plainly else _table(tree, "\t")
        case "Flickr8k.token.txt":
            return _lines(tree, "\t", "\n")
    return json.dumps(tree, ensure_ascii=plainly)


ROLES = ("predictions", "references")
_OPTIONS = {
    "references": ("--tokenized", "--ids file-names", "--references-format"),
    "predictions": ("--duplicates first", "--ids file-names", "--format"),
}
_ENCODINGS = ("utf-8",) * 8 + ("utf-8-sig", "utf-16", "utf-32", "utf-16-le", "latin-1", "cp1252")


@dataclass(frozen=True)
class Case:
    """A file that may be damaged, and the sound one that it is scored with.

    Attributes:
        role: One of `ROLES`: what the file is given as.
        layout: How its captions were laid out before they were changed.
        data: Its bytes.
        other: The bytes of the sound file.
        options: The options that both commands are given.
        door: How it is given: as a file, a pipe, or standard input.
    """

    role: str
    layout: str
    data: bytes
    other: bytes
    options: tuple[str, ...]
    door: str


@st.composite
def cases(draw, role: str, layout: str) -> Case:
    """Draw a file of captions in one of `LAYOUTS`, and what it is scored with."""
    name = draw(st.sampled_from(_IDS))
    ids = [name(i) for i in range(1, draw(st.integers(1, 4)) + 1)]
    samples = draw(st.sampled_from((1, 1, 1, 2)))
    several = {"references": st.integers(1, 3), "predictions": st.just(samples)}
    options = draw(st.sampled_from(("", "", "", *_OPTIONS[role]))).split()
    if options and options[0].endswith("format"):
        options.append(draw(st.sampled_from(sorted(FORMS))))
    own = _tokens if "--tokenized" in options else _captions
    [texts, sound] = [
        {i: [draw(text) for _ in range(draw(several[which]))] for i in ids}
        for which, text in ((role, own), *((o, _plain) for o in several if o != role))
    ]
    tree, plainly = LAYOUTS[layout](texts), draw(st.booleans())
    change = draw(st.sampled_from(("none", "none", "bent", "torn", "torn")))
    if change == "bent":
        tree = draw(bent(tree, *ids))
    encoding = draw(st.sampled_from(_ENCODINGS))
    data = _written(layout, tree, plainly).encode(encoding, "replace")
    if change == "torn":
        data = draw(torn(data))
    packed = draw(st.sampled_from(("", "", "", "gzip", "gzip, torn")))
    if packed:
        data = gzip.compress(data, 1, mtime=0)
    if packed == "gzip, torn":
        data = draw(torn(data))
    keep = set(ids)
    if layout == "karpathy" and role == "references":
        split = draw(st.sampled_from((*_SPLITS, "val", "")))
        options += ["--split", split] if split else []
        keep = {i for at, i in enumerate(ids) if _SPLITS[at % 3] == split} or keep
    if layout == "run" and role == "predictions":
        options += draw(st.sampled_from(("--decoding greedy", "--decoding beam", ""))).split()
    other = json.dumps(_records({i: of for i, of in sound.items() if i in keep})).encode()
    door = draw(st.sampled_from(("file", "file", "file", "pipe", "-")))
    return Case(role, layout, data, other, tuple(options), door)


def plain_reading(data: bytes, form: str) -> dict[ImageId, list[str]] | None:
    """Read a file that was accepted by the plainest code.

    Args:
        data: Its bytes.
        form: The form in which it was read, in the reader's words.

    Returns:
        The captions of each image; None if this needs more than plain code.
    """
    text = _text(gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data)
    if form in ("CSV", "TSV", "Flickr8k tokens", "lines of JSON"):
        pairs = _pairs_of_lines(text, form)
    else:
        pairs = _PAIRS[form](json.loads(text)) if form in _PAIRS else None
    if pairs is None:
        return None
    found: dict[ImageId, list[str]] = {}
    for key, value in pairs:
        several = value if isinstance(value, list) else [value]
        captions = [one["caption"] if isinstance(one, dict) else one for one in several]
        found.setdefault(image_id(key, "here"), []).extend(captions)
    return found


def _text(data: bytes) -> str:
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if data.startswith(mark):
            return data.decode(encoding)
    return data.decode()


def _pairs_of_lines(text: str, form: str) -> list[tuple] | None:
    if form == "lines of JSON":
        return _of_results([json.loads(line) for line in text.split("\n") if line.strip()])
    if form == "Flickr8k tokens":
        lines = [line.rstrip("\r").split("\t", 1) for line in text.split("\n") if line.strip()]
        return [(name.rpartition("#")[0], caption) for name, caption in lines]
    separator = {"CSV": ",", "TSV": "\t"}[form]
    header, *rows = csv.reader(io.StringIO(text), delimiter=separator)
    if '"' in text or [name.lower() for name in header] not in (
        ["image_id", "caption"],
        ["image", "caption"],
    ):
        return None
    return [(row[0], separator.join(row[1:])) for row in rows if row]


def _of_results(tree: Any) -> list[tuple]:
    """Return each record's id and caption, under the names that the reader prefers."""
    return [
        (
            one["image_id"] if "image_id" in one else one["photo"],
            one["caption"] if "caption" in one else one["captions"],
        )
        for one in (tree if isinstance(tree, list) else [tree])
    ]


def _of_annotations(tree: Any) -> list[tuple]:
    used = [
        one
        for one in tree["annotations"]
        if not one.get("is_rejected") and not one.get("is_precanned")
    ]
    pairs = [(one["image_id"], one["caption"]) for one in used]
    if not isinstance(tree.get("images"), list):
        return pairs
    order = [image_id(image["id"], "here") for image in tree["images"]]
    return sorted(pairs, key=lambda pair: order.index(image_id(pair[0], "here")))


_PAIRS: dict[str, Callable[[Any], list[tuple]]] = {
    "COCO results": _of_results,
    "COCO annotations": _of_annotations,
    "a dictionary": lambda tree: list(tree.items()),
    "an evaluation of coco-caption": lambda tree: [
        (key, one["caption"]) for key, one in tree["imgToEval"].items()
    ],
    "a run's captions by greedy": lambda tree: list(tree["greedy"].items()),
    "Karpathy's test split": lambda tree: [
        (image.get("cocoid", image.get("imgid")), [s["raw"] for s in image["sentences"]])
        for image in tree["images"]
        if image["split"] == "test"
    ],
    "TextCaps": lambda tree: [
        (one["image_id"], one["caption_str"])
        for one in tree["data"]
        if all("caption_str" in other for other in tree["data"])
    ],
}
