"""What the page shows, as plain data, from result files only.

Captions are said again and again, so each stands once, in `texts`, and is meant by its place there. Numbers of images stand in the order
of `images`, rows of captions in the order of `rows`.
"""

import base64
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, read_jsonl
from dsacap.config.dataset import Scenes
from dsacap.data.photos import PhotoSource, decode
from dsacap.data.predictions import read_predictions
from dsacap.data.prepared import Example, load_examples
from dsacap.reporting.cells import labels_of
from dsacap.reporting.markdown import commits, weights_of
from dsacap.reporting.table import scale_of
from dsacap.reporting.table_file import Table, load_table
from dsacap.reporting.tradeoff import checkpoints, of_seed
from dsacap.runs.layout import PREDICTIONS, Layout, manifest_of

_SCORES = ("CIDEr", "SPICE", "METEOR", "BLEU-4", "true")  # by which images are sorted
_POINTS = 150  # of a curve, about as many as can be told apart
_WEBP = {"format": "WEBP", "quality": 80, "method": 6}


def content_of(layout: Layout) -> dict[str, Any]:
    """All that the page shows. UserError where there is no table yet."""
    if not (numbers := layout.table.with_suffix(".json")).exists():
        raise UserError(
            f"{numbers}: no table yet, which the page stands beside; write it first: `make page`, or `dsacap report`"
        )
    table = load_table(numbers)
    said, scores = _captions(layout)
    if not said:
        raise UserError(
            f"{layout.root}: no row of seed {layout.config.seeds[0]} is finished, which the page shows; finish one first"
        )
    shown = set.intersection(*(set(by_image) for _, by_image in said))
    examples = [
        example for example in load_examples(layout.data, "test") if example.image_id in shown
    ]
    insides = {
        system: path
        for system, seed in layout.inspected
        if (path := layout.inside(system, seed)).exists()
    }
    texts: dict[str, int] = {}
    return {
        "name": layout.config.name,
        "note": layout.config.note,
        "seed": layout.config.seeds[0],
        "commit": commits(
            table.manifests
            | {system: read_json(manifest_of(path)) for system, path in insides.items()}
        ),
        "photos": _photos(layout, examples),
        "rows": [row for row, _ in said],
        "metrics": [metric for metric in _SCORES if any(metric in of for of in scores)],
        "images": list(_images(layout, examples)),
        "captions": [
            [[texts.setdefault(t, len(texts)) for t in by_image[e.image_id]] for e in examples]
            for _, by_image in said
        ],
        "scores": [
            {metric: [values.get(e.image_id) for e in examples] for metric, values in of.items()}
            for of in scores
        ],
        "tradeoff": _tradeoff(layout, table),
        "curves": list(_curves(layout)),
        "insides": {system: read_json(path) for system, path in insides.items()},
        "texts": list(texts),
    }


def _captions(
    layout: Layout,
) -> tuple[list[tuple[dict, dict[int, list[str]]]], list[dict[str, dict[int, float]]]]:
    """Of every row: what it is called, with image id -> captions; and metric -> image id -> score, as tables show it."""
    said, scores = [], []
    labels, seed = labels_of(layout.config), layout.config.seeds[0]
    for system in (name for name, of in layout.finished if of == seed):
        of_system = read_json(layout.scores(system, seed))
        for at, (decoding, by_image) in enumerate(read_json(layout.captions(system, seed)).items()):
            row = {
                "system": system,
                "label": labels[system],
                "decoding": decoding,
                "first": at == 0,
            }
            said.append((row, {int(image_id): captions for image_id, captions in by_image.items()}))
            scores.append(_per_image(of_system[decoding]))
    for name, brought in layout.config.predictions.items():
        row = {"system": name, "label": brought.label or name, "decoding": "", "first": True}
        said.append((row, read_predictions(layout.predictions(name))))
        scores.append(_per_image(read_json(layout.scores(name, 0))[PREDICTIONS]))
    return said, scores


def _per_image(parts: dict[str, Any]) -> dict[str, dict[int, float]]:
    found = {
        metric: parts["quality"][metric]["per_image"]
        for metric in _SCORES
        if metric in parts["quality"]
    }
    return {
        m: {int(i): round(scale_of(m) * value, 1) for i, value in by_image.items()}
        for m, by_image in found.items()
        if by_image
    }


def _photos(layout: Layout, examples: list[Example]) -> dict[str, Any]:
    """Photos made here are part of the page. Others are not ours to pass on: they are shown where the reader has them, in a folder, whose
    path from the page stands here where it is known."""
    if isinstance(layout.config.dataset, Scenes):
        return {"embedded": True}
    folders = {layout.photos[example.image.source] for example in examples}
    known = len(folders) == 1 and (folder := folders.pop()).is_dir()
    return {
        "embedded": False,
        "folder": Path(os.path.relpath(folder, layout.page.parent)).as_posix() if known else "",
    }


def _images(layout: Layout, examples: list[Example]) -> Iterable[dict[str, Any]]:
    embedded = isinstance(layout.config.dataset, Scenes)
    sources = {
        name: PhotoSource(layout.photos[name])
        for name in {example.image.source for example in examples}
        if embedded
    }
    for image in (example.image for example in examples):
        shown = {"id": image.image_id, "file": image.file_name, "references": list(image.captions)}
        if embedded:
            packed = io.BytesIO()
            decode(sources[image.source].read(image.file_name), image.file_name).save(
                packed, **_WEBP
            )
            shown["webp"] = base64.b64encode(packed.getvalue()).decode()
        yield shown


def _tradeoff(layout: Layout, table: Table) -> list[dict[str, Any]]:
    """The one table: see `checkpoints`. With the names of system and weights."""
    config, labels = layout.config, labels_of(layout.config)
    numbers = of_seed(table.numbers, config.seeds[0])
    weights = weights_of(config, table.manifests)
    rows = checkpoints(numbers, list(labels), config.timing.batch_sizes).to_dict("records")
    plain = [{key: None if pd.isna(value) else value for key, value in row.items()} for row in rows]
    return [
        {**row, "label": labels[row["system"]], "weights": weights[row["system"]]} for row in plain
    ]


def _curves(layout: Layout) -> Iterable[dict[str, Any]]:
    """Of each finished row, what its training or tuning logged: quantity -> [step, value] pairs."""
    labels, seed = labels_of(layout.config), layout.config.seeds[0]
    for system in (name for name, of in layout.finished if of == seed):
        path = layout.system(system, seed) / "train.jsonl"
        if path.exists():
            log = read_jsonl(path)
            names = dict.fromkeys(name for entry in log for name in entry if name != "step")
            logged = {
                name: [(entry["step"], entry[name]) for entry in log if name in entry]
                for name in names
            }
            thinned = {
                name: values[:: -(-len(values) // _POINTS)] for name, values in logged.items()
            }
            yield {
                "system": system,
                "label": labels[system],
                "tuned": bool(layout.config.systems[system].tuning),
                "logged": thinned,
            }
