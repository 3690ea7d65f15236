"""What the page shows, as plain data, from result files alone.

Captions repeat, so each is stored once in `texts` and referenced by index. Captions and scores are
lists of rows in the order of `rows`, each a list in the order of `images`.
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
from dsacap.data.prepared import Example, load_examples
from dsacap.evaluation.inputs import predictions_of_run
from dsacap.reporting.cells import labels_of
from dsacap.reporting.markdown import commits, weights_of
from dsacap.reporting.table import scale_of
from dsacap.reporting.table_file import Table, load_table
from dsacap.reporting.tradeoff import checkpoints, of_seed
from dsacap.runs.layout import PREDICTIONS, Layout, manifest_of

_SCORES = ("CIDEr", "SPICE", "METEOR", "BLEU-4", "true")  # by which images are sorted
_POINTS = 150  # of a curve, about as many as can be distinguished


def content_of(layout: Layout) -> dict[str, Any]:
    """Return all that the page shows, as plain data.

    Raises:
        UserError: There is no table yet, or no row of the first seed is finished.
    """
    if not (file := layout.table.with_suffix(".json")).exists():
        raise UserError(
            f"{file}: no table yet, and the page shows its numbers; write it first by `make page`"
            " or `dsacap report`"
        )
    table = load_table(file)
    captions, scores = _captions(layout)
    if not captions:
        raise UserError(
            f"{layout.root}: no row of seed {layout.config.seeds[0]} is finished, and the page"
            " shows that seed; finish a row first"
        )
    shown = set.intersection(*(set(by_image) for _, by_image in captions))
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
        "rows": [row for row, _ in captions],
        "metrics": [metric for metric in _SCORES if any(metric in of for of in scores)],
        "images": list(_images(layout, examples)),
        "captions": [
            [[texts.setdefault(t, len(texts)) for t in by_image[e.image_id]] for e in examples]
            for _, by_image in captions
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
    """Each row's names with its captions by image id, and its scores by metric and image id."""
    found: list[tuple[dict, dict[int, list[str]]]] = []
    scores: list[dict[str, dict[int, float]]] = []
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
            found.append((row, {int(image): captions for image, captions in by_image.items()}))
            scores.append(_per_image(of_system[decoding]))
    for name, predictions in layout.config.predictions.items():
        row = {"system": name, "label": predictions.label or name, "decoding": "", "first": True}
        found.append((row, predictions_of_run(layout.predictions(name))))
        scores.append(_per_image(read_json(layout.scores(name, 0))[PREDICTIONS]))
    return found, scores


def _per_image(parts: dict[str, Any]) -> dict[str, dict[int, float]]:
    """The scores of a decoding by metric and image id, scaled as in the tables."""
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
    """Whether photos are embedded, or else where the reader has them.

    Generated photos are embedded. Others may not be redistributed, so the page shows them from a
    folder of the reader's; its path relative to the page is given where it is known.
    """
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
        shown: dict[str, Any] = {"id": image.image_id, "file": image.file_name}
        shown["references"] = list(image.captions)
        if embedded:
            photo = decode(sources[image.source].read(image.file_name), image.file_name)
            packed = io.BytesIO()
            photo.save(packed, format="WEBP", quality=80, method=6)
            shown["webp"] = base64.b64encode(packed.getvalue()).decode()
        yield shown


def _tradeoff(layout: Layout, table: Table) -> list[dict[str, Any]]:
    """The rows of `checkpoints`, with the label of the system and the sha256 of its weights."""
    config, labels = layout.config, labels_of(layout.config)
    numbers = of_seed(table.numbers, config.seeds[0])
    weights = weights_of(config, table.manifests)
    rows = []
    for row in checkpoints(numbers, list(labels), config.timing.batch_sizes).to_dict("records"):
        system = row["system"]
        plain = {str(key): None if pd.isna(value) else value for key, value in row.items()}
        rows.append({**plain, "label": labels[system], "weights": weights[system]})
    return rows


def _curves(layout: Layout) -> Iterable[dict[str, Any]]:
    """What the training or tuning of each finished row logged: (step, value) by quantity."""
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
