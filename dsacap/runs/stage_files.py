"""Which files a stage reads and which it writes: their hashes stand in its manifest, so that the chain from a number to the data can be
followed, what changed since can be told, and no stage reads what is not what another wrote. A folder of many files stands for itself by
its index (features) or its weights.
"""

from itertools import chain
from pathlib import Path

from dsacap.common.errors import UserError
from dsacap.common.files import read_json, sha256
from dsacap.config.dataset import Scenes
from dsacap.runs.layout import HUMAN, Layout, manifest_of
from dsacap.vision.features.store import INDEX

Files = tuple[list[Path], list[Path]]  # read, written


def files_of(layout: Layout, verb: str, row: tuple[str, int] | None) -> Files:
    """Of a stage that has run; `row` is (system, seed) where it is a row's."""
    captions, words, index = (
        layout.data / "captions.jsonl",
        layout.data / "vocabulary.json",
        layout.features / INDEX,
    )
    seen = [captions, words, index]
    match verb:
        case "data":
            return _sources(layout), [captions, words, *_drawn(layout)]
        case "encoder":
            return [captions] if layout.config.encoder.train else [], _weights(layout.encoder)
        case "features":
            return [captions, *_drawn(layout), *_weights(layout.encoder)], [
                index,
                layout.features / "statistics.safetensors",
            ]
        case "pixels":
            return [captions, *_drawn(layout)], [layout.pixels / INDEX]
        case "generator":
            return [captions, words, layout.sight.features / INDEX], _weights(layout.generator)
        case "teach":
            teacher = layout.config.systems[row[0]].distilled_from.system
            return [*seen, *_pixels(layout, teacher), _model(layout, teacher, row[1])], [
                layout.lessons(*row)
            ]
        case "train":
            taught = [layout.lessons(*row)] if layout.config.systems[row[0]].distilled_from else []
            return [*seen, *_pixels(layout, row[0]), *taught], [_model(layout, *row)]
        case "tune":
            settings = layout.config.systems[row[0]]
            rewards = _weights(layout.generator) if settings.tuning.reconstructs else []
            before = _model(layout, settings.tuned_from, row[1])
            return [*seen, *_pixels(layout, row[0]), before, *rewards], [_model(layout, *row)]
        case "checkpoint":
            return [captions], [layout.predictions(row[0])]
        case "caption":
            return [*seen, *_pixels(layout, row[0]), _model(layout, *row)], [layout.captions(*row)]
        case "complete":
            return [*seen, *_pixels(layout, row[0]), _model(layout, *row)], [
                layout.completions(*row)
            ]
        case "inspect":
            return [*seen, *_pixels(layout, row[0]), _model(layout, *row)], [layout.inside(*row)]
        case "time":
            first = layout.config.seeds[0]
            looking = list(
                dict.fromkeys(
                    path for system in layout.config.systems for path in _pixels(layout, system)
                )
            )
            return [
                *seen,
                *looking,
                *(_model(layout, system, first) for system in layout.config.systems),
            ], [layout.latency]
    said = (
        []
        if row[0] == HUMAN
        else [
            layout.predictions(row[0])
            if row[0] in layout.config.predictions
            else layout.captions(*row)
        ]
    )
    written = {
        "score": layout.scores,
        "score-samples": layout.sample_scores,
        "reconstruct": layout.reconstructions,
    }
    return [captions, *_drawn(layout), *said], [written[verb](*row)]


def check_inputs(layout: Layout, verb: str, row: tuple[str, int] | None) -> None:
    """UserError where a file that a stage is to read was not made yet, or is not the one that was written: a bit that flipped, a
    truncation, another's file."""
    for path in files_of(layout, verb, row)[0]:
        if layout.root in path.parents and not path.exists():
            raise UserError(
                f"{path}: no such file yet; an earlier stage makes it. Run the pipeline (snakemake), or that stage, first"
            )
        manifest = _manifest_beside(path, layout.root)
        if manifest is None:  # the user's own
            continue
        written = (
            read_json(manifest).get("outputs", {}).get(path.relative_to(layout.root).as_posix())
        )
        if written and sha256(path) != written:
            raise UserError(
                f"{path}: changed since it was written (another sha256 than in {manifest.name}); {_remedy(path)}"
            )
        if path.name == INDEX:
            _check_shards(path)


def _check_shards(index: Path) -> None:
    written = read_json(index)
    for shard in chain(written["shards"], *written.get("views", [])):
        path = index.parent / shard["file"]
        if sha256(path) != shard["sha256"]:
            raise UserError(
                f"{path}: changed since it was written (another sha256 than in {INDEX}); {_remedy(path, index)}"
            )


def _remedy(*files: Path) -> str:
    return (
        f"delete {' and '.join(file.name for file in files)} there and run the same command again"
    )


def _manifest_beside(path: Path, root: Path) -> Path | None:
    """Of the stage that wrote a file: beside it, or in the folder or a folder above."""
    places = [
        manifest_of(path),
        *(manifest_of(folder) for folder in path.parents if root in folder.parents),
    ]
    return next((place for place in places if place.exists()), None)


def _sources(layout: Layout) -> list[Path]:
    """Captions that the user brings; of the photos, which may be gigabytes, the features' hashes tell."""
    return [] if isinstance(layout.config.dataset, Scenes) else layout.config.dataset.caption_files


def _drawn(layout: Layout) -> list[Path]:
    """Pictures that were drawn here, and what is on them."""
    return (
        [layout.data / "scenes.json", *sorted((layout.data / "images").glob("*"))]
        if isinstance(layout.config.dataset, Scenes)
        else []
    )


def _model(layout: Layout, system: str, seed: int) -> Path:
    return layout.system(system, seed) / "model.safetensors"


def _pixels(layout: Layout, system: str) -> list[Path]:
    """What a system with an encoder of its own looks at."""
    return [layout.pixels / INDEX] if layout.config.sees_pixels(system) else []


def _weights(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.safetensors") if "checkpoint" not in path.parts)
