"""index.html, the page of a configuration, from result files alone.

What a configuration does not have is None or empty in the content, and the page leaves it out.
"""

import base64
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, read_text, sha256, write_text
from dsacap.config.dataset import Scenes
from dsacap.data.photos import PhotoSource, decode
from dsacap.data.prepared import Example, load_examples
from dsacap.data.scenes.generate import load_scenes
from dsacap.evaluation.inputs import predictions_of_run
from dsacap.reporting.cells import labels_of
from dsacap.reporting.diversity_curves import diversity_curves
from dsacap.reporting.markdown import commits_of, weights_of
from dsacap.reporting.page.curves import curves_of
from dsacap.reporting.page.findings import findings_of
from dsacap.reporting.page.html_file import assemble
from dsacap.reporting.page.marks import Captions, Marks, grammar, truth
from dsacap.reporting.page.rows import of_rows, per_image, styles
from dsacap.reporting.page.table_board import board_of, reported
from dsacap.reporting.table_file import Table, load_table
from dsacap.reporting.tradeoff import checkpoints, of_seed
from dsacap.reporting.units import scale_of
from dsacap.runs.layout import HUMAN, PREDICTIONS, Layout, manifest_of

_WITH_INTERVAL = ("CIDEr", "SPICE", "BLEU-4")


def write_page(layout: Layout) -> int:
    """Write index.html from the table and the result files.

    Returns:
        Its size in bytes.

    Raises:
        UserError: There is no table, or no row of the first seed is finished.
    """
    page = assemble(content_of(layout), sha256(layout.table.with_suffix(".json")))
    write_text(layout.page, page)
    return len(page.encode())


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
    table, config = load_table(file), layout.config
    rows, captions, scores = _captions(layout)
    if not captions:
        raise UserError(
            f"{layout.root}: no row of seed {config.seeds[0]} is finished, and the page"
            " shows that seed; finish a row first"
        )
    shown = set.intersection(*(set(by_image) for by_image in captions))
    examples = [
        example for example in load_examples(layout.data, "test") if example.image_id in shown
    ]
    insides = {
        system: path
        for system, seed in layout.inspected
        if (path := layout.inside(system, seed)).exists()
    }
    found = findings_of(layout)
    manifests = [*table.manifests.values(), *(read_json(manifest_of(p)) for p in insides.values())]
    images = [example.image_id for example in examples]
    return {
        "title": title_of(config.name),
        "note": config.note,
        "made": _made(layout, manifests),
        "files": list(_files(layout, with_claims=found is not None)),
        "citation": _citation(layout),
        "signatures": sorted(set(table.signatures.values())),
        "board": board_of(table),
        "reported": reported(table),
        "findings": found,
        "photos": _photos(layout, examples),
        "images": list(_images(layout, examples)),
        **of_rows(rows, captions, scores, images, _marks(layout, captions, images)),
        **styles(labels_of(config) | {n: of.label or n for n, of in config.predictions.items()}),
        "tradeoff": _tradeoff(layout, table),
        "diversity": _diversity(layout),
        "curves": curves_of(layout),
        "insides": {system: read_json(path) for system, path in insides.items()},
    }


def title_of(name: str) -> str:
    """Return the title of the page of a data set, by which `publish` recognises it."""
    return f"{name}: captions of every system"


def _made(layout: Layout, manifests: Sequence[dict]) -> dict[str, Any]:
    """From which commits the results were made, the latest first, and on which day."""
    latest = sorted(manifests, key=lambda manifest: manifest.get("started", ""), reverse=True)
    return {
        "what": f"Test split; captions and curves are those of seed {layout.config.seeds[0]}.",
        "on": latest[0].get("started", "")[:10],
        "commits": commits_of(latest),
    }


def _files(layout: Layout, with_claims: bool) -> Iterable[dict[str, str]]:
    """The files next to the page that have more than it shows."""
    yield {"file": layout.table.name, "title": "the whole table"}
    yield {"file": layout.table.with_suffix(".csv").name, "title": "its numbers as CSV"}
    text = "with how each number was made, as JSON"
    yield {"file": layout.table.with_suffix(".json").name, "title": text}
    if with_claims:
        yield {"file": layout.claims.name, "title": "all tests of the claims"}


def _citation(layout: Layout) -> str | None:
    file = layout.table.with_suffix(".bib")
    return read_text(file) if file.exists() else None


def _captions(
    layout: Layout,
) -> tuple[list[dict[str, Any]], list[dict[int, list[str]]], list[dict[str, dict[int, float]]]]:
    """Each row's names, its captions by image id, and its scores by metric and image id."""
    rows: list[dict[str, Any]] = []
    found: list[dict[int, list[str]]] = []
    scores: list[dict[str, dict[int, float]]] = []
    labels, seed = labels_of(layout.config), layout.config.seeds[0]
    for system in (name for name, of in layout.finished if of == seed):
        of_system = read_json(layout.scores(system, seed))
        for at, (decoding, by_image) in enumerate(read_json(layout.captions(system, seed)).items()):
            names = {"system": system, "label": labels[system], "decoding": decoding}
            rows.append(names | {"first": at == 0})
            found.append({int(image): captions for image, captions in by_image.items()})
            scores.append(per_image(of_system[decoding]))
    for name, predictions in layout.config.predictions.items():
        names = {"system": name, "label": predictions.label or name, "decoding": ""}
        rows.append(names | {"first": True})
        found.append(predictions_of_run(layout.predictions(name)))
        scores.append(per_image(read_json(layout.scores(name, 0))[PREDICTIONS]))
    return rows, found, scores


def _marks(layout: Layout, captions: Sequence[Captions], images: Sequence[int]) -> Marks:
    if isinstance(layout.config.dataset, Scenes):
        return truth(captions, images, load_scenes(layout.data))
    train = (text for example in load_examples(layout.data, "train") for text in example.tokens)
    return grammar(captions, images, train)


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
    agreement = _agreement(layout)
    for image in (example.image for example in examples):
        shown: dict[str, Any] = {"id": image.image_id, "file": image.file_name}
        shown["references"] = list(image.captions)
        shown["agreement"] = agreement.get(str(image.image_id))
        if embedded:
            photo = decode(sources[image.source].read(image.file_name), image.file_name)
            packed = io.BytesIO()
            photo.save(packed, format="WEBP", quality=80, method=6)
            shown["webp"] = base64.b64encode(packed.getvalue()).decode()
        yield shown


def _agreement(layout: Layout) -> dict[str, float]:
    """How well the references of each image describe each other: CIDEr of each against the others.

    Empty if the references were not scored, or images have only one.
    """
    if not (file := layout.scores(HUMAN, 0)).exists():
        return {}
    held_out = read_json(file)["references"]["held_out"]
    by_image = held_out.get("CIDEr", {}).get("per_image", {})
    return {image: round(scale_of("CIDEr") * value, 1) for image, value in by_image.items()}


def _diversity(layout: Layout) -> dict[str, Any] | None:
    """The curves of quality against diversity, if the configuration has some."""
    if (diversity := layout.config.diversity) is None:
        return None
    curves = [
        {
            "system": curve.dial.system,
            "name": curve.name,
            "spots": [vars(spot) for spot in curve.spots],
            "seeds": curve.seeds,
            "mean": curve.mean and curve.mean.value,
            "low": curve.mean and curve.mean.low,
            "high": curve.mean and curve.mean.high,
            "reason": curve.reason,
        }
        for curve in diversity_curves(layout)
    ]
    return {"between": diversity.between, "curves": curves}


def _tradeoff(layout: Layout, table: Table) -> list[dict[str, Any]]:
    """The rows of `checkpoints`, with the label of the system and the sha256 of its weights.

    Added are the ends of the 95 % intervals of the measures of quality, as far as there are some.
    """
    config, labels = layout.config, labels_of(layout.config)
    numbers = of_seed(table.numbers, config.seeds[0])
    weights = weights_of(config, table.manifests)
    known = numbers[numbers.metric.isin(_WITH_INTERVAL) & numbers.ci_low.notna()]
    ends = {
        (row.system, row.decoding, row.metric): [float(row.ci_low), float(row.ci_high)]
        for row in known.itertuples()
    }
    rows = []
    for row in checkpoints(numbers, list(labels), config.timing.batch_sizes).to_dict("records"):
        system = row["system"]
        plain = {str(key): None if pd.isna(value) else value for key, value in row.items()}
        intervals = {
            metric: interval
            for metric in _WITH_INTERVAL
            if (interval := ends.get((system, row["decoding"], metric)))
        }
        named = {"label": labels[system], "weights": weights[system]}
        rows.append({**plain, **named, "intervals": intervals})
    return rows
