"""The page of captions from files of any form: a leaderboard, and the captions of each photo."""

import os
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from dsacap.common.errors import UserError
from dsacap.common.files import write_text
from dsacap.common.outputs import STDOUT
from dsacap.data.caption_files.ids import shown
from dsacap.data.photos import PhotoSource
from dsacap.data.photos_of_images import photos_of_images
from dsacap.evaluation.inputs import (
    Given,
    Inputs,
    Reading,
    load_predictions,
    load_references,
    match_inputs,
)
from dsacap.reporting.agreement import agreement_of
from dsacap.reporting.page.board import QUALITY, Cell, Row, board
from dsacap.reporting.page.html_file import assemble
from dsacap.reporting.page.rows import of_rows, per_image, styles
from dsacap.reporting.units import scale_of
from dsacap.scoring.score import Spice, score_tokenised, tokenise
from dsacap.scoring.signature import GIVEN, scored_against

_SHOWN = ("quality", "diversity")  # the parts of scores that the leaderboard has


def write_page_of_files(
    systems: Mapping[str, Given],
    references: Given | Sequence[Given],
    output: Path,
    *,
    photos: Path | None = None,
    spice: Spice = "auto",
    how: Reading | None = None,
) -> list[str]:
    """Score captions of one or several systems, and write a page that shows them.

    Args:
        systems: The captions of each system by its name; see `dsacap.compare`.
        references: The references; see `dsacap.score`.
        output: The page to write.
        photos: The folder of the photos; the page shows them from there and does not contain them.
        spice: See `dsacap.score`.
        how: How files are read and matched.

    Returns:
        What was read, what was left out, and why a metric is missing.

    Raises:
        UserError: Captions or references are malformed, or of different images; or there is no
            photo of any of the images in the folder.
    """
    how = how or Reading()
    inputs = _inputs(systems, references, how)
    first = next(iter(inputs.values()))
    files = _photo_files(first, photos) if photos else first.file_names
    tokens = first.references if how.tokenized else tokenise(first.references)
    scored = scored_against(tokens, GIVEN if how.tokenized else None)
    captions = {name: tokenise(one.captions) for name, one in inputs.items()}
    parts = score_tokenised(tokens, captions, set(), None, scored, spice=spice, with_held_out=False)
    source = {"embedded": False, "folder": _relative(photos, output) if photos else ""}
    images = list(_images(first, tokens, files))
    write_text(output, assemble(_content(inputs, parts) | {"photos": source, "images": images}))
    notes = [note for one in inputs.values() for note in one.notes]
    if photos and (absent := [image for n, image in first.images.items() if n not in files]):
        notes.append(f"{photos}: no photo of {len(absent):,} images, such as {shown(absent[0])}")
    of_all = [score for of in parts.values() for part in _SHOWN for score in of[part].values()]
    missing = [score["reason"] for score in of_all if "reason" in score]
    return list(dict.fromkeys([*notes, *missing]))


def _content(inputs: Mapping[str, Inputs], parts: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the content of the page, as `content_of` does, without the photos."""
    several = f"{len(inputs)} systems" if len(inputs) > 2 else " and ".join(inputs)
    images = list(next(iter(inputs.values())).images)
    version = metadata.version("dsacap-bench")
    names = [{"system": name, "label": name, "decoding": "", "first": True} for name in inputs]
    scores = [{m: score for part in _SHOWN for m, score in parts[n][part].items()} for n in inputs]
    rows: list[Row] = [(named, _cells(of)) for named, of in zip(names, scores, strict=True)]
    made = f"{len(images):,} images, scored by dsacap-bench {version}."
    captions = [one.captions for one in inputs.values()]
    by_image = [per_image(parts[name]) for name in inputs]
    return {
        "title": f"Captions of {several}",
        "note": None,
        "made": {"what": made, "on": "", "commits": []},
        "files": [],
        "citation": None,
        "signatures": sorted({score["signature"] for of in scores for score in of.values()}),
        "board": board(rows, QUALITY),
        "reported": None,
        "findings": None,
        **of_rows(names, captions, by_image, images, None),
        **styles({name: name for name in inputs}),
        "tradeoff": [],
        "diversity": None,
        "curves": [],
        "insides": {},
    }


def _images(
    inputs: Inputs, tokens: Mapping[int, list[str]], files: Mapping[int, str]
) -> Iterator[dict[str, Any]]:
    agreement = agreement_of(dict(tokens)) if len(tokens) > 1 else None
    for number, image in inputs.images.items():
        agreed = None if agreement is None else float(agreement[number])
        yield {
            "id": image,
            "file": files.get(number, str(image)),
            "references": inputs.references[number],
            "agreement": agreed and round(scale_of("CIDEr") * agreed, 1),
        }


def _inputs(
    systems: Mapping[str, Given], references: Given | Sequence[Given], how: Reading
) -> dict[str, Inputs]:
    """Read the captions of all systems, which must be of the same images."""
    described = load_references(references, how)
    inputs = {
        name: match_inputs(load_predictions(given, how, name), described, how)
        for name, given in systems.items()
    }
    first = next(iter(inputs))
    for name, one in inputs.items():
        if unmatched := set(one.images.values()) ^ set(inputs[first].images.values()):
            raise UserError(
                f"{name}: not of the same images as {first}; only one of them has"
                f" {len(unmatched):,} images, such as {shown(min(unmatched, key=str))}"
            )
    return inputs


def _cells(scores: Mapping[str, dict[str, Any]]) -> dict[str, Cell]:
    cells = {}
    for metric, score in scores.items():
        if score["value"] is not None:
            scale, interval = scale_of(metric), score["interval"]
            low, high = (scale * end for end in interval) if interval else (None, None)
            cells[metric] = Cell(scale * score["value"], low, high)
    return cells


def _photo_files(inputs: Inputs, folder: Path) -> dict[int, str]:
    """Return the path of each image's photo in a folder, for those that are in it."""
    if not folder.is_dir():
        raise UserError(
            f"{folder}: is not a folder; a page shows photos from a folder, so unpack an archive"
        )
    found = photos_of_images(PhotoSource(folder), inputs.images, inputs.file_names)
    if not found:
        raise UserError(
            f"{folder}: has a photo of none of the {len(inputs.images):,} images, such as"
            f" {shown(next(iter(inputs.images.values())))}; name the folder of the photos"
        )
    return found


def _relative(folder: Path, page: Path) -> str:
    """Return the path of a folder as seen from the page; from standard output, its whole path."""
    if page == STDOUT:
        return folder.resolve().as_posix()
    return Path(os.path.relpath(folder.resolve(), page.resolve().parent)).as_posix()
